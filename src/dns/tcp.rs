//! Questions over TCP: one after the other on a connection, as long as they come.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::Client;
use crate::dns::Door;
use crate::dns::message::Transport;
use crate::drain;
use crate::flow::Permit;
use crate::gate::reset;
use crate::ingress::Ingress;
use crate::stream::Stream;

/// How long a connection may take for the next question, from its first byte or before it, and for an answer to go
/// out (RFC 7766 §6.2.3 asks for a few seconds).
const IDLE: Duration = Duration::from_secs(10);

/// Answers the questions on one connection to its end; the permit to have it is given back then. Beyond what one
/// client may have, it is reset before anything was asked, and that is recorded.
pub async fn serve_tcp(
    door: Arc<Door>,
    client: Client,
    mut stream: Stream,
    mut drain: drain::Watch,
    permit: Permit,
) {
    let place = match door.pace.place(client.ip()) {
        Ok(place) => place,
        Err(error) => {
            let ledger = &door.proxy.ledger;
            ledger.metrics().connection_refused();
            return reset(ledger.begin(Ingress::Dns, client), stream, error);
        }
    };
    loop {
        let message = tokio::select! {
            message = timeout(IDLE, read(&mut stream)) => message,
            () = drain.started() => break,
        };
        let Ok(Ok(message)) = message else { break };
        let Some(reply) = door.answer(client.clone(), &message, Transport::Tcp).await else { break };
        if !matches!(timeout(IDLE, write(&mut stream, reply)).await, Ok(Ok(()))) {
            break;
        }
    }
    drop((place, permit));
}

/// A message and before it its length in two bytes (RFC 1035 §4.2.2).
async fn read(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    // Grown as the bytes come: a length is quickly said.
    let mut message = Vec::new();
    stream.take(length.into()).read_to_end(&mut message).await?;
    if message.len() < usize::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(message)
}

/// In one segment: some clients take the length alone for a message.
async fn write(stream: &mut Stream, reply: Vec<u8>) -> io::Result<()> {
    let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &reply].concat()).await
}
