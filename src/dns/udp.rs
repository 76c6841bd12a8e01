//! Questions over UDP, each answered from the address it was sent to.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::sleep;

use crate::client::{Client, Origin};
use crate::dns::Door;
use crate::dns::message::Transport;
use crate::drain;

/// The longest datagram: the kernel may join several of one client, and says where each begins.
const DATAGRAM: usize = u16::MAX as usize;
/// After a receive that failed: what made it fail may not be over at once.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket, and what it needs so that an answer comes from where the question went: on a socket for every address
/// the kernel would choose another one, and neither the client nor connection tracking would know the answer.
struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    origin: Origin,
}

/// Answers the questions that come to a socket until the drain starts.
pub async fn serve_udp(door: Arc<Door>, socket: UdpSocket, origin: Origin, mut drain: drain::Watch) {
    let state = match UdpSocketState::new((&socket).into()) {
        Ok(state) => state,
        Err(error) => return tracing::error!(%error, "the DNS socket can't be set up"),
    };
    let socket = Arc::new(Socket { io: socket, state, origin });
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = tokio::select! {
            received = socket.receive(&mut buffer) => received,
            () = drain.started() => return,
        };
        let meta = match received {
            Ok(meta) => meta,
            Err(error) => {
                tracing::debug!(%error, "receiving a DNS question failed");
                sleep(PAUSE).await;
                continue;
            }
        };
        for message in buffer[..meta.len.min(DATAGRAM)].chunks(meta.stride.max(1)) {
            let (door, socket, drain) = (Arc::clone(&door), Arc::clone(&socket), drain.clone());
            let message = message.to_vec();
            tokio::spawn(async move {
                socket.answer(&door, &message, &meta).await;
                drop(drain);
            });
        }
    }
}

impl Socket {
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<RecvMeta> {
        let mut meta = [RecvMeta::default()];
        let receive = || self.state.recv((&self.io).into(), &mut [IoSliceMut::new(buffer)], &mut meta);
        self.io.async_io(Interest::READABLE, receive).await?;
        let [meta] = meta;
        Ok(meta)
    }

    async fn answer(&self, door: &Door, message: &[u8], meta: &RecvMeta) {
        let client = self.client(meta);
        let Some(reply) = door.answer(client, message, Transport::Udp).await else { return };
        let transmit = Transmit {
            destination: meta.addr,
            ecn: None,
            contents: &reply,
            segment_size: None,
            src_ip: meta.dst_ip,
        };
        let send = || self.state.try_send((&self.io).into(), &transmit);
        if let Err(error) = self.io.async_io(Interest::WRITABLE, send).await {
            tracing::debug!(%error, "sending a DNS answer failed");
        }
    }

    fn client(&self, meta: &RecvMeta) -> Client {
        let local = meta.dst_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.origin.client(meta.addr, local)
    }
}
