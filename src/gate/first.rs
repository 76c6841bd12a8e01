//! What a client says first.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::{HELLO_MAX, arrived, within};
use crate::sniff::{self, ClientHello, Sniff};
use crate::stream::Stream;

/// What a client's first bytes are.
#[derive(Debug)]
pub enum First {
    /// Whatever they are: nobody looks.
    Unread,
    Hello(ClientHello),
    Request,
    /// Neither TLS nor HTTP, or nothing yet because the server speaks first.
    Other,
}

/// Reads until it is clear what the client speaks, or it is too late. The bytes stay in its head.
pub async fn first_bytes(
    client: &mut Stream,
    flow: &Flow,
    alarm: &mut Alarm,
    deadline: Instant,
) -> Result<First, Error> {
    loop {
        let need = match sniff::first_bytes(client.head()) {
            Sniff::Found(sniff::First::Tls(hello)) => return Ok(First::Hello(hello)),
            Sniff::Found(sniff::First::Http) => return Ok(First::Request),
            Sniff::NotThis => return Ok(First::Other),
            Sniff::Bad(what) => return Err(Error::BadClientHello(what)),
            Sniff::Incomplete { need } => need,
        };
        while client.head().len() < need {
            let read = client.fill(HELLO_MAX);
            arrived(within(flow, alarm, deadline, Error::HeadTimeout, pin!(read)).await?)?;
        }
    }
}

/// Whether a client says nothing at all for this long, as where it waits for the server to speak.
pub async fn is_silent(client: &mut Stream, flow: &Flow, time: Duration) -> Result<bool, Error> {
    let deadline = Instant::now() + time;
    let read = client.fill(HELLO_MAX);
    match within(flow, &mut Alarm::default(), deadline, Error::HeadTimeout, pin!(read)).await {
        Ok(read) => arrived(read).map(|()| false),
        Err(Error::HeadTimeout) => Ok(true),
        Err(error) => Err(error),
    }
}
