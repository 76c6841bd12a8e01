//! The gate for TLS: judges the ClientHello, and the second one if the server asks for another.
//!
//! A HelloRetryRequest lets a client send a second hello with another server name (RFC 8446 §4.1.2), so
//! nothing more of the client passes until the server's first message is read: either it is a final
//! ServerHello and both directions are free, or the second hello is held to the same rules, and the server's
//! answer to that has to be final. What the client sends meanwhile as early data says nothing: a server that
//! retries skips it (§4.2.10).

use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::destination::Destination;
use crate::dial::Reached;
use crate::error::Error;
use crate::flow::Flow;
use crate::gate::{HELLO_MAX, Passed, Tunnel, arrived, open, within};
use crate::policy::{Passage, Question, Seen};
use crate::proxy::{Proxy, Standing};
use crate::reason::Reason;
use crate::relay::Ends;
use crate::reply::TLS_ACCESS_DENIED;
use crate::sniff::{ClientHello, ServerHello, Sniff, second_hello, second_server_hello, server_hello};
use crate::stream::{Stream, YOUTH};

/// The most of a server's answer that is read until it is clear what it is: a few records.
const ANSWER_MAX: usize = 32 * 1024;

/// A tunnel whose first hello may pass, and whose server has not answered yet.
struct Handshake {
    proxy: Arc<Proxy>,
    standing: Arc<Standing>,
    flow: Flow,
    to: Destination,
    reached: Reached,
    ends: Box<Ends>,
}

/// What is heard while a server has not answered.
enum Heard {
    /// More of its answer.
    Server,
    /// The client sends no more, or no more of it is kept.
    ClientEnds,
    /// Enough: the server has ended, or a client that has sent nothing more has.
    Enough,
}

/// Judges a tunnel by its ClientHello, unless there is `leave` for that, and by the second one if there is to be one.
pub(super) async fn judge(tunnel: Box<Tunnel>, hello: ClientHello, leave: Option<Passage>) -> Option<Passed> {
    let leave = match tunnel.pass(seen(&hello), leave) {
        Ok(leave) => leave,
        Err(error) => {
            refuse(tunnel.flow, tunnel.client, error).await;
            return None;
        }
    };
    let Tunnel { proxy, standing, flow, to, client, upstream } = *tunnel;
    let (ends, reached) = open(client, *upstream, &leave);
    let mut handshake = Handshake { proxy, standing, flow, to, reached, ends };
    let result = pin!(handshake.run(hello.length)).await;
    let Handshake { proxy, flow, ends, .. } = handshake;
    match result {
        Ok(()) => Some(Passed { proxy, flow, ends }),
        Err(error) => {
            ends.upstream.reset();
            refuse(flow, ends.client, error).await;
            None
        }
    }
}

/// Ends a flow: a client that was denied is told so by an alert, any other by a reset.
pub async fn refuse(flow: Flow, client: Stream, error: Error) {
    let denied = !error.reason().allows();
    flow.end(Err(error));
    if denied {
        client.close_lingering(&TLS_ACCESS_DENIED).await;
    } else {
        client.reset();
    }
}

impl Handshake {
    /// Passes the first hello on, and nothing behind it until the server has answered; then the second, if it asks for one.
    async fn run(&mut self, length: usize) -> Result<(), Error> {
        if let Some(ServerHello::Retry { length }) = self.answer_to(length, server_hello).await? {
            let hello = self.second(length).await?;
            // A server that asks once more (RFC 8446 §4.1.4 forbids it) would get a hello that nobody judges.
            self.answer_to(hello.length, second_server_hello).await?;
        }
        Ok(())
    }

