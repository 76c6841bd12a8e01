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


class Squid(peers.Squid):
    name = "squid with records"
    only = ONLY

    def command(self, home, door):
        command = super().command(home, door)
        edited(home / "squid.conf", ("access_log none", f"access_log stdio:{home}/records\nbuffered_logs on"))
        return command


class Haproxy(peers.Haproxy):
    """It writes each by itself; only another program, at a socket of syslog, would spare it that."""

    name = "haproxy with records"
    only = ONLY

    def command(self, home, door):
        command = super().command(home, door)
        edited(
            home / "haproxy.cfg",
            ("  nbthread 1\n", "  nbthread 1\n  log stdout format raw daemon\n"),
            ("  mode tcp\n", "  mode tcp\n  log global\n  option tcplog\n"),
        )
        return into_a_file(home, command)


class Nginx(peers.Nginx):
    name = "nginx with records"
    only = ONLY
    WHAT = (
        "$time_iso8601 $remote_addr $ssl_preread_server_name $upstream_addr $status $bytes_sent $bytes_received $session_time"
    )

    def command(self, home, door):
        command = super().command(home, door)
        log = f"  log_format record '{self.WHAT}';\n  access_log {home}/records record buffer=64k flush=1s;\n"
        edited(home / "nginx.conf", ("stream {\n", f"stream {{\n{log}"))
        return command


class G3proxy(peers.G3proxy):
    name = "g3proxy with records"
    only = ONLY

    def command(self, home, door):
        command = super().command(home, door)
        edited(home / "g3proxy.yaml", ("log: discard\n", "log: { task: stdout }\n"))
        return into_a_file(home, command)


DEBIAN = [Squid(), Haproxy(), Nginx()]
GIVEN = [G3proxy()]
