//! What is looked at before anything is applied, and what is said afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::exeat::Exeat;
use crate::internet::{EVIL_V4, EVIL_V6};
use crate::place::{As, Ran};
use crate::ways;
use crate::world::World;

fn saved(world: &World) -> String {
    let all = ["iptables-save", "ip6tables-save", "nft list ruleset"].map(|line| world.locked().must(line));
    all.concat()
}

/// Runs apply with programs of ours before those of the system.
fn apply_with(world: &World, name: &str, script: &str) -> Ran {
    apply_among(world, &[(name, script)], &[])
}

fn apply_among(world: &World, programs: &[(&str, &str)], more: &[&str]) -> Ran {
    let directory = world.path("tools");
    fs::create_dir_all(&directory).unwrap();
    for (name, script) in programs {
        let file = format!("{directory}/{name}");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("PATH={directory}:{}", std::env::var("PATH").unwrap());
    let (binary, settings) = (world.binary.to_str().unwrap(), world.path("exeat.yaml"));
    let words = ["env", &path, binary, "lockdown", "apply", "--uid", "61002", "--config", &settings];
    let ran = world.locked().run(As::Root, &[&words, more].concat(), "");
    fs::remove_dir_all(&directory).unwrap();
    ran
}

pub(crate) fn printing_needs_neither_privileges_nor_exeat_and_prints_what_apply_applies() {
    let world = World::instance();
    let binary = world.binary.to_str().unwrap();
    let print = |format: &str| {
        let words = [binary, "lockdown", "print", "--uid", "61002", "--format", format];
        world.instance.run(As::Program, &words, "").good()
    };
    let (v4, v6) = {
        let text = print("iptables");
        let (v4, v6) = text.split_once("# IPv6").unwrap();
        (v4.to_owned(), format!("# IPv6{v6}"))
    };
    world.instance.feed(&["iptables-restore", "--noflush"], &v4);
    world.instance.feed(&["ip6tables-restore", "--noflush"], &v6);
    let status = world.exeat(&["lockdown", "status", "--rules", "iptables"]);
    assert!(
        status.out.contains("IPv6: NOT WHOLLY LOCKED\n  fault: nf_conntrack_tcp_loose is not 0"),
        "{status:?}"
    );
    world.exeat(&["lockdown", "remove"]).good();
    for _ in 0..2 {
        world.instance.feed(&["nft", "-f", "-"], &print("nft"));
    }
    world.instance.must("sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0");
    world.exeat(&["lockdown", "status"]).good();
}

pub(crate) fn nothing_is_applied_while_nobody_listens_for_one_of_the_families() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    let settings = fs::read_to_string(world.path("exeat.yaml")).unwrap();
    let before = saved(&world);
    let refused = world.apply(&["--transparent-port", "3999"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("nobody listens on TCP 127.0.0.1:3999, TCP [::1]:3999"), "{refused:?}");
    assert_eq!(saved(&world), before);
    fs::write(world.path("exeat.yaml"), settings.replace("servers: [11.0.0.53]", "servers: [127.0.0.53]"))
        .unwrap();
    let refused = world.apply(&[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("the stub resolver 127.0.0.53"), "{refused:?}");
    assert_eq!(saved(&world), before);
    // That of the system counts where the settings name none.
    fs::write(&world.instance.resolv_conf, "nameserver 127.0.0.54\noptions edns0\n").unwrap();
    let own = settings.replace("dns: { servers: [11.0.0.53] }\n", "");
    assert!(own.len() < settings.len());
    fs::write(world.path("exeat.yaml"), own).unwrap();
    let refused = world.apply(&[]);
    assert!(refused.err.contains("the stub resolver 127.0.0.54"), "{refused:?}");
    assert_eq!((refused.code, saved(&world)), (Some(1), before));
    world.apply(&["--ahead"]).good();
}

pub(crate) fn nothing_is_applied_where_one_family_can_not_be_locked() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    let before = saved(&world);
    let refused = apply_with(&world, "ip6tables-save", "#!/bin/sh\necho no IPv6 here >&2\nexit 3\n");
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("IPv6 can't be locked") && refused.err.contains("--ipv4-only"),
        "{refused:?}"
    );
    assert_eq!(saved(&world), before);
    assert_eq!(world.exeat(&["lockdown", "status"]).code, Some(1));
    // It passes the test and fails in earnest.
    let script = "#!/bin/sh\ncase \"$*\" in *--test*) exit 0;; esac\necho broken >&2\nexit 4\n";
    let undone = apply_with(&world, "ip6tables-restore", script);
    assert_eq!(undone.code, Some(1));
    assert!(undone.err.contains("IPv6 could not be locked"), "{undone:?}");
    assert!(!saved(&world).contains("EXEAT"));
    assert_eq!(world.instance.must("sysctl -n net.netfilter.nf_conntrack_tcp_loose"), "1\n");

    world.apply(&["--ipv4-only"]).good();
    let status = world.exeat(&["lockdown", "status"]);
    assert_eq!(status.code, Some(1));
    assert!(
        status.out.starts_with("IPv4: locked\n") && status.out.ends_with("IPv6: not locked\n"),
        "{status:?}"
    );
    assert_eq!(world.exeat(&["lockdown", "status", "--ipv4-only"]).code, Some(0));
}

