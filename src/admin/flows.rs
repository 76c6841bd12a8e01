//! `/flows`: the open flows, written while they are walked, so that forty thousand cost no more memory than a few.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame};

use crate::admin::answer::{self, Answer};
use crate::flow::{Ledger, Row, Walk};

/// Rows that are shown unless `?limit=` says otherwise.
const LIMIT: usize = 1000;

/// The body of the answer: `{"open":N,"flows":[…]}`.
#[derive(Debug)]
pub struct OpenFlows {
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

pub(super) fn respond(ledger: &Arc<Ledger>, query: Option<&str>) -> Answer {
    let limit = match parameter(query, "limit").map(str::parse) {
        None => LIMIT,
        Some(Ok(limit)) => limit,
        Some(Err(_)) => return answer::error(StatusCode::BAD_REQUEST, "bad_limit", "?limit= takes a number"),
    };
    let head = format!("{{\"open\":{},\"flows\":[", ledger.open());
    let (walk, rows) = (ledger.walk(), Vec::new());
    answer::stream(OpenFlows { walk, left: limit, rows, head, separator: "\n", done: false })
}

/// The value of a parameter in a query.
fn parameter<'a>(query: Option<&'a str>, key: &str) -> Option<&'a str> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find_map(|(found, value)| (found == key).then_some(value))
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
