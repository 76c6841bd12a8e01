//! Pipes to splice through: few, shared by all tunnels, made when first needed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

use crate::lock::lock;

/// What a pipe should hold: four times the default, a quarter of what `pipe-max-size` allows.
const SIZE: usize = 256 * 1024;
/// With less, copying is as good. The kernel gives a user who has too many pipes 4 to 8 KiB.
const LEAST: usize = 64 * 1024;

/// The empty pipes that nobody uses, and a bound on how many there are in all.
#[derive(Debug)]
pub(super) struct Pipes {
    most: usize,
    idle: Mutex<Vec<Pipe>>,
    /// Each pipe holds a clone, so this counts them, wherever they are and however they end.
    count: Arc<()>,
}

/// A pipe and how many bytes are in it. One that is dropped instead of given back is closed.
#[derive(Debug)]
pub(super) struct Pipe {
    outlet: OwnedFd,
    inlet: OwnedFd,
    held: usize,
    _counted: Arc<()>,
}

impl Pipes {
    pub(super) fn new(most: usize) -> Self {
        Self { most, idle: Mutex::default(), count: Arc::new(()) }
    }

    /// An empty pipe, or `None` when the bound is reached or the system refuses one.
    pub(super) fn lend(&self) -> Option<Pipe> {
        let counted = {
            let mut idle = self.idle();
            if let Some(pipe) = idle.pop() {
                return Some(pipe);
            }
            // Within the lock, so that no two see the last free place.
            if Arc::strong_count(&self.count) > self.most {
                return None;
            }
            self.count.clone()
        };
        Pipe::open(counted).ok()
    }

    /// Takes back a pipe that is empty; one that is not could give its bytes to a stranger.
    pub(super) fn give_back(&self, pipe: Pipe) {
        if pipe.held == 0 {
            self.idle().push(pipe);
        }
    }

    /// How many pipes there are, and how many of them nobody uses.
    #[cfg(test)]
    pub(super) fn open_and_idle(&self) -> (usize, usize) {
        (Arc::strong_count(&self.count) - 1, self.idle().len())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Pipe>> {
        lock(&self.idle)
    }
}

impl Pipe {
    fn open(counted: Arc<()>) -> io::Result<Self> {
        let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // EPERM past `pipe-user-pages-soft`: the pipe keeps the size it has.
        if fcntl_setpipe_size(&inlet, SIZE).is_err() && fcntl_getpipe_size(&inlet)? < LEAST {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { outlet, inlet, held: 0, _counted: counted })
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves what `source` has, up to what the pipe takes, into it.
    pub(super) fn fill(&mut self, source: impl AsFd) -> io::Result<()> {
        self.held += splice(source, None, &self.inlet, None, SIZE, FLAGS)?;
        Ok(())
    }

    /// Moves what `sink` takes out of it, and returns how much that was.
    pub(super) fn drain(&mut self, sink: impl AsFd) -> io::Result<usize> {
        let taken = splice(&self.outlet, None, sink, None, self.held, FLAGS)?;
        self.held -= taken;
        Ok(taken)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn no_more_pipes_are_lent_than_the_bound() {
        let pipes = Pipes::new(2);
        let (one, two) = (pipes.lend().unwrap(), pipes.lend());
        assert!(two.is_some() && pipes.lend().is_none());
        pipes.give_back(one);
        assert_eq!(pipes.open_and_idle(), (2, 1));
        assert!(pipes.lend().is_some());
        assert!(Pipes::new(0).lend().is_none());
    }

    #[test]
    fn a_pipe_that_holds_bytes_is_closed_and_frees_its_place() {
        let pipes = Pipes::new(1);
        let (mut far, near) = UnixStream::pair().unwrap();
        far.write_all(b"secret").unwrap();
        let mut pipe = pipes.lend().unwrap();
        pipe.fill(&near).unwrap();
        assert_eq!(pipe.held(), 6);
        pipes.give_back(pipe);
        assert_eq!(pipes.open_and_idle(), (0, 0));
        assert_eq!(pipes.lend().unwrap().held(), 0);
    }

    #[test]
    fn a_pipe_gives_what_it_took() {
        let pipes = Pipes::new(1);
        let (mut far, near) = UnixStream::pair().unwrap();
        far.write_all(&[7; 5000]).unwrap();
        let mut pipe = pipes.lend().unwrap();
        pipe.fill(&near).unwrap();
        assert_eq!(pipe.drain(&near).unwrap(), 5000);
        assert_eq!(pipe.held(), 0);
    }
}
