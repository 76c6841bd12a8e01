//! What programs reach: those that know of proxies, those that ignore them, by name and by address.

use std::fs;
use std::process::Command;

use crate::servers::{Trust, Web};
use crate::world::{self, ALLOWED, ALLOWED_V6, DENIED, World};

/// Plain and TLS servers behind an allowed name, and one behind a name that is not.
struct Behind {
    plain: Web,
    tls: Web,
    six: Web,
    evil: Web,
    evil_tls: Web,
    trust: String,
}

impl Behind {
    fn new(world: &World) -> Self {
        let trust = Trust::new(world.directory.path());
        let files = world.path("files");
        fs::create_dir(&files).unwrap();
        let behind = Self {
            plain: Web::plain(&format!("{ALLOWED}:0"), &files),
            tls: Web::tls(&format!("{ALLOWED}:0"), &files, &trust),
            six: Web::tls(&format!("[{ALLOWED_V6}]:0"), &files, &trust),
            evil: Web::plain(&format!("{DENIED}:0"), &files),
            evil_tls: Web::tls(&format!("{DENIED}:0"), &files, &trust),
            trust: trust.file.to_str().unwrap().to_owned(),
        };
        let (plain, tls, six) = (behind.plain.port, behind.tls.port, behind.six.port);
        let evil = behind.evil.port;
        world.policy(&[
            &format!("{{ host: a.example, ports: [{plain}], protocol: http }}"),
            &format!("{{ host: a.example, ports: [{tls}, {}], protocol: tls }}", behind.evil_tls.port),
            &format!("{{ host: six.example, ports: [{six}], protocol: tls }}"),
            &format!("{{ host: b.example, ports: [{evil}], protocol: http }}"),
        ]);
        behind
    }

    /// Nobody came where nobody may go.
    fn unvisited(&self) {
        assert_eq!((self.evil.connections(), self.evil_tls.connections()), (0, 0));
    }
}

#[test]
fn curl_reaches_what_is_allowed_with_and_without_the_proxy() {
    world::test("programs::curl_reaches_what_is_allowed_with_and_without_the_proxy", |who, world| {
        let behind = Behind::new(world);
        let (plain, tls, six) = (behind.plain.port, behind.tls.port, behind.six.port);
        for direct in ["", "--noproxy *"] {
            for (url, host) in [
                (format!("http://a.example:{plain}/"), format!("a.example:{plain}")),
                (format!("https://a.example:{tls}/"), format!("a.example:{tls}")),
                (format!("https://six.example:{six}/"), format!("six.example:{six}")),
            ] {
                let line = format!("set -f; curl -sS --max-time 20 --cacert {} {direct} {url}", behind.trust);
                assert_eq!(world.sh(who, &line).good(), format!("hello from {host}"), "{line}");
            }
            for url in [
                format!("http://evil.example:{}/", behind.evil.port),
                format!("https://evil.example:{}/", behind.evil_tls.port),
                format!("http://{DENIED}:{}/", behind.evil.port),
            ] {
                let line =
                    format!("set -f; curl -fsS --max-time 20 --cacert {} {direct} {url}", behind.trust);
                let ran = world.sh(who, &line);
                assert!(ran.code != Some(0) && ran.out.is_empty(), "{line}: {ran:?}");
                assert!(ran.error.contains("denied"), "{line}: {ran:?}");
            }
        }
        // The name decides, not the address: an allowed name said to a denied server leads to the name's own.
        let port = behind.evil_tls.port;
        let line = format!(
            "curl -sS --noproxy '*' --max-time 20 -k --resolve a.example:{port}:{DENIED} https://a.example:{port}/"
        );
        assert_ne!(world.sh(who, &line).code, Some(0));
        behind.unvisited();
    });
}

