#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""What p2pmap does with command lines and inputs, right and wrong: command_line.py PROGRAM FOLDER-OF-MACHINES DOCUMENT"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

PROGRAM, MACHINES, DOCUMENT = sys.argv[1], *map(Path, sys.argv[2:])
DUMP = MACHINES / "kernel-b70-pex880xx-acs-on" / "lspci.txt"
ENDPOINTS = ["0000:0e:00.0", "0000:12:00.0"]
FORMATS = ["text", "json", "svg"]


def run(*arguments, **more):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=30, **more)


def cut(text, most):
    """A dump with only the first bytes of each function, as a process without privilege gets it."""
    lines = []
    for line in text.splitlines():
        hexadecimal = re.match(r"([0-9a-f]+): ", line)
        if not hexadecimal or int(hexadecimal[1], 16) < most:
            lines.append(line)
    return "\n".join(lines) + "\n"


def write_sysfs(root, functions):
    """A captured tree, from {address: (bytes, parent)}; parent is None on the root bus."""

    def folder(address):
        parent = functions[address][1]
        return (folder(parent) if parent else root / "sys/devices/pci0000:00") / address

    links = root / "sys/bus/pci/devices"
    links.mkdir(parents=True)
    for address, (config, _) in functions.items():
        device = folder(address)
        device.mkdir(parents=True, exist_ok=True)
        (device / "config").write_bytes(config)
        (links / address).symlink_to(os.path.relpath(device, links))
    return links


def read_functions(dump):
    functions, current = {}, None
    for line in dump.splitlines():
        if header := re.match(r"([0-9a-f:.]+) ", line):
            if "." in header[1]:
                current = header[1]
                functions[current] = b""
        if hexadecimal := re.match(r"[0-9a-f]+: (.*)", line):
            functions[current] += bytes.fromhex(hexadecimal[1])
    return functions


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = Path(self.folder.name)

    def file(self, content, name="dump"):
        path = self.root / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def fails(self, status, says, *arguments):
        ran = run(*arguments)
        self.assertEqual(ran.returncode, status, ran)
        self.assertEqual(ran.stdout, "")
        self.assertRegex(ran.stderr, r"\Ap2pmap: [^\n]+\n\Z")
        self.assertIn(says, ran.stderr)

    def shows(self, *arguments):
        ran = run(*arguments)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""), ran)
        return ran.stdout


class CommandLine(Files):
    def test_an_address_that_is_none(self):
        for option in ["--client", "--provider"]:
            self.fails(2, "'0e:00' is no PCI address", "--from", DUMP, option, "0e:00.0", "0e:00")
        self.fails(2, "'nonsense' is no PCI address", "--from", DUMP, "--explain", "0e:00.0", "nonsense")

    def test_an_address_that_is_not_there(self):
        for form in FORMATS:
            for option in ["--client", "--provider"]:
                self.fails(1, "no 0000:99:00.0", "--from", DUMP, "--format", form, option, "99:00.0")
        self.fails(1, "no 0000:99:00.0", "--from", DUMP, "--explain", "0e:00.0", "99:00.0")

    def test_wrong_options(self):
        self.fails(2, "--format", "--from", DUMP, "--format", "pdf")
        self.fails(2, "--zen", "--from", DUMP, "--zen", "maybe")
        self.fails(2, "--explain", "--from", DUMP, "--explain", "0e:00.0")
        self.fails(2, "--explain", "--from", DUMP, "--explain", "0e:00.0", "12:00.0", "--client", "0e:00.0")
        self.fails(2, "--nonsense", "--nonsense")
        self.fails(2, "--from", "--from")

    def test_help_goes_to_standard_output(self):
        self.assertIn("--explain", self.shows("--help"))


