"""How the other proxies are started: one worker, no more logging than they must, as fast as they can be set."""

import dataclasses
import pathlib
import shutil

from place import NAMES, ORIGIN, PORTS, PROXY

SERVERS = [f"127.0.0.1:{ORIGIN + turn}" for turn in range(PORTS)]


class Peer:
    """A program, and the doors by which its clients come: `explicit` (CONNECT, plain HTTP) or `transparent`."""

    name = ""
    program = ""
    doors = ("explicit",)
    # More than these it can't hold, or not within the patience of a bench.
    tunnels_max = 40_000
    # Only these loads tell something; empty: all.
    only = ()

    def is_installed(self):
        return shutil.which(self.program) is not None

    def serves(self, door):
        return door in self.doors

    def command(self, home, door):
        raise NotImplementedError


class Squid(Peer):
    name = program = "squid"

    def command(self, home, door):
        (home / "squid.conf").write_text(
            f"http_port 127.0.0.1:{PROXY}\nhttp_access allow all\n"
            f"pid_filename {home}/pid\ncache deny all\ncache_mem 8 MB\naccess_log none\ncache_log {home}/log\n"
            f"cache_store_log none\nlogfile_rotate 0\ncoredump_dir {home}\nshutdown_lifetime 0 seconds\n"
            "pinger_enable off\nvia off\nforwarded_for delete\nmax_filedescriptors 200000\n"
        )
        return ["squid", "-N", "-f", home / "squid.conf"]


class Tinyproxy(Peer):
    """A thread for each connection, and poll(2)."""

    name = program = "tinyproxy"
    tunnels_max = 2_000

    def command(self, home, door):
        (home / "tinyproxy.conf").write_text(
            f"Port {PROXY}\nListen 127.0.0.1\nTimeout 600\nMaxClients 4000\nLogLevel Critical\n"
            f'LogFile "{home}/log"\n'
        )
        return ["tinyproxy", "-d", "-c", home / "tinyproxy.conf"]


class Haproxy(Peer):
    name = program = "haproxy"
    doors = ("transparent",)
    splice = False

    def command(self, home, door):
        servers = "".join(f"  server s{turn} {server}\n" for turn, server in enumerate(SERVERS))
        splice = "  option splice-auto\n" if self.splice else ""
        (home / "haproxy.cfg").write_text(
            "global\n  nbthread 1\ndefaults\n  mode tcp\n"
            f"  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n{splice}frontend front\n"
            f"  bind 127.0.0.1:{PROXY}\n  tcp-request inspect-delay 5s\n"
            "  tcp-request content reject unless { req.ssl_hello_type 1 }\n"
            "  use_backend origin if { req.ssl_sni -m str origin.example }\n"
            f"backend origin\n  balance roundrobin\n{servers}"
        )
        return ["haproxy", "-db", "-f", home / "haproxy.cfg"]


class HaproxySplice(Haproxy):
    """With `option splice-auto`, which is off unless it is asked for."""

    name = "haproxy, splice-auto"
    splice = True
    only = ("bulk",)


class Nginx(Peer):
    name = program = "nginx"
    doors = ("transparent",)
    MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    def is_installed(self):
        return super().is_installed() and self.MODULE.exists()

    def command(self, home, door):
        servers = "".join(f"server {server}; " for server in SERVERS)
        (home / "nginx.conf").write_text(
            f"load_module {self.MODULE};\ndaemon off;\nworker_processes 1;\npid {home}/pid;\n"
            f"error_log {home}/log crit;\nevents {{ worker_connections 20000; }}\n"
            "stream {\n  map $ssl_preread_server_name $to { origin.example origin; default nowhere; }\n"
            f"  upstream origin {{ {servers} }}\n  upstream nowhere {{ server 127.0.0.1:1; }}\n"
            f"  server {{ listen 127.0.0.1:{PROXY} backlog=4096; ssl_preread on; proxy_pass $to; "
            "proxy_timeout 1h; }\n}\n"
        )
        return ["nginx", "-e", home / "log", "-c", home / "nginx.conf"]


class Given(Peer):
    """A program that no package of Debian has, at a path that was given."""

    def is_installed(self):
        return self.program != "" and pathlib.Path(self.program).exists()


class G3proxy(Given):
    name = "g3proxy"

    def command(self, home, door):
        names = "".join(f"      {name}: [127.0.0.1]\n" for name in NAMES)
        (home / "g3proxy.yaml").write_text(
            "runtime: { thread_number: 1 }\nlog: discard\n"
            "server:\n  - name: bench\n    escaper: default\n    type: http_proxy\n"
            f'    listen: {{ address: "127.0.0.1:{PROXY}" }}\n'
            "resolver:\n  - { name: default, type: deny_all }\n"
            "escaper:\n  - name: default\n    type: direct_fixed\n    resolver: default\n"
            "    egress_network_filter: { default: allow, allow: [127.0.0.1] }\n"
            f"    resolve_redirection:\n{names}"
        )
        return [self.program, "-C", home, "-c", home / "g3proxy.yaml"]


class Smokescreen(Given):
    name = "smokescreen"
    rules = 1

    def command(self, home, door):
        rules = "".join(f"    - n{number}.d{number % 997}.example.org\n" for number in range(self.rules - 1))
        (home / "acl.yaml").write_text(
            "version: v1\nservices: []\ndefault:\n  project: bench\n  action: enforce\n  allowed_domains:\n"
            f'{rules}    - "*.example"\n'
        )
        (home / "config.yaml").write_text("allow_missing_role: true\n")
        return [
            "env", "GOMAXPROCS=1", self.program, "--config-file", home / "config.yaml",
            "--listen-ip", "127.0.0.1", "--listen-port", PROXY, "--allow-range", "127.0.0.0/8", "--egress-acl-file", home / "acl.yaml",
        ]


@dataclasses.dataclass
class Bare(Peer):
    """A relay of ours without a policy: a ceiling."""

    program: pathlib.Path
    name: str = "bare relay"
    splice: bool = False
    only: tuple = ("tunnels", "bulk", "echo", "idle")
    tunnels_max: int = 40_000

    def is_installed(self):
        return self.program.exists()

    def serves(self, door):
        return True

    def command(self, home, door):
        flags = ["--connect"] * (door == "explicit") + ["--splice"] * self.splice
        return [self.program, "bare", "--listen", f"127.0.0.1:{PROXY}", *flags]


DEBIAN = [Squid(), Tinyproxy(), Haproxy(), HaproxySplice(), Nginx()]
GIVEN = [G3proxy(), Smokescreen()]
