//! Jails on machines that have less: no nft, no iptables, no namespaces at all; and what is said of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;

use crate::servers::{Trust, Web};
use crate::world::{self, ALLOWED, DENIED, Ran, Who, World};

/// Runs a command where some tools are not. It needs root.
pub fn without(missing: &str, command: &Command, world: &World) -> Ran {
    let hide = format!(
        "for tool in {missing}; do for path in /usr/sbin/$tool /sbin/$tool /usr/bin/$tool; do \
         test ! -e $path || mount --bind /dev/null $path; done; done"
    );
    world.behind(&hide, "sh", command)
}

/// Runs a command where there is no `/run`, as in small images and in sandboxes of builds. It needs root.
fn without_run(command: &Command, world: &World) -> Ran {
    let pivot = "mount -t tmpfs none /mnt; for one in /*; do case $one in /mnt|/run) continue;; esac; \
                 if [ -h $one ]; then cp -a $one /mnt; elif [ -d $one ]; then mkdir /mnt$one; mount --rbind $one /mnt$one; fi; \
                 done; mkdir /mnt/old; cd /mnt; pivot_root . old; umount -l /old; rmdir /old; cd \"$0\"";
    world.behind(pivot, world.directory.path(), command)
}

/// Runs a command where `/etc/resolv.conf` is a link. It needs root.
fn with_resolv_conf(to: &Path, command: &Command, world: &World) -> Ran {
    let link = "mount -t tmpfs none /mnt && cp -a /etc/. /mnt && ln -sf \"$0\" /mnt/resolv.conf && mount --bind /mnt /etc";
    world.behind(link, to, command)
}

/// A server of plain HTTP that the policy of this place allows, and one that it does not.
fn sites(world: &World) -> (Web, Web) {
    let files = world.path("none");
    let (web, evil) =
        (Web::plain(&format!("{ALLOWED}:0"), &files), Web::plain(&format!("{DENIED}:0"), &files));
    world.policy(&[&format!("{{ host: a.example, ports: [{}], protocol: http }}", web.port)]);
    (web, evil)
}

#[test]
fn where_nothing_can_redirect_the_ports_of_the_policy_are_open() {
    world::test("weaker::where_nothing_can_redirect_the_ports_of_the_policy_are_open", |who, world| {
        if !geteuid().is_root() {
            return;
        }
        let files = world.path("none");
        let trust = Trust::new(world.directory.path());
        let web = Web::tls(&format!("{ALLOWED}:0"), &files, &trust);
        let evil = Web::plain(&format!("{DENIED}:0"), &files);
        world.policy(&[&format!("{{ host: a.example, ports: [{}], protocol: tls }}", web.port)]);
        for (missing, redirects) in [("nft", true), ("nft iptables-restore ip6tables-restore", false)] {
            let line = format!(
                "curl -sS --noproxy '*' --max-time 20 --cacert {} https://a.example:{port}/; \
                 curl -sS --noproxy '*' --max-time 20 http://{DENIED}:{evil}/ || echo refused; \
                 curl -sS --noproxy '*' --max-time 20 -k https://{DENIED}:{port}/ || echo refused",
                trust.file.display(),
                port = web.port,
                evil = evil.port,
            );
            let command = world.exeat(who, &["--audit", "records.jsonl"], &["sh", "-c", &line]);
            let ran = without(missing, &command, world);
            let wanted = format!("hello from a.example:{}\nrefused\nrefused", web.port);
            assert_eq!(ran.good(), wanted, "{ran:?}");
            assert_eq!(ran.error.contains("neither nft nor iptables"), !redirects, "{ran:?}");
        }
        assert_eq!(evil.connections(), 0);
    });
}

#[test]
fn what_is_not_there_needs_no_mask() {
    world::test("weaker::what_is_not_there_needs_no_mask", |who, world| {
        if !geteuid().is_root() {
            return;
        }
        let command = world.exeat(who, &[], &["sh", "-c", "test ! -e /run && cat /etc/resolv.conf"]);
        let ran = without_run(&command, world);
        assert!(ran.good().contains("nameserver 192.0.2.1"), "{ran:?}");
    });
}

#[test]
fn search_domains_that_can_not_be_read_are_told_to_be_lost() {
    world::test("weaker::search_domains_that_can_not_be_read_are_told_to_be_lost", |who, world| {
        if !geteuid().is_root() {
            return;
        }
        fs::write(world.path("resolv.conf"), b"search corp.example # f\xfcr alle\n").unwrap();
        let command = world.exeat(who, &[], &["grep", "search", "/etc/resolv.conf"]);
        let ran = world.behind("mount --bind resolv.conf /etc/resolv.conf", "sh", &command);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.error.contains("not UTF-8") && ran.error.contains("no search domains"), "{ran:?}");
    });
}

