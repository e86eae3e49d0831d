#!/usr/bin/python3
# SPDX-License-Identifier: BSL-1.0
"""A device goes and comes back by request; one that a VFIO user holds goes when that user lets go."""

import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

HOST = os.environ["PADDOCK_VM_HOST"]
VFIO_GROUP_SET_CONTAINER, VFIO_SET_IOMMU, VFIO_GROUP_GET_DEVICE_FD = 15208, 15206, 15210
VFIO_TYPE1_IOMMU = 1


def host(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([HOST, *words], capture_output=True, text=True, check=False)


def must(*words: str) -> None:
    done = host(*words)
    assert done.returncode == 0, f"host {' '.join(words)}: {done.stderr}"


def main() -> None:
    address = os.environ["PADDOCK_DEV_NVME_B"]
    path = Path("/sys/bus/pci/devices") / address
    must("ping")

    must("unplug", "nvme_b")
    assert not path.exists()
    assert host("unplug", "nvme_b").returncode == 1
    must("plug", "nvme_b")
    assert (path / "driver").resolve().name == "vfio-pci"
    assert host("plug", "nvme_b").returncode == 1

    group = os.open(f"/dev/vfio/{(path / 'iommu_group').resolve().name}", os.O_RDWR)
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    fcntl.ioctl(group, VFIO_GROUP_SET_CONTAINER, struct.pack("i", container))
    fcntl.ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU)
    # A mutable argument makes ioctl return what the kernel returned: the descriptor.
    device = fcntl.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bytearray(address.encode() + b"\0"))
    must("unplug", "--no-wait", "nvme_b")
    held = host("wait-unplugged", "nvme_b", "2")
    assert held.returncode == 1 and "still plugged" in held.stderr, held
    for fd in (device, group, container):
        os.close(fd)
    must("wait-unplugged", "nvme_b")
    must("plug", "nvme_b")
    assert (path / "driver").resolve().name == "vfio-pci"


sys.exit(main())
