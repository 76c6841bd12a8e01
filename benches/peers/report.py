"""From samples to tables in Markdown and charts."""

import statistics

import chart
import reached
from loads import LOADS

# What the comparison is against, and what no proxy with a policy can pass.
CEILINGS = ("direct", "bare relay", "bare splice")
# Between them in docs/performance.md stands what is to be reached.
MARKS = ("<!-- reached: written by `make bench-peers` -->", "<!-- /reached -->")
# Measured elsewhere, in the study that set the targets; rules, tunnels a second.
SMOKESCREEN_KNOWN = [(1, 3_600), (10_000, 107)]


def write(samples, out):
    out.mkdir(parents=True, exist_ok=True)
    parts = [
        "# Measured",
        "`make bench-peers` writes this page and its charts. [What it means](../performance.md).",
        about(samples),
        comparison(samples, out, "explicit", "By CONNECT, and plain HTTP"),
        comparison(samples, out, "transparent", "Redirected by a firewall, told apart by server name"),
        idle(samples),
        growth(samples, out),
        findings(samples, out),
    ]
    (out / "peers.md").write_text("\n\n".join(part for part in parts if part) + "\n")
    page = out.with_suffix(".md")
    if page.exists():
        before, mark, rest = page.read_text().partition(MARKS[0])
        _, end, after = rest.partition(MARKS[1])
        if mark and end:
            page.write_text(f"{before}{mark}\n{reached.table(samples)}\n{end}{after}")
    else:
        print(reached.table(samples))


def about(samples):
    machine = samples.machine
    versions = ", ".join(f"{name} {version}" for name, version in sorted(samples.versions.items()))
    lines = [
        f"On {machine.get('cores')} cores of {machine.get('cpu')}, Linux {machine.get('kernel')}: the proxy alone on one"
        " core with one worker, load and origin on the other. Rounds"
        f" of each load, of which the medians stand here: {rounds(samples)}; the proxies took turns."
        " All have the same 1,000 rules. exeat also writes a record of each flow to a file and counts metrics;"
        " the others write none, but where it says `with records` (Smokescreen has no switch for its own)."
    ]
    lines += [f"Packages of Debian: {versions}."] if versions else []
    lines += [
        "`direct` is no proxy at all; `bare relay` moves bytes as exeat does, without HTTP, policy, records or metrics;"
        " `bare splice` is a loop around splice(2) that shares no code with exeat."
    ]
    if samples.missing:
        lines += [f"**Not installed, so not measured: {', '.join(samples.missing)}.**"]
    return "\n".join(lines)


def rounds(samples):
    """How many there were, of one load or another."""
    counts = {len(measured) for results in samples.loads.values() for measured in results.values()}
    return " or ".join(map(str, sorted(counts))) or "no"


def comparison(samples, out, door, title):
    loads = [load for load in LOADS if load.door == door and load.name in samples.loads]
    if not loads:
        return ""
    names = sorted({name for load in loads for name in samples.loads[load.name]}, key=order)
    missing = [name for name in samples.missing if name in WANTED[door] and name not in names]
    lines = [f"## {title}", "", f"| load | figure | {' | '.join(names + missing)} |"]
    lines.append("|---|---|" + "---|" * len(names + missing))
    for load in loads:
        medians = [samples.median(load.name, name) for name in names]
        for index, (figure, cell) in enumerate(figures(load)):
            cells = [cell(median) if median else "" for median in medians] + ["not installed"] * len(missing)
            lines.append(f"| {load.name if index == 0 else ''} | {figure} | {' | '.join(cells)} |")
        draw(samples, load, out)
    links = " ".join(f"[{load.name}]({file_name(load)})" for load in loads)
    return "\n".join([*lines, "", f"As charts: {links}"])


WANTED = {
    "explicit": ("squid", "tinyproxy", "g3proxy", "smokescreen"),
    "transparent": ("haproxy", "nginx"),
}


def figures(load):
    """The rows of a load: their names, and what stands in a cell."""
    failed = ("failed", lambda median: f"{median['failed']:,.0f}")
    if load.is_bulk:
        return [
            ("GB/s", lambda median: f"{median['rate']:.2f}"),
            ("CPU s a GB", lambda median: f"{median['cpu']:.3f}"),
        ]
    return [
        (f"{load.unit}/s", lambda median: f"{median['rate']:,.0f}"),
        ("CPU us each", lambda median: f"{median['cpu']:.1f}"),
        ("p50 / p99 / max ms", lambda m: " / ".join(f"{m[key] / 1000:.3g}" for key in ("p50_us", "p99_us", "max_us"))),
        failed,
    ]


def draw(samples, load, out):
    rows = []
    for name in sorted(samples.loads[load.name], key=order):
        median = samples.median(load.name, name)
        kind = "ours" if name == "exeat" else "ceiling" if name in CEILINGS else "other"
        rows.append((name, median["rate"], kind))
    unit = "GB/s" if load.is_bulk else f"{load.unit} a second"
    (out / file_name(load)).write_text(chart.bars(load.name, f"{unit}; more is better", rows))


def file_name(load):
    return f"{load.name.replace(',', '').replace(' ', '-').lower()}.svg"


