# SPDX-License-Identifier: BSL-1.0
"""Reads the description of a machine and turns it into QEMU's arguments."""

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from . import LaneError

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass
class Device:
    id: str
    driver: str
    bus: str | None
    properties: dict
    drive: dict | None
    guest_driver: str | None
    is_role: bool

    def qemu(self) -> dict:
        """What both -device and device_add take."""
        arguments = {"driver": self.driver, "id": self.id} | self.properties
        if self.bus:
            arguments["bus"] = self.bus
        if self.drive:
            arguments["drive"] = self.id
        return arguments


@dataclass
class Topology:
    path: Path
    memory: str
    cpus: int
    machine: str
    cpu: str | None
    counts_instructions: bool
    kernel_arguments: str
    modules: list[str]
    environment: dict[str, str]
    objects: list[dict] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)

    def roles(self) -> dict[str, Device]:
        return {device.id: device for device in self.devices if device.is_role}

    def arguments(self, run: Path, drives: dict[str, Path]) -> list[str]:
        """QEMU's arguments. Drives that the caller does not give are made in `run`."""
        for role in drives:
            if role not in self.roles() or not self.roles()[role].drive:
                raise LaneError(f"--drive names {role}, and {self.path} has no device of that role with a drive")
        arguments = ["-M", self.machine, "-m", self.memory, "-smp", str(self.cpus)]
        for object_ in self.objects:
            arguments += ["-object", json.dumps(object_)]
        for device in self.devices:
            if device.drive:
                arguments += _drive_arguments(device, drives.get(device.id), run)
            arguments += ["-device", json.dumps(device.qemu())]
        return arguments


def _drive_arguments(device: Device, given: Path | None, run: Path) -> list[str]:
    path = given
    if path is None:
        path = run / f"{device.id}.raw"
        with open(path, "wb") as file:
            file.truncate(device.drive["size"] << 20)
    elif not path.is_file():
        raise LaneError(f"--drive {device.id}: there is no file {path}")
    # A node made by -blockdev stays when its device is unplugged; one made by -drive would go with it.
    node = {"driver": "raw", "file": {"driver": "file", "filename": str(path.absolute())}}
    if device.drive.get("forgets"):
        node = {"driver": "null-co", "size": device.drive["size"] << 20, "read-zeroes": True}
    if "inject_error" in device.drive:
        node = {"driver": "blkdebug", "image": node, "inject-error": device.drive["inject_error"]}
    return ["-blockdev", json.dumps({"node-name": device.id} | node)]


def _take(table: dict, path: Path, where: str, allowed: set[str], required: set[str]) -> None:
    unknown, missing = set(table) - allowed, required - set(table)
    if unknown or missing:
        what = f"does not know {', '.join(sorted(unknown))}" if unknown else f"needs {', '.join(sorted(missing))}"
        raise LaneError(f"{path}: {where} {what}")


def _device(table: dict, path: Path) -> Device:
    name = table.get("role") or table.get("id") or "?"
    where = f"the device {name}"
    _take(table, path, where, {"id", "role", "driver", "bus", "properties", "drive", "guest_driver"}, {"driver"})
    if ("id" in table) == ("role" in table) or not _ID.fullmatch(name):
        raise LaneError(f"{path}: {where} needs either an id or a role, of letters, digits and underscores")
    if "drive" in table:
        _take(table["drive"], path, f"the drive of {name}", {"size", "inject_error", "forgets"}, {"size"})
    return Device(name, table["driver"], table.get("bus"), table.get("properties", {}), table.get("drive"),
                  table.get("guest_driver"), "role" in table)


def _read(path: Path, including: tuple[Path, ...] = ()) -> dict:
    """The file, and below it the one that it includes."""
    if path in including:
        raise LaneError(f"the topology {path} includes itself")
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise LaneError(f"the topology {path} cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise LaneError(f"the topology {path} is not valid: {error}") from None
    if "include" in table:
        base = _read(path.parent / table.pop("include"), (*including, path))
        for section in ("machine", "guest"):
            table[section] = base.get(section, {}) | table.get(section, {})
        for section in ("object", "device"):
            table[section] = table.get(section, []) + base.get(section, [])
    return table


def load(path: Path) -> Topology:
    table = _read(path)
    _take(table, path, "the file", {"machine", "guest", "object", "device"}, {"machine"})
    machine, guest = table["machine"], table.get("guest", {})
    required = {"memory", "cpus", "machine"}
    _take(machine, path, "[machine]", required | {"cpu", "kernel_arguments", "counts_instructions"}, required)
    _take(guest, path, "[guest]", {"modules", "environment"}, set())
    counts = machine.get("counts_instructions", False)
    if counts and machine["cpus"] != 1:
        raise LaneError(f"{path}: a machine that counts its instructions has one processor")
    topology = Topology(path, machine["memory"], machine["cpus"], machine["machine"], machine.get("cpu"), counts,
                        machine.get("kernel_arguments", ""), guest.get("modules", []), guest.get("environment", {}))
    for object_ in table.get("object", []):
        _take(object_, path, "an [[object]]", {"id", "qom-type", "properties"}, {"id", "qom-type"})
        topology.objects.append({"qom-type": object_["qom-type"], "id": object_["id"]} | object_.get("properties", {}))
    topology.devices = [_device(device, path) for device in table.get("device", [])]
    ids = [device.id for device in topology.devices]
    if len(set(ids)) != len(ids):
        raise LaneError(f"{path}: two devices have the same id or role")
    return topology
