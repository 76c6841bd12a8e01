"""What every part of a measurement shares: places, the load generator in them, started proxies, samples."""

import contextlib
import os
import signal
import sys

from loads import PROXY_CORE, Generator
from place import PROXY, Place, raise_file_limit, stay_awake

# As services run. With either of these exeat's listener takes what TPROXY brings too, and asks each connection for its
# own address (IP_TRANSPARENT, ip(7)).
UNPRIVILEGED = ["setpriv", "--bounding-set=-net_admin,-net_raw"]


class Bench:
    def __init__(self, load, samples, rounds, seconds):
        self.load = load
        self.samples = samples
        self.rounds = rounds
        self.seconds = seconds
        self.tunnels_max = raise_file_limit()
        self.places = {}
        self.generators = {}

    def place(self, door, number=0):
        """Proxies that run at the same time have places of their own, which the number tells apart."""
        if (door, number) not in self.places:
            self.places[door, number] = Place(redirected=door == "transparent")
        return self.places[door, number]

    def generator(self, door, number=0):
        if (door, number) not in self.generators:
            self.generators[door, number] = Generator(self.load, self.place(door, number))
        return self.generators[door, number]

    @contextlib.contextmanager
    def started(self, proxy, door, before=(), number=0):
        """A proxy that listens; `before` is a program that runs it."""
        place = self.place(door, number)
        home = place.directory("proxy")
        place.wait_until_free(PROXY)
        process = place.start([*UNPRIVILEGED, *before, *proxy.command(home, door)], PROXY_CORE)
        process.directory = home
        try:
            place.wait_for(PROXY, process, 300)
            yield process
        finally:
            place.stop(process)

    @contextlib.contextmanager
    def mood(self, halting):
        """Lets the cores halt meanwhile, if they are to."""
        if halting and self.awake:
            self.awake.close()
        yield
        if halting and self.awake:
            self.awake = stay_awake()

    def say(self, text):
        print(text, flush=True)

    def skip(self, what):
        self.say(f"SKIPPED: {what}")

    def __enter__(self):
        if os.cpu_count() < 2:
            raise SystemExit("needs two cores: one for the proxy, one for the load")
        self.awake = stay_awake()
        if not self.awake:
            self.say("the cores may halt: round trips show how long it takes to wake them")
        # Whoever ends it, nothing of it may stay.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        return self

    def __exit__(self, *_):
        for place in self.places.values():
            place.close()
        if self.awake:
            self.awake.close()
