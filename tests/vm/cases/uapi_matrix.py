#!/usr/bin/python3
# SPDX-License-Identifier: BSL-1.0
"""docs/uapi-matrix.md says what this kernel answers. Runs in the folder of the program that asks."""

import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
VM = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(VM))

from lane import matrix  # noqa: E402


def main() -> int:
    asked = subprocess.run(["./uapi_answers"], stdout=subprocess.PIPE, text=True, check=True)
    columns = matrix.read((VM.parent.parent / matrix.DOCUMENT).read_text())
    found = matrix.differences(columns.get(os.environ["PADDOCK_VM_KERNEL"], {}), matrix.read_answers(asked.stdout))
    print(asked.stdout, *found, sep="\n")
    if found:
        print(f"{matrix.DOCUMENT} tells how to write it anew")
    return 1 if found else 0


sys.exit(main())
