"""Side by side: every proxy gets every load, in turn, again and again."""

from loads import LOADS


def compare(bench, loads, proxies):
    """Each load on each proxy within each round, so that a change in the machine's mood meets them all."""
    for load in LOADS:
        if loads and not any(load.name.startswith(wanted) for wanted in loads):
            continue
        able = [proxy for proxy in proxies if can(proxy, load)]
        results = {proxy.name: [] for proxy in able}
        results["direct"] = []
        generator = bench.generator(load.door)
        with bench.mood(load.halting):
            for turn in range(bench.rounds):
                if load.door == "explicit":
                    results["direct"].append(sample(bench, generator, load, None, turn))
                for proxy in able:
                    results[proxy.name].append(sample(bench, generator, load, proxy, turn))
        bench.samples.replace(load.name, {name: samples for name, samples in results.items() if samples})


def can(proxy, load):
    only = getattr(proxy, "only", ())
    return proxy.serves(load.door) and (not only or load.kind in only)


def sample(bench, generator, load, proxy, turn):
    if proxy is None:
        measured = generator.measure(load, None, bench.seconds)
    else:
        with bench.started(proxy, load.door) as process:
            generator.run(load.arguments, load.door, min(load.warm, 4 * bench.seconds))
            measured = generator.measure(load, process, bench.seconds)
    name = proxy.name if proxy else "direct"
    shown = ", ".join(f"{key} {value:.4g}" for key, value in measured.items())
    bench.say(f"{load.name}, round {turn + 1}, {name}: {shown}")
    return measured