class Inputs(Files):
    def test_no_such_file(self):
        for form in FORMATS:
            self.fails(1, "No such file", "--from", self.root / "none", "--format", form)

    def test_files_that_cannot_be_read(self):
        self.fails(1, "Input/output error", "--from", "/proc/self/mem")
        if os.geteuid() != 0:  # Who reads everything.
            path = self.file(DUMP.read_bytes())
            path.chmod(0)
            self.fails(1, "Permission denied", "--from", path)

    def test_files_without_functions(self):
        for content in ["", "\n", "nothing of the kind\n", b"\0" * 100, b"\xff\xfe" * 100]:
            for form in FORMATS:
                self.fails(1, "no PCI function in it", "--from", self.file(content), "--format", form)

    def test_a_broken_dump(self):
        self.fails(1, "hex line", "--from", self.file("00:00.0 x\n00: zz\n"))
        self.fails(1, "one address twice", "--from", self.file("00:00.0 x\n00: 86 80\n\n00:00.0 x\n00: 86 80\n"))

    def test_a_folder_without_sysfs(self):
        for form in FORMATS:
            self.fails(1, "no sys/bus/pci/devices", "--from", self.root, "--format", form)

    def test_a_pipe(self):
        ran = run("--from", "/dev/stdin", input=DUMP.read_text())
        self.assertEqual((ran.returncode, ran.stdout), (0, self.shows("--from", DUMP)))

    def test_a_captured_tree_says_what_the_dump_says(self):
        said = json.loads(self.shows("--from", DUMP, "--format", "json", "--zen", "no"))
        functions = {
            address: (config.ljust(4096, b"\0"), said["devices"][address]["parent"])
            for address, config in read_functions(DUMP.read_text()).items()
        }
        links = write_sysfs(self.root, functions)
        for device in said["devices"].values():
            device["config_bytes"] = 4096
        captured = json.loads(self.shows("--from", self.root, "--format", "json", "--zen", "no"))
        self.assertEqual(captured, said)

        # What only a system tells.
        group = self.root / "sys/kernel/iommu_groups/7"
        group.mkdir(parents=True)
        (group / "type").write_text("DMA-FQ\n")
        (links / ENDPOINTS[0] / "iommu_group").symlink_to(group)
        (links / ENDPOINTS[0] / "driver").symlink_to(b"/drivers/<x>\x1b[31m\xff&")
        (self.root / "proc").mkdir()
        (self.root / "proc/cpuinfo").write_text("vendor_id\t: AuthenticAMD\ncpu family\t: 25\n")
        captured = json.loads(self.shows("--from", self.root, "--format", "json"))
        self.assertIs(captured["cpu_amd_zen"], True)
        device = captured["devices"][ENDPOINTS[0]]
        self.assertEqual((device["iommu_group"], device["iommu_domain"]), (7, "translated"))
        self.assertEqual(device["driver"], "<x>\x1b[31m\ufffd&")
        self.assertIn("IOMMU group 7, driver <x>?[31m?&\n", self.shows("--from", self.root))
        picture = ElementTree.fromstring(self.shows("--from", self.root, "--format", "svg"))
        self.assertTrue(any("driver <x>?[31m?&" in (text.text or "") for text in picture.iter()))
        # The command line knows better.
        self.assertIs(json.loads(self.shows("--from", self.root, "--format", "json", "--zen", "no"))["cpu_amd_zen"], False)

    def test_an_empty_machine(self):
        write_sysfs(self.root, {})
        self.assertIn("no pairs", self.shows("--from", self.root))
        self.assertEqual(json.loads(self.shows("--from", self.root, "--format", "json"))["pairs"], [])
        ElementTree.fromstring(self.shows("--from", self.root, "--format", "svg"))

    def test_bridges_deeper_than_any_machine_has(self):
        chain = [f"{domain:04x}:00:00.0" for domain in range(258)]
        links = write_sysfs(self.root, {chain[0]: (b"\0" * 64, None)})
        for above, address in zip(chain, chain[1:]):
            # The folder right above is the bridge, whatever is above that.
            device = self.root / "sys/devices" / above / address
            device.mkdir(parents=True)
            (device / "config").write_bytes(b"\0" * 64)
            (links / address).symlink_to(f"../../../devices/{above}/{address}")
        self.fails(1, "more than 256 bridges above 0101:00:00.0", "--from", self.root)
        (links / chain[-1]).unlink()
        self.shows("--from", self.root, "--client", chain[0], "--provider", chain[-2])


