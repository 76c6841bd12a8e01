"""What it costs to know who a client is, once its credentials are remembered."""

import base64
import dataclasses
import json
import shutil
import subprocess

from flat import count
from loads import Load

# bcrypt of `bench`; how long one takes is of no account, it is proved once.
USER = "bench:$2b$04$abcdefghijklmnopqrstuuzhC/M8aT3lFNlRSgWrnQYETvrF83G8W\n"
ISSUER, AUDIENCE = "https://issuer.example", "exeat"


def auth(bench, exeat, tunnels):
    """Each way in turn: {who: [sample, …]}, and {who: instructions a tunnel}."""
    known = ways(bench, exeat)
    results = {who: [] for who in known}
    generator = bench.generator("explicit")
    for _ in range(bench.rounds):
        for who, (gate, credentials) in known.items():
            load = Load("tunnels", ("tunnels", "-c", "64", *credentials))
            with bench.started(gate, "explicit") as process:
                # The first one is proved, and caches are filled.
                generator.run(load.arguments, "explicit", bench.seconds / 4)
                sample = generator.measure(load, process, bench.seconds)
            if sample["failed"] or not sample["rate"]:
                raise SystemExit(f"auth: clients with {who} do not get through: {sample}")
            bench.say(f"auth, {who}: {sample['rate']:.0f} tunnels a second, {sample['cpu']:.1f} us of CPU each")
            results[who].append(sample)
    bench.samples.find("auth", results)
    if not shutil.which("valgrind"):
        bench.skip("auth: instructions for each tunnel: valgrind is not installed")
        return
    counts = {who: count(bench, gate, tunnels, credentials) for who, (gate, credentials) in known.items()}
    bench.say(f"auth: instructions a tunnel: {', '.join(f'{who}: {number:,.0f}' for who, number in counts.items())}")
    bench.samples.find("auth, instructions", counts)


def ways(bench, exeat):
    """Anonymous clients of an exeat without `auth`, and known ones of one with it: {who: (exeat, what the load sends)}."""
    home = bench.place("explicit").directory("auth")
    (home / "users").write_text(USER)
    token = signed(home)
    known = dataclasses.replace(
        exeat,
        client="user:bench",
        auth=f"auth: {{ basic: {{ file: {home}/users }},"
        f" jwt: {{ jwks: {home}/jwks.json, issuer: '{ISSUER}', audience: {AUDIENCE} }} }}\n",
    )
    return {
        "nobody": (exeat, ()),
        "a password": (known, ("--authorization", "Basic " + base64.b64encode(b"bench:bench").decode())),
        "a token": (known, ("--authorization", "Bearer " + token)),
    }


def signed(home):
    """A token of `bench` as an issuer signs it, with 2048 bits of RSA; its key goes into a file."""
    key = home / "key.pem"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    modulus = openssl("rsa", "-in", key, "-noout", "-modulus").decode().strip().partition("=")[2]
    keys = [{"kty": "RSA", "kid": "1", "alg": "RS256", "n": encoded(bytes.fromhex(modulus)), "e": "AQAB"}]
    (home / "jwks.json").write_text(json.dumps({"keys": keys}))
    head = {"alg": "RS256", "kid": "1", "typ": "JWT"}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "bench", "exp": 4102444800}
    text = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
    return f"{text}.{encoded(openssl('dgst', '-sha256', '-sign', key, text=text.encode()))}"


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, text=None):
    return subprocess.run(["openssl", *arguments], input=text, check=True, capture_output=True).stdout
