#!/usr/bin/env python3
"""Measures exeat beside other proxies on the same work, and writes tables and charts.

Each proxy runs alone on the first core with one worker; the load and the origin run on the second one. All of
it happens in network namespaces of its own, and is bounded in count or time. exeat runs with all that a user
would have on: 1,000 rules, the check of the server name, records to a file, metrics; the others without records, and
where these count also with them.
What was measured is kept in a file, so that parts can be measured one after the other.
"""

import argparse
import dataclasses
import pathlib
import tempfile

import peers
import recording
import report
from auth import auth
from bench import Bench
from build import EXEAT, LOAD, ROOT, build
from compare import compare
from dns import dns
from exeat import Exeat
from flat import flat
from growth import growth
from idle import idle
from leak import leak
from overload import overload
from reload import reload
from samples import Samples, machine, version

PARTS = ("compare", "idle", "growth", "flat", "reload", "overload", "leak", "dns", "auth")


def main():
    options = arguments()
    if options.smoke:
        with tempfile.TemporaryDirectory() as directory:
            samples = measured(options, pathlib.Path(directory))
            report.write(samples, pathlib.Path(directory))
            insist(samples)
        return
    samples = Samples(options.out / "samples.json") if options.report else measured(options, options.out)
    report.write(samples, options.out)
    print((options.out / "peers.md").read_text())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)}")
    parser.add_argument("--loads", default="", help="of `compare`: only those that begin so, comma-separated")
    parser.add_argument("--only", help="only these proxies, comma-separated")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help="g3proxy, smokescreen")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of one load")
    parser.add_argument("--exeat", type=pathlib.Path, help="take this one, do not build it: that of `make release`, say")
    parser.add_argument("--load", type=pathlib.Path, help="and this load generator")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/performance")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report anew")
    parser.add_argument("--smoke", action="store_true", help="a moment of everything, to see that it works")
    options = parser.parse_args()
    if not set(options.parts) <= set(PARTS):
        parser.error(f"the parts are: {', '.join(PARTS)}")
    if options.smoke:
        options.rounds, options.seconds = 1, 0.2
    known = [peer.name for peer in peers.GIVEN]
    for name, _, path in (peer.partition("=") for peer in options.peer):
        if name not in known:
            parser.error(f"--peer knows {', '.join(known)}")
        for peer in (*peers.GIVEN, *recording.GIVEN):
            if peer.name.startswith(name):
                peer.program = str(pathlib.Path(path).resolve())
    return options


def measured(options, out):
    given = {name: path.resolve() for name, path in (("exeat", options.exeat), ("load", options.load)) if path}
    missing = [target for target in (EXEAT, LOAD) if target[1] not in given]
    # Each by itself, or exeat would have of its dependencies what only the load needs. A smoke takes what the tests have built.
    calls = [missing] if options.smoke else [[target] for target in missing]
    programs = dict(given)
    for targets in filter(None, calls):
        programs |= build("dev" if options.smoke else "release", *targets)
    samples = Samples(out / "samples.json")
    samples.machine = machine()
    with Bench(programs["load"], samples, options.rounds, options.seconds) as bench:
        measure(bench, Exeat(programs["exeat"]), options)
    return samples


def measure(bench, exeat, options):
    wanted = options.parts or PARTS
    smoke = options.smoke
    if "compare" in wanted or "idle" in wanted:
        proxies = chosen(bench, exeat, options)
    if "compare" in wanted:
        compare(bench, options.loads.split(","), proxies)
    if "idle" in wanted:
        # exeat looks at a tunnel 10 and 30 s after it was dialled, and then no more.
        idle(bench, proxies, *((100, 0.1, 0) if smoke else (40_000, 5, 35)))
    if "growth" in wanted:
        growth(bench, exeat, next(peer for peer in peers.GIVEN if peer.name == "smokescreen"), smoke)
    if "flat" in wanted:
        flat(bench, exeat, 50 if smoke else 2_000, smoke)
    if "reload" in wanted:
        large = dataclasses.replace(exeat, rules=1_000 if smoke else 1_000_000)
        reload(bench, large, *((200, 1, 1) if smoke else (10_000, 10, 2)))
    if "overload" in wanted:
        overload(bench, exeat, 0.3 if smoke else 5)
    if "leak" in wanted:
        leak(bench, exeat, 2_000 if smoke else 1_000_000)
    if "dns" in wanted:
        dns(bench, exeat)
    if "auth" in wanted:
        auth(bench, exeat, 50 if smoke else 2_000)


def chosen(bench, exeat, options):
    """The proxies that take part. Those that should and can't are told of, here and in the report."""
    bare = [peers.Bare(bench.load), peers.Bare(bench.load, "bare splice", True, ("bulk",))]
    proxies = [exeat, *bare, *peers.DEBIAN, *peers.GIVEN, *recording.DEBIAN, *recording.GIVEN]
    if options.only:
        proxies = [proxy for proxy in proxies if proxy.name in options.only.split(",")]
    missing = [proxy.name for proxy in proxies if not proxy.is_installed()]
    for name in missing:
        bench.skip(f"{name} is not installed")
    if not options.only:
        bench.samples.missing = missing
        bench.samples.versions = {peer.name: version(peer.name) for peer in peers.DEBIAN if version(peer.name)}
    return [proxy for proxy in proxies if proxy.name not in missing]


def insist(samples):
    """Of a smoke: each load has to have gone through exeat, at least a step of it. How fast, is of no account."""
    for load, results in samples.loads.items():
        for sample in results["exeat"]:
            if sample["rate"] <= 0 or sample["failed"]:
                raise SystemExit(f"{load} does not work: {sample}")
    print(f"works: {', '.join([*samples.loads, *samples.findings])}")


if __name__ == "__main__":
    main()