#[test]
fn interpreters_reach_what_is_allowed() {
    world::test("programs::interpreters_reach_what_is_allowed", |who, world| {
        let behind = Behind::new(world);
        let url = format!("https://a.example:{}/", behind.tls.port);
        let evil = format!("https://evil.example:{}/", behind.evil_tls.port);
        let python = "import sys, urllib.request, ssl\n\
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),\n\
              urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=sys.argv[2])))\n\
            print(opener.open(sys.argv[1], timeout=20).read().decode())";
        let ran = world.run(who, &[], &["/usr/bin/python3", "-c", python, &url, &behind.trust]);
        assert!(ran.good().starts_with("hello from a.example"), "{ran:?}");
        assert_ne!(
            world.run(who, &[], &["/usr/bin/python3", "-c", python, &evil, &behind.trust]).code,
            Some(0)
        );
        let node = "const https = require('https'); https.get(process.argv[1], { agent: false }, a => a.pipe(process.stdout))\n\
            .on('error', e => { console.error(e.message); process.exit(1) })";
        let line = format!("NODE_EXTRA_CA_CERTS={} exec node -e \"{node}\" {url}", behind.trust);
        assert!(world.sh(who, &line).good().starts_with("hello from a.example"));
        let line = format!("NODE_EXTRA_CA_CERTS={} exec node -e \"{node}\" {evil}", behind.trust);
        assert_eq!(world.sh(who, &line).code, Some(1));
        behind.unvisited();
    });
}

#[test]
fn a_static_program_that_knows_of_no_proxy_is_held_too() {
    world::test("programs::a_static_program_that_knows_of_no_proxy_is_held_too", |who, world| {
        let behind = Behind::new(world);
        let source = world.path("direct.c");
        fs::write(&source, include_str!("direct.c")).unwrap();
        let binary = world.path("direct");
        let built = Command::new("cc").arg("-static").arg("-o").arg(&binary).arg(&source).status().unwrap();
        assert!(built.success());
        let get = |address: &str, port: u16, host: &str| {
            world.run(who, &[], &[binary.to_str().unwrap(), address, &port.to_string(), host])
        };
        let (plain, evil) = (behind.plain.port, behind.evil.port);
        let host = format!("a.example:{plain}");
        assert!(get(ALLOWED, plain, &host).good().ends_with(&format!("hello from {host}")));
        // The name alone decides where it leads, whatever address was meant.
        assert!(get(DENIED, plain, &host).good().ends_with(&format!("hello from {host}")));
        let refused = get(DENIED, evil, &format!("evil.example:{evil}"));
        assert!(refused.out.contains("403 Forbidden") && refused.out.contains("no_rule"), "{refused:?}");
        assert_ne!(get("127.0.0.1", plain, &host).code, Some(0), "127/8 is the jail's own");
        behind.unvisited();
    });
}

#[test]
fn git_clones_over_https_and_ssh() {
    world::test("programs::git_clones_over_https_and_ssh", |who, world| {
        let behind = Behind::new(world);
        let ssh = crate::held::Sshd::start(world, ALLOWED);
        let script =
            "set -e; git init -q --bare files/repo.git; git clone -q files/repo.git work 2>/dev/null; cd work
            git -c user.name=n -c user.email=e commit -q --allow-empty -m first; git push -q origin HEAD
            cd ../files/repo.git; git update-server-info; chmod -R a+rX ..";
        let made =
            Command::new("sh").args(["-c", script]).current_dir(world.directory.path()).status().unwrap();
        assert!(made.success());
        let tls = behind.tls.port;
        fs::write(
            world.path("policy.yaml"),
            format!(
                "version: 1\nprofiles:\n  - name: git\n    allow:\n      - {{ host: a.example, ports: [{tls}], protocol: tls }}\n      \
                 - {{ host: git.example, ports: [{}], protocol: tcp }}\n",
                ssh.port
            ),
        )
        .unwrap();
        for (place, direct) in
            [("proxied", ""), ("direct", "unset HTTPS_PROXY https_proxy ALL_PROXY all_proxy;")]
        {
            let line = format!(
                "{direct} GIT_SSL_CAINFO={} git clone -q https://a.example:{tls}/repo.git {place}-{who:?} && \
                 git -C {place}-{who:?} log --format=%s",
                behind.trust
            );
            assert_eq!(world.sh(who, &line).good(), "first", "{place}");
        }
        // ssh knows of no proxy, and says no name: the DNS door has told which name the address has.
        let ran = world.sh(who, &ssh.client_line(world, who, "git.example"));
        assert_eq!(ran.good(), "over ssh");
    });
}
