//! What programs that know of proxies are told.

use std::net::SocketAddr;

/// The variables that name the proxy, in both cases: some programs read the one, some the other.
const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// What is inside with the command needs no proxy.
const LOOPBACK: &str = "localhost,127.0.0.1,::1";
/// Without it Node's own fetch knows of none (Node.js 24).
const NODE: (&str, &str) = ("NODE_USE_ENV_PROXY", "1");

/// Points them to the explicit door.
pub(super) fn proxies(door: SocketAddr) -> Vec<(&'static str, String)> {
    let proxies = PROXIES.map(|name| (name, format!("http://{door}")));
    let exceptions = EXCEPTIONS.map(|name| (name, LOOPBACK.to_owned()));
    let node = (NODE.0, NODE.1.to_owned());
    proxies.into_iter().chain(exceptions).chain([node]).collect()
}
