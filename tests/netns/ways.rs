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

    /// Whether it names an interface, which only the instance itself has.
    pub(crate) fn is_bound_to_an_interface(&self) -> bool {
        self.words.iter().any(|word| word.contains("so-bindtodevice"))
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
            &format!("timeout 10 openssl s_client -quiet -connect {host}:443 -servername allowed.example"),
            request,
            format!("this is {host}:443"),
        ),
        Way::new(As::Program, &format!("dig +tries=1 +time=2 @{address} TXT {EVIL}"), "", "got out"),
        Way::new(As::Program, &format!("dig +tcp +tries=1 +time=2 @{address} TXT {EVIL}"), "", "got out"),
        Way::new(As::Root, &format!("ping -c 1 -W 2 {address}"), "", " 1 received"),
        // Through a socket for pings, which needs no privileges, and in fragments.
        Way::new(As::Program, &format!("ping -c 1 -W 2 -s 4000 {address}"), "", " 1 received"),
    ];
    for (who, options) in [
        (As::Root, "so-bindtodevice=up0"),
        (As::Program, "so-bindtodevice=up0"),
        (As::Root, "reuseaddr,sourceport=22"),
    ] {
        let line = format!("socat -t1 -T2 - {tcp}:{host}:25,{options},connect-timeout=2");
        ways.push(Way::new(who, &line, "x", format!("SSH-2.0-at-{host}:25")));
    }
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
        (As::Program, "4500,so-bindtodevice=up0"),
    ] {
        let line = format!("socat -t1 -T1 - {udp}:{host}:{more}");
        ways.push(Way::new(who, &line, "x", format!("UDP {host}:")));
    }
    ways
}

/// Seconds to wait for an answer: one that is expected comes at last on however busy a machine; for another one a moment
/// has to do.
pub(crate) fn patience(expected: bool) -> u64 {
    if expected { 30 } else { 2 }
}

/// Whether a server answers at an address of socat's.
pub(crate) fn is_answered(place: &Place, who: As, to: &str, expected: bool) -> bool {
    let (sign, time) =
        (if to.starts_with("UDP") { "UDP " } else { "SSH-2.0-at-" }, patience(expected).to_string());
    place.says(who, &["socat", "-T", &time, "-", to], "x", sign)
}

/// Tries them all at once, and returns those that lead out.
pub(crate) fn open(place: &Place, ways: &[Way]) -> Vec<String> {
    lines(&tried(place, ways, true))
}

/// Tries them all at once, and returns those that don't lead out. The patience of their programs may be too short for
/// a busy machine, so what failed has two more chances.
pub(crate) fn shut(place: &Place, ways: &[Way]) -> Vec<String> {
    let mut shut = ways.to_vec();
    for _ in 0..3 {
        shut = tried(place, &shut, false);
    }
    lines(&shut)
}

/// Those of which it is found that they lead out, or don't.
fn tried(place: &Place, ways: &[Way], wanted: bool) -> Vec<Way> {
    let attempts: Vec<_> = ways
        .iter()
        .cloned()
        .map(|way| {
            let place = place.clone();
            thread::spawn(move || (way.is_open(&place) == wanted).then_some(way))
        })
        .collect();
    attempts.into_iter().filter_map(|attempt| attempt.join().unwrap()).collect()
}

fn lines(ways: &[Way]) -> Vec<String> {
    ways.iter().map(|way| format!("{:?}: {}", way.who, way.words.join(" "))).collect()
}

/// Protocols that answer nothing: sent, and looked for at the other end. Tunnels, transports that are no TCP, and
/// numbers that nobody has.
pub(crate) const SILENT: [u8; 7] = [4, 41, 47, 132, 136, 253, 254];
/// Headers of IPv6 that hide what comes behind them; of IPv4, IPsec.
const EXTENSIONS: [u8; 4] = [0, 43, 44, 60];
const IPSEC: [u8; 2] = [50, 51];

/// Sends all that, datagrams in fragments, and to everyone on the link.
pub(crate) fn send_silent(place: &Place) {
    let mut sending = Vec::new();
    let mut send = |who, to: String, text: String| {
        let place = place.clone();
        sending.push(thread::spawn(move || place.run(who, &["socat", "-u", "-b", "8192", "-", &to], &text)));
    };
    for address in FORBIDDEN {
        let (host, more) = match address.contains(':') {
            true => (format!("[{address}]"), &EXTENSIONS[..]),
            false => (address.to_owned(), &IPSEC[..]),
        };
        for protocol in SILENT.iter().chain(more) {
            send(As::Root, format!("IP-SENDTO:{host}:{protocol}"), "silent".to_owned());
        }
        send(As::Program, format!("UDP-SENDTO:{host}:5000"), "large ".repeat(800));
    }
    for to in [
        "UDP4-DATAGRAM:224.0.0.251:5353",
        "UDP6-DATAGRAM:[ff02::fb%up0]:5353",
        "UDP4-DATAGRAM:255.255.255.255:5001,broadcast",
        "UDP4-SENDTO:169.254.1.1:5001",
    ] {
        send(As::Program, to.to_owned(), "to everyone".to_owned());
    }
    for sent in sending {
        sent.join().unwrap();
    }
}
