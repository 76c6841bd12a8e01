"""More than exeat can take: it must go on serving what it can, and leave or refuse the rest."""

import dataclasses
import json

from cgroup import Share

CORES = 0.2
TIMES = (0.5, 1, 2, 4)
# Far fewer than come at four times the peak.
LIMIT = 256


def overload(bench, exeat, seconds):
    """{peak, steps: {times: report}, limited: report}: held to a part of a core, with tunnels at a rate of their own."""
    steps, limited, peak = {}, {}, 0
    for name, held in (("free", exeat), ("limited", dataclasses.replace(exeat, flows=LIMIT))):
        with bench.started(held, "explicit") as process:
            share = Share.hold(process, CORES)
            if share is None:
                bench.skip("overload: needs leave to make a control group with the cpu controller")
                return
            generator = bench.generator("explicit")
            records = open(process.directory / "logs/records.jsonl")
            closed = generator.run(["tunnels", "-c", "64"], "explicit", seconds)["rate"]
            peak = max(peak, closed)
            for times in TIMES if name == "free" else TIMES[-1:]:
                arguments = ["overload", "--rate", str(times * peak), "-c", "20000", "--patience", "10"]
                records.seek(0, 2)
                report = generator.run(arguments, "explicit", seconds)
                report["accepted_p99_ms"] = p99(records)
                shown = f"{report['rate']:.0f} a second, p99 {report['p99_us'] / 1000:.0f} ms"
                shown += f", {report['accepted_p99_ms']} ms once accepted, {report['others']}"
                bench.say(f"overload, {name}, {times} x {peak:.0f}: {shown}")
                (steps if name == "free" else limited)[str(times)] = report
        share.release()
    finding = {"cores": CORES, "limit": LIMIT, "peak": peak, "steps": steps, "limited": limited["4"]}
    bench.samples.find("overload", finding)


def p99(records):
    """Milliseconds from the first byte of a tunnel that was let through to its end, as the new records tell."""
    flows = [json.loads(line) for line in records]
    times = sorted(flow["duration_ms"] for flow in flows if flow["verdict"] == "allow")
    return round(times[len(times) * 99 // 100]) if times else 0
