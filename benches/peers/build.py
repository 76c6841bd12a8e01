"""Builds what is measured, and what measures it."""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXEAT, LOAD = ("--bin", "exeat"), ("--bench", "load")


def build(profile, *targets):
    """{name: program}"""
    command = ["cargo", "build", "--locked", "--profile", profile, *sum(targets, ()), "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    programs = {}
    for message in map(json.loads, built.splitlines()):
        if message.get("executable"):
            programs[message["target"]["name"]] = pathlib.Path(message["executable"])
    return programs
