# SPDX-License-Identifier: BSL-1.0
"""QEMU's control channel, and line-wise sockets in general."""

import json
import select
import socket
import time

from . import LaneError


class LineSocket:
    """One end of a socket pair, whose other end QEMU inherits, read line by line without blocking."""

    def __init__(self):
        self.socket, self.remote = socket.socketpair()
        self.socket.setblocking(False)
        self.closed = False
        self._rest = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def lines(self) -> list[str]:
        """The whole lines that have arrived; sets `closed` at the end of the stream."""
        while not self.closed:
            try:
                chunk = self.socket.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            self._rest += chunk
            self.closed = not chunk
        *whole, self._rest = self._rest.split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def send(self, line: str) -> None:
        """Messages are short, so the socket's buffer takes them whole; a peer that reads none for long is dead."""
        try:
            self.socket.settimeout(10)
            self.socket.sendall(line.encode() + b"\n")
        except OSError:
            self.closed = True
        finally:
            self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()
        self.remote.close()


class Qmp(LineSocket):
    def __init__(self):
        super().__init__()
        self._events: list[dict] = []
        self._replies: list[dict] = []

    def _receive(self) -> None:
        for line in self.lines():
            message = json.loads(line)
            if "event" in message:
                self._events.append(message)
            elif "QMP" not in message:
                self._replies.append(message)

    def events(self) -> list[dict]:
        """The events since the last call."""
        self._receive()
        events, self._events = self._events, []
        return events

    def execute(self, command: str, **arguments):
        """Runs a command and returns its result. LaneError carries QEMU's own words when it refuses."""
        self.send(json.dumps({"execute": command, "arguments": arguments}))
        end = time.monotonic() + 20
        while not self._replies:
            if self.closed or time.monotonic() > end:
                raise LaneError(f"QEMU does not answer to {command}")
            select.select([self], [], [], 0.5)
            self._receive()
        reply = self._replies.pop(0)
        if "error" in reply:
            raise LaneError(reply["error"]["desc"])
        return reply["return"]

    def monitor(self, command: str) -> str:
        """What QEMU's monitor for people answers."""
        return self.execute("human-monitor-command", **{"command-line": command})

    def pci_addresses(self) -> dict[str, str]:
        """QEMU id -> the address that the guest has given the device."""
        addresses = {}

        def walk(devices):
            for device in devices:
                addresses[device["qdev_id"]] = f"0000:{device['bus']:02x}:{device['slot']:02x}.{device['function']:x}"
                walk(device.get("pci_bridge", {}).get("devices", []))

        for bus in self.execute("query-pci"):
            walk(bus["devices"])
        return addresses
