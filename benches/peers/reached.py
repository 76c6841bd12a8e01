"""What exeat is to reach, and whether it does: each as a ratio to what was measured in the same run."""

import statistics

EXPLICIT = ("squid", "tinyproxy", "g3proxy", "smokescreen")
SNI = ("haproxy", "nginx")
# The same ones when they write records, as exeat does.
RECORDING = " with records"
WORDS = {True: "yes", False: "**no**", None: "not measured"}


def table(samples):
    rows = [
        *set_up(samples), *bulk(samples), *small(samples), *memory(samples), *http(samples), *flat(samples),
        *overload(samples), *auth(samples),
    ]
    lines = [
        "| | exeat | against | ratio | target | reached |", "|---|---|---|---|---|---|",
    ]
    for what, ours, against, ratio, target, good in rows:
        lines.append(f"| {what} | {ours} | {against} | {ratio} | {target} | {WORDS[good]} |")
    return "\n".join(lines)


def best(samples, load, names, key, most=max):
    """The best of these proxies that was measured: its name and figure."""
    known = [(samples.median(load, name), name) for name in names]
    known = [(median[key], name) for median, name in known if median and median["rate"] > 0]
    return most(known)[::-1] if known else (None, None)


def compared(samples, load, names, key, what, unit, target, is_good, most=max, scale=1, digits=0):
    ours = samples.median(load, "exeat")
    name, theirs = best(samples, load, names, key, most)
    if not ours or name is None or not theirs:
        return [unknown(what, target)]
    ratio = ours[key] / theirs
    number = lambda value: f"{value * scale:,.{digits}f} {unit}"
    return [(what, number(ours[key]), f"{name}: {number(theirs)}", f"{ratio:.2f}", target, is_good(ratio))]


def unknown(what, target):
    return (what, "", "", "", target, None)


def set_up(samples):
    rows = []
    for mood in ("", ", cores may halt"):
        explicit, transparent = f"tunnels{mood}", f"tunnels, SNI{mood}"
        rows += rate_and_p99(samples, explicit, EXPLICIT, f"CONNECT set-up{mood}", 1.6)
        ours, bare = samples.median(explicit, "exeat"), samples.median(explicit, "bare relay")
        if ours and bare:
            rows.append((
                "CPU of a set-up", f"{ours['cpu']:.0f} us", f"bare relay: {bare['cpu']:.0f} us",
                f"{ours['cpu'] / bare['cpu']:.2f}", "≤ 60 us", ours["cpu"] <= 60,
            ))
        rows += rate_and_p99(samples, transparent, SNI, f"transparent set-up{mood}", 1)
    return rows


def rate_and_p99(samples, load, peers, what, target):
    """Against those that write no records, as the targets were set, and against those that do the same work."""
    rows = []
    for also, called in (("", what), (RECORDING, f"{what},{RECORDING}")):
        names = [name + also for name in peers]
        rows += compared(
            samples, load, names, "rate", f"1. {called}", "/s", f"≥ {target}", lambda ratio: ratio >= target
        )
        rows += compared(
            samples, load, names, "p99_us", "p99, 64 at a time", "ms", "≤ 1", lambda ratio: ratio <= 1, min, 1e-3, 1
        )
    return rows


def bulk(samples):
    rows = []
    for mark, peers in (("", EXPLICIT), (", SNI", (*SNI, "haproxy, splice-auto"))):
        for way in ("down", "up"):
            rows += compared(
                samples, f"bulk {way} 1{mark}", peers, "rate", f"2. bulk {way}, 1 stream{mark}", "GB/s", "≥ 1.6",
                lambda ratio: ratio >= 1.6, digits=2,
            )
            for streams in (1, 8):
                rows += compared(
                    samples, f"bulk {way} {streams}{mark}", ("bare splice",), "cpu",
                    f"CPU a GB, {way}, {streams} stream{'s' * (streams > 1)}{mark}", "s", "≤ 1.15",
                    lambda ratio: ratio <= 1.15, digits=3,
                )
    return rows


def small(samples):
    rows = []
    for mark, peers in (("", EXPLICIT), (", SNI", SNI)):
        for count, key in ((1, "p50_us"), (1, "p99_us"), (1000, "p99_us")):
            rows += compared(
                samples, f"echo {count}{mark}", peers, key, f"round trip of 1 KB, {count} tunnels, {key[:3]}{mark}",
                "ms", "≤ 1", lambda ratio: ratio <= 1, min, 1e-3, 3,
            )
        # Their mean time is 1,000 divided by this. A median says whom a proxy lets wait: half of them, and it is low.
        rows += compared(
            samples, f"echo 1000{mark}", peers, "rate", f"round trips of 1 KB, 1000 tunnels{mark}", "/s", "≥ 1",
            lambda ratio: ratio >= 1,
        )
    return rows


