# SPDX-License-Identifier: BSL-1.0
"""The kernels that the lane boots: gets each into the cache, checked, and finds it there again."""

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

from . import LaneError, aptsource, build, cache
from .apt import PrivateApt, sha256_of


@dataclass
class Kernel:
    name: str  # as `--kernel` takes it
    release: str  # as uname -r says, such as 7.2.12+deb13-amd64
    folder: Path
    sha256: dict[str, str]  # .deb file name -> hash

    @property
    def modules(self) -> Path:
        return self.folder / "root/usr/lib/modules" / self.release

    @property
    def image(self) -> Path:
        return self.modules / "vmlinuz"


@dataclass(frozen=True)
class Wanted:
    """A kernel by its name. Its releases are told from all others' by their form and their version."""

    name: str
    suite: str
    release: str  # a pattern
    packages: tuple[str, ...]  # without the release that ends their names; the first one has the kernel itself
    oldest: tuple[int, int]
    newest: tuple[int, int] | None = None  # none: as new as the suite has it
    is_built: bool = False  # here, from the source in the one package

    def takes(self, release: str) -> bool:
        version = _sort_key(release)[:2]
        in_range = self.oldest <= version and (self.newest is None or version <= self.newest)
        return in_range and re.fullmatch(self.release, release) is not None


# No suffix after amd64, and none before it: the plain kernel, neither cloud, rt nor unsigned.
_PLAIN = r"\d+\.\d+[\d.]*\+\w+-amd64"
DEFAULT = "7.2"
KERNELS = {
    wanted.name: wanted
    for wanted in (
        Wanted("6.1", "bookworm", r"6\.1\.0-\d+-amd64", ("linux-image",), (6, 1), (6, 1)),
        Wanted("6.12", "bookworm-backports", _PLAIN, ("linux-image",), (6, 12), (6, 12)),
        # The kernel itself, its modules and its configuration are three packages here.
        Wanted(DEFAULT, "trixie-backports", _PLAIN, ("linux-binary", "linux-modules", "linux-base"), (7, 2)),
        Wanted("7.2-full", "trixie-backports", build.RELEASE, ("linux-source",), (7, 2), is_built=True),
    )
}


def _say(text: str) -> None:
    print(f"vm fetch: {text}", file=sys.stderr, flush=True)


def find_tool(name: str, package: str) -> str:
    path = shutil.which(name)
    if not path:
        raise LaneError(f"{name} is missing; install the package {package}")
    return path


def _sort_key(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release.split("-full-")[0]))


def cached(name: str) -> Kernel | None:
    """The newest complete kernel of that name in the cache. Its manifest is written last, so having one means complete.
    Of those that are built here only what this checkout's configuration would build counts."""
    wanted = KERNELS[name]
    found = []
    for path in (cache.directory() / "kernels").glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        kernel = Kernel(name, manifest["release"], path.parent, manifest["sha256"])
        if wanted.takes(kernel.release) and (not wanted.is_built or build.is_current(kernel.release, kernel.sha256)):
            found.append(kernel)
    return max(found, key=lambda kernel: _sort_key(kernel.release), default=None)


def required(name: str) -> Kernel:
    kernel = cached(name)
    if not kernel:
        option = "" if name == DEFAULT else f" --kernel {name}"
        raise LaneError(f"there is no kernel {name} in {cache.directory()}; run `vm fetch{option}` once")
    return kernel


def _choose_version(wanted: Wanted, apt: PrivateApt) -> str:
    """What the names of the newest kernel's packages end in."""
    prefix = wanted.packages[0] + "-"
    ends = [name.removeprefix(prefix) for name in apt.names(prefix)]
    if wanted.is_built:  # A package with the source ends in a version alone.
        # Of several, the one that the configuration was written for, or else the next.
        ends = [end for end in ends if re.fullmatch(r"\d+\.\d+", end) and _sort_key(end) >= wanted.oldest]
        ends = sorted(ends, key=_sort_key)[:1]
    else:
        ends = [end for end in ends if wanted.takes(end)]
    if not ends:
        oldest = ".".join(map(str, wanted.oldest))
        or_newer = "" if wanted.newest else " or newer"
        raise LaneError(f"{wanted.suite} at {apt.source.uri} has no kernel of version {oldest}{or_newer} for amd64")
    return max(ends, key=_sort_key)


