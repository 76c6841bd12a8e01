//! A command whose flows go through a parent proxy, and which does not learn what that is told.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::world::{self, ALLOWED, Ran};

/// A proxy that answers each request itself; returns its port and what it has heard.
fn proxy() -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind((ALLOWED, 0)).unwrap();
    let (port, heard) = (listener.local_addr().unwrap().port(), Arc::<Mutex<String>>::default());
    let all = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap_or(0) > 0 && line != "\r\n" {
                all.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nparent";
            let _ = stream.get_mut().write_all(answer);
        }
    });
    (port, heard)
}

#[test]
fn the_password_of_a_parent_is_exeat_s_alone() {
    world::test("parents::the_password_of_a_parent_is_exeat_s_alone", |who, world| {
        let (port, heard) = proxy();
        let settings = fs::read_to_string(world.path("exeat.yaml")).unwrap();
        let parents = format!(
            "parents: {{ corp: {{ urls: ['http://{ALLOWED}:{port}'], resolve: parent, username: exeat, \
             password_env: CORP_PASSWORD }} }}\n"
        );
        fs::write(world.path("exeat.yaml"), settings + &parents).unwrap();
        let policy = "version: 1\nprofiles: [{ name: everyone, parent: corp, allow: [elsewhere.example] }]\n";
        fs::write(world.path("policy.yaml"), policy).unwrap();
        for flags in [&[][..], &["--explicit-only"]] {
            let line = "echo \"[$CORP_PASSWORD]\"; tr '\\0' '\\n' </proc/self/environ | grep -c s3cret; \
                        curl -sS --max-time 20 http://elsewhere.example/x";
            let mut exeat = world.exeat(who, flags, &["sh", "-c", line]);
            let ran = Ran::new(exeat.env("CORP_PASSWORD", "s3cret").output().unwrap());
            assert_eq!(ran.good(), "[]\n0\nparent", "{flags:?}");
        }
        let heard = heard.lock().unwrap();
        assert_eq!(heard.matches("GET http://elsewhere.example/x HTTP/1.1\r\n").count(), 2, "{heard}");
        assert_eq!(heard.matches("proxy-authorization: Basic ZXhlYXQ6czNjcmV0\r\n").count(), 2, "{heard}");

        let mut exeat = world.exeat(who, &[], &["true"]);
        let without = Ran::new(exeat.env_remove("CORP_PASSWORD").output().unwrap());
        assert_eq!(without.code, Some(2), "{without:?}");
        assert!(without.error.contains("the environment has no CORP_PASSWORD"), "{without:?}");
    });
}