def order(name):
    """exeat, the peers, the ceilings."""
    return (2 if name in CEILINGS else 0 if name == "exeat" else 1, CEILINGS.index(name) if name in CEILINGS else 0, name)


def idle(samples):
    figures = samples.findings.get("idle")
    if not figures:
        return ""
    lines = [
        "## Idle tunnels", "",
        "User memory of a tunnel in which nothing moves, before and after 64 KiB went through it and back; CPU of all of"
        " them together while they are idle; file descriptors of the proxy, and how many of them are pipes. Where one process may"
        " not open files enough for all of them, several hold a part each.", "",
        "| proxy | tunnels | processes | KB each | after 64 KiB | CPU, % of a core | files | pipes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted(figures, key=order):
        one = figures[name]
        lines.append(
            f"| {name} | {one['tunnels']:,} | {one['processes']} | {one['kb']:.1f} | {one['kb_touched']:.1f} | {one['idle_cpu'] * 100:.1f} "
            f"| {one['files']:,} | {one['pipes']:,} |"
        )
    return "\n".join(lines)


CURVES = {
    "rules": ("rules", "Tunnels a second by the number of rules"),
    "profiles": ("profiles", "Tunnels a second by the number of profiles"),
    "flows": ("open tunnels", "Tunnels a second by the number of open tunnels"),
}


def growth(samples, out):
    lines = []
    for what, (across, title) in CURVES.items():
        curve = samples.findings.get(f"growth, {what}")
        if not curve:
            continue
        points = rates(curve)
        series = [("exeat", points, False)]
        if what == "rules":
            series.append(("Smokescreen, known before", SMOKESCREEN_KNOWN, True))
            measured = samples.findings.get("growth, smokescreen")
            series += [("Smokescreen, in this run", rates(measured), False)] if measured else []
        name = f"growth-{what}.svg"
        (out / name).write_text(chart.lines(title, across, "tunnels a second", series))
        lines += [f"![{title}]({name})", "", f"| {across} | tunnels/s | CPU us each | p99 ms |", "|---|---|---|---|"]
        for size in sorted(map(int, curve)):
            median = {key: statistics.median(one[key] for one in curve[str(size)]) for key in ("rate", "cpu", "p99_us")}
            lines.append(f"| {size:,} | {median['rate']:,.0f} | {median['cpu']:.1f} | {median['p99_us'] / 1000:.1f} |")
        lines.append("")
    return "\n".join(["## How the cost grows", "", *lines]) if lines else ""


def rates(curve):
    return [(int(size), statistics.median(one["rate"] for one in measured)) for size, measured in curve.items()]


def findings(samples, out):
    lines = []
    overload = samples.findings.get("overload")
    if overload:
        lines += [
            "## More than it can take", "",
            f"exeat held to {overload['cores']} of a core, where {overload['peak']:,.0f} tunnels a second are its peak (64 at a"
            " time). Then tunnels come at a rate of their own, whatever becomes of them. Times count from when a tunnel was due: a client that finds no place in the kernel's queue tries again after one,"
            " three and seven seconds. Once more by exeat's records: from the first byte of a tunnel that it accepted to its end.",
            "", "| offered | served/s | of the peak | p50 / p99 / max ms | p99 ms once accepted | what became of the rest |", "|---|---|---|---|---|---|",
        ]
        rows = [(f"{times} x", report) for times, report in overload["steps"].items()]
        rows.append((f"4 x, `limits.flows: {overload['limit']}`", overload["limited"]))
        for name, one in rows:
            rest = ", ".join(f"{what}: {count:,}" for what, count in one["others"].items())
            spread = " / ".join(f"{one[key] / 1000:,.0f}" for key in ("p50_us", "p99_us", "max_us"))
            share, accepted = f"{one['rate'] / overload['peak']:.0%}", one.get("accepted_p99_ms", "")
            lines.append(f"| {name} | {one['rate']:,.0f} | {share} | {spread} | {accepted} | {rest} |")
        lines.append("")
    if "dns" in samples.findings:
        dns = samples.findings["dns"]
        lines += [
            "## The DNS door", "",
            f"{dns['rate']:,.0f} questions a second for a name of the hosts file, from 200 clients, at {dns['cpu']:.1f} us of CPU each;"
            f" p99 {dns['p99_us'] / 1000:.1f} ms.", "",
        ]
    if "auth" in samples.findings:
        lines += [
            "## Clients that say who they are", "",
            "Tunnels of 64 clients at a time, each CONNECT with its credentials, which have been proved before; without, exeat has no `auth`.",
            "", "| known by | tunnels/s | CPU us each | p99 ms | instructions in user space |", "|---|---|---|---|---|",
        ]
        counts = samples.findings.get("auth, instructions", {})
        for who, measured in samples.findings["auth"].items():
            median = {key: statistics.median(one[key] for one in measured) for key in ("rate", "cpu", "p99_us")}
            instructions = f"{counts[who]:,.0f}" if who in counts else "not counted"
            lines.append(
                f"| {who} | {median['rate']:,.0f} | {median['cpu']:.1f} | {median['p99_us'] / 1000:.1f} | {instructions} |"
            )
    return "\n".join(lines)
