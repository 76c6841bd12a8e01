//! The ways out of an instance, by the tools that people would try.

use std::thread;

use crate::internet::{EVIL, METADATA};
use crate::place::{As, Place};
use crate::world::FORBIDDEN;

/// A way out.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) words: Vec<String>,
    pub(crate) who: As,
    pub(crate) input: &'static str,
    /// What comes back if it is open.
    pub(crate) sign: String,
}

impl Way {
    fn new(who: As, line: &str, input: &'static str, sign: impl Into<String>) -> Self {
        Self { words: line.split(' ').map(str::to_owned).collect(), who, input, sign: sign.into() }
    }

    /// Whether it leads out.
    fn is_open(&self, place: &Place) -> bool {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let ran = place.run(self.who, &words, self.input);
        ran.out.contains(&self.sign) || ran.err.contains(&self.sign)
    }
}

/// Every way to an address that nobody may reach.
pub(crate) fn all() -> Vec<Way> {
    let mut ways: Vec<Way> = FORBIDDEN.into_iter().flat_map(to).collect();
    ways.push(Way::new(
        As::Program,
        &format!("curl -s --max-time 5 http://{METADATA}/"),
        "",
        format!("this is {METADATA}"),
    ));
    let ask = |kind| Way::new(As::Program, &format!("dig +tries=1 +time=3 {kind} {EVIL}"), "", "NOERROR");
    ways.extend(["A", "TXT"].map(ask));
    ways
}

fn to(address: &str) -> Vec<Way> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let (tcp, udp) = if address.contains(':') { ("TCP6", "UDP6") } else { ("TCP4", "UDP4") };
    // The ports of DHCP clients lead to DHCP servers alone.
    let dhcp = if address.contains(':') { "5000,sourceport=546" } else { "5000,sourceport=68" };
    let request = "GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
    let mut ways = vec![
        Way::new(
            As::Program,
            &format!("curl -s --max-time 5 http://{host}/"),
            "",
            format!("this is {host}:80"),
        ),
        Way::new(
            As::Root,
            &format!("curl -sk --max-time 5 https://{host}/"),
            "",
            format!("this is {host}:443"),
        ),
        // The name that is allowed, at an address that is not.
        Way::new(
            As::Program,
            &format!("openssl s_client -quiet -connect {host}:443 -servername allowed.example"),
            request,
            format!("this is {host}:443"),
        ),
        Way::new(As::Program, &format!("dig +tries=1 +time=2 @{address} TXT {EVIL}"), "", "got out"),
        Way::new(As::Program, &format!("dig +tcp +tries=1 +time=2 @{address} TXT {EVIL}"), "", "got out"),
        Way::new(As::Root, &format!("ping -c 1 -W 2 {address}"), "", " 1 received"),
        Way::new(
            As::Root,
            &format!("socat -t1 -T2 - {tcp}:{host}:25,so-bindtodevice=up0,connect-timeout=2"),
            "x",
            format!("SSH-2.0-at-{host}:25"),
        ),
    ];
    for (who, port) in
        [(As::Program, 22), (As::Root, 25), (As::Program, 853), (As::Root, 5432), (As::Program, 8443)]
    {
        let line = format!("socat -t1 -T2 - {tcp}:{host}:{port},connect-timeout=3");
        ways.push(Way::new(who, &line, "x", format!("SSH-2.0-at-{host}:{port}")));
    }
    for (who, more) in [
        (As::Program, "443"),
        (As::Root, "123"),
        (As::Program, "5000"),
        (As::Root, dhcp),
        (As::Root, "4500,so-bindtodevice=up0"),
    ] {
        let line = format!("socat -t1 -T1 - {udp}:{host}:{more}");
        ways.push(Way::new(who, &line, "x", format!("UDP {host}:")));
    }
    ways
}

/// Tries them all at once, and returns those that lead out.
pub(crate) fn open(place: &Place, ways: &[Way]) -> Vec<String> {
    tried(place, ways, true)
}

/// Tries them all at once, and returns those that don't lead out.
pub(crate) fn shut(place: &Place, ways: &[Way]) -> Vec<String> {
    tried(place, ways, false)
}

fn tried(place: &Place, ways: &[Way], wanted: bool) -> Vec<String> {
    let attempts: Vec<_> = ways
        .iter()
        .cloned()
        .map(|way| {
            let place = place.clone();
            thread::spawn(move || (way.is_open(&place) == wanted).then(|| way.words.join(" ")))
        })
        .collect();
    attempts.into_iter().filter_map(|attempt| attempt.join().unwrap()).collect()
}

/// Protocols that answer nothing: sent, and looked for at the other end.
pub(crate) fn send_silent(place: &Place) {
    for address in FORBIDDEN {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        for protocol in [4, 41, 47, 50, 132, 253] {
            place.run(As::Root, &["socat", "-u", "-", &format!("IP-SENDTO:{host}:{protocol}")], "silent");
        }
    }
}
