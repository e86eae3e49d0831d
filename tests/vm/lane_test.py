#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Proves that the lane cannot call a failure a success.

lane_test.py                    everything, in a folder of its own
lane_test.py boot FOLDER        only the boots that the checks look at
lane_test.py check FOLDER NAME  one check of what those boots left
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest.mock
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from lane import LaneError, build, image, kernel, matrix, topology  # noqa: E402
from lane.boot import choose_accelerator  # noqa: E402
from lane.results import console_tail  # noqa: E402

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
# The guest's first process stands still, so that it cannot end a case.
FREEZE = """
group=/sys/fs/cgroup/frozen; mkdir $group && echo 1 >$group/cgroup.procs && echo 1 >$group/cgroup.freeze && sleep 60
"""
ONCE = f"""
marker="$PADDOCK_VM_RESULTS/frozen once"; test -e "$marker" && exec echo moves again
touch "$marker"; echo freezes; {FREEZE}"""
STUCK = [
    {"name": "freezes the guest once", "timeout": 5, "command": [SH, "-c", ONCE]},
    {"name": "comes between", "command": [SH, "-c", "echo I have run"]},
    {"name": "freezes the new guest", "timeout": 5, "command": [SH, "-c", FREEZE]},
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


def refusal(function, *arguments) -> str:
    """What the lane says instead of doing it."""
    try:
        function(*arguments)
    except LaneError as error:
        return str(error)
    sys.exit(f"{function.__name__}{arguments} was taken")


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
    done = vm("cases", "--list", write_list(folder / "stuck.jsonl", STUCK), "--results", folder / "stuck",
              "--timeout", 120, "--grace", 3)
    print(done.stdout, done.stderr, sep="")
    equal(done.returncode, 1)
    print(f"all boots took {time.monotonic() - begin:.1f} s")


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
    contains(text, " sleep, state S (sleeping)\n")
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


def check_stuck(folder: Path) -> None:
    """A case that the guest cannot end is run once more in a new guest, which has the rest too; and that is told."""
    status, text = result(folder, "freezes the guest once", "stuck")
    equal((status, text.endswith("The second run:\nmoves again\n")), (0, True))
    contains(text, "could not end a case whose time was over")
    contains(text, "current_count = ")
    contains(text, "RIP=")
    kept = folder / "stuck/artefacts"
    equal((kept / "first-run-of-1-1.log").read_text().startswith("freezes\n"), True)
    contains((kept / "first-run-of-1-console.log").read_text(), "case 1 begins")
    equal(result(folder, "comes between", "stuck"), (0, "I have run\n"))
    # One of them in a run may be the machine's fault.
    status, text = result(folder, "freezes the new guest", "stuck")
    equal(status, 1)
    contains(text, "did not run to its end")
    equal(result(folder, "comes after", "stuck")[0], 1)
    summary = json.loads((folder / "stuck/summary.json").read_text())
    equal((summary["passed"], summary["did_not_run"], summary["run_twice"]), (2, 2, 1))
    contains(json.loads((kept.parent / "1.json").read_text())["first_run"], "could not end a case")


def check_console(folder: Path) -> None:
    """Of a long console the first words of the case that ran are told, and the last ones; of a panic its beginning."""
    console = folder / "a console"
    begins, words = "paddock: case 7 begins", [f"line {number}" for number in range(9)]
    for lines, tail in (
        (["before", begins, *words[:7]], [begins, *words[:7]]),
        (["before", begins, *words, *words], [begins, *words[:3], "... 11 lines ...", *words[-4:]]),
        (words, words[-4:]),
        ([begins, "Kernel panic", *words], ["Kernel panic", *words[:3]]),
    ):
        console.write_text("\r\n".join(lines) + "\r\n")
        equal(console_tail(console, 4).splitlines(), tail)


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
        contains(refusal(topology.load, folder / "loop.toml"), complaint)
    counted = folder / "counted.toml"
    counted.write_text('include = "base.toml"\n[machine]\ncounts_instructions = true\n')
    contains(refusal(choose_accelerator, "kvm", topology.load(counted), None), "KVM cannot")
    counted.write_text('include = "above.toml"\n[machine]\ncounts_instructions = true\n')
    contains(refusal(topology.load, counted), "one processor")


def put_kernel(folder: Path, release: str, sha256: dict[str, str]) -> None:
    (folder / "kernels" / release).mkdir(parents=True)
    (folder / "kernels" / release / "manifest.json").write_text(json.dumps({"release": release, "sha256": sha256}))


def cached_kernels(cache: Path) -> None:
    shutil.rmtree(cache, ignore_errors=True)
    equal(kernel.cached("7.2"), None)
    contains(refusal(kernel.required, "6.12"), "vm fetch --kernel 6.12")
    for release in ("7.2.9+deb13-amd64", "7.2.12+deb13-amd64", "6.12.57+deb12-amd64"):
        put_kernel(cache, release, {})
    (cache / "kernels/7.2.13+deb13-amd64/debs").mkdir(parents=True)  # It was interrupted.
    equal(kernel.required("7.2").release, "7.2.12+deb13-amd64")
    equal(kernel.required("6.12").release, "6.12.57+deb12-amd64")
    equal(kernel.cached("6.1"), None)

    # One that is built is of the source and the configuration that it is named after.
    source = {"Version": "7.2.12-1~bpo13+1", "SHA256": "5" * 64}
    built = build.release(source)
    put_kernel(cache, built, {"source.deb": "6" * 64})
    equal(kernel.cached("7.2-full"), None)
    (cache / "kernels" / built / "manifest.json").unlink()
    (cache / "kernels" / built).rmdir()
    put_kernel(cache, built, {"source.deb": source["SHA256"]})
    equal(kernel.required("7.2-full").release, built)
    equal(vm("cached", "7.2", "6.12", "7.2-full").returncode, 0)
    done = vm("cached")
    equal((done.returncode, done.stdout), (1, "not in the cache: 6.1\n"))
    equal(vm("boot", "--kernel", "2.6", "--", SH).returncode, 2)


def check_kernels(folder: Path) -> None:
    """A name means the releases that it should, the newest of them, and none that is not complete."""
    for name, right, wrong in (
        ("7.2", ["7.2.12+deb13-amd64", "7.10.1+deb14-amd64"], ["6.12.57+deb12-amd64", "7.2.12+deb13-cloud-amd64"]),
        ("6.12", ["6.12.57+deb12-amd64"], ["6.12.57+deb12-rt-amd64", "6.13.2+deb12-amd64", "6.1.0-41-amd64"]),
        ("6.1", ["6.1.0-41-amd64"], ["6.1.0-41-rt-amd64", "6.12.57+deb12-amd64"]),
        ("7.2-full", ["7.2.12-full-0123abcd"], ["7.2.12+deb13-amd64", "6.12.57-full-0123abcd"]),
    ):
        takes = kernel.KERNELS[name].takes
        equal([release for release in right + wrong if takes(release)], right)

    with unittest.mock.patch.dict(os.environ, PADDOCK_CACHE=str(folder / "cache")):
        cached_kernels(folder / "cache")

    wanted = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n# CONFIG_D is not set\n"
    equal(build.unheeded(wanted, "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n"), [])
    equal(build.unheeded(wanted, "CONFIG_B=y\nCONFIG_D=m\n"), ["CONFIG_A=y", "CONFIG_B=m", "CONFIG_D=n"])


def check_modules(folder: Path) -> None:
    """A module may be built in, and on another kernel than the lane's own it may be missing, which is told."""
    other = kernel.Kernel("6.1", "6.1.0-1-amd64", folder / "modules", {})
    other.modules.mkdir(parents=True, exist_ok=True)
    (other.modules / "modules.builtin").write_text("kernel/drivers/virtio/virtio_pci.ko\n")
    (other.modules / "modules.dep").write_text("kernel/b.ko.xz: kernel/a-a.ko.xz kernel/core.ko.xz\nkernel/a-a.ko.xz:\n")
    files = ["kernel/core.ko.xz", "kernel/a-a.ko.xz", "kernel/b.ko.xz"]
    equal(image.module_files(other, ["virtio-pci", "b", "a_a"]), (files, []))
    equal(image.module_files(other, ["b", "no-such", "neither"]), (files, ["no_such", "neither"]))
    equal(image.missing_modules(other, ["b", "no-such"]), ["no_such"])
    own = kernel.Kernel(kernel.DEFAULT, other.release, other.folder, {})
    contains(refusal(image.missing_modules, own, ["b", "no-such"]), "no module no_such")
    contains(refusal(image.initramfs, other, []), "cannot be booted here")


def check_matrix(_folder: Path) -> None:
    """The document keeps the columns of kernels that were not asked, and tells what is no longer true."""
    first = matrix.read_answers("a\tyes\t\nb, of x\tno\tunsupported_by_kernel (b: Invalid argument)\n")
    equal(first, {"`a`": "yes", "`b, of x`": "no: unsupported_by_kernel (b: Invalid argument)"})
    columns = {"old": matrix.column("1.0", first)}
    text = matrix.write(columns, ["old"])
    equal(matrix.read(text), columns)
    second = matrix.read_answers("a\tyes\t\nc\tunknown\tnot_found (c)\n")
    text = matrix.write(matrix.read(text) | {"new": matrix.column("2.0", second)}, ["old", "new", "never"])
    contains(text, "| `a` | yes | yes | not asked |\n")
    contains(text, "| `c` | not asked | unknown: not_found (c) | not asked |\n")
    columns = matrix.read(text)
    equal((columns["never"], matrix.write(columns, ["old", "new", "never"])), ({}, text))
    # A question that nobody is asked any more goes.
    equal("`b, of x`" in matrix.write({"new": columns["new"]}, ["new"]), False)
    equal(matrix.differences(columns["old"], first), [])
    equal(matrix.differences(columns["new"], second), [])
    equal([line.split(":")[0] for line in matrix.differences(columns["old"], second)], ["`b, of x`", "`c`"])
    equal(len(matrix.differences({}, first)), 2)


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
