# SPDX-License-Identifier: BSL-1.0
"""Reads from the system's own apt sources which Debian mirror this machine uses."""

import re
from dataclasses import dataclass
from pathlib import Path

from . import LaneError

APT = Path("/etc/apt")
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
)


@dataclass
class Source:
    uri: str
    suites: list[str]
    components: list[str]
    signed_by: str  # a path, or a whole key as deb822 allows; empty when the entry names none


def _read_deb822(text: str) -> list[Source]:
    sources = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = None
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and last:
                fields[last] += "\n" + line
            elif ":" in line:
                last, value = line.split(":", 1)
                last = last.strip().lower()
                fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
        for uri in fields.get("uris", "").split():
            sources.append(Source(uri, suites, components, fields.get("signed-by", "")))
    return sources


def _read_one_line(text: str) -> list[Source]:
    sources = []
    for line in text.splitlines():
        # deb [options] uri suite components... # comment
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)", line)
        if match:
            options, uri, suite, components = match.groups()
            signed_by = re.search(r"signed-by=(\S+)", options or "")
            sources.append(Source(uri, [suite], components.split(), signed_by[1] if signed_by else ""))
    return sources


def _read_all() -> list[Source]:
    sources = []
    for path in sorted(APT.glob("sources.list.d/*.sources")):
        sources += _read_deb822(path.read_text(errors="replace"))
    for path in [APT / "sources.list", *sorted(APT.glob("sources.list.d/*.list"))]:
        if path.is_file():
            sources += _read_one_line(path.read_text(errors="replace"))
    return sources


def _release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def debian_archive() -> Source:
    """The entry of the main Debian archive: its suite is this release's own, it has `main`, Debian's keys sign it."""
    release = _release()
    if release.get("ID") != "debian":
        name = release.get("PRETTY_NAME", "this system")
        raise LaneError(
            f"the kernel comes from Debian's archive through apt, which {name} does not use; "
            "run the lane on Debian 12 or newer, amd64"
        )
    # A testing or unstable system may name its suite by either word.
    suites = {release.get("VERSION_CODENAME", ""), "stable", "testing", "unstable", "sid"} - {""}
    for source in _read_all():
        by_debian = not source.signed_by or "debian-archive" in source.signed_by or "\n" in source.signed_by
        if source.uri.startswith("cdrom:") or not by_debian:
            continue
        if suites & set(source.suites) and "main" in source.components:
            if not source.signed_by:
                source.signed_by = next((str(path) for path in KEYRINGS if path.is_file()), "")
            if not source.signed_by:
                raise LaneError("Debian's archive keys are missing; install the package debian-archive-keyring")
            return source
    raise LaneError(f"no apt source under {APT} names Debian's main archive of one of: {', '.join(sorted(suites))}")
