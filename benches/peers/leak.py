"""A great many flows, and what is left of them."""

import account


def leak(bench, exeat, flows):
    """{before, after}: file descriptors, pipes and memory after a twentieth of the flows, and after all."""
    generator = bench.generator("explicit")
    with bench.started(exeat, "explicit") as process:
        counts, failed = {}, 0
        for name, count in (("before", flows // 20), ("after", flows - flows // 20)):
            # Bytes that borrow pipes and buffers, and requests that leave connections in the pool.
            generator.run(["bulk", "-c", "32"], "explicit", 0.5)
            generator.run(["http", "-c", "64", "--hosts", "8"], "explicit", 0.5)
            report = generator.run(["tunnels", "-c", "256", "--count", str(count)], "explicit", 600)
            failed += sum(report["others"].values())
            counts[name] = settled(process)
            counts[name]["flows"] = report["steps"]
            bench.say(f"{name}: {counts[name]}")
    bench.samples.find("leak", {**counts, "failed": failed})


def settled(process):
    """Once its connections have ended."""
    account.settle(process.pid)
    files, pipes = account.open_files(process.pid)
    return {"files": files, "pipes": pipes, "bytes": account.memory_bytes(process.pid)}
