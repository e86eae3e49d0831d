#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Shows expect_failure.py what it must accept and what it must refuse: self_test.py COMPILE_COMMANDS MODEL"""
import subprocess
import sys
import tempfile
from pathlib import Path

TEMPLATE = """{expect}
int f() {{
#ifdef PADDOCK_ALLOWED
  return {allowed};
#else
  return {forbidden};
#endif
}}
"""
RIGHT = "// EXPECT: invalid conversion|cannot initialize"
CASES = [  # expect, allowed form, forbidden form, what expect_failure.py says
    (RIGHT, "1", '""', None),
    ("// EXPECT: it rains", "1", '""', "but not with 'it rains'"),
    (RIGHT, "1", "2", "the forbidden form compiles"),
    (RIGHT, "unknown", '""', "the allowed form does not compile"),
    ("", "1", '""', "has no '// EXPECT: text' line"),
]

for expect, allowed, forbidden, complaint in CASES:
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
        file.write(TEMPLATE.format(expect=expect, allowed=allowed, forbidden=forbidden))
        file.flush()
        program = Path(__file__).parent / "expect_failure.py"
        ended = subprocess.run([sys.executable, program, *sys.argv[1:], file.name], capture_output=True, text=True)
    if complaint is None and ended.returncode != 0:
        sys.exit(f"a right file was refused: {ended.stderr}")
    if complaint is not None and (ended.returncode == 0 or complaint not in ended.stderr):
        sys.exit(f"expected '{complaint}', got exit status {ended.returncode} and: {ended.stderr}")
