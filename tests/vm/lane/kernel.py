# SPDX-License-Identifier: BSL-1.0
"""Gets Debian's kernel into the cache, checked, and finds it there again."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import LaneError, aptsource, cache

SUITE = "trixie-backports"
OLDEST = (7, 2)
# The kernel itself, its modules, and its configuration.
PARTS = ("linux-binary", "linux-modules", "linux-base")


@dataclass
class Kernel:
    release: str  # as uname -r says, such as 7.2.12+deb13-amd64
    folder: Path
    sha256: dict[str, str]  # .deb file name -> hash

    @property
    def modules(self) -> Path:
        return self.folder / "root/usr/lib/modules" / self.release

    @property
    def image(self) -> Path:
        return self.modules / "vmlinuz"


def _say(text: str) -> None:
    print(f"vm fetch: {text}", file=sys.stderr, flush=True)


def find_tool(name: str, package: str) -> str:
    path = shutil.which(name)
    if not path:
        raise LaneError(f"{name} is missing; install the package {package}")
    return path


def _sort_key(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))


def cached() -> Kernel | None:
    """The newest complete kernel in the cache. Its manifest is written last, so having one means complete."""
    manifests = list((cache.directory() / "kernels").glob("*/manifest.json"))
    manifests.sort(key=lambda path: _sort_key(path.parent.name))
    if not manifests:
        return None
    manifest = json.loads(manifests[-1].read_text())
    return Kernel(manifest["release"], manifests[-1].parent, manifest["sha256"])


def required() -> Kernel:
    kernel = cached()
    if not kernel:
        raise LaneError(f"there is no kernel in {cache.directory()}; run `vm fetch` once")
    return kernel


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _PrivateApt:
    """apt with its own configuration, lists and cache. The system's are read for mirror and proxy, never changed."""

    def __init__(self, folder: Path, source: aptsource.Source):
        self.source = source
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "debian.sources").write_text(
            f"Types: deb\nURIs: {source.uri}\nSuites: {SUITE}\nComponents: main\nArchitectures: amd64\n"
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
                f"the package list of {SUITE} could not be fetched from {self.source.uri}, "
                f"or its signature is not good: {reason}"
            )

    def names(self, prefix: str) -> list[str]:
        return self._run("apt-cache", "pkgnames", prefix).stdout.split()

    def newest(self, package: str) -> dict[str, str]:
        """The fields of the newest version of a package, as the signed list has them."""
        shown = self._run("apt-cache", "--no-all-versions", "show", package)
        if shown.returncode:
            raise LaneError(f"{SUITE} has no package {package}")
        return dict(re.findall(r"^(\w+): (.*)$", shown.stdout, re.MULTILINE))

    def download(self, package: str, folder: Path) -> None:
        # apt-get shows its own progress on a terminal.
        quiet = [] if sys.stderr.isatty() else ["-qq"]
        command = ["apt-get", *quiet, "download", package]
        if subprocess.run(command, env=self.environment, cwd=folder, stdout=sys.stderr, check=False).returncode:
            raise LaneError(f"{package} could not be downloaded from {self.source.uri}, or lacks its signed hash")


def _choose_release(apt: _PrivateApt) -> str:
    # No suffix after amd64, and none before it: the plain kernel, neither cloud, rt nor unsigned.
    plain = re.compile(r"linux-binary-(\d+\.\d+[\d.]*\+\w+-amd64)")
    releases = [match[1] for name in apt.names("linux-binary-") if (match := plain.fullmatch(name))]
    releases = [release for release in releases if _sort_key(release)[:2] >= OLDEST]
    if not releases:
        oldest = ".".join(map(str, OLDEST))
        raise LaneError(f"{SUITE} at {apt.source.uri} has no kernel of version {oldest} or newer for amd64")
    return max(releases, key=_sort_key)


def _unpack(debs: list[Path], release: str, folder: Path) -> None:
    """Unpacks into a new folder and renames it, so that a half-unpacked tree is never taken for a whole one."""
    fresh = Path(tempfile.mkdtemp(dir=folder, prefix="root."))
    try:
        for deb in debs:
            _say(f"unpacking {deb.name}")
            subprocess.run(["dpkg-deb", "-x", deb, fresh], check=True)
        _say("indexing the modules")
        # depmod looks under lib/, the packages have usr/lib/.
        (fresh / "lib").symlink_to("usr/lib")
        subprocess.run([find_tool("depmod", "kmod"), "-b", fresh, release], check=True)
        fresh.chmod(0o755)
        shutil.rmtree(folder / "root", ignore_errors=True)
        fresh.rename(folder / "root")
    except subprocess.CalledProcessError as error:
        raise LaneError(f"{error.cmd[0]} failed on the kernel's packages with exit status {error.returncode}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _download(kernels: Path) -> Kernel:
    for tool, package in (("apt-get", "apt"), ("apt-cache", "apt"), ("apt-config", "apt"), ("dpkg-deb", "dpkg")):
        find_tool(tool, package)
    source = aptsource.debian_archive()
    with tempfile.TemporaryDirectory(dir=kernels, prefix="fetch.") as temporary:
        apt = _PrivateApt(Path(temporary) / "apt", source)
        _say(f"reading the package list of {SUITE}")
        apt.update()
        release = _choose_release(apt)
        folder = kernels / release
        (folder / "debs").mkdir(parents=True, exist_ok=True)
        # Until the new manifest is there, this kernel counts as absent.
        (folder / "manifest.json").unlink(missing_ok=True)
        sha256, debs = {}, []
        for part in PARTS:
            package = f"{part}-{release}"
            fields = apt.newest(package)
            deb = folder / "debs" / f"{package}.deb"
            if not deb.is_file() or _sha256(deb) != fields["SHA256"]:
                _say(f"downloading {package} ({int(fields['Size']) / 1e6:.0f} MB)")
                arrived = Path(temporary) / package
                arrived.mkdir()
                apt.download(package, arrived)
                fresh = next(arrived.glob("*.deb"), None)
                if not fresh or _sha256(fresh) != fields["SHA256"]:
                    raise LaneError(f"the download of {package} does not have the SHA256 that the signed list gives")
                fresh.rename(deb)
            sha256[deb.name] = fields["SHA256"]
            debs.append(deb)
        _unpack(debs, release, folder)
        manifest = Path(temporary) / "manifest.json"
        manifest.write_text(json.dumps({"release": release, "sha256": sha256}, indent=2) + "\n")
        manifest.rename(folder / "manifest.json")
    return Kernel(release, folder, sha256)


def fetch() -> Kernel:
    """The kernel, from the cache when it is there and its packages still have their hashes."""
    if platform.machine() != "x86_64":
        raise LaneError(f"the guest runs this machine's programs on an x86-64 kernel; this is {platform.machine()}")
    with cache.locked("kernels"):
        kernels = cache.directory() / "kernels"
        kernels.mkdir(exist_ok=True)
        kernel = cached()
        if kernel:
            bad = [name for name, hash_ in kernel.sha256.items()
                   if not (kernel.folder / "debs" / name).is_file() or _sha256(kernel.folder / "debs" / name) != hash_]
            if not bad and kernel.image.is_file():
                return kernel
            _say(f"the cached {', '.join(bad) or 'kernel'} is damaged; getting it again")
        return _download(kernels)
