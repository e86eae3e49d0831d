# SPDX-License-Identifier: BSL-1.0
"""Where downloaded and derived files are kept between runs, and what one run needs for itself."""

import contextlib
import fcntl
import os
import pwd
import shutil
import sys
import tempfile
from pathlib import Path

from . import LaneError


def _home() -> str:
    home = os.environ.get("HOME")
    if home:
        return home
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise LaneError("there is no home directory to keep the kernel in; set PADDOCK_CACHE to a folder") from None


def directory() -> Path:
    """The cache folder; it exists when this returns."""
    if os.environ.get("PADDOCK_CACHE"):
        path = Path(os.environ["PADDOCK_CACHE"])
    elif os.environ.get("XDG_CACHE_HOME"):
        path = Path(os.environ["XDG_CACHE_HOME"]) / "paddock"
    else:
        path = Path(_home()) / ".cache" / "paddock"
    path = path.absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"the cache folder {path} cannot be made ({error.strerror})"
        raise LaneError(f"{reason}; set PADDOCK_CACHE to another") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise LaneError(f"the cache folder {path} is not writable; set PADDOCK_CACHE to another")
    return path


@contextlib.contextmanager
def locked(name: str):
    """Holds the cache's lock of that name, so that two runs do not write the same files at once."""
    with open(directory() / f"{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"vm: waiting for another run that holds {lock.name}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def run_directory():
    """A folder for one run, removed at its end. It lies in the cache because drives need a disk, which /tmp may not be.

    A run that was killed outright leaves its folder; its lock is free then, and the next run removes it."""
    runs = directory() / "runs"
    runs.mkdir(exist_ok=True)
    with locked("runs"):
        for old in runs.iterdir():
            _remove_if_abandoned(old)
        path = Path(tempfile.mkdtemp(dir=runs))
        lock = open(path / "lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        lock.close()


def _remove_if_abandoned(path: Path) -> None:
    try:
        with open(path / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError:
        pass
    shutil.rmtree(path, ignore_errors=True)
