#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Proves that the lane cannot call a failure a success.

lane_test.py                    everything, in a folder of its own
lane_test.py boot FOLDER        only the two boots that the checks look at
lane_test.py check FOLDER NAME  one check of what those boots left
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from lane import LaneError, topology  # noqa: E402

VM = Path(__file__).resolve().parent / "vm"
SH = "/bin/sh"

HANG = "trap '' TERM HUP; echo begun; setsid sleep 1234 & sleep 1235"
FIND_LEFTOVERS = "grep -als 'sleep.123[4-6]' /proc/[0-9]*/cmdline && exit 9; exit 0"
CRASH = "echo about to; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 30"
SURROUNDINGS = """
read line && exit 8
test "$PADDOCK_VM" = 1 && test "$(ulimit -l)" = unlimited && test -d "/lib/modules/$(uname -r)" &&
echo kept >"$PADDOCK_VM_RESULTS/artefact" && touch /usr/written && cd /tmp && touch written
"""
REQUESTS = """
"$PADDOCK_VM_HOST" ping && ! "$PADDOCK_VM_HOST" unplug nobody && ! "$PADDOCK_VM_HOST" nonsense || exit 1
for i in 1 2 3 4; do "$PADDOCK_VM_HOST" ping || exit 1 & done
wait
"""
ODD_NAME = "odd [name], \"quoted\" \\ 'and' so on"

CASES = [
    {"name": "passes", "command": [SH, "-c", "echo all is well"]},
    {"name": "exits with 3", "command": [SH, "-c", "echo to stdout; echo to stderr >&2; exit 3"]},
    {"name": "dies by a signal", "command": [SH, "-c", "kill -SEGV $$"]},
    {"name": "skips", "command": [SH, "-c", "exit 77"]},
    {"name": "does not exist", "command": ["/no/such/program"]},
    # The second process leaves the first one's session and ignores what can be ignored.
    {"name": "hangs", "timeout": 2, "command": [SH, "-c", HANG]},
    {"name": "leaves a process", "command": [SH, "-c", "setsid sleep 1236 >/dev/null 2>&1 & exit 0"]},
    {"name": "sees what is left", "command": [SH, "-c", FIND_LEFTOVERS]},
    {"name": "sees its surroundings", "command": [SH, "-c", SURROUNDINGS]},
    {"name": "asks the host", "command": [SH, "-c", REQUESTS]},
    {"name": ODD_NAME, "command": [SH, "-c", 'test "$1" = "a b\'c\\"d\\\\e"', "sh", "a b'c\"d\\e"]},
]
DEATH = [
    {"name": "runs before", "command": [SH, "-c", "echo I have run"]},
    {"name": "kills the guest", "command": [SH, "-c", CRASH]},
    {"name": "comes after", "command": [SH, "-c", "echo I must not run"]},
]


