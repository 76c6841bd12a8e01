"""How the other proxies are started: one worker, no more logging than they must, as fast as they can be set.

Each lets through what exeat does, by the quickest means that it has for a list of names.
"""

import dataclasses
import json
import pathlib
import shutil

from place import NAMES, ORIGIN, PORTS, PROXY
from rules import RULES, names, parents

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


EXACT, BELOW = [*NAMES, *names(RULES)], parents(RULES)


def listed(path, exact="{}", below="*.{}"):
    """Writes the list into a file, each entry in the proxy's own words."""
    lines = [exact.format(name) for name in EXACT] + [below.format(name) for name in BELOW]
    path.write_text("\n".join(lines) + "\n")
    return path


class Squid(Peer):
    name = program = "squid"

    def command(self, home, door):
        rules = listed(home / "rules", below=".{}")
        (home / "squid.conf").write_text(
            f'http_port 127.0.0.1:{PROXY}\nacl listed dstdomain "{rules}"\nhttp_access allow listed\nhttp_access deny all\n'
            f"pid_filename {home}/pid\ncache deny all\ncache_mem 8 MB\naccess_log none\ncache_log {home}/log\n"
            f"cache_store_log none\nlogfile_rotate 0\ncoredump_dir {home}\nshutdown_lifetime 0 seconds\n"
            "pinger_enable off\nvia off\nforwarded_for delete\nmax_filedescriptors 200000\n"
        )
        return ["squid", "-N", "-f", home / "squid.conf"]


class Tinyproxy(Peer):
    """A thread for each connection, and poll(2). It compares a name with one rule after the other."""

    name = program = "tinyproxy"
    tunnels_max = 2_000

    def command(self, home, door):
        rules = listed(home / "rules")
        (home / "tinyproxy.conf").write_text(
            f"Port {PROXY}\nListen 127.0.0.1\nTimeout 600\nMaxClients 4000\nLogLevel Critical\n"
            f'LogFile "{home}/log"\nFilter "{rules}"\nFilterType fnmatch\nFilterCaseSensitive Yes\nFilterDefaultDeny Yes\n'
        )
        return ["tinyproxy", "-d", "-c", home / "tinyproxy.conf"]


class Haproxy(Peer):
    """It looks names up in a tree, what is below them in a list whose answers it remembers, and addresses in a map; the
    port is the one that the client chose."""

    name = program = "haproxy"
    doors = ("transparent",)
    splice = False

    def command(self, home, door):
        (home / "names").write_text("".join(f"{name}\n" for name in EXACT))
        (home / "parents").write_text("".join(f".{name}\n" for name in BELOW))
        (home / "addresses").write_text("".join(f"{name} 127.0.0.1\n" for name in NAMES))
        splice = "  option splice-auto\n" if self.splice else ""
        (home / "haproxy.cfg").write_text(
            "global\n  nbthread 1\ndefaults\n  mode tcp\n"
            f"  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n{splice}frontend front\n"
            f"  bind 127.0.0.1:{PROXY}\n  tcp-request inspect-delay 5s\n"
            "  tcp-request content reject unless { req.ssl_hello_type 1 }\n"
            f"  acl listed req.ssl_sni,lower -m str -f {home}/names\n"
            f"  acl listed req.ssl_sni,lower -m end -f {home}/parents\n"
            "  tcp-request content reject unless listed\n"
            f"  tcp-request content set-dst req.ssl_sni,lower,map_str_ip({home}/addresses)\n"
            "  default_backend chosen\nbackend chosen\n  server chosen *:0\n"
        )
        return ["haproxy", "-db", "-f", home / "haproxy.cfg"]


class HaproxySplice(Haproxy):
    """With `option splice-auto`, which is off unless it is asked for."""

    name = "haproxy, splice-auto"
    splice = True
    only = ("bulk",)


class Nginx(Peer):
    """Of a name it knows whether it is listed; where that leads is one group of servers, which it takes in turn. Unless it is
    told to pass an end on, it cuts the other direction off with it, which exeat and HAProxy do not."""

    name = program = "nginx"
    doors = ("transparent",)
    MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    def is_installed(self):
        return super().is_installed() and self.MODULE.exists()

    def command(self, home, door):
        servers = "".join(f"server 127.0.0.1:{ORIGIN + turn}; " for turn in range(PORTS))
        rules = listed(home / "rules", "{} origin;", "*.{} origin;")
        (home / "nginx.conf").write_text(
            f"load_module {self.MODULE};\ndaemon off;\nworker_processes 1;\npid {home}/pid;\n"
            f"error_log {home}/log crit;\nevents {{ worker_connections 20000; }}\n"
            "stream {\n  map_hash_max_size 4096;\n  map_hash_bucket_size 128;\n"
            f"  map $ssl_preread_server_name $to {{ hostnames; include {rules}; default nowhere; }}\n"
            f"  upstream origin {{ {servers} }}\n  upstream nowhere {{ server 127.0.0.1:1; }}\n"
            f"  server {{ listen 127.0.0.1:{PROXY} backlog=4096; ssl_preread on; proxy_pass $to; "
            "proxy_timeout 1h; proxy_half_close on; }\n}\n"
        )
        return ["nginx", "-e", home / "log", "-c", home / "nginx.conf"]


class Given(Peer):
    """A program that no package of Debian has, at a path that was given."""

    def is_installed(self):
        return self.program != "" and pathlib.Path(self.program).exists()


class G3proxy(Given):
    name = "g3proxy"

    def command(self, home, door):
        addresses = "".join(f"      {name}: [127.0.0.1]\n" for name in NAMES)
        exact, child = (json.dumps(some) for some in (EXACT, BELOW))
        (home / "g3proxy.yaml").write_text(
            "runtime: { thread_number: 1 }\nlog: discard\n"
            "server:\n  - name: bench\n    escaper: default\n    type: http_proxy\n"
            f'    listen: {{ address: "127.0.0.1:{PROXY}" }}\n'
            f"    dst_host_filter_set: {{ exact: {exact}, child: {child} }}\n"
            "resolver:\n  - { name: default, type: deny_all }\n"
            "escaper:\n  - name: default\n    type: direct_fixed\n    resolver: default\n"
            "    egress_network_filter: { default: allow, allow: [127.0.0.1] }\n"
            f"    resolve_redirection:\n{addresses}"
        )
        return [self.program, "-C", home, "-c", home / "g3proxy.yaml"]


class Smokescreen(Given):
    """It compares a name with one rule after the other."""

    name = "smokescreen"
    rules = RULES

    def command(self, home, door):
        rules = "".join(
            f"    - {name}\n" for name in [*names(self.rules - 1), *(f'"*.{name}"' for name in parents(self.rules - 1))]
        )
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
