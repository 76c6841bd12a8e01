#!/usr/bin/env python3
"""Gives an exeat that keeps a profile of itself the work that it is then to be built for: see `make release`.

Every load of the benches at both doors, clients with credentials, and questions to the DNS door; for a moment each. The
profile is written when exeat ends, so it is asked to, and not killed.
"""

import argparse
import contextlib
import pathlib
import subprocess

import exeat as gate
from auth import ways
from bench import Bench
from build import EXEAT, LOAD, build
from exeat import Exeat
from loads import LOADS

# An open tunnel may hold it up until `timeouts.drain` is over; here all have ended.
PATIENCE = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exeat", type=pathlib.Path, nargs="?", help="left out: one without a profile, to see that this works")
    parser.add_argument("--seconds", type=float, default=1, help="of one load")
    options = parser.parse_args()
    programs = build("dev", LOAD, *(() if options.exeat else (EXEAT,)))
    with Bench(programs["load"], None, 1, options.seconds) as bench:
        exeat = Exeat(options.exeat.resolve() if options.exeat else programs["exeat"])
        for door in ("explicit", "transparent"):
            with trained(bench, exeat, door) as work:
                for load in LOADS:
                    # The same work, however the cores wait for it.
                    if load.door == door and not load.halting:
                        work(load.arguments)
                if door == "explicit":
                    work(["dns", "-c", "200", "--server", f"127.0.0.1:{gate.DNS}"], "direct")
        for known, credentials in ways(bench, exeat).values():
            with trained(bench, known, "explicit") as work:
                work(["tunnels", "-c", "64", *credentials])
                work(["http", "-c", "64", *credentials])


@contextlib.contextmanager
def trained(bench, exeat, door):
    """What gives work to one that listens, and ends well."""
    with bench.started(exeat, door) as process:

        def work(arguments, through=door):
            report = bench.generator(door).run(arguments, through, bench.seconds)
            # A question may be lost on its way, as datagrams are where other programs take the cores' time.
            if not report["steps"] and not report["gb"] or report["others"].keys() - {"lost"}:
                raise SystemExit(f"{' '.join(map(str, arguments))}: {report}")
            bench.say(f"{door}: {' '.join(map(str, arguments[:3]))}")

        yield work
        process.terminate()
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"it had not ended {PATIENCE} s after it was asked to") from None
        if code != 0:
            raise SystemExit(f"it ended with {code}: {process.log.read_text()}")


if __name__ == "__main__":
    main()
