"""The loads that every proxy gets, and one measurement of one of them."""

import dataclasses
import json
import subprocess

import account
from place import ORIGIN, PROXY

PROXY_CORE, LOAD_CORE = 0, 1
# Load and origin share a core. By this policy (sched(7)) neither takes it from the other before that has to wait: else how
# often they do differs from run to run, and with it how much each finds when its turn comes.
BATCH = ["chrt", "--batch", "0"]


@dataclasses.dataclass(frozen=True)
class Load:
    name: str
    arguments: tuple
    door: str = "explicit"
    # What a step is; bulk has none, its bytes count.
    unit: str = ""
    # Seconds of the load before it is measured: what a proxy does once, at its first connections, is not what is asked for.
    warm: float = 0.3
    # Whether the cores may halt, as they do unless they are kept from it.
    halting: bool = False

    @property
    def kind(self):
        return self.arguments[0]

    @property
    def is_bulk(self):
        return self.kind == "bulk"


def through(door, mark):
    return [
        Load(f"tunnels{mark}", ("tunnels", "-c", "64"), door, "tunnels"),
        Load(f"tunnels{mark}, cores may halt", ("tunnels", "-c", "64"), door, "tunnels", halting=True),
        Load(f"bulk down 1{mark}", ("bulk", "-c", "1"), door),
        Load(f"bulk down 8{mark}", ("bulk", "-c", "8"), door),
        Load(f"bulk up 1{mark}", ("bulk", "-c", "1", "--upload"), door),
        Load(f"bulk up 8{mark}", ("bulk", "-c", "8", "--upload"), door),
        Load(f"echo 1{mark}", ("echo", "-c", "1"), door, "round trips"),
        Load(f"echo 1000{mark}", ("echo", "-c", "1000"), door, "round trips"),
    ]


LOADS = [
    *through("explicit", ""),
    Load("http", ("http", "-c", "64"), unit="requests"),
    # Until there are connections to every host.
    Load("http 64 hosts", ("http", "-c", "64", "--hosts", "64"), unit="requests", warm=2),
    *through("transparent", ", SNI"),
]


class Generator:
    """The load generator at work in a place."""

    def __init__(self, program, place):
        self.program = program
        self.place = place
        self.origin = place.start([*BATCH, program, "origin", "--listen", f"127.0.0.1:{ORIGIN}"], LOAD_CORE)
        place.wait_for(ORIGIN, self.origin)

    def command(self, arguments, door):
        # The firewall of a transparent place takes it to the proxy.
        proxy = ["--proxy", f"127.0.0.1:{PROXY}"] if door == "explicit" else []
        return [*BATCH, self.program, *arguments, *proxy]

    def run(self, arguments, door="explicit", seconds=None):
        """The report of one load; `door` is `direct` for none."""
        timed = [] if seconds is None else ["--seconds", str(seconds)]
        printed = self.place.run([*self.command(arguments, door), *timed], LOAD_CORE, timeout=900)
        return json.loads(printed.splitlines()[-1])

    def measure(self, load, process, seconds):
        """One sample: what the load saw, and what the proxy's CPU spent on each step, or each GB."""
        before = account.cpu_seconds(process.pid) if process else 0
        door = load.door if process else "direct"
        report = self.run(load.arguments, door, seconds)
        spent = account.cpu_seconds(process.pid) - before if process else 0
        done = report["gb"] if load.is_bulk else report["steps"]
        return {
            "rate": report["gb_s"] if load.is_bulk else report["rate"],
            "p50_us": report["p50_us"],
            "p99_us": report["p99_us"],
            "max_us": report["max_us"],
            # Seconds a GB, or microseconds a step.
            "cpu": spent / done * (1 if load.is_bulk else 1e6) if done else 0,
            "failed": sum(report["others"].values()),
        }

    def hold(self, count, seconds=600):
        """Opens tunnels that stay until the process is stopped."""
        command = self.command(["idle", "-c", str(count), "--seconds", str(seconds)], "explicit")
        process = self.place.start(command, LOAD_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return process, next_report(process)


def next_report(process):
    """Of a load that reports more than once: two lines, the second for machines."""
    process.stdout.readline()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(process.log.read_text())
    return json.loads(line)
