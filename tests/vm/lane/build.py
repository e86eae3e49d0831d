# SPDX-License-Identifier: BSL-1.0
"""Builds a kernel from Debian's source package, with what Debian's own kernels leave out (kernels/full.config)."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import LaneError

CONFIG = Path(__file__).resolve().parent.parent / "kernels/full.config"
PACKAGES = CONFIG.with_name("packages.txt")
# As uname -r says: Linux's version, and a hash of what it was built from.
RELEASE = r"\d+\.\d+[\d.]*-full-[0-9a-f]{8}"


def _key(source_sha256: str) -> str:
    return hashlib.sha256(source_sha256.encode() + CONFIG.read_bytes()).hexdigest()[:8]


def release(source: dict[str, str]) -> str:
    """The release that will be built from a source package, of which these are the fields."""
    return f"{source['Version'].split('-')[0]}-full-{_key(source['SHA256'])}"


def is_current(release_: str, sha256: dict[str, str]) -> bool:
    """Whether that release was built from this source package with today's configuration."""
    return release_.endswith("-full-" + _key(*sha256.values()))


def check_tools() -> None:
    """Before anything is downloaded."""
    tools = ("make", "gcc", "flex", "bison", "bc", "xz")
    headers = ("/usr/include/libelf.h", "/usr/include/openssl/evp.h")
    missing = [tool for tool in tools if not shutil.which(tool)]
    missing += [header for header in headers if not Path(header).exists()]
    if missing:
        packages = [line for line in PACKAGES.read_text().splitlines() if line and not line.startswith("#")]
        raise LaneError(f"to build a kernel, {', '.join(missing)} is missing; install the packages {' '.join(packages)}")


def settings(text: str) -> dict[str, str]:
    """The options of a configuration; one that is off is "n"."""
    found = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))
    return found | {name: "n" for name in re.findall(r"^# (CONFIG_\w+) is not set$", text, re.MULTILINE)}


def unheeded(wanted: str, made: str) -> list[str]:
    """The lines of a configuration that have come to nothing: Kconfig drops what it does not know or cannot have."""
    have = settings(made)
    return [f"{name}={value}" for name, value in settings(wanted).items() if have.get(name, "n") != value]


def build(source: Path, release_: str, work: Path, root: Path, say: Callable[[str], None]) -> None:
    """Fills `root` as Debian's packages do. `work` is a new folder, of some gigabytes, that nobody needs afterwards."""
    (work / "deb").mkdir(parents=True)
    (work / "source").mkdir()
    objects = work / "objects"
    objects.mkdir()
    log = work / "log"

    def run(*command: object) -> None:
        with open(log, "ab") as output:
            # A session of its own, so that all of it can be ended.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if status:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            raise LaneError(f"{command[0]} failed on the kernel's source with exit status {status}:\n{tail}")

    def make(*targets: object) -> None:
        version = f"LOCALVERSION={release_[release_.index('-full-'):]}"
        run("make", "-C", work / "source", f"O={objects}", "ARCH=x86_64", version, *targets)

    say(f"unpacking {source.name}")
    run("dpkg-deb", "-x", source, work / "deb")
    [tarball] = (work / "deb/usr/src").glob("linux-source-*.tar.*")
    run("tar", "-C", work / "source", "--strip-components=1", "-xf", tarball)

    say(f"configuring {release_}")
    make("x86_64_defconfig")
    with open(objects / ".config", "a") as config:
        config.write(CONFIG.read_text())
    make("olddefconfig")
    config = (objects / ".config").read_text()
    if dropped := unheeded(CONFIG.read_text(), config):
        raise LaneError(f"this kernel does not have what {CONFIG} asks for: {', '.join(dropped)}")

    jobs = len(os.sched_getaffinity(0))
    say(f"building {release_} with {jobs} jobs, which takes minutes; it is kept afterwards")
    make(f"-j{jobs}", "bzImage", "modules")
    made = (objects / "include/config/kernel.release").read_text().strip()
    if made != release_:
        raise LaneError(f"the kernel calls itself {made}, not {release_}")
    # The modules go where Debian has them, and so do the kernel and its configuration.
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    make(f"INSTALL_MOD_PATH={root}", "modules_install")
    modules = root / "usr/lib/modules" / release_
    (modules / "build").unlink(missing_ok=True)  # It leads to what is removed now.
    shutil.copyfile(objects / "arch/x86/boot/bzImage", modules / "vmlinuz")
    shutil.copyfile(objects / ".config", modules / "config")