pub(crate) fn ipv4_alone_is_locked_in_every_format() {
    for (world, shape) in [
        (World::instance(), &[][..]),
        (World::gateway(), &["--gateway", "--interface", "in0"]),
        (World::gateway(), &["--gateway", "--interface", "in0", "--subnet", "10.77.0.0/24", "--tproxy"]),
    ] {
        let _exeat = Exeat::start_as(&world, As::Taker);
        for format in ["iptables", "nft"] {
            let how = [&["--format", format], shape].concat();
            world.apply(&how).good();
            world.apply(&[&["--ipv4-only"], &how[..]].concat()).good();
            let status = world.exeat(&["lockdown", "status", "--ipv4-only"]);
            assert!(status.good().starts_with("IPv4: locked\n"), "{format} {shape:?}");
            let refused = |to: &str| !ways::is_answered(&world.instance, As::Program, to, false);
            assert!(refused(&format!("UDP4:{EVIL_V4}:5000")), "{format} {shape:?}");
            assert!(ways::is_answered(&world.instance, As::Program, &format!("UDP6:[{EVIL_V6}]:5000"), true));
            world.exeat(&["lockdown", "remove"]).good();
        }
    }
}

pub(crate) fn doors_are_not_missed_where_their_family_has_no_address() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    world.instance.must("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
    let missed = world.apply(&["--transparent-port", "3999"]);
    assert!(missed.err.contains("nobody listens on TCP 127.0.0.1:3999: "), "{missed:?}");
    world.apply(&[]).good();
    world.exeat(&["lockdown", "status"]).good();
}

pub(crate) fn a_path_without_the_programs_of_root_hides_no_rules() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    let binary = world.binary.to_str().unwrap();
    for format in ["iptables", "nft"] {
        world.apply(&["--format", format]).good();
        // As cron has it.
        let run = |command| {
            let words = ["env", "PATH=/usr/bin:/bin", binary, "lockdown", command];
            world.instance.run(As::Root, &words, "").good()
        };
        assert!(run("status").starts_with("IPv4: locked\n"), "{format}");
        assert_eq!(run("remove"), "the lockdown is removed\n", "{format}");
        assert_eq!(world.exeat(&["lockdown", "status"]).out, "IPv4: not locked\nIPv6: not locked\n");
    }
}

pub(crate) fn what_tracking_was_is_known_by_the_rules_of_either_family() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    for flushed in ["iptables", "ip6tables"] {
        world.apply(&[]).good();
        for table in ["filter", "nat", "mangle"] {
            world.instance.must(&format!("{flushed} -t {table} -F"));
            world.instance.must(&format!("{flushed} -t {table} -X"));
        }
        world.apply(&[]).good();
        world.exeat(&["lockdown", "remove"]).good();
        let loose = world.instance.must("sysctl -n net.netfilter.nf_conntrack_tcp_loose");
        assert_eq!(loose, "1\n", "{flushed}");
    }
}

