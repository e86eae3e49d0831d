#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Passes when a file is refused for the reason that it names: expect_failure.py COMPILE_COMMANDS MODEL FILE

The file is compiled twice with MODEL's command. With PADDOCK_ALLOWED defined it must compile; without, it must not,
and what the compiler says must match the regular expression after each "// EXPECT:" in the file.
"""
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path


def command_for(compile_commands, model, file):
    for entry in json.loads(Path(compile_commands).read_text()):
        if entry["file"] == model:
            words = shlex.split(entry["command"])
            del words[words.index("-o") : words.index("-o") + 2]
            return [file if word == model else word for word in words] + ["-fsyntax-only"]
    sys.exit(f"{compile_commands} has no command for {model}")


def main(compile_commands, model, file):
    command = command_for(compile_commands, model, file)
    expected = re.findall(r"^// EXPECT: (.+)$", Path(file).read_text(), re.MULTILINE)
    if not expected:
        sys.exit(f"{file} has no '// EXPECT: text' line")

    allowed = subprocess.run([*command, "-DPADDOCK_ALLOWED"], capture_output=True, text=True)
    if allowed.returncode != 0:
        sys.exit(f"the allowed form does not compile either:\n{allowed.stderr}")

    forbidden = subprocess.run(command, capture_output=True, text=True)
    if forbidden.returncode == 0:
        sys.exit("the forbidden form compiles")
    for pattern in expected:
        if not re.search(pattern, forbidden.stderr):
            sys.exit(f"it is refused, but not with '{pattern}':\n{forbidden.stderr}")


if __name__ == "__main__":
    main(*sys.argv[1:])
