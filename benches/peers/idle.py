"""What a tunnel costs in which nothing happens: memory before and after bytes went through it, and CPU time."""

import time

import account
from loads import next_report


def idle(bench, proxies, count, seconds):
    """{proxy: {tunnels, kb, kb_touched, kernel_kb, idle_cpu}}; CPU is seconds for each second, of all tunnels."""
    figures = {}
    for proxy in proxies:
        if not proxy.serves("explicit") or (getattr(proxy, "only", ()) and "idle" not in proxy.only):
            continue
        tunnels = min(count, proxy.tunnels_max, bench.tunnels_max)
        figures[proxy.name] = of_one(bench, proxy, tunnels, seconds)
        shown = ", ".join(f"{key} {value:.4g}" for key, value in figures[proxy.name].items())
        bench.say(f"idle, {proxy.name}: {shown}")
    bench.samples.find("idle", figures)


def of_one(bench, proxy, tunnels, seconds):
    generator = bench.generator("explicit")
    with bench.started(proxy, "explicit") as process:
        # The first tunnels pay for what all share.
        warm, _ = generator.hold(64)
        bench.place("explicit").stop(warm)
        time.sleep(0.5)
        before = account.memory_bytes(process.pid)
        load, report = generator.hold(tunnels)
        try:
            held = report["steps"]
            time.sleep(1)
            after = account.memory_bytes(process.pid)
            cpu = account.cpu_seconds(process.pid)
            time.sleep(seconds)
            spent = account.cpu_seconds(process.pid) - cpu
            load.stdin.write(b"touch\n")
            load.stdin.flush()
            touched_report = next_report(load)
            time.sleep(1)
            touched = account.memory_bytes(process.pid)
            files, pipes = account.open_files(process.pid)
        finally:
            bench.place("explicit").stop(load)
    each = 1000 * max(held, 1)
    return {
        "tunnels": held,
        "kb": (after - before) / each,
        "kb_touched": (touched - before) / each,
        "failed": sum(report["others"].values()) + sum(touched_report["others"].values()),
        "idle_cpu": spent / seconds,
        "files": files,
        "pipes": pipes,
    }
