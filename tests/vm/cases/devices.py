#!/usr/bin/python3
# SPDX-License-Identifier: BSL-1.0
"""The default topology is what its description says: each role's address is that of the right device, bound as said."""

import os
import sys
import tomllib
from pathlib import Path

# QEMU model -> the PCI vendor and device that it shows to the guest
MODELS = {
    "nvme": ("0x1b36", "0x0010"),
    "edu": ("0x1234", "0x11e8"),
    "ivshmem-plain": ("0x1af4", "0x1110"),
    "virtio-gpu-pci": ("0x1af4", "0x1050"),
    "virtio-rng-pci": ("0x1af4", "0x1005"),
}
TOPOLOGY = Path(__file__).resolve().parent.parent / "topology.toml"


def main() -> None:
    table = tomllib.loads(TOPOLOGY.read_text())
    serials = {}
    for device in table["device"]:
        if "role" not in device:
            continue
        role = device["role"]
        address = os.environ[f"PADDOCK_DEV_{role.upper()}"]
        path = Path("/sys/bus/pci/devices") / address
        shown = ((path / "vendor").read_text().strip(), (path / "device").read_text().strip())
        assert shown == MODELS[device["driver"]], f"{role} at {address} is {shown}"
        driver = (path / "driver").resolve().name
        assert driver == device["guest_driver"], f"{role} is bound to {driver}"
        if device["driver"] == "nvme":
            serials[role] = device["properties"]["serial"]
        print(f"{role} {address} {driver}")

    # All controllers look alike but for their serial, which only the kernel's driver tells.
    bind = os.environ["PADDOCK_VM_BIND"]
    for role, serial in serials.items():
        address = os.environ[f"PADDOCK_DEV_{role.upper()}"]
        assert os.spawnlp(os.P_WAIT, bind, bind, address, "nvme") == 0
        read = next((Path("/sys/bus/pci/devices") / address / "nvme").glob("nvme*/serial")).read_text().strip()
        assert os.spawnlp(os.P_WAIT, bind, bind, address, "vfio-pci") == 0
        assert read == serial, f"{role} at {address} has the serial {read}"


sys.exit(main())
