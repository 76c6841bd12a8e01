"""Questions to the DNS door for a name that it knows."""

import account
import exeat as gate


def dns(bench, exeat):
    """The report of the load, and the microseconds of CPU for each question."""
    generator = bench.generator("explicit")
    with bench.started(exeat, "explicit") as process:
        arguments = ["dns", "-c", "200", "--server", f"127.0.0.1:{gate.DNS}"]
        generator.run(arguments, "direct", 0.2)
        before = account.cpu_seconds(process.pid)
        report = generator.run(arguments, "direct", bench.seconds)
        spent = account.cpu_seconds(process.pid) - before
    report["cpu"] = spent * 1e6 / max(report["steps"], 1)
    bench.say(f"dns: {report['rate']:.0f} a second, {report['cpu']:.1f} us of CPU each, {report['others']}")
    bench.samples.find("dns", report)
