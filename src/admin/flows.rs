//! `/flows`: the open flows, written while they are walked, so that forty thousand cost no more memory than a few.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::admin::answer::{self, Answer, Refusal};
use crate::admin::query::number;
use crate::flow::{Ledger, Row, Walk};

/// Rows that are shown unless `?limit=` says otherwise.
const LIMIT: usize = 1000;

/// The body of the answer: `{"open":N,"flows":[…]}`.
#[derive(Debug)]
struct OpenFlows {
    walk: Walk,
    /// Rows that may still be written.
    left: usize,
    rows: Vec<Row>,
    /// What the next chunk starts with.
    head: String,
    /// What stands before the next row.
    separator: &'static str,
    done: bool,
}

pub(super) fn respond(ledger: &Arc<Ledger>, query: Option<&str>) -> Result<Answer, Refusal> {
    let limit = number(query, "limit", LIMIT, None)?;
    let head = format!("{{\"open\":{},\"flows\":[", ledger.open());
    let (walk, rows) = (ledger.walk(), Vec::new());
    let flows = OpenFlows { walk, left: limit, rows, head, separator: "\n", done: false };
    Ok(answer::stream(flows))
}

impl Body for OpenFlows {
    type Data = Bytes;
    type Error = Infallible;

    /// One step of the walk makes one chunk.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.done {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(self.chunk().into()))))
    }
}

impl OpenFlows {
    fn chunk(&mut self) -> Vec<u8> {
        let mut chunk = std::mem::take(&mut self.head).into_bytes();
        self.done = self.left == 0 || !self.walk.rows(&mut self.rows);
        self.rows.truncate(self.left);
        self.left -= self.rows.len();
        for row in self.rows.drain(..) {
            chunk.extend_from_slice(self.separator.as_bytes());
            self.separator = ",\n";
            // Writing to a Vec can't fail, nor can any of a row's values.
            let _ = serde_json::to_writer(&mut chunk, &row);
        }
        if self.done {
            chunk.extend_from_slice(b"\n]}\n");
        }
        chunk
    }
}