#[test]
fn what_resolv_conf_is_a_link_to_stays_what_it_is() {
    world::test("weaker::what_resolv_conf_is_a_link_to_stays_what_it_is", |who, world| {
        if !geteuid().is_root() {
            return;
        }
        let device = world.exeat(who, &[], &["sh", "-c", "echo gone >/dev/null; cat /dev/null"]);
        let ran = with_resolv_conf(Path::new("/dev/null"), &device, world);
        assert_eq!(ran.good(), "");
        assert!(ran.error.contains("names may not resolve: it leads to no file"), "{ran:?}");
        // As systemd-resolved has it, and somebody who shares the directory.
        let (directory, before) = (world.path("runtime"), "nameserver 192.0.2.53\n");
        fs::create_dir(&directory).unwrap();
        let file = directory.join("resolv.conf");
        fs::write(&file, before).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        for share in [&[][..], &["--share", directory.to_str().unwrap()]] {
            let command = world.exeat(who, share, &["cat", "/etc/resolv.conf"]);
            let mut with_runtime = Command::new("env");
            with_runtime.arg(format!("XDG_RUNTIME_DIR={}", directory.display()));
            let ran = with_resolv_conf(&file, with_runtime.args(world::words(&command)), world);
            assert!(ran.good().contains("nameserver 192.0.2.1"), "{ran:?}");
            assert_eq!(fs::read_to_string(&file).unwrap(), before, "{share:?}");
        }
    });
}

#[test]
fn what_the_settings_say_of_users_means_nothing_to_a_command() {
    world::test("weaker::what_the_settings_say_of_users_means_nothing_to_a_command", |who, world| {
        let web = Web::plain(&format!("{ALLOWED}:0"), &world.path("none"));
        world.policy(&[&format!("{{ host: a.example, ports: [{}], protocol: http }}", web.port)]);
        let settings = fs::read_to_string(world.path("exeat.yaml")).unwrap();
        // Not even a file of users that is not there matters.
        fs::write(world.path("exeat.yaml"), settings + "auth: { required: true, basic: { file: none } }\n")
            .unwrap();
        let line = format!("curl -sS --max-time 20 http://a.example:{}/", web.port);
        for flags in [&[][..], &["--explicit-only"]] {
            let ran = world.run(who, flags, &["sh", "-c", &line]);
            assert!(ran.good().starts_with("hello from"), "{ran:?}");
        }
    });
}

#[test]
fn where_the_kernel_forbids_namespaces_the_setting_is_named() {
    world::test("weaker::where_the_kernel_forbids_namespaces_the_setting_is_named", |who, world| {
        if who == Who::User {
            return;
        }
        let command = world.exeat(who, &[], &["true"]);
        let mut unshare = Command::new("unshare");
        let line = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
        unshare.args(["--user", "--map-root-user", "sh", "-c", line, "sh"]).args(world::words(&command));
        let ran = Ran::new(unshare.output().unwrap());
        assert_eq!(ran.code, Some(1), "{ran:?}");
        for words in
            ["user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=", "--explicit-only"]
        {
            assert!(ran.error.contains(words), "{ran:?}");
        }
    });
}

#[test]
fn where_a_container_masks_a_part_of_proc_that_is_named() {
    world::test("weaker::where_a_container_masks_a_part_of_proc_that_is_named", |who, world| {
        if !geteuid().is_root() {
            return;
        }
        let command = world.exeat(who, &[], &["true"]);
        let ran = world.behind("mount --bind /dev/null /proc/uptime", "sh", &command);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        for words in ["masks a part", "systempaths=unconfined", "--explicit-only"] {
            assert!(ran.error.contains(words), "{ran:?}");
        }
        assert!(!ran.error.contains("no namespaces"), "{ran:?}");
    });
}

#[test]
fn without_a_jail_the_proxy_is_offered_and_it_is_said_that_this_is_weaker() {
    world::test(
        "weaker::without_a_jail_the_proxy_is_offered_and_it_is_said_that_this_is_weaker",
        |who, world| {
            let (web, evil) = sites(world);
            let line = format!(
                "curl -sS --max-time 20 http://a.example:{}/; curl -sS -o /dev/null -w '%{{http_code}}' --max-time 20 http://evil.example:{}/; exit 4",
                web.port, evil.port
            );
            let ran = world.run(who, &["--explicit-only"], &["sh", "-c", &line]);
            assert_eq!(ran.code, Some(4), "{ran:?}");
            assert_eq!(ran.out, format!("hello from a.example:{}\n403", web.port));
            assert!(ran.error.contains("weaker"), "{ran:?}");
            assert_eq!(evil.connections(), 0);
            assert_eq!(world.run(who, &["--explicit-only", "--share", "/run"], &["true"]).code, Some(2));
        },
    );
}

