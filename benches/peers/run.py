#!/usr/bin/env python3
"""Measures exeat beside other proxies, in turn, on the same work, and writes a table and charts.

Each proxy runs alone on the first core with one worker; the load and the origin run on the second one.
Every load is run once on each proxy, then again, for some rounds; the medians are told. exeat runs with
all that a user would have on: 1,000 rules, the check of the server name, records to a file, metrics.
Everything stays on loopback and is bounded in time.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

import chart
import peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
ORIGIN_PORT = 9443
TICKS = os.sysconf("SC_CLK_TCK")

# name, the load's arguments, unit of work, whether its bytes are what counts
LOADS = [
    ("tunnels", ["tunnels", "-c", "64"], "tunnels", False),
    ("bulk down 1", ["bulk", "-c", "1"], "GB", True),
    ("bulk down 8", ["bulk", "-c", "8"], "GB", True),
    ("bulk up 1", ["bulk", "-c", "1", "--upload"], "GB", True),
    ("echo 1", ["echo", "-c", "1"], "round trips", False),
    ("echo 1000", ["echo", "-c", "1000"], "round trips", False),
    ("http", ["http", "-c", "64"], "requests", False),
    ("http 64 hosts", ["http", "-c", "64", "--hosts", "64"], "requests", False),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", help="comma-separated proxies")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/performance")
    options = parser.parse_args()
    load = build()
    wanted = options.only.split(",") if options.only else list(peers.ALL)
    with tempfile.TemporaryDirectory(prefix="exeat-peers-") as directory:
        directory = pathlib.Path(directory)
        present = [name for name in wanted if peers.ALL[name].is_installed()]
        for name in sorted(set(wanted) - set(present)):
            print(f"skipped out loud: {name} is not installed")
        origin = start(["1", str(load), "origin", "--listen", f"127.0.0.1:{ORIGIN_PORT}"])
        try:
            wait_for(ORIGIN_PORT)
            results = measure(load, present, directory, options)
        finally:
            stop(origin)
    report(results, present, options)


def build():
    """The load generator and exeat, in release mode."""
    cargo = ["cargo", "build", "--release", "--bins", "--bench", "load", "--message-format=short"]
    subprocess.run(cargo, cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    candidates = [path for path in (target / "release/deps").glob("load-*") if not path.suffix]
    return max(candidates, key=lambda path: path.stat().st_mtime)


def measure(load, names, directory, options):
    """{load: {proxy: [samples]}}, the proxies in turn within each round."""
    results = {name: {proxy: [] for proxy in names} for name, *_ in LOADS}
    for turn in range(options.rounds):
        for proxy in names:
            peer = peers.ALL[proxy]
            home = directory / f"{proxy}-{turn}"
            home.mkdir()
            # Some of them give up root on their own.
            os.chmod(directory, 0o755)
            os.chmod(home, 0o777)
            process = start(["0", *peer.command(home, ROOT)], home)
            try:
                wait_for(peer.port)
                for name, arguments, unit, is_bulk in LOADS:
                    sample = run(load, arguments, peer.port, process.pid, options.seconds, is_bulk)
                    results[name][proxy].append(sample)
                    print(f"round {turn + 1} {proxy:10} {name:14} {sample}", flush=True)
            finally:
                stop(process)
    return results


def run(load, arguments, port, pid, seconds, is_bulk):
    """One load: its rate, its 99th percentile, and the proxy's CPU time for each unit of work."""
    command = ["taskset", "-c", "1", str(load), *arguments, "--proxy", f"127.0.0.1:{port}"]
    command += ["--seconds", str(seconds)]
    before = cpu_seconds(pid)
    printed = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60).stdout
    spent = cpu_seconds(pid) - before
    fields = dict(re.findall(r"(\w+)=([\d.]+)", printed.replace("round trips", "trips")))
    done = float(fields["gb"]) if is_bulk else float(next(iter(fields.values())))
    return {
        "rate": float(fields["gb_s" if is_bulk else "rate"]),
        "p99_us": float(fields["p99_us"]),
        "cpu_us": spent * 1e6 / done if done else float("nan"),
        "failed": int(fields["failed"]),
    }


def cpu_seconds(pid):
    """Of a process and its children, as squid and nginx work in one."""
    total = 0
    for process in [pid, *children(pid)]:
        try:
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def start(command, home=None):
    log = open(home / "stderr", "wb") if home else subprocess.DEVNULL
    return subprocess.Popen(
        ["taskset", "-c", *command], stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
    )


def stop(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def report(results, names, options):
    """A table in Markdown and a chart for each load."""
    options.out.mkdir(parents=True, exist_ok=True)
    lines = ["| load | figure | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for name, _, unit, is_bulk in LOADS:
        medians = {proxy: median(results[name][proxy]) for proxy in names}
        rate, cpu = ("GB/s", "CPU s a GB") if is_bulk else (f"{unit}/s", f"CPU us each")
        number = (lambda value: f"{value:.2f}") if is_bulk else (lambda value: f"{value:,.0f}")
        scale = 1e-6 if is_bulk else 1
        cells = [number(medians[proxy]["rate"]) for proxy in names]
        lines.append(f"| {name} | {rate} | " + " | ".join(cells) + " |")
        cells = [f"{medians[proxy]['cpu_us'] * scale:.3g}" for proxy in names]
        lines.append(f"| | {cpu} | " + " | ".join(cells) + " |")
        if not is_bulk:
            cells = [f"{medians[proxy]['p99_us'] / 1000:.2f}" for proxy in names]
            lines.append("| | p99 ms | " + " | ".join(cells) + " |")
        bars = {proxy: medians[proxy]["rate"] for proxy in names}
        svg = options.out / f"{name.replace(' ', '-')}.svg"
        svg.write_text(chart.bars(f"{name}: {rate}, more is better", bars))
    text = "\n".join(lines) + "\n"
    (options.out / "peers.md").write_text(text)
    print("\n" + text)


def median(samples):
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


if __name__ == "__main__":
    if os.cpu_count() < 2 or not shutil.which("taskset"):
        raise SystemExit("needs two cores, and taskset from the package util-linux")
    main()
