# SPDX-License-Identifier: BSL-1.0
"""Lists the cases of a Catch2 program, for `vm cases` and for ctest."""

import argparse
import json
import os
import re
import subprocess
from pathlib import Path

from . import LaneError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--program", required=True, help="the Catch2 program")
    parser.add_argument("--catch", required=True, help="Catch2's version")
    parser.add_argument("--timeout", type=float, required=True, help="seconds for each case")
    parser.add_argument("--list", type=Path, required=True, help="the list to write for `vm cases`")
    parser.add_argument("--ctest", type=Path, required=True, help="the file to write for ctest to include")


def _names(program: str, version: int, spec: str) -> list[str]:
    listing = ["--list-test-names-only"] if version < 3 else ["--list-tests", "--verbosity", "quiet"]
    done = subprocess.run(
        [program, *listing, spec], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    names = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    # Catch2 2 exits with the number of cases it listed.
    if (version >= 3 and done.returncode) or (version < 3 and not names and done.returncode):
        raise LaneError(f"{program} cannot list its cases: {done.stderr.strip() or done.stdout.strip()}")
    # Catch2 quotes names that begin with a hash, which its specs would take for a file's name.
    return [name[1:-1] if name.startswith('"#') else name for name in names]


def _selectors(program: str, version: int) -> dict[str, str]:
    """The names of all cases, each with the spec that means this case and no other."""
    # Hidden cases (tag [.]) run only when asked for, as without this lane.
    names = _names(program, version, "~[.]")
    selectors = {}
    for name in names:
        selectors[name] = "".join("\\" + letter if letter in '\\,["~' else letter for letter in name)
        # Stars, "exclude:" and the like have a meaning that no escape takes from them, and case is ignored.
        plain = re.fullmatch(r"\w[\w ,.()-]*", name) and [name.lower() for name in names].count(name.lower()) == 1
        if not plain and _names(program, version, selectors[name]) != [name]:
            raise LaneError(f"Catch2 cannot be told to run the case {name!r} alone; give it another name")
    return selectors


def _quoted(text: str) -> str:
    """A bracket argument, which ctest's language takes as it is."""
    equals = "="
    while f"]{equals}]" in text + "]":
        equals += "="
    return f"[{equals}[{text}]{equals}]"


def write(options: argparse.Namespace) -> None:
    version = int(options.catch.split(".")[0])
    program = os.path.abspath(options.program)
    # Without this, Catch2 2 calls it success when no case has the name.
    strict = ["--warn", "NoTests"] if version < 3 else []
    cwd = os.path.dirname(program)
    lines, tests = [], []
    for name, selector in _selectors(program, version).items():
        command = [program, *strict, selector]
        lines.append(json.dumps({"name": name, "command": command, "timeout": options.timeout, "cwd": cwd}))
        tests.append(f"paddock_vm_case({_quoted(name)})\n")
    for path, text in ((options.list, "".join(line + "\n" for line in lines)), (options.ctest, "".join(tests))):
        fresh = path.with_name(path.name + ".fresh")
        fresh.write_text(text)
        fresh.rename(path)