#[test]
fn what_was_denied_is_told_with_the_line_that_would_allow_it_and_recorded() {
    world::test(
        "weaker::what_was_denied_is_told_with_the_line_that_would_allow_it_and_recorded",
        |who, world| {
            let (web, evil) = sites(world);
            let line = format!(
                "curl -sS --max-time 20 http://a.example:{web}/; curl -sS -o /dev/null --max-time 20 http://evil.example:{evil}/; \
             curl -sS -o /dev/null --max-time 20 http://evil.example:{evil}/; getent hosts other.example",
                web = web.port,
                evil = evil.port
            );
            let ran = world.run(who, &["--audit", "records.jsonl"], &["sh", "-c", &line]);
            assert_eq!(
                ran.out,
                format!("hello from a.example:{}\n", web.port),
                "nothing else is on its output"
            );
            for words in [
                "2 destinations were denied".to_owned(),
                format!("evil.example:{}: no_rule (2 times)", evil.port),
                format!("- {{ host: evil.example, ports: [{}] }}", evil.port),
                "other.example: no_rule".to_owned(),
                "- other.example".to_owned(),
            ] {
                assert!(ran.error.contains(&words), "{words}: {ran:#?}");
            }
            let records = world.records("records.jsonl");
            let of = |verdict: &str| records.iter().filter(|record| record["verdict"] == verdict).count();
            assert!(of("allow") == 1 && of("deny") >= 3, "{records:#?}");
            assert!(records.iter().all(|record| record["client"] == "127.0.0.1"));
            // Where nothing is denied, nothing is said.
            assert_eq!(world.sh(who, "true").error, "");
            fs::remove_file(world.path("records.jsonl")).unwrap();
        },
    );
}

#[test]
fn a_name_of_a_metadata_service_has_no_rule_that_would_open_it() {
    world::test("weaker::a_name_of_a_metadata_service_has_no_rule_that_would_open_it", |who, world| {
        let hosts = fs::read_to_string(world.path("hosts")).unwrap();
        fs::write(world.path("hosts"), format!("{hosts}169.254.169.254 metadata.example\n")).unwrap();
        world.policy(&["metadata.example"]);
        for line in ["getent hosts metadata.example", "curl -sS --max-time 20 http://metadata.example/"] {
            let ran = world.sh(who, line);
            assert!(
                ran.error.contains("metadata.example") && ran.error.contains("address_prohibited"),
                "{ran:?}"
            );
            assert!(ran.error.contains("clients on this host, which this one is not"), "{ran:?}");
            assert!(!ran.error.contains("private"), "{ran:?}");
        }
        fs::write(world.path("hosts"), hosts).unwrap();
    });
}

#[test]
fn profiles_that_name_clients_are_chosen_by_name() {
    world::test("weaker::profiles_that_name_clients_are_chosen_by_name", |who, world| {
        let web = Web::plain(&format!("{ALLOWED}:0"), &world.path("none"));
        let policy = format!(
            "version: 1\nprofiles:\n  - name: builds\n    clients: [10.0.0.0/8]\n    allow:\n      \
             - {{ host: a.example, ports: [{}], protocol: http }}\n",
            web.port
        );
        fs::write(world.path("policy.yaml"), policy).unwrap();
        let url = format!("http://a.example:{}/", web.port);
        let curl = ["curl", "-fsS", "--max-time", "20", &url];
        let ran = world.run(who, &[], &curl);
        assert!(ran.code == Some(2) && ran.error.contains("--profile: builds"), "{ran:?}");
        assert_eq!(world.run(who, &["--profile", "build"], &curl).code, Some(2));
        assert!(world.run(who, &["--profile", "builds"], &curl).good().starts_with("hello"));
        // What the host has on loopback, and what it alone may ask, is not the jail's.
        let outside = Web::plain("127.0.0.1:0", &world.path("none"));
        let policy = "version: 1\nprofiles:\n  - name: all\n    allow:\n      - { cidr: 169.254.169.254/32, ports: [80], protocol: http }\n";
        fs::write(world.path("policy.yaml"), policy).unwrap();
        let line = format!(
            "curl -sS --noproxy '*' http://127.0.0.1:{}/ || curl -sS --max-time 20 http://169.254.169.254/",
            outside.port
        );
        let ran = world.sh(who, &line);
        assert!(ran.out.contains("address_prohibited"), "{ran:?}");
        assert_eq!(outside.connections(), 0);
    });
}
