#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Says what ran where: summary.py LANE:SECONDS:JUNIT...

Reads the JUnit file that ctest left for each lane. A skipped test is neither passed nor failed, and a lane in which no
test ran is a failure. The last line has the form of ctest's own; the exit status is 1 when anything failed.
"""
import re
import sys
import xml.etree.ElementTree
from pathlib import Path


def read_lane(path):
    """The lane's tests as (name, 'passed' | 'failed' | 'skipped', reason); none where ctest itself failed."""
    if not Path(path).exists():
        return []
    tests = []
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name, status = case.get("name"), case.get("status")
        unrun = case.find("skipped")
        message = unrun.get("message", "") if unrun is not None else ""
        if status == "run":
            tests.append((name, "passed", ""))
        elif status == "disabled":
            tests.append((name, "skipped", "disabled"))
        elif message.startswith("SKIP_"):
            said = re.search(r"SKIPPED: *(.+)", case.findtext("system-out") or "")
            tests.append((name, "skipped", said.group(1) if said else "it gave no reason"))
        else:
            # Also a program that was not built, and a test whose fixture failed: ctest files them under "skipped".
            tests.append((name, "failed", message))
    return tests


def summarize(lanes):
    """lanes: [(name, seconds, tests)]. Returns the lines to print and how many failures there are."""
    lines = [f"{'lane':<12}{'ran':>6}{'passed':>8}{'failed':>8}{'skipped':>9}{'time':>8}"]
    details = []
    total = failures = 0
    for lane, seconds, tests in lanes:
        count = {outcome: sum(test[1] == outcome for test in tests) for outcome in ("passed", "failed", "skipped")}
        ran = count["passed"] + count["failed"]
        lines.append(f"{lane:<12}{ran:>6}{count['passed']:>8}{count['failed']:>8}{count['skipped']:>9}{seconds:>6} s")
        total += ran
        failures += count["failed"]
        if ran == 0:
            details.append(f"{lane}: FAILED, because no test ran")
            total += 1
            failures += 1
        for name, outcome, reason in tests:
            if outcome == "skipped":
                details.append(f"{lane}: skipped {name}: {reason}")
            elif outcome == "failed" or lane.startswith("vm"):
                details.append(f"{lane}: {outcome} {name}" + (f": {reason}" if reason else ""))
    # Rounded down: 100% is said only when nothing failed.
    percent = 100 * (total - failures) // total if total else 0
    lines += [""] + details + [""] if details else [""]
    lines.append(f"{percent}% tests passed, {failures} tests failed out of {total}")
    return lines, failures


def main(arguments):
    lanes = []
    for argument in arguments:
        lane, seconds, path = argument.split(":", 2)
        lanes.append((lane, seconds, read_lane(path)))
    lines, failures = summarize(lanes)
    print("\n".join(lines))
    return 1 if failures or not lanes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
