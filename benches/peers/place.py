"""Where everything runs: a network of its own in which nobody else is, and cores of their own."""

import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile
import time

ORIGIN = 9443
PORTS = 16
# The one port that any proxy listens on; only one runs at a time.
PROXY = 3128
NAMES = ["origin.example", *(f"{number}-origin.example" for number in range(64))]
# For 40,000 tunnels with two connections each, and what else a proxy has open.
FILES = 100_000

# Of the ways to control congestion this is the one that any namespace may choose. What the host has chosen may be BBR,
# which paces each connection with a timer: on loopback bulk then shows its guesses about the path, not the proxy's work.
# Connections that have ended wait for a minute, and while their table is full the next ones end at less cost. A small
# table is full at once, for every proxy alike; else the first ones would fill it, and the later ones gain by it.
SET_UP = f"""
ip link set lo up
sysctl -qw net.ipv4.ip_local_port_range='10000 65535'
sysctl -qw net.ipv4.tcp_congestion_control=reno
sysctl -qw net.ipv4.tcp_max_tw_buckets=4096
mount --bind "$1/hosts" /etc/hosts
exec sleep infinity
"""
# Connections that have ended leave the table at once, or 100,000 of them would be kept for two minutes.
CONNTRACK = """
sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_time_wait=1
sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_close=1
sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_last_ack=1
"""


class Place:
    """Namespaces for network and mounts; with `redirected`, what clients connect to is sent to the proxy."""

    def __init__(self, redirected=False):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="exeat-bench-"))
        # Some proxies give up root on their own.
        self.home.chmod(0o755)
        (self.home / "hosts").write_text("127.0.0.1 localhost " + " ".join(NAMES) + "\n")
        self.started = []
        self.count = 0
        flags = ["--net", "--mount"]
        if os.geteuid() != 0:
            flags = ["--user", "--map-root-user", *flags]
        self.is_root = os.geteuid() == 0
        self.holder = subprocess.Popen(["unshare", *flags, "sh", "-ec", SET_UP, "sh", str(self.home)])
        self._wait(lambda: self._is_set_up(), "a namespace")
        if redirected:
            self.run(["sh", "-ec", f"{CONNTRACK} iptables -t nat -A OUTPUT -s 127.0.1.0/24 -p tcp "
                      f"--dport {ORIGIN}:{ORIGIN + PORTS - 1} -j REDIRECT --to-ports {PROXY}"])

    def _is_set_up(self):
        if self.holder.poll() is not None:
            raise SystemExit("needs leave to make a network namespace, and ip from the package iproute2")
        return pathlib.Path(f"/proc/{self.holder.pid}/comm").read_text() == "sleep\n"

    def inside(self, command, core=None):
        enter = ["nsenter", "--target", str(self.holder.pid), "--net", "--mount"]
        if not self.is_root:
            enter[3:3] = ["--user", "--preserve-credentials"]
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        return [*pinned, *enter, *map(str, command)]

    def run(self, command, core=None, timeout=120, **more):
        """Runs to the end; what it printed."""
        done = subprocess.run(
            self.inside(command, core), capture_output=True, text=True, timeout=timeout, **more
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
        return done.stdout

    def start(self, command, core, **more):
        """Starts it in the background, with its standard error in a file."""
        self.count += 1
        log = open(self.home / f"{self.count}.stderr", "wb")
        # taskset and nsenter become the program: the process is that of the program itself.
        process = subprocess.Popen(
            self.inside(command, core), stderr=log, start_new_session=True,
            **{"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL, **more},
        )
        process.log = pathlib.Path(log.name)
        self.started.append(process)
        return process

    def directory(self, name):
        """A new one, which anybody may write to."""
        self.count += 1
        path = self.home / f"{name}-{self.count}"
        path.mkdir()
        path.chmod(0o777)
        return path

    def wait_for(self, port, process, patience=60):
        """Until it listens there."""

        def listens():
            if process.poll() is not None:
                raise SystemExit(f"{process.args}: {process.log.read_text()[-2000:]}")
            return self.is_taken(port)

        self._wait(listens, f"port {port}", patience)

    def wait_until_free(self, port):
        """A worker of a proxy may outlive it for a moment, and then the next one would seem to listen already."""
        self._wait(lambda: not self.is_taken(port), f"leave for port {port}")

    def is_taken(self, port):
        """Whether anybody listens there: the kernel says so, nothing is connected."""
        ended = f":{port:04X} 00000000:0000 0A", f":{port:04X} " + "0" * 32 + ":0000 0A"
        tables = [pathlib.Path(f"/proc/{self.holder.pid}/net/{name}") for name in ("tcp", "tcp6")]
        return any(any(end in table.read_text() for end in ended) for table in tables if table.exists())

    def _wait(self, ready, what, patience=60):
        deadline = time.monotonic() + patience
        while not ready():
            if time.monotonic() > deadline:
                raise SystemExit(f"{what}: not there after {patience} s")
            time.sleep(0.02)

    def stop(self, process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        self.started.remove(process)

    def close(self):
        for process in list(self.started):
            self.stop(process)
        self.holder.kill()
        self.holder.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def stay_awake():
    """Keeps the cores from halting for as long as this file is open (the kernel's admin-guide, pm/cpuidle): to wake a virtual
    one takes its hypervisor longer than a round trip takes. `None`: nobody may ask this kernel for it."""
    try:
        file = open("/dev/cpu_dma_latency", "wb", buffering=0)
    except OSError:
        return None
    file.write(bytes(4))
    return file


def raise_file_limit():
    """What is started inherits it. How many tunnels one process may hold."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        limit = max(hard, FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    except (ValueError, PermissionError):
        limit = hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    # An eighth and some are for connections to upstreams that are kept, pipes, look-ups.
    return (limit * 7 // 8 - 2_000) // 2
