"""A reload while tunnels are opened at a steady rate: no tunnel may fail, and none may wait long."""

import json
import subprocess
import time

import exeat as gate
from loads import LOAD_CORE

# Of what one core can do.
BUSY = 0.6


def reload(bench, exeat, rate, seconds, reloads):
    """{quiet: report, reloaded: report, reloads}; the first one has no reload, for what the machine does anyway."""
    generator, place = bench.generator("explicit"), bench.place("explicit")
    with bench.started(exeat, "explicit") as process:
        peak = generator.run(["tunnels", "-c", "64"], "explicit", bench.seconds)["rate"]
        # What the machine can't carry without a reload would say nothing of the reload.
        rate = int(min(rate, BUSY * peak))
        arguments = ["overload", "--rate", str(rate), "-c", "20000"]
        quiet = generator.run(arguments, "explicit", seconds)
        command = [*generator.command(arguments, "explicit"), "--seconds", str(seconds)]
        load = place.start(command, LOAD_CORE, stdout=subprocess.PIPE)
        for generation in range(1, reloads + 1):
            time.sleep(seconds / (2 * reloads + 1))
            gate.write_rules(process.directory, exeat.rules, generation)
            wait_for_reload(place, generation)
        printed = load.communicate(timeout=seconds + 60)[0].decode()
    reloaded = json.loads(printed.splitlines()[-1])
    finding = {"rate": rate, "rules": exeat.rules, "reloads": reloads, "quiet": quiet, "reloaded": reloaded}
    for name in ("quiet", "reloaded"):
        failed = sum(finding[name]["others"].values())
        bench.say(f"{name}: {finding[name]['max_us'] / 1000:.1f} ms at most, {failed} failed")
    bench.samples.find("reload", finding)


def wait_for_reload(place, generation):
    line = 'exeat_policy_reloads_total{result="success"} '
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        metrics = place.run(["curl", "-sS", f"http://127.0.0.1:{gate.ADMIN}/metrics"], LOAD_CORE)
        done = next(text[len(line):] for text in metrics.splitlines() if text.startswith(line))
        if float(done) >= generation:
            return
        time.sleep(0.1)
    raise SystemExit("the policy is not reloaded")