def memory(samples):
    idle = samples.findings.get("idle", {}).get("exeat")
    if not idle:
        return [unknown("3. memory and CPU of idle tunnels", "≤ 3 KB each, no CPU")]
    most = max(idle["kb"], idle["kb_touched"])
    processes = idle["processes"]
    of_them = f"{idle['tunnels']:,} of them" + (f" in {processes} processes" if processes > 1 else "")
    return [
        (f"3. memory of an idle tunnel, {of_them}", f"{idle['kb']:.1f}, touched {idle['kb_touched']:.1f} KB",
         "", "", "≤ 3 KB", most <= 3),
        ("idle CPU of them all", f"{idle['idle_cpu']:.2%} of a core", "", "", "none", idle["idle_cpu"] <= 0.002 * processes),
        ("pipes that are held", f"{idle['pipes']:,}", "", "", "bounded: 512 ends of pooled ones" + (" each" if processes > 1 else ""), idle["pipes"] <= 520 * processes),
    ]


def http(samples):
    rows = []
    for load, target in (("http", 1), ("http 64 hosts", 2)):
        rows += compared(
            samples, load, EXPLICIT, "rate", f"4. {load}", "/s", f"≥ {target}", lambda ratio, target=target: ratio >= target
        )
        rows += compared(
            samples, load, EXPLICIT, "cpu", f"CPU of a request, {load}", "us", "≤ 1", lambda ratio: ratio <= 1, min, digits=1
        )
    return rows


def flat(samples):
    rows = []
    counts = samples.findings.get("instructions", {})
    for few, many in (("10 rules", "1,000,000 rules"), ("1 profile", "1,000 profiles")):
        if few in counts and many in counts:
            ratio = counts[many] / counts[few]
            rows.append((
                f"5. instructions a tunnel, {many}", f"{counts[many]:,.0f}", f"{few}: {counts[few]:,.0f}", f"{ratio:.3f}",
                "≤ 1.05", ratio <= 1.05,
            ))
        else:
            rows.append(unknown(f"5. instructions a tunnel, {many}", "≤ 1.05"))
    for what, few, many in (("rules", "10", "1000000"), ("profiles", "1", "1000")):
        curve = samples.findings.get(f"growth, {what}", {})
        if few in curve and many in curve:
            pairs = [later["rate"] / first["rate"] for first, later in zip(curve[few], curve[many])]
            ratio = statistics.median(pairs)
            rows.append((
                f"tunnels a second with {int(many):,} {what}, median of pairs", "", f"with {few}", f"{ratio:.2f}", "≥ 0.95",
                ratio >= 0.95,
            ))
        else:
            rows.append(unknown(f"tunnels a second with {int(many):,} {what}", "≥ 0.95"))
    reload = samples.findings.get("reload")
    if reload:
        one, quiet = reload["reloaded"], reload["quiet"]
        failed = sum(one["others"].values())
        rows.append((
            f"{reload['reloads']} reloads of {reload['rules']:,} rules at {reload['rate']:,} tunnels a second",
            f"{one['max_us'] / 1000:.0f} ms at most, {failed} of {one['steps']:,} failed",
            f"without: {quiet['max_us'] / 1000:.0f} ms", "", "≤ 50 ms, none failed", one["max_us"] <= 50_000 and failed == 0,
        ))
    else:
        rows.append(unknown("reloads of 1,000,000 rules under load", "≤ 50 ms, none failed"))
    return rows


def overload(samples):
    rows = []
    found = samples.findings.get("overload")
    if found:
        for name, one in (("4 x the peak", found["steps"]["4"]), ("4 x, at the limit of flows", found["limited"])):
            latency = one.get("accepted_p99_ms")
            rows += [
                (
                    f"6. goodput at {name}", f"{one['rate']:,.0f} /s", f"peak: {found['peak']:,.0f} /s",
                    f"{one['rate'] / found['peak']:.2f}", "≥ 0.9", one["rate"] >= 0.9 * found["peak"],
                ),
                ("p99 of a tunnel once it was accepted", f"{latency} ms", "", "", "≤ 1 s", latency and latency <= 1000),
            ]
    else:
        rows.append(unknown("6. goodput at 4 x the peak, and at the limit of flows", "≥ 0.9"))
    leak = samples.findings.get("leak")
    if leak:
        before, after = leak["before"], leak["after"]
        grown = (after["bytes"] - before["bytes"]) / 1e6
        flows = before["flows"] + after["flows"]
        rows.append((
            f"left after {flows:,} flows", f"{after['files'] - before['files']:+} files, {after['pipes'] - before['pipes']:+} pipes,"
            f" {grown:+.1f} MB", f"after {before['flows']:,}", "", "nothing that grows",
            after["files"] <= before["files"] + 8 and grown <= 4,
        ))
    else:
        rows.append(unknown("left after 1,000,000 flows", "nothing that grows"))
    return rows


def auth(samples):
    found, rows = samples.findings.get("auth"), []
    for who in ("a password", "a token"):
        what, target = f"CPU of a set-up with {who} that is remembered", "≤ 1.1"
        if not found:
            rows.append(unknown(what, target))
            continue
        # Each pair was measured one after the other.
        ratio = statistics.median(one["cpu"] / none["cpu"] for none, one in zip(found["nobody"], found[who]))
        ours, theirs = (statistics.median(one["cpu"] for one in found[which]) for which in (who, "nobody"))
        rows.append((what, f"{ours:.1f} us", f"anonymous: {theirs:.1f} us", f"{ratio:.2f}", target, ratio <= 1.1))
    return rows
