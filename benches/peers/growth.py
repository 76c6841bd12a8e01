"""How the cost of a tunnel grows with rules, profiles and open tunnels."""

import dataclasses

import account
from loads import Load

TUNNELS = Load("tunnels", ("tunnels", "-c", "64"), unit="tunnels")
RULES = (10, 1_000, 10_000, 100_000, 1_000_000)
PROFILES = (1, 10, 100, 1_000)
FLOWS = (0, 1_000, 10_000, 40_000)
# It compares a name with one rule after the other.
RULES_OF_SMOKESCREEN = (1, 100, 1_000, 10_000)


def growth(bench, exeat, smokescreen, small):
    """{what: {size: [samples]}}, the sizes in turn within each round."""
    cut = (lambda sizes: sizes[:2]) if small else (lambda sizes: sizes)
    curves = {
        "rules": [(size, dataclasses.replace(exeat, rules=size), 0) for size in cut(RULES)],
        "profiles": [(size, dataclasses.replace(exeat, profiles=size), 0) for size in cut(PROFILES)],
        "flows": [(size, exeat, size) for size in cut(open_flows(bench))],
    }
    if smokescreen and smokescreen.is_installed():
        curves["smokescreen"] = [(size, smokescreen, 0) for size in cut(RULES_OF_SMOKESCREEN)]
    for what, points in curves.items():
        results = {str(size): [] for size, *_ in points}
        for turn in range(bench.rounds):
            for size, proxy, held in points:
                if what == "smokescreen":
                    proxy.rules = size
                measured = point(bench, proxy, held)
                bench.say(f"{what} {size}, round {turn + 1}: {measured['rate']:.0f} a second")
                results[str(size)].append(measured)
        bench.samples.find(f"growth, {what}", results)


def point(bench, proxy, held):
    generator = bench.generator("explicit")
    with bench.started(proxy, "explicit") as process:
        load = generator.hold(held)[0] if held else None
        account.settle(process.pid)
        generator.run(TUNNELS.arguments, "explicit", min(0.3, bench.seconds))
        measured = generator.measure(TUNNELS, process, bench.seconds)
        if load:
            bench.place("explicit").stop(load)
    return measured


def open_flows(bench):
    """As many as a process may hold here."""
    able = [size for size in FLOWS if size <= bench.tunnels_max]
    return able if len(able) == len(FLOWS) else [*able, bench.tunnels_max]
