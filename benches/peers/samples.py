"""What was measured, kept in a file, so that parts can be measured anew and the report made again."""

import json
import pathlib
import statistics
import subprocess


class Samples:
    """`loads`: {load: {proxy: [sample, …]}}; `findings`: what else was measured, by its name."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.machine = kept.get("machine", {})
        self.versions = kept.get("versions", {})
        self.missing = kept.get("missing", [])
        self.loads = kept.get("loads", {})
        self.findings = kept.get("findings", {})

    def replace(self, load, results):
        """Samples of one run, in place of older ones of the same load: only what was measured together compares."""
        self.loads[load] = results
        self.save()

    def find(self, name, finding):
        self.findings[name] = finding
        self.save()

    def median(self, load, proxy):
        """The median of each figure, or none."""
        samples = self.loads.get(load, {}).get(proxy)
        if not samples:
            return None
        return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}

    def save(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {key: getattr(self, key) for key in ("machine", "versions", "missing", "loads", "findings")}
        text = json.dumps(rounded(kept), indent=1, sort_keys=True)
        self.path.write_text(text + "\n")


def rounded(value):
    """Four digits tell enough, and a file of them can be read."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def machine():
    """What it was measured on."""
    cpu = next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    cores = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    kernel = pathlib.Path("/proc/sys/kernel/osrelease").read_text().strip().split("-")[0]
    return {"cpu": cpu, "cores": cores, "kernel": kernel}


def version(program):
    """Of the package it came in."""
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", program], capture_output=True, text=True)
    return asked.stdout.split("-")[0] if asked.returncode == 0 else ""
