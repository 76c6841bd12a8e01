//! The threads that carry flows: each has its own listeners, its own event loop, and every connection that
//! it accepted until that ends. Nothing is handed from one to another, so no flow pays for a wake-up across
//! threads, and tasks run in the order in which they became ready (docs/performance.md has the figures).

use std::convert::Infallible;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::sleep;

/// No flow has a shorter time-out, unless the settings say so.
const BEAT: Duration = Duration::from_secs(1);

/// All workers. They end, and whatever still runs on them with them, when this is dropped.
#[derive(Debug)]
pub(super) struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Only ever dropped, which ends the thread.
    _end: oneshot::Sender<Infallible>,
}

impl Workers {
    /// Starts so many threads; `None`: one for each core that this process may use.
    pub(super) fn start(count: Option<usize>) -> io::Result<Self> {
        let count = match count {
            Some(count) => count,
            None => thread::available_parallelism()?.get(),
        };
        (0..count).map(start).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Where each of them takes what it is to run.
    pub(super) fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.0.iter().map(|worker| &worker.runtime)
    }

    /// Deals sockets out in turn, any number of them. Tells who got which.
    pub(super) fn deal<S, T>(
        &self,
        sockets: Vec<S>,
        register: impl Fn(S) -> io::Result<T>,
    ) -> io::Result<Vec<(usize, T)>> {
        let turns = self.0.iter().enumerate().cycle();
        let register = |((turn, worker), socket): ((usize, &Worker), S)| {
            let _entered = worker.runtime.enter();
            Ok((turn, register(socket)?))
        };
        turns.zip(sockets).map(register).collect()
    }

    /// Gives each one socket, whose events come to its loop from then on.
    pub(super) fn each<S, T>(
        &self,
        sockets: Vec<S>,
        register: impl Fn(S) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let register = |(runtime, socket): (&Handle, S)| {
            let _entered = runtime.enter();
            register(socket)
        };
        self.runtimes().zip(sockets).map(register).collect()
    }
}

fn start(number: usize) -> io::Result<Worker> {
    let (_end, ended) = oneshot::channel();
    let (tell, told) = mpsc::channel();
    thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let handle = runtime.as_ref().map(Runtime::handle).cloned();
        // Nobody listens only if the start was given up.
        let _ = tell.send(handle.map_err(ToString::to_string));
        if let Ok(runtime) = runtime {
            // What is spawned from elsewhere runs while this waits.
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = beat() => {}
                }
            });
        }
    })?;
    match told.recv() {
        Ok(runtime) => Ok(Worker { runtime: runtime.map_err(io::Error::other)?, _end }),
        Err(mpsc::RecvError) => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Beats for ever. A timer that is due before all others wakes the loop by a write to its eventfd, even from within:
/// with a beat before it, the timers of flows do not.
async fn beat() {
    loop {
        sleep(BEAT).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runs_what_it_is_given_on_a_thread_of_its_own_until_all_are_dropped() {
        let workers = Workers::start(Some(3)).unwrap();
        let (tell, told) = mpsc::channel();
        for runtime in workers.runtimes() {
            let tell = tell.clone();
            runtime.spawn(async move {
                tell.send(thread::current().id()).unwrap();
                std::future::pending::<()>().await;
                drop(tell);
            });
        }
        drop(tell);
        let threads: std::collections::HashSet<_> = (0..3).map(|_| told.recv().unwrap()).collect();
        assert_eq!((threads.len(), workers.count()), (3, 3));
        drop(workers);
        assert!(told.recv().is_err(), "what they ran is gone with them");
    }
}
