# SPDX-License-Identifier: BSL-1.0
"""One running guest: starts QEMU, speaks with the guest's first process, and ends it on every path."""

import ctypes
import hashlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import LaneError, cache, image
from .kernel import Kernel, find_tool
from .qmp import LineSocket, Qmp
from .requests import Requests
from .results import Results, console_tail
from .topology import Topology

# Folders of the host that the guest's own mounts hide.
HIDDEN = ("/tmp", "/run", "/dev/shm")
# A guest that cannot kill a case's processes gets this long beyond the case's own timeout, in seconds.
GRACE = 20.0


# What is worth telling of a guest that is stuck, of what QEMU's monitor answers.
WORDS_OF_LAPIC = ("LVTT\t", "Timer", "ISR", "IRR")
WORDS_OF_REGISTERS = ("CPU#", "RIP=")


class GuestDied(LaneError):
    """The guest is gone, or does not answer any more."""


class GuestStuck(GuestDied):
    """The time of a case is over, and the guest cannot end it: the kernel hangs, the emulator does, or the case has a
    process that is stuck in the kernel."""


class TotalTimeout(GuestDied):
    """The run as a whole took too long."""


def shared_paths(paths: list[str]) -> list[str]:
    """What of these paths the guest's own mounts would hide: the entries right below such a mount."""
    shares = set()
    for path in {form for path in paths for form in (os.path.abspath(path), os.path.realpath(path))}:
        for hidden in HIDDEN:
            if path.startswith(hidden + "/"):
                shares.add(hidden + "/" + path[len(hidden) + 1:].split("/")[0])
    return sorted(shares)


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Machine:
    """A guest, from power-on to power-off. Use as a context manager: QEMU is gone after it, whatever happens."""

    def __init__(
        self,
        topology: Topology,
        kernel: Kernel,
        accelerator: str,
        results: Results,
        run: Path,
        deadline: float,
        drives: dict[str, Path],
        terminal: bool = False,
        grace: float = GRACE,
    ):
        self.topology = topology
        self.kernel = kernel
        self.console = results.console
        self.deadline = deadline
        self.results = results.folder
        self.missing_modules = image.missing_modules(kernel, topology.modules)
        self.environment = {"PADDOCK_VM_KERNEL": kernel.name, "PADDOCK_VM_TOPOLOGY": topology.path.stem}
        self.environment |= topology.environment
        self._accelerator = accelerator
        self._run = run
        self._drives = drives
        self._terminal = terminal
        self._grace = grace
        self._log = run / "qemu.log"
        self._process: subprocess.Popen | None = None
        self._words: list[str] = []
        self._lane = LineSocket()
        self._qmp = Qmp()
        self._requests = Requests(self._qmp, topology)

    @property
    def kept_devices(self) -> set[str]:
        """Roles of devices that QEMU lost: cases that need them cannot run here any more."""
        return self._requests.kept

    def __enter__(self) -> "Machine":
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._end()

    def _start(self) -> None:
        arguments = self._arguments()
        sockets = [self._lane, self._qmp, self._requests]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                arguments,
                stdin=None if self._terminal else subprocess.DEVNULL,
                stdout=None if self._terminal else log,
                stderr=log,
                pass_fds=[socket.remote.fileno() for socket in sockets],
                # A session of its own, so that Ctrl-C reaches this program, which then ends QEMU.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        for socket in sockets:
            socket.remote.close()
        try:
            self._qmp.execute("qmp_capabilities")
        except LaneError:
            raise self._died("QEMU did not start") from None

    def _arguments(self) -> list[str]:
        def escaped(path: Path) -> str:
            return str(path).replace(",", ",,")

        (self.results / "artefacts").mkdir(exist_ok=True)
        def socket(name: str, end: LineSocket) -> list[str]:
            return ["-chardev", f"socket,id={name},fd={end.remote.fileno()}"]

        kvm = self._accelerator == "kvm"
        threads = "single" if self.topology.counts_instructions else "multi"
        arguments = [
            find_tool("qemu-system-x86_64", "qemu-system-x86"),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-accel", "kvm" if kvm else f"tcg,thread={threads}", "-cpu", self.topology.cpu or ("host" if kvm else "max"),
            "-kernel", str(self.kernel.image), "-initrd", str(image.initramfs(self.kernel, self.topology.modules)),
            "-append", f"console=ttyS0 quiet panic=-1 {self.topology.kernel_arguments}",
            *self.topology.arguments(self._run, self._drives),
            "-chardev", f"file,id=console,path={escaped(self.console)}", "-serial", "chardev:console",
            *socket("qmp", self._qmp), "-mon", "chardev=qmp,mode=control",
            "-device", "virtio-serial-pci",
            *socket("lane", self._lane), "-device", "virtserialport,chardev=lane,name=paddock.lane",
            *socket("host", self._requests), "-device", "virtserialport,chardev=host,name=paddock.host",
            "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
            "-virtfs", f"local,path={escaped(self.results)},mount_tag=results,security_model=none,multidevs=remap",
        ]
        if self.topology.counts_instructions:
            arguments += ["-icount", "shift=0"]
        if self._terminal:
            arguments += ["-chardev", "stdio,id=terminal,signal=off", "-device", "virtconsole,chardev=terminal"]
        return arguments

    def _end(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for socket in (self._lane, self._qmp, self._requests):
            socket.close()

    def _died(self, what: str) -> GuestDied:
        message = self._log.read_text(errors="replace").strip()
        tail = console_tail(self.console)
        return GuestDied(what + (f"; QEMU says: {message}" if message else "")
                         + (f"\nThe console's last lines:\n{tail}" if tail else "; its console is empty"))

    def _next_word(self, deadline: float, late: str | None, tick: Callable[[], None] | None = None) -> str | None:
        """The next line from the guest. Meanwhile serves the cases' requests and calls `tick` often. After the deadline
        the guest has died because it is `late`; without such words, None."""
        while True:
            self._words += self._lane.lines()
            for event in self._qmp.events():
                self._requests.event(event)
            self._requests.serve()
            if tick:
                tick()
            if self._words:
                word = self._words.pop(0)
                if word.startswith("failed "):
                    raise self._died("the guest could not get ready: " + word.removeprefix("failed "))
                return word
            if self._lane.closed or self._process.poll() is not None:
                try:
                    status = self._process.wait(5)
                    how = f"signal {-status} ended QEMU" if status < 0 else f"QEMU ended with status {status}"
                except subprocess.TimeoutExpired:
                    how = "QEMU closed its channel but still runs"
                raise self._died(f"the guest died: {how}")
            now = time.monotonic()
            if now > self.deadline:
                raise TotalTimeout(str(self._died("the time for the whole run is over")))
            if now > deadline:
                if late is None:
                    return None
                raise self._died(late)
            select.select([self._lane, self._qmp, self._requests], [], [], 0.03 if tick else 0.2)

    def boot(self, shares: list[str]) -> None:
        """Returns when the guest is ready to run cases. `shares` are paths that it will need."""
        late = "the guest did not become ready"
        word = self._next_word(self.deadline, late)
        if word != "ready":
            raise self._died(f"the guest began with the word {word!r}")
        addresses = self._qmp.pci_addresses()
        for role, device in self.topology.roles().items():
            if role not in addresses:
                raise LaneError(f"the role {role} of {self.topology.path} is not a PCI device")
            self.environment[f"PADDOCK_DEV_{role.upper()}"] = addresses[role]
            driver = device.guest_driver
            if driver and driver.replace("-", "_") in self.missing_modules:
                driver = None  # It has none, then.
            self._lane.send(f"device {addresses[role]} {driver or '-'}")
        for path in shared_paths([*shares, str(self.kernel.modules)]):
            self._lane.send(f"share {path}")
        self._lane.send(f"modules {self.kernel.modules}")
        self._lane.send("go")
        word = self._next_word(self.deadline, late)
        if word != "booted":
            raise self._died(f"the guest said {word!r} instead of having booted")

    def run(self, number: str, seconds: float, tick: Callable[[], None] | None = None) -> tuple[int, float]:
        """Runs the script NUMBER.sh of the results folder; returns its exit status and how long it took."""
        self._lane.send(f"run {number} {seconds:g}")
        word = self._next_word(time.monotonic() + seconds + self._grace, None, tick)
        if word is None:
            what = "the guest could not end a case whose time was over"
            raise GuestStuck(f"{self._died(what)}\nIts processors:\n{self._processors()}")
        return self._done(number, word)

    def _processors(self) -> str:
        """Where each processor stands, and how it is interrupted: see README.md, What QEMU cannot do."""
        asked = []
        try:
            for number in range(self.topology.cpus):
                lapic = self._qmp.monitor(f"info lapic {number}").splitlines()
                asked += [f"processor {number}: {line}" for line in lapic if line.startswith(WORDS_OF_LAPIC)]
            registers = self._qmp.monitor("info registers -a")
            asked += [line for line in registers.splitlines() if line.startswith(WORDS_OF_REGISTERS)]
        except LaneError as error:
            asked.append(str(error))
        return "\n".join(asked)

    def shell(self) -> int:
        """Runs shell.sh of the results folder on the terminal."""
        size = shutil.get_terminal_size()
        self._lane.send(f"shell {size.lines} {size.columns}")
        return self._done("shell", self._next_word(self.deadline, ""))[0]

    def _done(self, number: str, line: str) -> tuple[int, float]:
        word, which, status, centiseconds = (line.split() + [""] * 4)[:4]
        if (word, which) != ("done", number) or not status.isdigit() or not centiseconds.isdigit():
            raise self._died(f"the guest said {line!r} where the end of case {number} was due")
        return int(status), int(centiseconds) / 100

    def finish(self) -> None:
        """Ends the guest in good order, so that drives which the caller gave have all that was written to them."""
        self._lane.send("end")
        if self._next_word(time.monotonic() + self._grace, "the guest did not end") != "bye":
            raise self._died("the guest did not end in good order")
        try:
            self._qmp.execute("quit")
            self._process.wait(10)
        except (LaneError, subprocess.TimeoutExpired):
            pass


def choose_accelerator(requested: str, topology: Topology, kernel: Kernel) -> str:
    """`auto` takes KVM only where a trial boot has proved it: /dev/kvm can exist and yet fail. The verdict is kept."""
    if topology.counts_instructions:
        if requested == "kvm":
            raise LaneError(f"{topology.path} counts instructions, which KVM cannot")
        return "tcg"
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
    if requested == "kvm" and not usable:
        raise LaneError("/dev/kvm is missing, or this user may not use it")
    if requested != "auto":
        return requested
    if not usable:
        return "tcg"
    program = find_tool("qemu-system-x86_64", "qemu-system-x86")
    qemu = subprocess.run([program, "--version"], capture_output=True, check=True).stdout
    key = hashlib.sha256(repr((os.uname().release, os.uname().version, qemu, kernel.release)).encode()).hexdigest()[:32]
    with cache.locked("accelerator"):
        folder = cache.directory() / "accelerator"
        folder.mkdir(exist_ok=True)
        verdict = folder / key
        if not verdict.is_file():
            print("vm: trying once whether KVM works here", file=sys.stderr, flush=True)
            fresh = folder / "fresh"
            fresh.write_text("kvm" if _kvm_boots(topology, kernel) else "tcg")
            fresh.rename(verdict)
        return verdict.read_text()


def _kvm_boots(topology: Topology, kernel: Kernel) -> bool:
    with cache.run_directory() as run:
        results = Results(run / "results")
        try:
            with results.begin(), Machine(topology, kernel, "kvm", results, run, time.monotonic() + 30, {}) as machine:
                machine.boot([])
                return True
        except LaneError:
            return False