def vm(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, VM, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def write_list(path: Path, cases: list[dict]) -> Path:
    path.write_text("".join(json.dumps({"cwd": "/", "timeout": 30} | case) + "\n" for case in cases))
    return path


def result(folder: Path, name: str, run: str = "run") -> tuple[int, str]:
    done = vm("result", "--results", folder / run, "--name", name)
    return done.returncode, done.stdout


def equal(actual: object, expected: object) -> None:
    if actual != expected:
        sys.exit(f"expected {expected!r}, got {actual!r}")


def contains(text: str, part: str) -> None:
    if part not in text:
        sys.exit(f"expected {part!r} in {text!r}")


def boot(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    done = vm("cases", "--list", write_list(folder / "run.jsonl", CASES), "--results", folder / "run", "--timeout", 120)
    print(done.stdout, done.stderr, sep="")
    equal(done.returncode, 1)
    contains(done.stdout, f"{len(CASES)} cases: ")
    # What an earlier run left must not be seen in the results of the one that dies.
    death = folder / "death"
    death.mkdir(exist_ok=True)
    (death / "plan.json").write_text(json.dumps([case["name"] for case in DEATH]))
    for number, case in enumerate(DEATH, 1):
        verdict = {"name": case["name"], "rc": 0, "seconds": 1, "program": [SH, None]}
        (death / f"{number}.json").write_text(json.dumps(verdict))
        (death / f"{number}.log").write_text("stale\n")
    (death / "artefacts").mkdir(exist_ok=True)
    (death / "artefacts" / "stale").touch()
    done = vm("cases", "--list", write_list(folder / "death.jsonl", DEATH), "--results", death, "--timeout", 120)
    print(done.stdout, done.stderr, sep="")
    equal(done.returncode, 1)
    print(f"both boots took {time.monotonic() - begin:.1f} s")


def check_exit_status(folder: Path) -> None:
    equal(result(folder, "passes"), (0, "all is well\n"))
    equal(result(folder, "exits with 3"), (3, "to stdout\nto stderr\n"))
    equal(result(folder, "dies by a signal")[0], 128 + 11)
    equal(result(folder, "does not exist")[0], 127)
    equal(result(folder, ODD_NAME)[0], 0)
    status, text = result(folder, "was never listed")
    equal(status, 1)
    contains(text, "did not run")


def check_timeout(folder: Path) -> None:
    status, text = result(folder, "hangs")
    equal(status, 124)
    contains(text, "begun\n")
    seconds = json.loads((folder / "run/6.json").read_text())["seconds"]
    equal(1.9 < seconds < 10, True)


def check_skip(folder: Path) -> None:
    equal(result(folder, "skips")[0], 77)
    equal(json.loads((folder / "run/summary.json").read_text())["skipped"], 1)


def check_leftovers(folder: Path) -> None:
    equal(result(folder, "sees what is left"), (0, ""))


def check_environment(folder: Path) -> None:
    equal(result(folder, "sees its surroundings"), (0, ""))
    equal((folder / "run/artefacts/artefact").read_text(), "kept\n")
    equal(os.path.exists("/usr/written"), False)


def check_requests(folder: Path) -> None:
    status, text = result(folder, "asks the host")
    equal(status, 0)
    contains(text, "the topology has no role nobody")


def check_death(folder: Path) -> None:
    equal(result(folder, "runs before", "death"), (0, "I have run\n"))
    status, text = result(folder, "kills the guest", "death")
    equal(status, 1)
    contains(text, "about to\n")
    contains(text, "did not run to its end")
    contains(text, "Kernel panic")
    status, text = result(folder, "comes after", "death")
    equal(status, 1)
    contains(text, "did not run: ")
    summary = json.loads((folder / "death/summary.json").read_text())
    equal((summary["passed"], summary["did_not_run"]), (1, 2))


def check_stale(folder: Path) -> None:
    """Results are not read if they are an earlier run's, if the list cannot be read, or if the program has changed."""
    for case in DEATH:
        equal("stale" in result(folder, case["name"], "death")[1], False)
    equal((folder / "death/artefacts/stale").exists(), False)
    scratch = folder / "stale"
    scratch.mkdir(exist_ok=True)
    program = folder / "program"
    program.write_text("one build")
    status = program.stat()
    (scratch / "plan.json").write_text('["passed once"]')
    stamp = [str(program), [status.st_mtime_ns, status.st_size]]
    (scratch / "1.json").write_text(json.dumps({"name": "passed once", "rc": 0, "seconds": 1, "program": stamp}))
    equal(result(folder, "passed once", "stale")[0], 0)
    program.write_text("another build")
    status, text = result(folder, "passed once", "stale")
    equal(status, 1)
    contains(text, "has changed since")
    done = vm("cases", "--list", folder / "no such list", "--results", scratch)
    equal(done.returncode, 125)
    status, text = result(folder, "passed once", "stale")
    equal(status, 1)
    contains(text, "did not run")


def check_topology(folder: Path) -> None:
    """An included file stands behind the one that includes it; its devices come after."""
    base = folder / "base.toml"
    base.write_text("""
[machine]
memory = "1G"
cpus = 1
machine = "q35"
[guest]
modules = ["nvme"]
environment = { OF_BASE = "1" }
[[device]]
id = "port"
driver = "pcie-root-port"
""")
    above = folder / "above.toml"
    above.write_text("""
include = "base.toml"
[machine]
cpus = 2
[guest]
environment = { OF_ABOVE = "1" }
[[device]]
id = "iommu"
driver = "intel-iommu"
""")
    machine = topology.load(above)
    equal((machine.memory, machine.cpus, machine.modules), ("1G", 2, ["nvme"]))
    equal(machine.environment, {"OF_ABOVE": "1"})
    equal([device.id for device in machine.devices], ["iommu", "port"])
    for text, complaint in (
        ('include = "loop.toml"', "includes itself"),
        ('include = "nowhere.toml"', "cannot be read"),
        ("surprise = 1", "does not know surprise"),
    ):
        (folder / "loop.toml").write_text(text + "\n[machine]\n")
        try:
            topology.load(folder / "loop.toml")
        except LaneError as error:
            contains(str(error), complaint)
        else:
            sys.exit(f"{text!r} was taken")


CHECKS = {name.removeprefix("check_"): value for name, value in list(globals().items()) if name.startswith("check_")}


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "boot":
        boot(Path(sys.argv[2]).absolute())
    elif len(sys.argv) == 4 and sys.argv[1] == "check" and sys.argv[3] in CHECKS:
        CHECKS[sys.argv[3]](Path(sys.argv[2]).absolute())
    elif len(sys.argv) == 1:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            boot(folder)
            for name, function in CHECKS.items():
                print(f"check {name}", flush=True)
                function(folder)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
