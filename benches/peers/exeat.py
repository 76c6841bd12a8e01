"""How exeat is started: with all that a user would have on."""

import dataclasses
import pathlib

from place import ORIGIN, PORTS, PROXY
from rules import RULES, names, parents

ADMIN = 3130
DNS = 3153


@dataclasses.dataclass
class Exeat:
    """1,000 rules, server names checked, records to a file, metrics; one worker."""

    program: pathlib.Path
    name: str = "exeat"
    transparent: bool = False
    rules: int = RULES
    profiles: int = 1
    flows: int = 100_000
    # Whom its profile is for, and what `auth` says in the settings.
    client: str = "127.0.0.0/8"
    auth: str = ""
    tunnels_max: int = 40_000

    def is_installed(self):
        return self.program.exists()

    def serves(self, door):
        return door in ("explicit", "transparent")

    def command(self, home, door="explicit"):
        # The records have a directory of their own: what is written beside a policy makes exeat read that again.
        for name in ("policies", "lists", "logs"):
            (home / name).mkdir()
        write_rules(home, self.rules)
        ports = f"[{ORIGIN}-{ORIGIN + PORTS - 1}]"
        policy = [
            "version: 1",
            "profiles:",
            "  - name: bench",
            f'    clients: ["{self.client}"]',
            "    allow_file: [../lists/rules.txt]",
            "    allow:",
            f'      - {{ host: ".origin.example", ports: {ports}, private: true }}',
            f'      - {{ host: "*-origin.example", ports: {ports}, private: true }}',
        ]
        for number in range(1, self.profiles):
            client = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
            policy.append(f"  - {{ name: p{number}, clients: [{client}], allow_file: [../lists/rules.txt] }}")
        (home / "policies/policy.yaml").write_text("\n".join(policy) + "\n")
        addresses = f"['127.0.0.1:{PROXY}']"
        (home / "exeat.yaml").write_text(
            f"listen: {{ {door}: {addresses}, admin: '127.0.0.1:{ADMIN}', dns: ['127.0.0.1:{DNS}']"
            + (", explicit: []" if door == "transparent" else "")
            + f" }}\nthreads: 1\naudit: {{ path: logs/records.jsonl }}\ndns: {{ servers: ['127.0.0.1:53'] }}\n"
            f"limits: {{ flows: {self.flows} }}\npolicy: [policies]\n{self.auth}"
        )
        return [self.program, "serve", "--config", home / "exeat.yaml"]


def write_rules(home, rules, generation=0):
    """Written beside and renamed, as an editor does."""
    new = home / "lists/rules.new"
    with open(new, "w") as file:
        file.writelines(f"{name}\n" for name in names(rules, generation))
        file.writelines(f"*.{name}\n" for name in parents(rules, generation))
    new.rename(home / "lists/rules.txt")
