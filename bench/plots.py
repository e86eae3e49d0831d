# SPDX-License-Identifier: BSL-1.0
"""The plots of docs/performance.md, drawn by gnuplot. Without gnuplot there are none."""
import shutil
import subprocess

PEERS = [
    ("paddock", "#1b6ca8"),
    ("kernel steps", "#d1495b"),
    ("spinlock and list", "#edae49"),
    ("std::stop_source", "#66a182"),
    ("std::latch", "#8d6a9f"),
    ("std::atomic", "#7f7f7f"),
    ("floor", "#c8c8c8"),
]

# (file, group of the report, title, axis, rows with their labels, figure, logarithmic)
PLOTS = [
    (
        "one-thread",
        "Asking and signaling",
        "One thread",
        "locked read-modify-writes (log)",
        {
            "create in place": "create\\nin place",
            "is_signaled": "is_signaled",
            "signal": "signal",
            "add 1 and signal": "add 1 and\\nsignal",
            "add 8 and signal, each": "add 8 and\\nsignal, each",
            "add 64 and signal, each": "add 64 and\\nsignal, each",
            "get and put": "get\\nand put",
        },
        "rmw",
        True,
    ),
    (
        "taken-back",
        "Callbacks that are taken back",
        "Add a callback and take it back, one thread",
        "locked read-modify-writes a pair",
        {
            "add and remove, alone": "alone",
            "add and remove, 64 others": "64 others",
            "add 64, remove oldest first": "64, oldest\\nfirst",
            "add 64, remove newest first": "64, newest\\nfirst",
            "add 64, remove at random": "64, at\\nrandom",
        },
        "rmw",
        False,
    ),
    *(
        (
            f"two-threads-{distance}",
            "Two threads",
            f"Two threads, cores {distance}",
            "times one hop of a cache line (log)",
            {
                "add and remove, 2 threads": "add and\\nremove",
                "get and put, 2 threads": "get and\\nput",
                "signal to wake, spinning": "signal to wake,\\nspinning",
                "signal to wake, wait()": "signal to wake,\\nwait()",
            },
            f"{distance}_hops",
            True,
        )
        for distance in ("near", "far")
    ),
    (
        "crowd",
        "More threads than cores",
        "Adds to one fence, two cores",
        "nanoseconds an add takes the machine",
        {f"adds from {n} threads": f"{n} threads" for n in (2, 4, 8)},
        "ns",
        False,
    ),
    (
        "stalls",
        "More threads than cores",
        "Adds that took over 100 microseconds, two cores",
        "in a million adds",
        {f"adds from {n} threads": f"{n} threads" for n in (2, 4, 8)},
        "stalls_per_million",
        False,
    ),
]

SCRIPT = """set terminal svg size 1000,480 noenhanced font "sans-serif,12" background "white"
set output "{output}"
set title "{title}"
set ylabel "{axis}"
set style data histograms
set style histogram clustered gap 1.5
set style fill solid 0.9 noborder
set boxwidth 0.95
set key below horizontal maxrows 1
set grid ytics lc rgb "#dddddd"
set xtics nomirror
set ytics nomirror
set border 3
set tmargin 3
set bmargin 7
{scale}
$data << END
{data}
END
plot {series}
"""


def value_of(results, row, peer, figure):
    """The figure of the subject that begins so: "paddock, no time" is paddock's here, the lowest floor is the floor."""
    subjects = [s for s in results.subjects(row) if s == peer or s.startswith((f"{peer}, no time", f"{peer}: "))]
    values = [results.median(row, subject, figure) for subject in subjects]
    return min((value for value in values if value is not None), default=None)


def draw(results, folder):
    """Returns {group: [(file without suffix, title)]} of what was drawn."""
    if shutil.which("gnuplot") is None:
        return {}
    made = {}
    for name, group, title, axis, rows, figure, logarithmic in PLOTS:
        values = {row: [value_of(results, row, peer, figure) for peer, _ in PEERS] for row in rows}
        values = {row: of_row for row, of_row in values.items() if any(v is not None for v in of_row)}
        if not values:
            continue
        drawn = [i for i in range(len(PEERS)) if any(of_row[i] is not None for of_row in values.values())]
        data = "\n".join(
            f'"{rows[row]}" ' + " ".join("NaN" if of_row[i] is None else f"{of_row[i]:.4f}" for i in drawn)
            for row, of_row in values.items()
        )
        series = ", ".join(
            f'$data using {column}{":xtic(1)" if column == 2 else ""} title "{PEERS[i][0]}" lc rgb "{PEERS[i][1]}"'
            for column, i in enumerate(drawn, 2)
        )
        scale = "set logscale y\nset yrange [0.03:*]" if logarithmic else "set yrange [0:*]"
        output = folder / f"{name}.svg"
        script = SCRIPT.format(output=output, title=title, axis=axis, scale=scale, data=data, series=series)
        subprocess.run(["gnuplot"], input=script, text=True, check=True)
        drawing = output.read_text()
        output.write_text(drawing.replace("?>\n", "?>\n<!-- SPDX-License-Identifier: BSL-1.0 -->\n", 1))
        made.setdefault(group, []).append((name, title))
    return made
