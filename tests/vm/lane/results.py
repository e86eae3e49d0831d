# SPDX-License-Identifier: BSL-1.0
"""A list of cases, and the folder with what became of each."""

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import LaneError

SKIPPED = 77
DEFAULT_TIMEOUT = 60
GUEST_TOOLS = "/run/paddock/bin"
GUEST_RESULTS = "/run/paddock/results"
CASE_BEGINS = re.compile(r"paddock: case \d+ begins")  # As the guest's first process writes it.
_PASSED_ON = re.compile(r"PATH|HOME|LANG|TERM|LD_LIBRARY_PATH|\w+SAN_OPTIONS|PADDOCK_\w+")


def console_tail(path: Path, count: int = 25) -> str:
    """The console's last lines, and before them the first ones of the case that ran, since a kernel may repeat its last
    words for long; if it panicked, the lines from there on, since a long trace follows."""
    try:
        lines = path.read_text(errors="replace").replace("\r", "").splitlines()
    except OSError:
        return ""
    for number, line in enumerate(lines):
        if "Kernel panic" in line:
            return "\n".join(lines[number : number + count])
    begin = max((number for number, line in enumerate(lines) if CASE_BEGINS.match(line)), default=len(lines))
    first = lines[begin : begin + count]
    last = lines[max(begin + len(first), len(lines) - count) :] if first else lines[-count:]
    skipped = len(lines) - begin - len(first) - len(last)
    return "\n".join([*first, *([f"... {skipped} lines ..."] if skipped > 0 else []), *last])


@dataclass
class Case:
    name: str
    command: list[str]
    timeout: float
    cwd: str

    def paths(self) -> list[str]:
        """The files and folders that the guest needs to see."""
        return [self.cwd, *(word for word in self.command if word.startswith("/"))]

    def script(self, machine: dict[str, str]) -> str:
        """What the guest's shell runs for this case; `machine` is the environment that tells of the machine."""
        environment = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
        environment |= {
            "PATH": f"{GUEST_TOOLS}:{os.environ['PATH']}",
            "HOME": environment.get("HOME") or "/root",
            "PADDOCK_VM": "1",
            "PADDOCK_VM_RESULTS": GUEST_RESULTS,
            "PADDOCK_VM_HOST": f"{GUEST_TOOLS}/host",
            "PADDOCK_VM_BIND": f"{GUEST_TOOLS}/bind",
        } | machine
        lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
        lines += [f"cd {shlex.quote(self.cwd)} || exit 125", f"exec {shlex.join(self.command)}"]
        return "\n".join(lines) + "\n"

    def program_stamp(self) -> list[int] | None:
        """Tells one build of the program from another."""
        try:
            status = os.stat(self.command[0])
        except OSError:
            return None
        return [status.st_mtime_ns, status.st_size]


def read_list(path: Path) -> list[Case]:
    """Cases in the order of the list. A line {"include": FILE} stands for the cases of another list, which may be
    missing if the line also says "optional": true."""
    cases = _read_lines(path, set())
    names = set()
    for case in cases:
        if case.name in names:
            raise LaneError(f"{path} has two cases with the name {case.name!r}")
        names.add(case.name)
    return cases


def _read_lines(path: Path, seen: set[Path]) -> list[Case]:
    if path in seen:
        raise LaneError(f"the list {path} includes itself")
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise LaneError(f"the list {path} cannot be read ({error.strerror}); are the test programs built?") from None
    cases = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if "include" in entry:
                included = path.parent / entry["include"]
                if included.exists() or not entry.get("optional"):
                    cases += _read_lines(included, seen | {path})
                continue
            timeout = float(entry.get("timeout", DEFAULT_TIMEOUT))
            case = Case(entry["name"], entry["command"], timeout, entry.get("cwd", os.getcwd()))
        except (ValueError, KeyError, TypeError) as error:
            raise LaneError(f"{path}:{number} is not a case: {error!r}") from None
        words = case.command if isinstance(case.command, list) else []
        if not isinstance(case.name, str) or not words or not all(isinstance(word, str) for word in words):
            raise LaneError(f"{path}:{number} is not a case: it needs a name and a command of words")
        if timeout <= 0:
            raise LaneError(f"{path}:{number} has a timeout that is not above 0")
        cases.append(case)
    return cases


