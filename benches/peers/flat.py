"""User-space instructions for each tunnel, which no other program on the machine changes: valgrind counts them."""

import dataclasses
import re
import shutil
import subprocess

import account

SIZES = {
    "10 rules": {"rules": 10},
    "1,000,000 rules": {"rules": 1_000_000},
    "1 profile": {"profiles": 1},
    "1,000 profiles": {"profiles": 1_000},
}
SMALL = {"10 rules": {"rules": 10}, "1,000 rules": {"rules": 1_000}}


def flat(bench, exeat, tunnels, small):
    """{size: instructions a tunnel}"""
    if not shutil.which("valgrind"):
        bench.skip("instructions for each tunnel: valgrind is not installed")
        return
    counts = {}
    for name, size in (SMALL if small else SIZES).items():
        counts[name] = count(bench, dataclasses.replace(exeat, **size), tunnels)
        bench.say(f"{name}: {counts[name]:.0f} instructions a tunnel")
    bench.samples.find("instructions", counts)


def count(bench, exeat, tunnels, more=()):
    place, generator = bench.place("explicit"), bench.generator("explicit")
    load = ["tunnels", "-c", "8", "--count", str(tunnels), *more]
    with bench.started(exeat, "explicit", before=callgrind(place)) as process:
        account.settle(process.pid)
        generator.run(load, "explicit", 120)
        control(place, "--instr=on", process)
        generator.run(load, "explicit", 120)
        control(place, "--dump", process)
        dumps = sorted(place.home.glob(f"callgrind.{process.pid}.*"))
        text = "".join(dump.read_text() for dump in dumps)
    total = sum(int(number) for number in re.findall(r"^(?:summary|totals): (\d+)", text, re.MULTILINE))
    return total / tunnels / len(re.findall(r"^(?:summary|totals):", text, re.MULTILINE)) * len(dumps)


def callgrind(place):
    output = place.home / "callgrind.%p"
    return [
        "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}",
        f"--vgdb-prefix={place.home}/vgdb",
    ]


def control(place, order, process):
    subprocess.run(
        ["callgrind_control", f"--vgdb-prefix={place.home}/vgdb", order, str(process.pid)],
        check=True, capture_output=True, timeout=120,
    )
