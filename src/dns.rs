//! The DNS door: tells clients where the names lead that they might be allowed to reach, and nothing else.
//!
//! A question for any other name never leaves this host: the question alone would carry its words out. The
//! answers are made here from what our own resolver found, under the name that was asked for, so no alias,
//! additional record or address that the guard refuses comes along.

mod ask;
pub mod message;
mod pace;
mod tcp;
mod udp;

use std::sync::Arc;

use crate::client::Client;
use crate::dns::message::{Request, Transport};
use crate::dns::pace::Pace;
use crate::ingress::Ingress;
use crate::names::Names;
use crate::proxy::Proxy;
use crate::resolve::Resolver;

pub use tcp::serve_tcp;
pub use udp::serve_udp;

/// What all questions share.
#[derive(Debug)]
pub struct Door {
    proxy: Arc<Proxy>,
    resolver: Arc<Resolver>,
    names: Arc<Names>,
    manners: Manners,
    pace: Pace,
}

/// How it answers where there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    pub denied: Denied,
    pub https: Https,
}

/// What a client is told of a name that it may not ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// That it does not exist: programs give up at once.
    NoSuchName,
    /// That nobody answers: some programs then ask another server, which the lockdown has to stop.
    Refused,
}

/// What becomes of HTTPS and SVCB records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Https {
    /// None are told: clients connect as ever, with the server name in the open.
    Empty,
    /// They are told without keys for Encrypted Client Hello and without addresses.
    WithoutEch,
}

impl Door {
    pub fn new(proxy: Arc<Proxy>, resolver: Arc<Resolver>, names: Arc<Names>, manners: Manners) -> Self {
        Self { proxy, resolver, names, manners, pace: Pace::new() }
    }

    /// Where the answers come from.
    pub fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// Answers one message of a client; `None` for what is no question, and what must not be answered lest two
    /// servers talk to each other for ever.
    async fn answer(&self, client: Client, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let request = Request::read(message, transport)?;
        let flow = self.proxy.ledger.begin(Ingress::Dns, client.clone());
        flow.counters().add_sent(message.len());
        let (reply, result) = self.tell(&flow, client, &request).await;
        let reply = request.reply(reply);
        flow.counters().add_received(reply.len());
        flow.end(result);
        Some(reply)
    }
}
