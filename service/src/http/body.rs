//! Request bodies with bounds: on their size, on their whole time, and on the time in which nothing comes.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::{Frame, SizeHint};
use signalbox_contract::{Code, Problem};
use tokio::time::{Instant, Sleep};

use super::problem::Refusal;

/// A bound that a body broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It is larger than is allowed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// What is allowed, in bytes.
        limit: u64,
    },
    /// It takes longer than is allowed, or stands still for too long.
    #[error("the body did not arrive in time")]
    TooSlow,
}

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) max: u64,
    pub(super) deadline: Duration,
    pub(super) idle: Option<Duration>,
}

/// A body within its bounds.
pub(super) struct BoundedBody {
    inner: Body,
    limits: BodyLimits,
    left: u64,
    deadline: Instant,
    /// Wakes at the deadline, or when the body has stood still for too long. Made when the body is first waited for.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether the alarm counts from the last frame already.
    waiting: bool,
}

impl BoundedBody {
    /// The body, whose time begins now.
    pub(super) fn new(inner: Body, limits: BodyLimits) -> Self {
        let now = Instant::now();
        let deadline = now.checked_add(limits.deadline).unwrap_or(now);
        Self { inner, limits, left: limits.max, deadline, alarm: None, waiting: false }
    }

    /// Sets the alarm for this wait, and tells whether it rings.
    fn too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.waiting {
            let now = Instant::now();
            let idle = self.limits.idle.and_then(|idle| now.checked_add(idle)).unwrap_or(self.deadline);
            let when = idle.min(self.deadline);
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(when),
                None => self.alarm = Some(Box::pin(tokio::time::sleep_until(when))),
            }
            self.waiting = true;
        }
        self.alarm.as_mut().is_some_and(|alarm| alarm.as_mut().poll(cx).is_ready())
    }
}

impl http_body::Body for BoundedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = false;
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = this.left.checked_sub(length) else {
                    return Poll::Ready(Some(Err(axum::Error::new(BodyFault::TooLarge { limit: this.limits.max }))));
                };
                this.left = left;
                // Frames that are always there at once would never come to the alarm below.
                if Instant::now() > this.deadline {
                    return Poll::Ready(Some(Err(axum::Error::new(BodyFault::TooSlow))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending if this.too_slow(cx) => Poll::Ready(Some(Err(axum::Error::new(BodyFault::TooSlow)))),
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The refusal of a request whose body could not be read.
pub fn body_refusal(error: axum::Error) -> Refusal {
    refusal_within(error, super::options::MAX_BUFFERED)
}

/// The same, where at most `max` bytes were to be kept.
#[expect(clippy::needless_pass_by_value, reason = "so that it can be given to `map_err` by its name")]
pub(super) fn refusal_within(error: axum::Error, max: usize) -> Refusal {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(this) = cause {
        if let Some(fault) = this.downcast_ref::<BodyFault>() {
            return match fault {
                BodyFault::TooLarge { limit } => too_large(*limit),
                BodyFault::TooSlow => Problem::new(Code::Timeout).detail("The body did not arrive in time.").into(),
            };
        }
        if this.is::<http_body_util::LengthLimitError>() {
            return too_large(max as u64);
        }
        cause = this.source();
    }
    tracing::debug!(%error, "request.body_cut");
    Problem::new(Code::InvalidBody).detail("The body was cut short.").into()
}

/// The header that says how a body is packed.
pub(super) const ENCODING: &str = "content-encoding";

/// Refuses a body that is packed: bodies are read as they come, and none is unpacked. What `instead` says is added.
///
/// # Errors
/// 415 whose answer says in `Accept-Encoding` that `identity` is taken, and nothing else.
pub fn refuse_encoded(headers: &HeaderMap, instead: &str) -> Result<(), Problem> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let plain = codings.all(|coding| coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity"));
    if plain {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType)
        .detail("The body must not be packed: no encoding but identity is taken here.")
        .field(ENCODING, format!("is not taken: {instead}")))
}

/// The refusal of a body that is larger than is allowed.
pub(super) fn too_large(limit: u64) -> Refusal {
    Problem::new(Code::TooLarge).detail(format!("At most {limit} bytes are taken here.")).into()
}
