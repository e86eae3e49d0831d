#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compares what p2pmap says of a machine with what is known of it: fixtures.py PROGRAM FOLDER

Every pair, function and host bridge of expected.json, member by member.
"""
import json
import subprocess
import sys
from pathlib import Path


def ask(program, *arguments):
    ran = subprocess.run([program, "--format", "json", *arguments], check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


def unique(values):
    return list(dict.fromkeys(values))


def differences(what, expected, found):
    """Of the members that are expected; found may have more."""
    if found is None:
        return [f"{what}: missing"]
    return [
        f"{what}: {name} is {found.get(name, '(missing)')}, expected {value}"
        for name, value in expected.items()
        if name not in found or found[name] != value or type(found[name]) is not type(value)
    ]


def compare_pairs(expected, found):
    wanted = [dict(zip(expected["columns"], row)) for row in expected["pairs"]]
    pairs = {(pair["client"], pair["provider"]): pair for pair in found["pairs"]}
    complaints = []
    for pair in wanted:
        pair.pop("map_type_without_whitelist")  # Only shows how the verdict came about.
        complaints += differences(
            f"{pair['client']} to {pair['provider']}", pair, pairs.get((pair["client"], pair["provider"]))
        )
    if len(pairs) != len(found["pairs"]):
        complaints.append("p2pmap says some pairs twice")
    return complaints, len(wanted), len(pairs)


def compare_functions(expected, found):
    complaints = []
    for address, of in expected["devices"].items():
        wanted = {name: of[name] for name in ["class", "parent", "bus", "host_bridge"]}
        # A function whose ids are not known was off; what the dump has instead of its config space is made up.
        if of["id"] != "?:?":
            wanted |= {name: of[name] for name in ["id", "acs_cap", "acs_ctrl"]}
            wanted["port"] = of["port"] or "conventional"
        complaints += differences(address, wanted, found["devices"].get(address))
    if found["devices"].keys() != expected["devices"].keys():
        complaints.append(f"functions differ: {sorted(found['devices'].keys() ^ expected['devices'].keys())}")
    return complaints


def compare_host_bridges(expected, found):
    complaints = []
    for name, of in expected["host_bridges"].items():
        complaints += differences(f"host bridge {name}", of, found["host_bridges"].get(name))
    if found["host_bridges"].keys() != expected["host_bridges"].keys():
        complaints.append(f"host bridges differ: {list(found['host_bridges'])}")
    return complaints


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    expected = json.loads((folder / "expected.json").read_text())
    if not expected["pairs"]:
        print(f"{folder.name}: expected.json has no pairs")
        return 1
    machine = ["--from", folder / "lspci.txt", "--zen", "yes" if expected["cpu_amd_zen"] else "no"]
    clients = unique(row[0] for row in expected["pairs"])
    providers = unique(row[1] for row in expected["pairs"])

    named = ask(program, *machine, "--client", *clients, "--provider", *providers)
    complaints, count, said = compare_pairs(expected, named)
    if said != len(clients) * len(providers):
        complaints.append(f"{said} pairs were said of {len(clients)} clients and {len(providers)} providers")
    complaints += compare_functions(expected, named)
    complaints += compare_host_bridges(expected, named)

    # Without names, every endpoint is asked about; what is known of the named pairs is the same.
    everything = ask(program, *machine)
    complaints += compare_pairs(expected, everything)[0]

    print(*complaints, sep="\n", end="\n" if complaints else "")
    print(
        f"{folder.name}: {count} pairs, {len(expected['devices'])} functions, "
        f"{len(expected['host_bridges'])} host bridges compared; {len(complaints)} differences"
    )
    return 1 if complaints else 0


sys.exit(main())
