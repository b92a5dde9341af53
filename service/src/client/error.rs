//! What can go wrong with a call, told apart by the one thing that matters: was it done?

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use signalbox_contract::problem::MEDIA_TYPE;
use signalbox_contract::{Code, Problem};
use url::Url;

/// The cause of an error, whatever it is.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The largest problem that is read, in bytes.
const MAX_PROBLEM: usize = 64 * 1024;

/// The longest that we let ourselves be told to stay away.
const MAX_AFTER: Duration = Duration::from_hours(1);

/// Why a call was not answered with what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It surely never reached the other side: nothing was done.
    #[error("{peer} could not be reached")]
    NotSent {
        /// The other side.
        peer: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// It may have been done: the answer got lost, or makes no sense. Ask again with the same key.
    #[error("{peer} gave no answer that can be used")]
    Unknown {
        /// The other side.
        peer: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The other side says what is wrong.
    #[error("{0}")]
    Refused(Problem),
    /// The other side cannot do it now: nothing was done, ask again later.
    #[error("{peer} cannot do this now")]
    Retry {
        /// The other side.
        peer: String,
        /// After how long, if it says.
        after: Option<Duration>,
        /// What it says, if anything.
        problem: Option<Problem>,
    },
}

impl CallError {
    /// Whether asking again, later and with the same key, can help.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Unknown { .. } | Self::Retry { .. } => true,
            Self::Refused(problem) => problem.status >= 500,
        }
    }

    /// What the other side says, where it does.
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Retry { problem, .. } => problem.as_ref(),
            Self::NotSent { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// The other side of a call, by its origin: nothing in it is secret.
#[derive(Debug, Clone)]
pub(super) struct Peer(String);

impl Peer {
    pub(super) fn of(base: &Url) -> Self {
        Self(base.origin().ascii_serialization())
    }

    pub(super) fn not_sent(&self, source: impl Into<Cause>) -> CallError {
        CallError::NotSent { peer: self.0.clone(), source: source.into() }
    }

    pub(super) fn unknown(&self, source: impl Into<Cause>) -> CallError {
        CallError::Unknown { peer: self.0.clone(), source: source.into() }
    }

    /// The error of a request for which no answer came. Only a connection that was never made proves that nothing was
    /// sent; a deadline or a reset may have come after it was done.
    pub(super) fn failed(&self, error: reqwest::Error) -> CallError {
        let nothing_sent = error.is_connect() || error.is_builder();
        let error = error.without_url();
        if nothing_sent { self.not_sent(error) } else { self.unknown(error) }
    }
}

/// The response, if it is a success (or `304`, which only comes to those who asked for it); else what its status means.
pub(super) async fn classify(peer: &Peer, response: reqwest::Response) -> Result<reqwest::Response, CallError> {
    let status = response.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
    let problem = problem(peer, response).await;
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let told = problem.as_ref().and_then(|problem| problem.retry_after).map(|seconds| Duration::from_secs(seconds.into()));
        return Err(CallError::Retry { peer: peer.0.clone(), after: after.or(told).map(|after| after.min(MAX_AFTER)), problem });
    }
    Err(match problem {
        Some(problem) => CallError::Refused(problem),
        // Something between us and the service: a proxy, or another program on its port.
        None if status.is_client_error() => CallError::Refused(bare(peer, status)),
        None => peer.unknown(format!("it answered {} without a word", status.as_u16())),
    })
}

/// The problem that the answer holds, if it does.
async fn problem(peer: &Peer, response: reqwest::Response) -> Option<Problem> {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    if !content_type.split(';').next()?.trim().eq_ignore_ascii_case(MEDIA_TYPE) {
        return None;
    }
    let body = bounded(peer, response, MAX_PROBLEM).await.ok()?;
    let mut problem: Problem = serde_json::from_slice(&body).ok()?;
    // The status is what was answered, not what the body claims.
    problem.status = status.as_u16();
    Some(problem)
}

fn bare(peer: &Peer, status: StatusCode) -> Problem {
    let code = Code::ALL.iter().copied().find(|code| code.status() == status.as_u16()).unwrap_or(Code::InvalidRequest);
    let mut problem = Problem::new(code).detail(format!(
        "{} answered {} without a reason. It may be another program there, or a proxy.",
        peer.0,
        status.as_u16()
    ));
    problem.status = status.as_u16();
    problem
}

/// The whole body, if it is no larger than `limit`.
pub(super) async fn bounded(peer: &Peer, mut response: reqwest::Response, limit: usize) -> Result<Bytes, CallError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| peer.failed(error))? {
        if body.len() + chunk.len() > limit {
            return Err(peer.unknown(format!("its answer is larger than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
