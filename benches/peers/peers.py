"""How each proxy is started: one worker, no more logging than it must, names from a hosts file of ours."""

import pathlib
import shutil

HOSTS = "127.0.0.1 origin.example " + " ".join(f"{n}-origin.example" for n in range(64)) + "\n"


class Peer:
    program = ""
    port = 0

    def is_installed(self):
        return shutil.which(self.program) is not None

    def command(self, home: pathlib.Path, root: pathlib.Path):
        raise NotImplementedError


class Exeat(Peer):
    """With everything on: 1,000 rules, server names, records in a file, metrics."""

    program = "cargo"
    port = 14128

    def command(self, home, root):
        rules = "".join(f'      - "*.n{n}.example.org"\n' for n in range(1000))
        (home / "hosts").write_text(HOSTS)
        (home / "policies").mkdir()
        (home / "policies/policy.yaml").write_text(
            "version: 1\nprofiles:\n  - name: bench\n    allow:\n"
            '      - { host: ".origin.example", ports: [9443-9458], private: true }\n'
            '      - { host: "*-origin.example", ports: [9443-9458], private: true }\n' + rules
        )
        (home / "exeat.yaml").write_text(
            f"listen: {{ explicit: ['127.0.0.1:{self.port}'], admin: '127.0.0.1:0' }}\n"
            "threads: 1\naudit: { path: records.jsonl }\ndns: { hosts: hosts }\npolicy: [policies]\n"
        )
        return [str(root / "target/release/exeat"), "serve", "--config", str(home / "exeat.yaml")]


class Squid(Peer):
    program = "squid"
    port = 14129

    def command(self, home, root):
        (home / "hosts").write_text(HOSTS)
        (home / "squid.conf").write_text(
            f"http_port 127.0.0.1:{self.port}\nhttp_access allow all\nhosts_file {home}/hosts\n"
            f"pid_filename {home}/pid\ncache deny all\ncache_mem 8 MB\naccess_log none\ncache_log {home}/log\n"
            f"cache_store_log none\nlogfile_rotate 0\ncoredump_dir {home}\nshutdown_lifetime 0 seconds\n"
            "pinger_enable off\nvia off\nforwarded_for delete\n"
        )
        return ["squid", "-N", "-f", str(home / "squid.conf")]


class Tinyproxy(Peer):
    """It resolves names by the system alone, so /etc/hosts has to know the origin."""

    program = "tinyproxy"
    port = 14130

    def is_installed(self):
        return super().is_installed() and "origin.example" in pathlib.Path("/etc/hosts").read_text()

    def command(self, home, root):
        (home / "tinyproxy.conf").write_text(
            f"Port {self.port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 2000\nLogLevel Critical\n"
            f'LogFile "{home}/log"\n'
        )
        return ["tinyproxy", "-d", "-c", str(home / "tinyproxy.conf")]


ALL = {"exeat": Exeat(), "squid": Squid(), "tinyproxy": Tinyproxy()}
