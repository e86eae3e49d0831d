#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Says what the benchmarks found: report.py [--check] RESULTS.json... [--guest RESULTS.json...] [--into FOLDER]

Reads what bench_fence, bench_resv, bench_buffer, bench_route, bench_bridge and compile_time.py wrote on one machine, and
what bench_kernel, bench_ioctls and bench_bridge did on others, prints a table, and with --into writes FOLDER/performance.md, and below FOLDER/performance
its figures as JSON and its plots. No number makes it fail; with --check, missing and senseless ones do: every row and
every subject that a target names must be there.
"""
import argparse
import json
import math
import statistics
import sys
from pathlib import Path

import plots
from targets import BEYOND, GROUPS, TARGETS, UNITS, WHY

DISTANCES = {"near": "near_ns", "far": "far_ns"}
# What says where a file comes from; results of several machines or builds do not go into one table.
MACHINE = ("cpu", "cpu_flags_hypervisor", "usable_cpus", "kernel", "compiler", "flags", "paddock")


# --- reading ----------------------------------------------------------------------------------------------------------


class Results:
    """figures[row][subject][figure]: one value a repetition."""

    def __init__(self, files, guests=()):
        self.figures = {}
        self.failures = {}
        contexts = [self.read(file) for file in files]
        self.context = contexts[0]
        for file, context in zip(files, contexts):
            for key in MACHINE:
                if context.get(key, self.context[key]) != self.context[key]:
                    sys.exit(f"{file}: {key} is {context[key]}, and {self.context[key]} in {files[0]}")
        self.compilers = next((context["compilers"] for context in contexts if "compilers" in context), {})
        self.guests = {Path(guest).stem: self.read(guest) for guest in guests}
        # What one machine leaves out another one may have.
        self.errors = [
            f"{row}, {subject}: {message}"
            for (row, subject), message in self.failures.items()
            if not message.startswith("left out") or subject not in self.figures.get(row, {})
        ]

    def read(self, file):
        read = json.loads(Path(file).read_text())
        # They were shuffled; the tables have them in the order in which they are registered.
        for run in sorted(read["benchmarks"], key=lambda run: run["family_index"]):
            if run.get("run_type") == "aggregate":
                continue
            row, subject = run["name"].removesuffix("/iterations:1/manual_time").split("/", 1)
            if run.get("error_occurred"):
                self.failures[row, subject] = run["error_message"]
                continue
            figures = self.figures.setdefault(row, {}).setdefault(subject, {})
            for name, value in run.items():
                if isinstance(value, float) and name not in ("real_time", "cpu_time"):
                    figures.setdefault(name, []).append(value)
        return read["context"]

    def median(self, row, subject, figure):
        values = self.figures.get(row, {}).get(subject, {}).get(figure)
        return statistics.median(values) if values else None

    def spread(self, row, subject, figure):
        """The distance between the quartiles, as a part of the median."""
        values = self.figures[row][subject][figure]
        middle = statistics.median(values)
        if len(values) < 3 or middle == 0:
            return 0.0
        quartiles = statistics.quantiles(values, n=4)
        return (quartiles[2] - quartiles[0]) / middle

    def subjects(self, row):
        """paddock first, then floors, then peers."""
        return sorted(
            self.figures.get(row, {}), key=lambda name: (not name.startswith("paddock"), not name.startswith("floor"))
        )


# --- judging ----------------------------------------------------------------------------------------------------------


def judge(results, target):
    """Yields (words, value, met) for a target; near and far apart, and nothing where nothing was measured."""
    figures = DISTANCES.items() if target.figure == "near and far" else [("", target.figure)]
    for distance, figure in figures:
        value = results.median(target.row, target.subject, figure)
        if value is None:
            continue
        where = f", {distance}" if distance else ""
        if target.against is None:
            words = f"at most {target.limit:g} {UNITS[target.figure]}{where}"
        else:
            row, _, subject = target.against.rpartition("/")
            other = results.median(row or target.row, subject, figure)
            if other is None:
                continue
            what = {"p99_ns": ", 99th percentile", "signaler_ns": ", for the signaler", "stalls_per_million": " in stalls"}
            what = what.get(figure, "")
            words = f"at most {target.limit:.3g}x {target.against.replace('/', ': ')}{what}{where}"
            value = value / other if other else (0.0 if value == 0 else math.inf)
        # A time that is missed by so little is not missed; instructions are exact.
        yield words, value, value <= target.limit * (1 if figure == "instructions" else 1.005)


def judgements(results):
    return [
        {
            "row": target.row,
            "subject": target.subject,
            "target": words,
            "value": round(value, 4),
            "limit": target.limit,
            "figure": target.figure,
            "met": met,
        }
        for target in TARGETS
        for words, value, met in judge(results, target)
    ]


def figure_of(value, figure=None):
    if figure == "instructions" and value < 100:  # A ratio of whole numbers, which the hundredths of are looked at.
        return f"{value:.3f}"
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def verdict(judged):
    value = figure_of(judged["value"], judged["figure"])
    if judged["met"]:
        return f"met: {value}"
    if not math.isfinite(judged["value"]):
        return "MISSED"
    return f"MISSED by {judged['value'] / judged['limit'] - 1:.0%}: {value}"


# --- printing ---------------------------------------------------------------------------------------------------------


def shown(group):
    """The columns of a group: [(heading, figure)]."""
    if group.figure == "near and far":
        return [("near, ns", "near_ns"), ("near, hops", "near_hops"), ("far, ns", "far_ns"), ("far, hops", "far_hops")]
    if group.title == "More threads than cores":
        return [("ns", "ns"), ("99th percentile, ns", "p99_ns"), ("stalls in a million", "stalls_per_million")]
    if group.title == "Asleep":
        return [("ns", "ns"), ("of it the signaler's, ns", "signaler_ns")]
    if group.figure == "bytes":
        return [("bytes", "bytes")]
    if group.figure == "instructions":
        return [("instructions", "instructions"), ("more", "more")]
    if group.title == "A bridge with 10,000 pending":
        return [("ns", "ns"), ("99th percentile, ns", "p99_ns")]
    if group.figure == "cpu_s":
        return [("CPU, s", "cpu_s")]
    return [("ns", "ns"), ("RMW", "rmw")]


def against_one(results, row, subject, figure, one):
    """How many times that one's figure the subject's is."""
    if one == "paddock":
        return against_paddock(results, row, subject, figure)
    base = results.median(row, one, figure)
    return results.median(row, subject, figure) / base if base and subject != one else None


def against_paddock(results, row, subject, figure):
    """How many times as long the subject takes."""
    if subject.startswith("paddock"):
        return None
    # Like with like, where a row has several of paddock's: a signal that takes the time with one that does.
    variant = subject.partition(", ")[2]
    like = (f"paddock, {variant}", "paddock", "paddock, no time")
    ours = next((results.median(row, name, figure) for name in like if name in results.figures[row]), None)
    theirs = results.median(row, subject, figure)
    return theirs / ours if ours and theirs else None


def lead_figures(group):
    return list(DISTANCES.values()) if group.figure == "near and far" else [group.figure]


def table(results, group):
    """(headings, lines) of a group."""
    columns = shown(group)
    leads = lead_figures(group) if group.one else []
    is_one = f"{group.one}'s is 1".removeprefix("floor: ")
    ratio = [f"{is_one}, {name}" for name in DISTANCES] if len(leads) > 1 else [is_one] * len(leads)
    headings = ["Operation", "Who"] + [heading for heading, _ in columns] + ratio
    lines = []
    for row in group.rows:
        name = row
        for subject in results.subjects(row):
            cells = [name, subject]
            name = ""
            for _, figure in columns:
                value = results.median(row, subject, figure)
                cells.append("" if value is None else figure_of(value))
            for figure in leads:
                value = against_one(results, row, subject, figure, group.one)
                cells.append("" if value is None else figure_of(value, figure))
            lines.append(cells)
    return headings, lines


def words_of(results, group):
    guests = dict.fromkeys(("kernel", "ioctls", "bridge"), "")
    guests |= {name: f"{guest['kernel']} on a {guest['cpu']}" for name, guest in results.guests.items()}
    return group.words.format(
        **guests,
        compilers=", ".join(f"{name} {version}" for name, version in results.compilers.items()),
    )


def print_table(headings, lines):
    widths = [max(len(line[i]) for line in [headings, *lines]) for i in range(len(headings))]
    for line in [headings, *lines]:
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))]
        print("  " + "  ".join(cells).rstrip())


def print_report(results, judged):
    for group in GROUPS:
        headings, lines = table(results, group)
        if lines:
            print(f"\n{group.title}. {words_of(results, group)}")
            print_table(headings, lines)
    print("\nTargets")
    print_table(
        ["Operation", "Target", "In this run"],
        [[each["row"] + each["subject"].removeprefix("paddock"), each["target"], verdict(each)] for each in judged],
    )
    met = sum(each["met"] for each in judged)
    print(f"\n{met} of {len(judged)} targets met. RMW: one uncontended locked read-modify-write, timed beside each batch.")
    for error in results.errors:
        print(error)


# --- writing ----------------------------------------------------------------------------------------------------------


def machine(context):
    virtual = ", virtualised" if context.get("cpu_flags_hypervisor") == "yes" else ""
    return (
        f"{context['cpu']}{virtual}, {context['usable_cpus']} processors; {context['kernel']}; {context['compiler']}, "
        f"`{context['flags'].strip()}`; paddock {context['paddock']}; {context['date'][:10]}"
    )


def markdown_table(headings, lines):
    rule = [":--", ":--"] + ["--:"] * (len(headings) - 2)
    return ["| " + " | ".join(line).replace("<", "&lt;") + " |" for line in [headings, rule, *lines]]


def faster_peers(results):
    """[(row, and how far apart the cores were; peer; how many times paddock's time; why)], floors left out."""
    found = []
    for group in GROUPS:
        for row in group.rows if group.figure != "instructions" else []:  # The raw call is what is wrapped, no peer.
            for subject in results.subjects(row):
                if subject.startswith(("paddock", "floor")):
                    continue
                why = next((w for (r, p), w in WHY.items() if row.startswith(r) and subject == p), "")
                for figure in lead_figures(group):
                    ratio = against_paddock(results, row, subject, figure)
                    if ratio is not None and ratio < 0.95:
                        distance = next((f", {name}" for name, f in DISTANCES.items() if f == figure), "")
                        found.append((row + distance, subject, ratio, why))
    return found


PREFACE = """# What paddock costs

Written by `./run bench`, which prints the same and measures on your machine. It shows and never judges a build: no test
depends on a time. The figures behind this page are in [performance/figures.json](performance/figures.json).

The unit is one uncontended locked read-modify-write, **RMW**, timed beside each batch: nanoseconds change with the
processor's mood, and the ratio does not. Each figure is a median over repetitions that are shuffled among those of all
other measurements. Between two threads the distance of their cores decides, and on a virtual machine it changes while
one looks. So a bare cache line is thrown to and fro around each batch; **near** and **far** batches are told apart by
it, and a **hop** is what the line took one way.

"Kernel steps" repeats, lock for lock, what the kernel's dma_fence does, in userspace. "Spinlock and list" is that idea
written for userspace, with one locked instruction an operation. Rows named "floor" are no peers but what the operation
must cost at least. `bench/peers` has them all. How many instructions, locked ones, system calls and allocations an
operation of paddock takes is no matter of time: `tests/count` counts them, and fails when they change. What an ioctl
takes is the kernel's instructions above all, so wrappers are compared with all of them, counted by an emulator.
"""


def write_page(results, judged, folder, plots_made):
    lines = [PREFACE, f"Machine: {machine(results.context)}.", ""]
    met = sum(each["met"] for each in judged)
    lines += [f"## Targets: {met} of {len(judged)} met", ""]
    lines += markdown_table(
        ["Operation", "Target", "In this run"],
        [
            [each["row"] + each["subject"].removeprefix("paddock"), each["target"].replace("|", ""), verdict(each)]
            for each in judged
        ],
    )
    beyond = [(row, why) for row, why in BEYOND.items() if results.median(row, "paddock", "instructions")]
    if beyond:
        lines += ["", "## What does more than its ioctl", ""]
        lines += ["Those that make something, or keep account of it, have no target; the others miss theirs by what is said here.", ""]
        for row, why in beyond:
            ratio = results.median(row, "paddock", "instructions") / results.median(row, "raw ioctl", "instructions")
            more = figure_of(results.median(row, "paddock", "more"))
            lines.append(f"- **{row.removeprefix('ioctl: ')}**: {ratio:.3f} of it, {more} instructions more. {why}")
    faster = faster_peers(results)
    if faster:
        lines += ["", "## Where a peer is faster", ""]
        for row, peer, ratio, why in faster:
            lines.append(f"- **{row}**: {peer} takes {ratio:.2f} of paddock's time. {why}".rstrip())
    for group in GROUPS:
        headings, cells = table(results, group)
        if not cells:
            continue
        lines += ["", f"## {group.title}", "", words_of(results, group), ""]
        for name, title in plots_made.get(group.title, []):
            lines += [f"![{title}](performance/{name}.svg)", ""]
        lines += markdown_table(headings, cells)
    (folder / "performance.md").write_text("\n".join(lines) + "\n")


def write_figures(results, judged, file):
    rows = {
        row: {
            subject: {
                figure: {"median": round(results.median(row, subject, figure), 4),
                         "spread": round(results.spread(row, subject, figure), 4)}
                for figure in figures
            }
            for subject, figures in sorted(subjects.items())
        }
        for row, subjects in sorted(results.figures.items())
    }
    context = {key: results.context[key] for key in ("date", *MACHINE)}
    context["guests"] = {
        name: {key: guest[key] for key in ("cpu", "usable_cpus", "kernel")} for name, guest in results.guests.items()
    }
    context["repetitions"] = max(len(v) for s in results.figures.values() for f in s.values() for v in f.values())
    file.write_text(json.dumps({"machine": context, "targets": judged, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


# --- checking ---------------------------------------------------------------------------------------------------------


def complaints(results):
    found = []
    # A machine may lack a second core, or the right to trace; then whole rows are left out.
    found += [error for error in results.errors if "left out" not in error]
    for row, subjects in results.figures.items():
        if not any(row in group.rows for group in GROUPS):
            found.append(f"{row}: no table shows this row")
        for subject, figures in subjects.items():
            for figure, values in figures.items():
                least = {"stalls_per_million": 0, "more": -math.inf}.get(figure, sys.float_info.min)
                if not all(math.isfinite(v) and v >= least for v in values):
                    found.append(f"{row}, {subject}: {figure} is {values}")
    for target in TARGETS:
        row, _, subject = (target.against or "").rpartition("/")
        for row, subject in ((target.row, target.subject), (row or target.row, subject or target.subject)):
            left_out = any(error.startswith(f"{row}, {subject}: left out") for error in results.errors)
            if subject not in results.figures.get(row, {}) and not left_out:
                found.append(f"{row}, {subject}: a target names it, and nothing was measured")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+")
    parser.add_argument("--guest", nargs="+", default=[])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()

    results = Results(arguments.results, arguments.guest)
    if arguments.check:
        found = complaints(results)
        print("\n".join(found) or f"{sum(map(len, results.figures.values()))} measurements are there and make sense")
        if found:
            return 1
    judged = judgements(results)
    print_report(results, judged)
    if arguments.into:
        below = arguments.into / "performance"
        below.mkdir(parents=True, exist_ok=True)
        made = plots.draw(results, below)
        write_page(results, judged, arguments.into, made)
        write_figures(results, judged, below / "figures.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
