#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""What a compiler cannot check about this repository: checks.py CHECK|all [ROOT]

Each check is a function from the root folder to a list of complaints, one line each. An empty list is a pass.
self_test.py shows each of them a bad sample.
"""
import re
import statistics
import subprocess
import sys
from pathlib import Path

# --- include_direction ------------------------------------------------------------------------------------------------

# The rooms whose headers a room may include. Every room may also include detail, fwd.hpp and version.hpp.
CORE = {"base", "policy", "fence", "resv"}
MAY_INCLUDE = {
    "detail": {"base"},
    "base": {"base"},
    "pci": {"base", "pci"},
    "policy": {"base", "policy"},
    "fence": {"base", "policy", "fence"},
    "resv": CORE,
    "buffer": CORE | {"pci", "buffer"},
    "kernel": CORE | {"pci", "buffer", "kernel"},
    "drm": CORE | {"pci", "buffer", "kernel", "drm"},
    "vfio": CORE | {"pci", "buffer", "kernel", "vfio"},
    "paddock.hpp": CORE | {"pci", "buffer"},
    "fwd.hpp": set(),
    "version.hpp": set(),
}
EVERYBODY = {"detail", "fwd.hpp", "version.hpp"}

# Headers of somebody else that only some of ours may include; nothing at all for the kernel's, which we mirror.
RESTRICTED = [
    (re.compile(r"pci/"), lambda ours: ours == "pci/read_libpci.hpp", "only pci/read_libpci.hpp may include libpci"),
    (re.compile(r"(libdrm/|xf86drm|drm)"), lambda ours: ours.startswith("drm/"), "only drm/ may include libdrm"),
    (re.compile(r"(linux|asm|asm-generic)/"), lambda ours: False, "the kernel's interface is mirrored in base/uapi"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def public_headers(root):
    return sorted((root / "include" / "paddock").rglob("*.hpp"))


def include_direction(root):
    complaints = []
    for header in public_headers(root):
        ours = header.relative_to(root / "include" / "paddock").as_posix()
        room = ours.split("/")[0]
        if room not in MAY_INCLUDE:
            complaints.append(f"{ours}: '{room}' is no room; MAY_INCLUDE in {Path(__file__).name} knows them")
            continue
        for number, line in enumerate(header.read_text().splitlines(), 1):
            where = f"{ours}:{number}"
            if "__has_include" in line:
                complaints.append(f"{where}: __has_include lets two translation units disagree about a type")
            include = INCLUDE.match(line)
            if not include:
                continue
            quote, theirs = include.groups()
            if quote == '"':
                complaints.append(f'{where}: write <paddock/…>; a "…" include is found relative to the file')
            elif theirs.startswith("paddock/"):
                their_room = theirs.removeprefix("paddock/").split("/")[0]
                if their_room not in MAY_INCLUDE[room] | EVERYBODY:
                    complaints.append(f"{where}: {room} may not include {their_room} (<{theirs}>)")
                elif theirs == "paddock/pci/read_libpci.hpp":
                    complaints.append(f"{where}: read_libpci.hpp is for programs; no header may need libpci through it")
            else:
                for pattern, allowed, why in RESTRICTED:
                    if pattern.match(theirs) and not allowed(ours):
                        complaints.append(f"{where}: {why} (<{theirs}>)")
    return complaints


# --- header_size ------------------------------------------------------------------------------------------------------

MEDIAN_LINES, P90_LINES, MOST_LINES = 180, 400, 600


def header_size(root):
    lines = {header: len(header.read_text().splitlines()) for header in public_headers(root)}
    if not lines:
        return ["include/paddock has no headers"]
    complaints = [
        f"{header.relative_to(root)}: {count} lines; no header has more than {MOST_LINES}"
        for header, count in lines.items()
        if count > MOST_LINES
    ]
    ordered = sorted(lines.values())
    median = statistics.median(ordered)
    p90 = ordered[(9 * len(ordered) + 9) // 10 - 1]
    if median > MEDIAN_LINES:
        complaints.append(f"the median header has {median:g} lines; at most {MEDIAN_LINES} are meant")
    if p90 > P90_LINES:
        complaints.append(f"one header in ten has more than {p90 - 1} lines; at most {P90_LINES} are meant")
    return complaints


# --- repository_words -------------------------------------------------------------------------------------------------

# Formats without comments, prose, lists and captured data, and the licence itself need no SPDX line.
NO_SPDX_SUFFIXES = {".json", ".md", ".txt", ".bin"}
NO_SPDX_NAMES = {"LICENSE", ".gitignore"}

# Documents that text and comments may point to. Whatever is downloaded is named by the system's own configuration.
DOCUMENTATION_HOSTS = {
    "cmake.org",
    "docs.kernel.org",
    "keepachangelog.com",
    "semver.org",
    "www.boost.org",
    "www.doxygen.nl",
    "www.kernel.org",
    "www.w3.org",
}

# Spelled in halves, so that this file is no finding of its own.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
# A folder of one person or one machine; "build/work/x" and "$prefix/home/x" are none.
ABSOLUTE_PATH = re.compile(r"(?<![\w.$}*-])/(?:home|work|Users)/\w")
URL = re.compile(r"\b(?:https?|ftp)://([\w.-]+)")
PACKAGE_HOST = re.compile(r"\b(?:deb|ftp|security|snapshot|archive|mirrors?)\.[a-z0-9-]+\.(?:org|com|net)\b")


def repository_files(root):
    """What git tracks or would track; without git, everything but build folders."""
    git = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        listed = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0")
        paths = [root / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [p for p in root.rglob("*") if not {"build", ".git", "__pycache__"} & set(p.relative_to(root).parts)]
    return sorted(path for path in paths if path.is_file())


def repository_words(root):
    complaints = []
    for path in repository_files(root):
        name = path.relative_to(root).as_posix()
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        lines = text.splitlines()
        has_comments = path.name == "CMakeLists.txt" or path.suffix not in NO_SPDX_SUFFIXES
        spdx_expected = has_comments and path.name not in NO_SPDX_NAMES
        if spdx_expected and not any("SPDX-License-Identifier: BSL-1.0" in line for line in lines[:3]):
            complaints.append(f"{name}: no SPDX-License-Identifier in the first three lines")
        for number, line in enumerate(lines, 1):
            where = f"{name}:{number}"
            if UNFINISHED.search(line):
                complaints.append(f"{where}: unfinished work belongs into an issue: {line.strip()}")
            if ABSOLUTE_PATH.search(line):
                complaints.append(f"{where}: a path of one machine: {line.strip()}")
            for host in URL.findall(line):
                if host not in DOCUMENTATION_HOSTS:
                    complaints.append(f"{where}: {host} is not among the documentation hosts")
            if PACKAGE_HOST.search(line):
                complaints.append(f"{where}: a package host; take it from the system's configuration")
    return complaints


# --- memory_order_comments --------------------------------------------------------------------------------------------

WEAK_ORDER = re.compile(r"\bmemory_order(?:_|::)(?:relaxed|consume|acquire|release|acq_rel)\b")
ORDER_COMMENT = re.compile(r"//.*\border: +\w")
LINES_ABOVE = 3


def memory_order_comments(root):
    complaints = []
    for header in public_headers(root):
        lines = header.read_text().splitlines()
        for index, line in enumerate(lines):
            if not WEAK_ORDER.search(line.split("//")[0]):
                continue
            if not any(ORDER_COMMENT.search(near) for near in lines[max(0, index - LINES_ABOVE) : index + 1]):
                complaints.append(
                    f"{header.relative_to(root)}:{index + 1}: no '// order:' sentence that names what it pairs with"
                )
    return complaints


# --- nodiscard_results ------------------------------------------------------------------------------------------------

# A declaration; a definition of a member outside its class (result<T> type::name) inherits the attribute.
RETURNS_RESULT = re.compile(r"^\s*(?:template <.*> )?(?:(?:inline|static|constexpr|friend|virtual) )*(?:paddock::)?result<.+> \w+\(")


def nodiscard_results(root):
    complaints = []
    for header in public_headers(root):
        lines = header.read_text().splitlines()
        for index, line in enumerate(lines):
            if not RETURNS_RESULT.match(line) or lines[index - 1].rstrip().endswith("[[nodiscard]]"):
                continue
            declaration = re.split("[;{]", "\n".join(lines[index:]), maxsplit=1)[0]
            if not declaration.rstrip().endswith("= delete"):
                complaints.append(
                    f"{header.relative_to(root)}:{index + 1}: a function that returns a result is [[nodiscard]]"
                )
    return complaints


# --- docs_invariants --------------------------------------------------------------------------------------------------

TEST_NAME = re.compile(r'TEST_CASE(?:_METHOD)?\(\s*(?:\w+,\s*)?"((?:[^"\\]|\\.)*)"')
CTEST_NAME = re.compile(r"add_test\(\s*NAME\s+([\w.]+)")


def docs_invariants(root):
    """Rows: | promise | `file` it is defined in | `file` of the test, "name of the test case" |"""
    document = root / "docs" / "invariants.md"
    if not document.exists():
        return ["docs/invariants.md is missing"]
    names = set()
    for path in sorted((root / "tests").rglob("*")):
        if path.suffix == ".cpp":
            names.update(TEST_NAME.findall(path.read_text()))
        elif path.name == "CMakeLists.txt":
            names.update(CTEST_NAME.findall(path.read_text()))

    complaints = []
    rows = 0
    for number, line in enumerate(document.read_text().splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 3 or set(cells[0]) <= set("-: ") or cells[0] == "Promise":
            continue
        rows += 1
        where = f"docs/invariants.md:{number}"
        _, defined, pinned = cells
        for path in re.findall(r"`([^`]+)`", defined + pinned):
            if not (root / path).exists():
                complaints.append(f"{where}: there is no {path}")
        if "`" not in defined:
            complaints.append(f"{where}: says not where the promise is defined")
        if "`" not in pinned:
            complaints.append(f"{where}: no test pins this promise")
        for name in re.findall(r'"([^"]+)"', pinned):
            if name not in names:
                complaints.append(f'{where}: there is no test "{name}"')
    if rows == 0:
        complaints.append("docs/invariants.md has no rows")
    return complaints


# ----------------------------------------------------------------------------------------------------------------------

CHECKS = {
    check.__name__: check
    for check in (
        include_direction,
        header_size,
        repository_words,
        memory_order_comments,
        nodiscard_results,
        docs_invariants,
    )
}


def main(arguments):
    if not arguments or arguments[0] not in [*CHECKS, "all"]:
        print(__doc__, "\nChecks:", ", ".join(CHECKS), file=sys.stderr)
        return 2
    root = Path(arguments[1]) if len(arguments) > 1 else Path(__file__).resolve().parents[2]
    chosen = CHECKS.values() if arguments[0] == "all" else [CHECKS[arguments[0]]]
    complaints = [complaint for check in chosen for complaint in check(root)]
    print("\n".join(complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