def _obtain(apt: PrivateApt, package: str, folder: Path) -> tuple[Path, str]:
    """The .deb in `folder`, and its hash in the signed list. What any kernel in the cache has is not got again."""
    fields = apt.newest(package)
    deb, sha256 = folder / f"{package}.deb", fields["SHA256"]
    for known in (deb, *folder.parent.parent.glob(f"*/debs/{deb.name}")):
        if known.is_file() and sha256_of(known) == sha256:
            if known != deb:
                deb.unlink(missing_ok=True)
                os.link(known, deb)
            return deb, sha256
    _say(f"downloading {package} ({int(fields['Size']) / 1e6:.0f} MB)")
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetch.") as arrived:
        apt.download(package, Path(arrived))
        fresh = next(Path(arrived).glob("*.deb"), None)
        if not fresh or sha256_of(fresh) != sha256:
            raise LaneError(f"the download of {package} does not have the SHA256 that the signed list gives")
        fresh.rename(deb)
    return deb, sha256


def _unpack(debs: list[Path], release: str, root: Path) -> None:
    try:
        for deb in debs:
            _say(f"unpacking {deb.name}")
            subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
        modules = root / "usr/lib/modules" / release
        if not (root / "usr/lib/modules").exists():  # Older packages have lib/, newer ones usr/lib/.
            modules.parent.parent.mkdir(parents=True, exist_ok=True)
            (root / "lib/modules").rename(modules.parent)
            shutil.rmtree(root / "lib")
        boot = root / "boot" / f"vmlinuz-{release}"
        if boot.is_file():
            boot.rename(modules / "vmlinuz")
        _say("indexing the modules")
        # depmod looks under lib/.
        (root / "lib").symlink_to("usr/lib")
        subprocess.run([find_tool("depmod", "kmod"), "-b", root, release], check=True)
    except subprocess.CalledProcessError as error:
        raise LaneError(f"{error.cmd[0]} failed on the kernel's packages with exit status {error.returncode}") from None


def _get(wanted: Wanted, kernels: Path) -> Kernel:
    for tool, package in (("apt-get", "apt"), ("apt-cache", "apt"), ("apt-config", "apt"), ("dpkg-deb", "dpkg")):
        find_tool(tool, package)
    if wanted.is_built:
        build.check_tools()
    source = aptsource.debian_archive()
    # What is not finished goes with the run's folder, which the next run removes if this one cannot.
    with cache.run_directory() as run:
        apt = PrivateApt(run / "apt", source, wanted.suite)
        _say(f"reading the package list of {wanted.suite}")
        apt.update()
        version = _choose_version(wanted, apt)
        packages = [f"{part}-{version}" for part in wanted.packages]
        release = build.release(apt.newest(packages[0])) if wanted.is_built else version
        folder = kernels / release
        (folder / "debs").mkdir(parents=True, exist_ok=True)
        # Until the new manifest is there, this kernel counts as absent.
        (folder / "manifest.json").unlink(missing_ok=True)
        obtained = [_obtain(apt, package, folder / "debs") for package in packages]
        debs, sha256 = [deb for deb, _ in obtained], {deb.name: hash_ for deb, hash_ in obtained}
        root = run / "root"
        root.mkdir()
        if wanted.is_built:
            build.build(debs[0], release, run / "work", root, _say)
        else:
            _unpack(debs, release, root)
        shutil.rmtree(folder / "root", ignore_errors=True)
        root.rename(folder / "root")
        manifest = run / "manifest.json"
        manifest.write_text(json.dumps({"release": release, "sha256": sha256}, indent=2) + "\n")
        manifest.rename(folder / "manifest.json")
    return Kernel(wanted.name, release, folder, sha256)


def fetch(name: str) -> Kernel:
    """The kernel, from the cache when it is there and its packages still have their hashes."""
    if platform.machine() != "x86_64":
        raise LaneError(f"the guest runs this machine's programs on an x86-64 kernel; this is {platform.machine()}")
    with cache.locked(f"kernel-{name}"):
        kernels = cache.directory() / "kernels"
        kernels.mkdir(exist_ok=True)
        kernel = cached(name)
        if kernel:
            bad = [name for name, hash_ in kernel.sha256.items()
                   if not (kernel.folder / "debs" / name).is_file() or sha256_of(kernel.folder / "debs" / name) != hash_]
            if not bad and kernel.image.is_file():
                return kernel
            _say(f"the cached {', '.join(bad) or 'kernel'} is damaged; getting it again")
        return _get(KERNELS[name], kernels)
