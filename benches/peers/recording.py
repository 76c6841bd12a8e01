"""The other proxies once more, each writing a record of what goes through it into a file, as exeat does: by the quickest means
that it has without another program."""

import peers

# Where nothing but the rate of flows can tell the difference.
ONLY = ("tunnels", "http")


def into_a_file(home, command):
    """What it prints goes there; the process is that of the program itself."""
    return ["sh", "-c", f'exec "$@" > {home}/records', "sh", *command]


def edited(path, *edits):
    """Each of (what stands there, what is to stand there instead)."""
    text = path.read_text()
    for old, new in edits:
        if old not in text:
            raise SystemExit(f"{path}: has no {old!r}")
        text = text.replace(old, new)
    path.write_text(text)


class Recording:
    """What comes before the proxy that it makes record: where its settings are, what is changed there, and whether it prints
    its records."""

    only = ONLY
    settings = ""
    prints = False

    def edits(self, home):
        raise NotImplementedError

    def command(self, home, door):
        command = super().command(home, door)
        edited(home / self.settings, *self.edits(home))
        return into_a_file(home, command) if self.prints else command


class Squid(Recording, peers.Squid):
    name = "squid with records"
    settings = "squid.conf"

    def edits(self, home):
        return [("access_log none", f"access_log stdio:{home}/records\nbuffered_logs on")]


class Haproxy(Recording, peers.Haproxy):
    """It writes each by itself; only another program, at a socket of syslog, would spare it that."""

    name = "haproxy with records"
    settings = "haproxy.cfg"
    prints = True

    def edits(self, home):
        return [
            ("  nbthread 1\n", "  nbthread 1\n  log stdout format raw daemon\n"),
            ("  mode tcp\n", "  mode tcp\n  log global\n  option tcplog\n"),
        ]


class Nginx(Recording, peers.Nginx):
    name = "nginx with records"
    settings = "nginx.conf"
    WHAT = (
        "$time_iso8601 $remote_addr $ssl_preread_server_name $upstream_addr $status $bytes_sent $bytes_received $session_time"
    )

    def edits(self, home):
        log = f"  log_format record '{self.WHAT}';\n  access_log {home}/records record buffer=64k flush=1s;\n"
        return [("stream {\n", f"stream {{\n{log}")]


class G3proxy(Recording, peers.G3proxy):
    name = "g3proxy with records"
    settings = "g3proxy.yaml"
    prints = True

    def edits(self, home):
        return [("log: discard\n", "log: { task: stdout }\n")]


DEBIAN = [Squid(), Haproxy(), Nginx()]
GIVEN = [G3proxy()]
