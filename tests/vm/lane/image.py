# SPDX-License-Identifier: BSL-1.0
"""Builds the initramfs: a static shell, the modules, the guest's scripts. It is kept, named by a hash of its inputs."""

import gzip
import hashlib
import lzma
import os
import stat
import tempfile
from pathlib import Path

from . import LaneError, cache
from .kernel import DEFAULT, Kernel, find_tool

GUEST = Path(__file__).resolve().parent.parent / "guest"
# What the lane itself needs to speak with the host, and to reach its files; a topology names what its devices need.
PORT_MODULES = ["virtio_pci", "virtio_console"]
LANE_MODULES = ["9pnet_virtio", "9p", "overlay"]


def _busybox() -> bytes:
    content = Path(find_tool("busybox", "busybox-static")).read_bytes()
    # A program that needs libraries names its loader near its start.
    if b"/ld-linux" in content[:8192]:
        raise LaneError("busybox needs shared libraries here, which the guest lacks; install busybox-static")
    return content


def _module_name(path: str) -> str:
    return Path(path).name.split(".")[0].replace("-", "_")


def module_files(kernel: Kernel, names: list[str]) -> tuple[list[str], list[str]]:
    """The files of these modules and of all they depend on, in the order in which they have to be loaded, and which of
    these modules the kernel does not have. One that is built in has no file."""
    dependencies = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        file, _, needs = line.partition(":")
        dependencies[_module_name(file)] = (file, needs.split())
    builtin = {_module_name(line) for line in (kernel.modules / "modules.builtin").read_text().splitlines()}
    files: list[str] = []
    missing: list[str] = []
    for name in names:
        name = name.replace("-", "_")
        if name in builtin:
            continue
        if name not in dependencies:
            missing.append(name)
            continue
        file, needs = dependencies[name]
        # modules.dep lists what is needed first last.
        files += [need for need in [*reversed(needs), file] if need not in files]
    return files, missing


def missing_modules(kernel: Kernel, names: list[str]) -> list[str]:
    """Which of these modules the kernel does not have. The machines are made for the lane's own kernel, which has all.
    """
    missing = module_files(kernel, names)[1]
    if missing and kernel.name == DEFAULT:
        raise LaneError(f"the kernel {kernel.release} has no module {', '.join(missing)}")
    return missing


def _unpacked(path: Path) -> bytes:
    openers = {".xz": lzma.open, ".gz": gzip.open, ".ko": open}
    if path.suffix not in openers:
        raise LaneError(f"the module {path.name} is packed in a way that this program cannot read")
    with openers[path.suffix](path, "rb") as file:
        return file.read()


class _Archive:
    """A cpio archive of the form that the kernel unpacks ("newc"). Written here, any user can put a device node in."""

    def __init__(self):
        self.content = bytearray()
        self.count = 0

    def add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self.count += 1
        fields = [self.count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
        self.content += b"070701" + "".join(f"{value:08x}" for value in fields).encode() + name.encode() + b"\0"
        self._pad()
        self.content += data
        self._pad()

    def _pad(self) -> None:
        self.content += b"\0" * (-len(self.content) % 4)

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self.content)


def _build(kernel: Kernel, busybox: bytes, scripts: dict[str, bytes], lists: dict[str, list[str]]) -> bytes:
    archive = _Archive()
    for folder in ("bin", "dev", "proc", "sys", "lane", "modules", "host", "results", "overlay", "plain", "root"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox)
    archive.add("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    for name, content in scripts.items():
        archive.add("init" if name == "init" else f"lane/{name}", stat.S_IFREG | 0o755, content)
    for list_name, files in lists.items():
        lines = "".join(f"{_module_name(file)}.ko\n" for file in files)
        archive.add(f"modules/{list_name}", stat.S_IFREG | 0o644, lines.encode())
    for file in dict.fromkeys(file for files in lists.values() for file in files):
        archive.add(f"modules/{_module_name(file)}.ko", stat.S_IFREG | 0o644, _unpacked(kernel.modules / file))
    return archive.finish()


def initramfs(kernel: Kernel, modules: list[str]) -> Path:
    """The initramfs for this kernel that loads these modules; made when the cache has none of the same inputs."""
    busybox = _busybox()
    scripts = {path.name: path.read_bytes() for path in sorted(GUEST.iterdir()) if path.is_file()}
    own, missing = module_files(kernel, PORT_MODULES + LANE_MODULES)
    if missing:
        raise LaneError(f"the kernel {kernel.release} cannot be booted here: it has no module {', '.join(missing)}")
    port, _ = module_files(kernel, PORT_MODULES)
    lists = {
        "port.list": port,
        "lane.list": [file for file in own if file not in port],
        "guest.list": [file for file in module_files(kernel, modules)[0] if file not in own],
    }
    kernel_hashes = repr(sorted(kernel.sha256.items())).encode()
    contents = (name.encode() + content for name, content in scripts.items())
    key = hashlib.sha256()
    for part in (Path(__file__).read_bytes(), busybox, repr(lists).encode(), kernel_hashes, *contents):
        key.update(hashlib.sha256(part).digest())
    folder = cache.directory() / "initramfs"
    folder.mkdir(exist_ok=True)
    path = folder / f"{key.hexdigest()[:32]}.cpio"
    if not path.is_file():
        content = _build(kernel, busybox, scripts, lists)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
        _drop_all_but_newest(folder, keep=8)
    os.utime(path)  # the newest are those last used
    return path


def _drop_all_but_newest(folder: Path, keep: int) -> None:
    files = sorted(folder.glob("*.cpio"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[keep:]:
        path.unlink(missing_ok=True)
