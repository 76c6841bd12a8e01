//! Where records go: to a thread of its own, so that no flow ever waits for a disk.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lock::lock;
use crate::metrics::RecordCounters;
use crate::record::Record;
use crate::record::queue::Queue;
use crate::record::writer::Writer;

/// What the settings say of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// A file to append to; `-` is the standard output; `None`: no records are written.
    pub path: Option<PathBuf>,
    /// Also write a record when a flow starts.
    pub opened: bool,
    /// Refuse new flows while records can't be written.
    pub required: bool,
    /// Room kept for the records of flows that are open when the sink stalls; only used if `required`.
    pub reserve: usize,
}

/// Sees each record as its flow ends. It must not block.
pub struct Watch(Box<dyn Fn(&Record) + Send + Sync>);

/// Takes records; the cost to the flow is a place in a queue.
#[derive(Debug)]
pub struct Sink {
    queue: Option<Arc<Queue>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    opened: bool,
    required: bool,
    watch: Option<Watch>,
}

impl Watch {
    pub fn new(see: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        Self(Box::new(see))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Sink {
    /// Opens the file and starts the thread.
    pub fn open(audit: &Audit, counters: RecordCounters) -> io::Result<Self> {
        let Some(path) = &audit.path else { return Ok(Self::none()) };
        let reserve = if audit.required { audit.reserve } else { 0 };
        let queue = Arc::new(Queue::new(reserve, counters.lost().clone()));
        let writer = Writer::open(path.clone(), counters)?;
        let theirs = Arc::clone(&queue);
        let thread = thread::Builder::new().name("records".to_owned()).spawn(move || writer.run(&theirs))?;
        Ok(Self {
            queue: Some(queue),
            thread: Mutex::new(Some(thread)),
            opened: audit.opened,
            required: audit.required,
            watch: None,
        })
    }

    /// A sink that keeps nothing: for one who wants no records.
    pub fn none() -> Self {
        Self { queue: None, thread: Mutex::new(None), opened: false, required: false, watch: None }
    }

    /// The same sink, with someone who sees every record of a flow that ended.
    #[must_use]
    pub fn watched_by(mut self, watch: Option<Watch>) -> Self {
        self.watch = watch;
        self
    }

    /// Whether a record is also wanted when a flow starts.
    pub fn wants_opened(&self) -> bool {
        self.opened
    }

    /// Whether new flows have to be refused because their records could be lost.
    pub fn refuses(&self) -> bool {
        self.required && self.queue.as_ref().is_some_and(|queue| queue.stalled())
    }

    /// Takes a record; if there is no room it is lost, and counted.
    pub fn write(&self, record: Box<Record>) {
        if let Some(Watch(see)) = self.watch.as_ref().filter(|_| record.duration.is_some()) {
            see(&record);
        }
        if let Some(queue) = &self.queue {
            queue.push(record);
        }
    }

    /// Opens the file anew, after it was moved away by a log rotation.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue {
            queue.reopen();
        }
    }

    /// Writes what is left and ends the thread; gives up after `patience`, counting what is lost.
    /// Blocks: call it when the flows are done.
    pub fn close(&self, patience: Duration) {
        let Some(queue) = &self.queue else { return };
        let thread = lock(&self.thread).take();
        if queue.close(Instant::now() + patience)
            && let Some(thread) = thread
        {
            // The thread is at its end; a panic in it was already printed.
            let _ = thread.join();
        }
        // Nobody can ask the metrics any more.
        match queue.lost() {
            0 => {}
            records => tracing::error!(records, "records could not be kept: they are lost"),
        }
    }
}

impl Drop for Sink {
    /// Lets the thread end; only [`Sink::close`] waits for it.
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.start_closing();
        }
    }
}
