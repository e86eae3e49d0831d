# SPDX-License-Identifier: BSL-1.0
"""Answers what cases ask of the host: to unplug a device and to plug it in again."""

import time

from . import LaneError
from .qmp import LineSocket, Qmp
from .topology import Topology


class Requests(LineSocket):
    def __init__(self, qmp: Qmp, topology: Topology):
        super().__init__()
        self._qmp = qmp
        self._roles = topology.roles()
        self._unplugged: dict[str, str] = {}  # role -> the address it had
        self._leaving: dict[str, str] = {}
        self._waiting: list[tuple[str, str, float]] = []  # request, role, deadline
        # What QEMU took from the guest and does not let go of itself: this machine never gets it back.
        self.kept: set[str] = set()

    def event(self, event: dict) -> None:
        role = event.get("data", {}).get("device")
        if event["event"] == "DEVICE_DELETED" and role in self._leaving:
            self._unplugged[role] = self._leaving.pop(role)
        elif event["event"] == "DEVICE_UNPLUG_GUEST_ERROR":
            self._leaving.pop(role, None)

    def serve(self) -> None:
        """Takes new requests and answers those whose wait is over. Never blocks for the guest."""
        for line in self.lines():
            name, *words = line.split()
            try:
                answer = self._handle(name, *words)
            except (LaneError, TypeError, ValueError) as error:
                self._answer(name, f"failed {error}")
            else:
                if answer is not None:
                    self._answer(name, f"ok {answer}")
        for waiting in list(self._waiting):
            name, role, deadline = waiting
            if role in self._unplugged:
                answer = f"ok {self._unplugged[role]}"
            elif role not in self._leaving:
                answer = f"failed the guest refused to let {role} go"
            elif time.monotonic() > deadline:
                answer = f"failed {self._why_still_there(role)}"
            else:
                continue
            self._waiting.remove(waiting)
            self._answer(name, answer)

    def _why_still_there(self, role: str) -> str:
        if role in self._qmp.pci_addresses():
            return f"{role} is still plugged in; something in the guest holds it"
        self.kept.add(role)
        return f"{role} has left the guest, but QEMU keeps it; see What QEMU cannot do in tests/vm/README.md"

    def _answer(self, name: str, text: str) -> None:
        self.send(f"{name} {text}")

    def _handle(self, name: str, verb: str = "", role: str = "", seconds: str = "10") -> str | None:
        """The answer, or None when it comes later."""
        if verb == "ping":
            return "pong"
        if verb not in ("unplug", "unplug-begin", "wait-unplugged", "plug"):
            raise LaneError(f"the host does not know the request {verb}")
        if role not in self._roles:
            raise LaneError(f"the topology has no role {role}")
        if verb == "plug":
            return self._plug(role)
        if verb != "wait-unplugged":
            self._begin_unplug(role)
        elif role not in self._leaving and role not in self._unplugged:
            raise LaneError(f"{role} is not being unplugged")
        if verb == "unplug-begin":
            return ""
        self._waiting.append((name, role, time.monotonic() + float(seconds)))
        return None

    def _begin_unplug(self, role: str) -> None:
        if role in self._unplugged:
            raise LaneError(f"{role} is already unplugged")
        if role in self._leaving:
            raise LaneError(f"{role} is already being unplugged")
        address = self._qmp.pci_addresses()[role]
        self._qmp.execute("device_del", id=role)
        self._leaving[role] = address

    def _plug(self, role: str) -> str:
        if role not in self._unplugged:
            raise LaneError(f"{role} is still plugged in")
        device = self._roles[role]
        self._qmp.execute("device_add", **device.qemu())
        del self._unplugged[role]
        return f"{self._qmp.pci_addresses()[role]} {device.guest_driver or '-'}"
