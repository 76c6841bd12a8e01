"""What a tunnel costs in which nothing happens: memory before and after bytes went through it, and CPU time."""

import contextlib
import math
import time

import account
from loads import next_report


def idle(bench, proxies, count, seconds, youth):
    """{proxy: {tunnels, processes, kb, kb_touched, idle_cpu, ...}}; CPU is seconds for each second, of all tunnels, once they
    are that many seconds old."""
    figures = {}
    for proxy in proxies:
        if not proxy.serves("explicit") or (getattr(proxy, "only", ()) and "idle" not in proxy.only):
            continue
        figures[proxy.name] = of_one(bench, proxy, min(count, proxy.tunnels_max), seconds, youth)
        shown = ", ".join(f"{key} {value:.4g}" for key, value in figures[proxy.name].items())
        bench.say(f"idle, {proxy.name}: {shown}")
    bench.samples.find("idle", figures)


def of_one(bench, proxy, tunnels, seconds, youth):
    """Where no process may open files enough for all of them, several side by side hold a part each."""
    processes = math.ceil(tunnels / bench.tunnels_max)
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(Holder.started(bench, proxy, number)) for number in range(processes)]
        before = sum(holder.memory() for holder in holders)
        for number, holder in enumerate(holders):
            holder.hold(tunnels // processes + (number < tunnels % processes))
        settle(holders)
        held = max(sum(holder.held for holder in holders), 1)
        after = sum(holder.memory() for holder in holders)
        time.sleep(youth)
        cpu = sum(holder.cpu() for holder in holders)
        time.sleep(seconds)
        spent = sum(holder.cpu() for holder in holders) - cpu
        for holder in holders:
            holder.touch()
        settle(holders)
        touched = sum(holder.memory() for holder in holders)
        files, pipes = map(sum, zip(*(account.open_files(holder.proxy.pid) for holder in holders)))
        failed = sum(holder.failed for holder in holders)
    return {
        "tunnels": held,
        "processes": processes,
        "kb": (after - before) / held / 1000,
        "kb_touched": (touched - before) / held / 1000,
        "failed": failed,
        "idle_cpu": spent / seconds,
        "files": files,
        "pipes": pipes,
    }


def settle(holders):
    for holder in holders:
        account.settle(holder.proxy.pid)


class Holder:
    """One process of the proxy in a network of its own, and the load that holds tunnels in it."""

    def __init__(self, place, generator, proxy):
        self.place, self.generator, self.proxy = place, generator, proxy
        self.load = None
        self.held = self.failed = 0
        # The first tunnels pay for what all share.
        warm, _ = generator.hold(64)
        place.stop(warm)
        account.settle(proxy.pid)

    @classmethod
    @contextlib.contextmanager
    def started(cls, bench, proxy, number):
        with bench.started(proxy, "explicit", number=number) as process:
            holder = cls(bench.place("explicit", number), bench.generator("explicit", number), process)
            try:
                yield holder
            finally:
                holder.let_go()

    def hold(self, count):
        self.load, report = self.generator.hold(count)
        self.held = report["steps"]
        self.failed += sum(report["others"].values())

    def touch(self):
        """Moves bytes through each tunnel."""
        self.load.stdin.write(b"touch\n")
        self.load.stdin.flush()
        self.failed += sum(next_report(self.load)["others"].values())

    def memory(self):
        return account.memory_bytes(self.proxy.pid)

    def cpu(self):
        return account.cpu_seconds(self.proxy.pid)

    def let_go(self):
        if self.load:
            self.place.stop(self.load)
