"""What a proxy costs: the CPU time, memory and file descriptors of its processes, as the kernel counts them."""

import os
import pathlib
import time

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    total = 0
    for process in family(pid):
        try:
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_bytes(pid):
    """Resident memory of its own; what processes share is counted in parts."""
    total = 0
    for process in family(pid):
        for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += 1024 * int(line.split()[1])
    return total


def open_files(pid):
    """How many file descriptors, and how many of them are ends of pipes."""
    links = []
    for process in family(pid):
        for entry in pathlib.Path(f"/proc/{process}/fd").iterdir():
            try:
                links.append(os.readlink(entry))
            except FileNotFoundError:
                continue
    return len(links), sum(link.startswith("pipe:") for link in links)


def settle(pid, patience=300):
    """Waits until it has neither computed nor opened nor closed anything for a second: what a proxy does once is not what a
    flow costs, as when exeat looks again at files that had just changed when it started, a million rules among them."""
    deadline = time.monotonic() + patience
    before = None
    while before != (now := (cpu_seconds(pid), open_files(pid))):
        if time.monotonic() > deadline:
            raise SystemExit(f"process {pid}: still at work after {patience} s")
        before = now
        time.sleep(1)


def family(pid):
    """The process and all that come from it."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except FileNotFoundError:
            continue  # A thread that has ended meanwhile.
        for child in map(int, children):
            found += family(child)
    return found