class Outputs(Files):
    def pairs(self, *arguments):
        return json.loads(self.shows("--from", DUMP, "--format", "json", *arguments))["pairs"]

    def test_named_sides(self):
        sides = lambda pairs: [(pair["client"], pair["provider"]) for pair in pairs]
        both = [(a, b) for a in ENDPOINTS for b in ENDPOINTS]
        self.assertEqual(sides(self.pairs()), both)
        self.assertEqual(sides(self.pairs("--client", "12:00.0")), both[2:])
        self.assertEqual(sides(self.pairs("--provider", "12:00.0", "12:00.0")), [both[1], both[3]])
        # Also what is no endpoint.
        self.assertEqual(sides(self.pairs("--client", "0b:00.0", "--provider", "12:00.0")), [("0000:0b:00.0", both[1][1])])

    def test_the_example_of_the_document(self):
        example = re.search(r"```text\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]
        machine = MACHINES / "kernel-amdgpu-acs-list" / "lspci.txt"
        self.assertEqual(example, self.shows("--from", machine, "--zen", "yes"))

    def test_what_a_dump_cannot_tell(self):
        apart = self.pairs()[1]
        self.assertEqual((apart["map_type"], apart["missing"]), (None, ["cpu"]))
        self.assertEqual(apart["acs_redirect"], True)

        unprivileged = self.file(cut(DUMP.read_text(), 256))
        for pair in json.loads(self.shows("--from", unprivileged, "--format", "json", "--zen", "no"))["pairs"]:
            self.assertEqual((pair["map_type"], pair["acs_redirect"], pair["missing"]), (None, None, ["acs"]))
            self.assertEqual((pair["reads"]["type"], pair["writes"]["type"]), (None, None))
        text = self.shows("--from", unprivileged, "--zen", "no")
        self.assertIn("?: the ACS of these could not be read: 0000:0a:00.0, 0000:0b:00.0,", text)
        self.assertIn("as root", text)

        functions = DUMP.read_text().split("\n\n")
        partial = self.file("\n\n".join(each for each in functions if "0000:10:00.0" not in each))
        lost = json.loads(self.shows("--from", partial, "--format", "json", "--zen", "no"))
        self.assertIsNone(lost["devices"]["0000:12:00.0"]["host_bridge"])
        apart = lost["pairs"][1]
        self.assertEqual(apart["missing"], ["placement"])
        for name in ["distance", "same_switch", "acs_redirect", "map_type", "common_upstream_bridge"]:
            self.assertIsNone(apart[name], name)
        self.assertIn("their place is not known: 0000:12:00.0", self.shows("--from", partial))

    def test_quirks_are_apart_from_the_rule(self):
        # The kernel trusts every Zen; what is known of this root complex is not its business.
        apart = self.pairs("--zen", "yes")[1]
        self.assertEqual(apart["map_type"], "THRU_HOST_BRIDGE")
        for what in ["reads", "writes"]:
            self.assertEqual(apart[what]["type"], "NOT_SUPPORTED")
            self.assertIn("Rocket Lake", apart[what]["quirk"])

    def test_an_explanation(self):
        text = self.shows("--from", DUMP, "--zen", "no", "--explain", *ENDPOINTS)
        kernel, process = text.split("\n\n")
        for part in [kernel, process]:
            self.assertIn("0000:0e:00.0 reads 0000:12:00.0: NOT_SUPPORTED", part)
            self.assertIn("0000:0e:00.0 writes 0000:12:00.0: NOT_SUPPORTED", part)
        self.assertIn("kernel", kernel.splitlines()[0])
        self.assertIn("VFIO", process.splitlines()[0])
        self.assertIn("ACS redirects at 0000:11:01.0: ReqRedir CmpltRedir", kernel)

    @unittest.skipUnless(Path("/sys/bus/pci/devices").is_dir(), "this machine has no PCI bus")
    def test_a_capture_says_what_the_machine_says(self):
        captured = self.root / "captured"
        self.assertEqual(self.shows("--capture", captured), "")
        for form in FORMATS:
            self.assertEqual(self.shows("--format", form), self.shows("--from", captured, "--format", form))
        self.fails(1, "exists already", "--capture", captured)
        self.fails(1, "captured", "--capture", self.root / "no" / "captured")
        self.fails(2, "--capture", "--capture", self.root / "other", "--from", DUMP)
        self.assertFalse((self.root / "other").exists())

    def test_the_same_input_gives_the_same_output(self):
        for machine in sorted(MACHINES.glob("*/lspci.txt")):
            for form in FORMATS:
                self.assertEqual(*[self.shows("--from", machine, "--format", form) for _ in range(2)])

    def test_pictures_are_sound(self):
        for machine in sorted(MACHINES.glob("*/lspci.txt")):
            picture = ElementTree.fromstring(self.shows("--from", machine, "--format", "svg"))
            width, height = int(picture.get("width")), int(picture.get("height"))
            boxes = [each for each in picture.iter() if each.tag.endswith("rect")]
            self.assertEqual((boxes[0].get("width"), boxes[0].get("height")), (str(width), str(height)))
            for box in boxes:
                self.assertLessEqual(int(box.get("x", 0)) + int(box.get("width")), width)
                self.assertLessEqual(int(box.get("y", 0)) + int(box.get("height")), height)
            tooltips = [each.text for each in picture.iter() if each.tag.endswith("title")]
            self.assertTrue(tooltips)
            for tooltip in tooltips:
                self.assertRegex(tooltip, r"\A(#\d+  )?[0-9a-f]{4}:[0-9a-f:.]+ \[[^\n?]*(\n[^\n?]+)*\Z")
            words = " ".join(text.text or "" for text in picture.iter())
            for address in json.loads(self.shows("--from", machine, "--format", "json"))["pairs"]:
                self.assertIn(address["client"], words)

    def test_an_output_that_cannot_be_written(self):
        with open("/dev/full", "w") as full:
            ran = subprocess.run([PROGRAM, "--from", DUMP], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual((ran.returncode, ran.stderr), (1, "p2pmap: the output could not be written\n"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
