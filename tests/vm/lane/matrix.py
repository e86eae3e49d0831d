# SPDX-License-Identifier: BSL-1.0
"""Reads and writes docs/uapi-matrix.md: what each kernel answers to the library's probes."""

DOCUMENT = "docs/uapi-matrix.md"
_RELEASE = "`uname -r`"
_NOT_ASKED = "not asked"
_HEAD = """# What each kernel can do

What `kernel::probe()`, `drm::probe()` and `vfio::probe_bar_export()` answer on the kernels of the VM lane
(`tests/vm/README.md`), as `tests/vm/cases/uapi_answers.cpp` asks them in a guest. A "no" and an
"unknown" have the error that the probe gives as its reason. Features of dma-bufs are asked of a heap's buffer or a
udmabuf, and where there is neither of vgem's; `virtio_gpu` and `vgem` are the DRM drivers that are asked;
`kernel::p2pmem` is whether the kernel's driver lends the drive's memory (`PCI_P2PDMA`).

7.2, 6.12 and 6.1 are Debian's kernels, 7.2-full is Debian's source with what these leave out. Each column is checked
whenever the lane runs on that kernel. To write those anew whose kernels are in the lane's cache:

    cmake --build build/dev --target uapi_answers
    tests/vm/vm matrix --program build/dev/tests/vm/cases/uapi_answers

"""


def read_answers(text: str) -> dict[str, str]:
    """What uapi_answers printed, as question -> cell."""
    answers = {}
    for line in text.splitlines():
        question, answer, reason = line.split("\t")
        answers[f"`{question}`"] = f"{answer}: {reason}" if reason else answer
    return answers


def read(text: str) -> dict[str, dict[str, str]]:
    """The document as kernel -> question -> cell, without what was not asked."""
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    if not rows:
        return {}
    kernels = rows[0][1:]
    return {
        name: {row[0]: row[at] for row in rows[2:] if row[at] != _NOT_ASKED} for at, name in enumerate(kernels, 1)
    }


def write(columns: dict[str, dict[str, str]], names: list[str]) -> str:
    """The document, with a column for each of these kernels."""
    questions = list(dict.fromkeys(question for name in names for question in columns.get(name, {})))
    lines = ["| " + " | ".join(["Question", *names]) + " |", "|---" * (len(names) + 1) + "|"]
    for question in questions:
        cells = [columns.get(name, {}).get(question, _NOT_ASKED) for name in names]
        lines.append("| " + " | ".join([question, *cells]) + " |")
    return _HEAD + "\n".join(lines) + "\n"


def column(release: str, answers: dict[str, str]) -> dict[str, str]:
    return {_RELEASE: release} | answers


def differences(column_: dict[str, str], answers: dict[str, str]) -> list[str]:
    """What a kernel answers otherwise than its column says. The release may be another one."""
    written = {question: cell for question, cell in column_.items() if question != _RELEASE}
    return [
        f"{question}: the document says {written.get(question, 'nothing')!r}, "
        f"the kernel {answers.get(question, 'nothing')!r}"
        for question in dict.fromkeys([*written, *answers])
        if written.get(question) != answers.get(question)
    ]
