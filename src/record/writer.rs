//! The thread that writes records: whole lines in large writes, tried again while the disk is full.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::metrics::RecordCounters;
use crate::record::output::Output;
use crate::record::queue::{Queue, Work};

/// Bytes for one write.
const CHUNK: usize = 64 * 1024;
/// Between two tries of a write that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Records for which memory is kept between batches.
const KEEP: usize = 1024;

/// Owns the file, and the lines that are not yet in it.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    output: Output,
    lines: Vec<u8>,
    /// How many bytes of `lines` are in the file.
    written: usize,
    /// A burst of failures is logged once.
    failing: bool,
    counters: RecordCounters,
}

impl Writer {
    pub(super) fn open(path: PathBuf, counters: RecordCounters) -> io::Result<Self> {
        let (output, lines) = (Output::open(&path)?, Vec::with_capacity(CHUNK + CHUNK / 4));
        Ok(Self { path, output, lines, written: 0, failing: false, counters })
    }

    /// Writes what the queue brings until it closes.
    pub(super) fn run(mut self, queue: &Queue) {
        // Where a file may not become longer (RLIMIT_FSIZE), this thread gets a signal that would end exeat. Without it the
        // write fails, as on a full disk. To block a signal that there is can't fail.
        let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
        let mut batch = Vec::new();
        loop {
            let mut work = queue.next(batch);
            if work.reopen {
                self.reopen();
            }
            if work.closing && work.records.is_empty() {
                return queue.end(0);
            }
            if let Err(unwritten) = self.write_all(&mut work, queue) {
                return queue.end(unwritten);
            }
            batch = work.records;
            batch.clear();
            batch.shrink_to(KEEP);
        }
    }

    /// Writes a batch; gives up, with the number of records not written, only when exeat stops.
    fn write_all(&mut self, work: &mut Work, queue: &Queue) -> Result<(), usize> {
        let mut rest = work.records.as_slice();
        while !rest.is_empty() {
            self.lines.clear();
            self.written = 0;
            let mut taken = 0;
            while taken < rest.len() && self.lines.len() < CHUNK {
                rest[taken].write_line(&mut self.lines);
                taken += 1;
            }
            while let Err(error) = self.write_lines() {
                self.failed(&error, queue);
                if work.closing {
                    return Err(self.unwritten() + rest.len() - taken);
                }
                let news = queue.pause(PAUSE);
                work.closing |= news.closing;
                if news.reopen {
                    self.reopen();
                }
            }
            self.succeeded(queue);
            rest = &rest[taken..];
        }
        Ok(())
    }

    fn write_lines(&mut self) -> io::Result<()> {
        while self.written < self.lines.len() {
            match self.output.write(&self.lines[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &io::Error, queue: &Queue) {
        queue.failing(true);
        if !self.failing {
            tracing::error!(path = %self.path.display(), %error, "records can't be written, trying again");
        }
        self.failing = true;
    }

    fn succeeded(&mut self, queue: &Queue) {
        if self.failing {
            queue.failing(false);
            tracing::info!(path = %self.path.display(), "records are written again");
        }
        self.failing = false;
    }

    /// Goes on in the file that now has the path. A line that is only half in the old one is written anew, unless
    /// the path still leads there: its other half then belongs behind the first.
    fn reopen(&mut self) {
        let opened = Output::open(&self.path).and_then(|output| Ok((output.is(&self.output)?, output)));
        self.counters.reopened(opened.is_ok());
        match opened {
            Ok((true, _)) => {}
            Ok((false, output)) => {
                self.output = output;
                let done = &self.lines[..self.written];
                self.written = done.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the record file can't be reopened, keeping the old one");
            }
        }
    }

    fn unwritten(&self) -> usize {
        self.lines[self.written..].iter().filter(|&&byte| byte == b'\n').count()
    }
}