    /// Passes a hello on and reads what the server answers. `None`: it is no TLS server, or the handshake is over, so
    /// another hello would be of no use to the client.
    async fn answer_to(
        &mut self,
        length: usize,
        read: fn(&[u8]) -> Sniff<ServerHello>,
    ) -> Result<Option<ServerHello>, Error> {
        let (now, silence) = (Instant::now(), self.proxy.bounds.silence);
        let (mut deadline, mut youth) = (now + silence.limit(false), now + YOUTH);
        let mut client_open = true;
        let Ends { client, upstream, alarm, .. } = &mut *self.ends;
        let hello = client.take_head(length);
        let write = write_out(upstream, &hello);
        within(&self.flow, alarm, deadline, Error::IdleTimeout, pin!(write))
            .await?
            .map_err(|_| Error::UpstreamReset)?;
        self.flow.counters().add_sent(hello.len());
        drop(hello);
        loop {
            match read(self.ends.upstream.head()) {
                Sniff::Found(answer) => return Ok(Some(answer)),
                Sniff::NotThis => return Ok(None),
                Sniff::Bad(what) => return Err(Error::BadResponse(format!("the ServerHello {what}"))),
                Sniff::Incomplete { .. } => match self.listen(client_open, deadline.min(youth)).await {
                    Ok(Heard::Server) => {}
                    Ok(Heard::ClientEnds) => {
                        client_open = false;
                        deadline = deadline.min(Instant::now() + silence.limit(true));
                    }
                    Ok(Heard::Enough) => return Ok(None),
                    Err(Error::IdleTimeout) if youth < deadline => {
                        self.ends.upstream.keep_alive();
                        youth = deadline;
                    }
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Reads on in the server's answer. What the client sends meanwhile is kept.
    async fn listen(&mut self, client_open: bool, deadline: Instant) -> Result<Heard, Error> {
        let Ends { client, upstream, alarm, .. } = &mut *self.ends;
        let read = async {
            loop {
                tokio::select! {
                    biased;
                    read = upstream.fill(ANSWER_MAX) => {
                        let count = read.map_err(|_| Error::UpstreamReset)?;
                        return Ok(if count > 0 { Heard::Server } else { Heard::Enough });
                    }
                    read = client.fill(HELLO_MAX), if client_open => {
                        if read.map_err(|_| Error::ClientReset)? == 0 {
                            let is_silent = client.head().is_empty();
                            return Ok(if is_silent { Heard::Enough } else { Heard::ClientEnds });
                        }
                    }
                }
            }
        };
        within(&self.flow, alarm, deadline, Error::IdleTimeout, pin!(read)).await?
    }

    /// Passes the HelloRetryRequest on, which has so many bytes, and judges the hello that comes back.
    async fn second(&mut self, length: usize) -> Result<ClientHello, Error> {
        let deadline = Instant::now() + self.proxy.bounds.head;
        self.pass_request(length, deadline).await?;
        let hello = loop {
            let need = match second_hello(self.ends.client.head()) {
                Sniff::Found(hello) => break hello,
                Sniff::NotThis => return Err(Error::ClientReset),
                Sniff::Bad(what) => return Err(Error::BadClientHello(what)),
                Sniff::Incomplete { need } => need,
            };
            while self.ends.client.head().len() < need {
                self.hear_more(deadline).await?;
            }
        };
        self.pass(seen(&hello))?;
        Ok(hello)
    }

    /// Reads on in what the client sends, or in what the server adds, whose end is the handshake's.
    async fn hear_more(&mut self, deadline: Instant) -> Result<(), Error> {
        let Ends { client, upstream, alarm, .. } = &mut *self.ends;
        let read = async {
            tokio::select! {
                biased;
                read = client.fill(2 * HELLO_MAX) => arrived(read),
                read = upstream.fill(ANSWER_MAX) => match read {
                    Ok(1..) => Ok(()),
                    Ok(0) | Err(_) => Err(Error::UpstreamReset),
                },
            }
        };
        within(&self.flow, alarm, deadline, Error::HeadTimeout, pin!(read)).await?
    }

    /// Passes on to the client what asks for another hello; what the server adds to it can wait for its answer to that.
    async fn pass_request(&mut self, length: usize, deadline: Instant) -> Result<(), Error> {
        let Ends { client, upstream, alarm, .. } = &mut *self.ends;
        let request = upstream.take_head(length);
        let write = write_out(client, &request);
        within(&self.flow, alarm, deadline, Error::HeadTimeout, pin!(write))
            .await?
            .map_err(|_| Error::ClientReset)?;
        self.flow.counters().add_received(request.len());
        Ok(())
    }

    /// Leave for the second hello to pass. That it is allowed is not told, since it would hide what report mode let pass
    /// in the first.
    fn pass(&self, seen: Seen<'_>) -> Result<Passage, Error> {
        let question = Question { to: &self.to, seen, address: self.reached.ip() };
        let verdict = self.standing.decide(&question);
        let verdict = match verdict.reason {
            Reason::Allowed => verdict,
            _ => {
                self.flow.seen(seen);
                self.proxy.judge(&self.flow, &self.standing, &question)
            }
        };
        verdict.pass(self.reached.parent())
    }
}

/// Writes all of it, out of what a layer keeps while its peer takes no more too: who then reads, to hear an answer, does
/// not move that.
async fn write_out(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// What a hello shows the policy.
pub fn seen(hello: &ClientHello) -> Seen<'_> {
    Seen::Tls { server_name: hello.server_name.as_ref(), ech: hello.ech }
}