pub(crate) fn what_a_failed_apply_can_not_put_back_is_told() {
    let world = World::gateway();
    let gateway = world.locked();
    fs::write(world.path("exeat.yaml"), "").unwrap();
    // The real `ip`, save that it takes no rule away.
    let script = "#!/bin/sh\ncase \"$*\" in *'rule del'*) echo no rule goes >&2; exit 2;; esac\nPATH=${PATH#*:} exec ip \"$@\"\n";
    let broken = "#!/bin/sh\necho no IPv6 here >&2\nexit 3\n";
    let how = ["--ahead", "--gateway", "--interface", "in0", "--tproxy"];
    let refused = apply_among(&world, &[("ip", script), ("ip6tables-save", broken)], &how);
    assert_eq!(refused.code, Some(1));
    for told in [
        "IPv6 can't be locked: ip6tables-save failed: no IPv6 here",
        "no rule was applied; --ipv4-only",
        "the routes of IPv4 are kept, `exeat lockdown remove` tries again: ip -4 rule del",
        "failed: no rule goes",
        "the routes of IPv6 are kept",
    ] {
        assert!(refused.err.contains(told), "{told}: {refused:?}");
    }
    assert!(gateway.must("ip -6 rule").contains("lookup 3129"));
    world.exeat(&["lockdown", "remove"]).good();
    assert!(!gateway.must("ip -6 rule").contains("lookup 3129"));

    // Both families come halfway, and stay there.
    let script = "#!/bin/sh\ncase \"$*\" in *--test*) exit 0;; esac\necho broken >&2\nexit 4\n";
    let fails = "#!/bin/sh\ncase \"$*\" in *--test*) exit 0;; esac\nflag=${0%/*}/once\nif [ -e \"$flag\" ]; then echo stuck >&2; exit 4; \
                 fi\n: > \"$flag\"\nPATH=${PATH#*:} exec iptables-restore \"$@\"\n";
    let halfway =
        apply_among(&world, &[("iptables-restore", fails), ("ip6tables-restore", script)], &how[..4]);
    assert_eq!(halfway.code, Some(1));
    assert!(
        halfway.err.contains("IPv6 could not be locked") && halfway.err.contains("failed: IPv4: "),
        "{halfway:?}"
    );
    world.exeat(&["lockdown", "remove"]).good();
}

pub(crate) fn status_tells_what_is_missing_and_what_was_counted() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    assert_eq!(world.exeat(&["lockdown", "status"]).out, "IPv4: not locked\nIPv6: not locked\n");
    for format in ["iptables", "nft"] {
        world.apply(&["--format", format]).good();
        world.instance.run(As::Program, &["socat", "-t0", "-T0.1", "-", "UDP4:11.0.0.66:443"], "x");
        let status = world.exeat(&["lockdown", "status", "--format", "json"]).good();
        let families: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(families[1]["extent"], "full");
        let rules = families[0]["chains"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|chain| chain["rules"].as_array().unwrap());
        let quic: Vec<u64> = rules
            .filter(|rule| rule["comment"].as_str().unwrap().starts_with("QUIC"))
            .map(|rule| rule["packets"].as_u64().unwrap())
            .collect();
        assert_eq!(quic.iter().sum::<u64>(), 1, "{format}: {families:#}");
    }
    world.instance.must("nft flush chain inet exeat filter_output");
    let status = world.exeat(&["lockdown", "status"]);
    assert_eq!(
        (status.code, status.out.contains("filter_output is not there")),
        (Some(1), true),
        "{status:?}"
    );
}

pub(crate) fn status_tells_of_rules_among_its_own_that_let_out_what_they_refuse() {
    let world = World::instance();
    let _exeat = Exeat::start(&world);
    for (format, insert, chain) in [
        ("iptables", "iptables -I EXEAT-OUTPUT 2 -j ACCEPT", "filter EXEAT-OUTPUT"),
        ("iptables", "ip6tables -t mangle -A EXEAT-POSTROUTING -j ACCEPT", "mangle EXEAT-POSTROUTING"),
        ("nft", "nft insert rule inet exeat filter_output accept", "filter_output"),
        ("nft", "nft insert rule inet exeat mangle_postrouting_base accept", "mangle_postrouting_base"),
    ] {
        world.apply(&["--format", format]).good();
        world.exeat(&["lockdown", "status"]).good();
        world.instance.must(insert);
        let status = world.exeat(&["lockdown", "status"]);
        let told = format!("rules of others stand in {chain}\n");
        assert!(status.code == Some(1) && status.out.contains(&told), "{insert}: {status:#?}");
    }
}
