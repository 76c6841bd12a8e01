//! A jail with the command in it, as the outside knows it.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::oneshot;

use crate::jail::channel::{Change, Channel, News, Order};
use crate::jail::fault::Fault;
use crate::jail::remains::Remains;
use crate::lock::lock;

type Answer = oneshot::Sender<io::Result<TcpStream>>;

/// A hold on it. When the last one is gone the jail ends, with all that is in it.
#[derive(Clone, Debug)]
pub struct Running(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    channel: Channel,
    remains: Remains,
    /// Who waits for a connection to a port of the inside, in the order in which they were asked for.
    waiting: Mutex<VecDeque<Answer>>,
    /// Who waits for everything inside to stand still, or to go on.
    holding: Mutex<Option<mpsc::Sender<bool>>>,
}

impl Running {
    pub(super) fn new(channel: Channel, remains: Remains) -> Self {
        let (waiting, holding) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { channel, remains, waiting, holding }))
    }

    /// Sends the command a signal. One that has ended has no use for it.
    pub fn signal(&self, signal: i32) {
        let _ = self.0.channel.send(&Order::Signal(signal), &[]);
    }

    /// Lets the command go on after it has stopped, where nobody else does.
    pub fn resume(&self) {
        let _ = self.0.channel.send(&Order::Resume, &[]);
    }

    /// Lets nothing inside move until [`Running::thaw`]: a person is asked something. `in_front`: exeat itself is in the
    /// terminal's foreground. False if neither it nor the command is, if something goes on moving, and for a jail that
    /// is gone.
    pub fn freeze(&self, in_front: bool) -> bool {
        self.hold(&Order::Freeze { in_front })
    }

    /// Whether nothing inside has moved since [`Running::freeze`].
    pub fn is_frozen(&self) -> bool {
        self.hold(&Order::Look)
    }

    /// Lets everything move again; when this returns it does.
    pub fn thaw(&self) {
        self.hold(&Order::Thaw);
    }

    fn hold(&self, order: &Order) -> bool {
        let (tell, told) = mpsc::channel();
        *lock(&self.0.holding) = Some(tell);
        self.0.channel.send(order, &[]).is_ok() && told.recv().unwrap_or(false)
    }

    /// Connects to a port of the jail's loopback.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let (answer, connected) = oneshot::channel();
        {
            // Asked for under the lock, so that the answers come in this order.
            let mut waiting = lock(&self.0.waiting);
            self.0.channel.send(&Order::Connect(port), &[])?;
            waiting.push_back(answer);
        }
        connected.await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?
    }

    /// Waits until the command has stopped, or has ended and everything else in the jail with it. For one thread, and
    /// not again once it has ended.
    pub fn wait(&self) -> Result<Change, Fault> {
        let ending = loop {
            match self.0.channel.receive() {
                Ok(Some((News::Stopped(stopped), _))) => return Ok(Change::Stopped(stopped)),
                Ok(Some((News::Ended(ending), _))) => break Ok(Change::Ended(ending)),
                Ok(Some((News::Frozen(frozen), _))) => self.held(frozen),
                Ok(Some((News::Thawed, _))) => self.held(true),
                Ok(Some((News::Connected, descriptors))) => {
                    let stream = descriptors.into_iter().next().map(TcpStream::from);
                    self.answer(stream.ok_or_else(|| io::ErrorKind::InvalidData.into()));
                }
                Ok(Some((News::NotConnected(why), _))) => self.answer(Err(io::Error::other(why))),
                Ok(Some((News::Failed(fault), _))) => break Err(fault),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break Err(Fault::gone()),
            }
        };
        drop(lock(&self.0.holding).take());
        self.0.remains.bury();
        ending
    }

    fn held(&self, held: bool) {
        if let Some(tell) = lock(&self.0.holding).take() {
            // Who no longer waits needs no answer.
            let _ = tell.send(held);
        }
    }

    fn answer(&self, connected: io::Result<TcpStream>) {
        if let Some(answer) = lock(&self.0.waiting).pop_front() {
            // Who no longer waits needs no answer.
            let _ = answer.send(connected);
        }
    }
}
