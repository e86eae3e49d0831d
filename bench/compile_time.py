#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Measures what including paddock costs: compile_time.py [--scale=full|quick|smoke] --into RESULTS.json

Compiles a translation unit that does nothing but include, with each compiler that is there, and writes the seconds of
CPU as Google Benchmark writes its results, for bench/report.py.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FLOOR = "floor: <vector> and fmt/format.h"
# Who includes what.
UNITS = {
    FLOOR: ["vector", "fmt/format.h"],
    **{
        f"paddock/{header}": [f"paddock/{header}"]
        for header in ("paddock.hpp", "buffer/attachment.hpp", "fence/fence.hpp", "resv/lock_set.hpp")
    },
}
COMPILERS = ("g++", "clang++")
FLAGS = ["-std=c++20", "-O2", "-I", str(Path(__file__).resolve().parent.parent / "include"), "-c", "-o", os.devnull]
REPETITIONS = {"full": 3, "quick": 1, "smoke": 1}


def cpu_seconds(command):
    """Of the command and of what it started."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: failed")
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=REPETITIONS, default="full")
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()

    compilers = [name for name in COMPILERS if shutil.which(name)]
    units = list(UNITS)[:2] if arguments.scale == "smoke" else list(UNITS)
    runs = list(enumerate((compiler, unit) for compiler in compilers for unit in units)) * REPETITIONS[arguments.scale]
    random.shuffle(runs)
    benchmarks = []
    with tempfile.TemporaryDirectory() as folder:
        for index, (compiler, unit) in runs:
            source = Path(folder) / "unit.cpp"
            source.write_text("".join(f"#include <{header}>\n" for header in UNITS[unit]))
            seconds = cpu_seconds([compiler, *FLAGS, str(source)])
            benchmarks.append({"name": f"compile: {compiler}/{unit}", "family_index": index, "cpu_s": seconds})
    system = os.uname()
    context = {
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "compilers": {
            name: subprocess.run([name, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True, check=True)
            .stdout.split()[0]
            for name in compilers
        },
    }
    arguments.into.write_text(json.dumps({"context": context, "benchmarks": benchmarks}, indent=1) + "\n")


if __name__ == "__main__":
    main()