class Results:
    """The results folder. It is written only from the host: a guest that dies cannot leave a verdict half written.

    plan.json     the names of all cases of the run, in order
    N.json        the verdict of case N, there once it has ended; N.log what it wrote, N.sh what was run
    summary.json  how the run ended;  console.log the guest's console;  artefacts/ what cases left
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self.console = self.folder / "console.log"

    @contextlib.contextmanager
    def begin(self):
        """Empties the folder of an earlier run's results and keeps other runs out of it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = open(self.folder / "lock", "w")
        except OSError as error:
            raise LaneError(f"the results folder {self.folder} cannot be written: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LaneError(f"another run is writing to {self.folder}") from None
            for path in self.folder.iterdir():
                if re.fullmatch(r"\d+\.(json|log|sh|err)|(plan|summary)\.json|console\.log", path.name):
                    path.unlink()
            shutil.rmtree(self.folder / "artefacts", ignore_errors=True)
            yield

    def _write(self, name: str, content) -> None:
        fresh = self.folder / f"{name}.fresh"
        fresh.write_text(json.dumps(content, indent=1) + "\n")
        fresh.rename(self.folder / name)

    def plan(self, cases: list[Case]) -> None:
        self._write("plan.json", [case.name for case in cases])

    def prepare(self, number: int, case: Case, machine: dict[str, str]) -> None:
        (self.folder / f"{number}.sh").write_text(case.script(machine))
        (self.folder / f"{number}.log").touch()

    def set_aside(self, number: int, case: Case, fault: str) -> None:
        """Before a second run of a case, in a new guest: the log and console of the first one go to the artefacts, and
        the new log begins with the reason."""
        for name in (f"{number}.log", self.console.name):
            (self.folder / name).rename(self.folder / "artefacts" / f"first-run-of-{number}-{name}")
        (self.folder / f"{number}.log").write_text(f"The first run of {case.name!r}: {fault}\nThe second run:\n")

    def record(self, number: int, case: Case, status: int, seconds: float, first_run: str | None) -> None:
        """`first_run` is why it was run twice, if it was."""
        stamp = {"program": [case.command[0], case.program_stamp()], "first_run": first_run}
        self._write(f"{number}.json", {"name": case.name, "rc": status, "seconds": seconds} | stamp)

    def summarize(self, reason: str | None) -> dict:
        """`reason` is why the run ended early, if it did."""
        plan = json.loads((self.folder / "plan.json").read_text())
        verdicts = [self._verdict(number) for number in range(1, len(plan) + 1)]
        statuses = [verdict["rc"] for verdict in verdicts if verdict]
        summary = {
            "cases": len(plan),
            "passed": statuses.count(0),
            "skipped": statuses.count(SKIPPED),
            "failed": sum(status not in (0, SKIPPED) for status in statuses),
            "did_not_run": verdicts.count(None),
            "run_twice": sum(bool(verdict and verdict["first_run"]) for verdict in verdicts),
            "ended_early": reason,
        }
        self._write("summary.json", summary)
        return summary

    def _verdict(self, number: int) -> dict | None:
        try:
            return json.loads((self.folder / f"{number}.json").read_text())
        except FileNotFoundError:
            return None

    def _log(self, number: int) -> str:
        try:
            return (self.folder / f"{number}.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def show(self, name: str) -> tuple[int, str, str]:
        """A case's exit status, log, and, if there is no verdict, why."""
        try:
            plan = json.loads((self.folder / "plan.json").read_text())
        except FileNotFoundError:
            return 1, "", f"did not run: there are no results in {self.folder}"
        if name not in plan:
            return 1, "", f"did not run: {name!r} was not in the list of the last run"
        number = plan.index(name) + 1
        verdict = self._verdict(number)
        if verdict:
            program, stamp = verdict["program"]
            if Case(name, [program], DEFAULT_TIMEOUT, "").program_stamp() != stamp:
                return 1, "", f"did not run: {program} has changed since the last run"
            return verdict["rc"], self._log(number), ""
        try:
            summary = json.loads((self.folder / "summary.json").read_text())
            reason = summary["ended_early"]
        except FileNotFoundError:
            reason = "the run was cut off before its end\nThe console's last lines:\n" + console_tail(self.console)
        begun = (self.folder / f"{number}.log").exists()
        what = "did not run to its end" if begun else "did not run"
        return 1, self._log(number), f"{what}: {reason}"
