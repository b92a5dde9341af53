//! What is said to a client whose head cannot be read at all. hyper refuses such a head by itself, with a status and no word;
//! nothing of it comes to the router. What hyper writes then is given the body of a problem on its way out.
//!
//! Which bytes are hyper's own is never guessed from what they say, for bytes that we serve may say anything: they are those
//! that are written where all answers are out, and no request has come since. Where an answer is still on its way, the refusal
//! behind it stays without a body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use http::header::CONTENT_LENGTH;
use signalbox_contract::problem::MEDIA_TYPE;

use super::problem::of_status;
use crate::telemetry::request_id::{self, RequestId};

/// How many requests of a connection were handed over. Clones count the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Handed(Arc<AtomicU64>);

impl Handed {
    /// Counts a request, and gives its number, from 0.
    pub(super) fn count(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel)
    }

    /// How many there were.
    pub(super) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What is written in the place of hyper's own refusal.
#[derive(Debug)]
pub(super) struct Refusing {
    handed: Handed,
    /// How many requests had been handed over when last all answers were out.
    quiet: Option<u64>,
    answer: Vec<u8>,
    written: usize,
}

impl Refusing {
    /// Of a connection on which nothing was written yet.
    pub(super) const fn new(handed: Handed) -> Self {
        Self { handed, quiet: Some(0), answer: Vec::new(), written: 0 }
    }

    /// Notes that all that was to be written is out, and whether a request is at work all the same.
    pub(super) fn flushed(&mut self, at_work: bool) {
        self.quiet = (!at_work).then(|| self.handed.so_far());
    }

    /// Whether what is to be written now answers no request that was handed over.
    pub(super) fn foreign(&self) -> bool {
        self.quiet == Some(self.handed.so_far())
    }

    /// Takes the head that is to be written, and tells whether there is something to write in its place.
    pub(super) fn replaces(&mut self, head: &[u8]) -> bool {
        if self.answer.is_empty() {
            self.answer = in_words(head).unwrap_or_default();
        }
        !self.answer.is_empty()
    }

    /// What of it is not written yet.
    pub(super) fn left(&self) -> &[u8] {
        self.answer.get(self.written..).unwrap_or_default()
    }

    /// Notes that so many bytes more are written, and tells whether that is all.
    pub(super) fn wrote(&mut self, count: usize) -> bool {
        self.written += count;
        let all = self.left().is_empty();
        if all {
            (self.answer, self.written) = (Vec::new(), 0);
        }
        all
    }
}

/// The answer in the place of hyper's, if these bytes are the head of a refusal without a body.
fn in_words(head: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = text.split("\r\n");
    let first = lines.next()?;
    let status = StatusCode::from_bytes(first.strip_prefix("HTTP/1.1 ")?.as_bytes().get(..3)?).ok()?;
    let words = match status {
        StatusCode::BAD_REQUEST => "What was sent is not the head of a request.",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "The head is too long, or has more than 100 fields.",
        StatusCode::URI_TOO_LONG => "The target is too long.",
        _ => return None,
    };
    let id = RequestId::random();
    let mut problem = of_status(status).detail(words);
    problem.instance = Some(id.to_string());
    let body = serde_json::to_string(&problem).ok()?;
    tracing::info!(%id, status = status.as_u16(), "connection.head_refused");
    let of_length = |line: &&str| line.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str()));
    let kept: Vec<&str> = std::iter::once(first).chain(lines.filter(|line| !of_length(line))).collect();
    let (header, length) = (request_id::HEADER, body.len());
    let fields = [
        format!("content-type: {MEDIA_TYPE}"),
        format!("content-length: {length}"),
        format!("{header}: {id}"),
        "cache-control: no-store".to_owned(),
        "x-content-type-options: nosniff".to_owned(),
    ];
    Some(format!("{}\r\n{}\r\n\r\n{body}", kept.join("\r\n"), fields.join("\r\n")).into_bytes())
}
