# SPDX-License-Identifier: BSL-1.0
"""Debian's packages, got by an apt that leaves the system's own as it is."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from . import LaneError
from .aptsource import Source


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PrivateApt:
    """apt with its own configuration, lists and cache. The system's are read for mirror and proxy, never changed."""

    def __init__(self, folder: Path, source: Source, suite: str):
        self.source = source
        self.suite = suite
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "debian.sources").write_text(
            f"Types: deb\nURIs: {source.uri}\nSuites: {suite}\nComponents: main\nArchitectures: amd64\n"
            f"Signed-By: {source.signed_by}\n"
        )
        settings = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",  # hooks of the system's configuration must not run here
            "Dir::Etc::sourcelist": folder / "debian.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": folder,
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": folder / "cache",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Update::Error-Mode": "any",  # a list that could not be fetched is an error, not a warning
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        if os.geteuid() == 0:
            settings["APT::Sandbox::User"] = "root"  # the download user could not reach a folder under /root
        lines = [f'{key} "{value}";' for key, value in settings.items()]
        system = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
        lines += [line for line in system.splitlines() if re.match(r"Acquire::(https?|ForceIPv\d)(::\S*)? \"", line)]
        self.config = folder / "apt.conf"
        self.config.write_text("\n".join(lines) + "\n")
        self.environment = os.environ | {"APT_CONFIG": str(self.config), "LC_ALL": "C"}

    def _run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def update(self) -> None:
        done = self._run("apt-get", "-q", "update")
        if done.returncode:
            lines = (done.stderr + done.stdout).splitlines()
            errors = [line for line in lines if line.startswith(("E:", "Err:", "W:"))]
            reason = errors[0] if errors else f"apt-get update exited with {done.returncode}"
            raise LaneError(
                f"the package list of {self.suite} could not be fetched from {self.source.uri}, "
                f"or its signature is not good: {reason}"
            )

    def names(self, prefix: str) -> list[str]:
        return self._run("apt-cache", "pkgnames", prefix).stdout.split()

    def newest(self, package: str) -> dict[str, str]:
        """The fields of the newest version of a package, as the signed list has them."""
        shown = self._run("apt-cache", "--no-all-versions", "show", package)
        if shown.returncode:
            raise LaneError(f"{self.suite} has no package {package}")
        return dict(re.findall(r"^(\w+): (.*)$", shown.stdout, re.MULTILINE))

    def download(self, package: str, folder: Path) -> None:
        # apt-get shows its own progress on a terminal.
        quiet = [] if sys.stderr.isatty() else ["-qq"]
        command = ["apt-get", *quiet, "download", package]
        if subprocess.run(command, env=self.environment, cwd=folder, stdout=sys.stderr, check=False).returncode:
            raise LaneError(f"{package} could not be downloaded from {self.source.uri}, or lacks its signed hash")
