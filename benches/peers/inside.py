"""What `exeat run` costs: the rates inside a jail beside those of the transparent door, and the time of a start.

    benches/peers/inside.py EXEAT LOAD [ROUNDS]

EXEAT is a release build, LOAD the program of `cargo bench --bench load --no-run`. Needs root, ip and iptables.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ORIGIN = "10.99.0.1"
DOOR = 3129
LOADS = {
    "tunnels, 64 at once": (["tunnels", "-c", "64"], "rate", "/s"),
    "bulk, 1 stream": (["bulk", "-c", "1"], "gb_s", "GB/s"),
    "bulk, 8 streams": (["bulk", "-c", "8"], "gb_s", "GB/s"),
    "echo of 1 KiB, 1 tunnel": (["echo", "-c", "1"], "rate", "/s"),
}
STARTS = 60


class Place:
    """A network in which the origin has an address that is not loopback's: that would be the jail's own."""

    def __init__(self, home):
        up = f"ip link set lo up; ip address add {ORIGIN}/32 dev lo; exec sleep infinity"
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "sh", "-ec", up])
        while pathlib.Path(f"/proc/{self.holder.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.01)
        # Connections that have ended leave the table at once, or it fills up.
        ended = " ".join(f"net.netfilter.nf_conntrack_tcp_timeout_{state}=1" for state in ("time_wait", "close", "last_ack"))
        redirect = f"iptables -t nat -A OUTPUT -s 127.0.1.0/24 -d {ORIGIN} -p tcp -j REDIRECT --to-ports {DOOR}"
        subprocess.run(self.inside(["sh", "-ec", f"sysctl -qw net.ipv4.ip_local_port_range='10000 65535' {ended}; {redirect}"]), check=True)

    def inside(self, words):
        return ["nsenter", "--target", str(self.holder.pid), "--net", "--mount", *map(str, words)]


def write(home):
    """The same policy, names and records for both."""
    (home / "hosts").write_text(f"{ORIGIN} origin.example\n")
    rule = "{ host: origin.example, ports: [9443-9458], private: true }"
    (home / "policy.yaml").write_text(f"version: 1\nprofiles:\n  - name: bench\n    allow: [{rule}]\n")
    common = f"policy: [{home}/policy.yaml]\ndns: {{ servers: ['127.0.0.1:1'], hosts: {home}/hosts }}\n"
    (home / "run.yaml").write_text(common + f"audit: {{ path: {home}/run.jsonl }}\n")
    doors = f"{{ explicit: [], transparent: ['127.0.0.1:{DOOR}'], admin: null }}"
    (home / "serve.yaml").write_text(common + f"audit: {{ path: {home}/serve.jsonl }}\nlisten: {doors}\n")


def rates(exeat, load, rounds, home, place):
    origin = subprocess.Popen(place.inside([load, "origin", "--listen", f"{ORIGIN}:9443"]))
    server = subprocess.Popen(place.inside([exeat, "serve", "--config", home / "serve.yaml"]), stderr=subprocess.DEVNULL)
    time.sleep(1)
    jailed = [exeat, "run", "--config", home / "run.yaml", "--"]
    for name, (words, key, unit) in LOADS.items():
        seen = {"door": [], "jail": []}
        words = [load, *words, "--origin", f"{ORIGIN}:9443", "--to", "origin.example", "--seconds", "3"]
        for _ in range(rounds):
            for where, before in (("door", []), ("jail", jailed)):
                done = subprocess.run(place.inside([*before, *words]), capture_output=True, text=True)
                if done.returncode != 0:
                    raise SystemExit(done.stderr)
                seen[where].append(json.loads(done.stdout[done.stdout.index("{"):])[key])
        door, jail = statistics.median(seen["door"]), statistics.median(seen["jail"])
        print(f"{name}: door {door:.4g} {unit}, jail {jail:.4g} {unit}, ratio {jail / door:.2f}", flush=True)
    server.kill()
    origin.kill()


def starts(exeat):
    """In turn, so that a change in the machine's mood meets both."""
    seen = {"true": [], "exeat run -- true": []}
    for _ in range(STARTS):
        for name, before in (("true", []), ("exeat run -- true", [exeat, "run", "--allow", "a.example", "--"])):
            began = time.perf_counter()
            subprocess.run([*before, "true"], check=True)
            seen[name].append((time.perf_counter() - began) * 1000)
    for name, times in seen.items():
        print(f"{name}: {statistics.median(times):.1f} ms, of {STARTS} the {STARTS * 9 // 10}th {sorted(times)[STARTS * 9 // 10 - 1]:.1f} ms")


def main():
    exeat, load = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    with tempfile.TemporaryDirectory(prefix="exeat-inside-") as home:
        home = pathlib.Path(home)
        write(home)
        place = Place(home)
        try:
            rates(exeat, load, rounds, home, place)
        finally:
            place.holder.kill()
    starts(exeat)


if __name__ == "__main__":
    main()
