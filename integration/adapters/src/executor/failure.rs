//! What can go wrong between us and an executor, told apart by what the caller may do next.

use std::time::Duration;

use signalbox_contract::Failure;

/// Why a call to an executor did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// It surely did nothing there: it did not reach the executor, or only asked for something. It may be sent again as it is.
    #[error("the call did nothing at the executor")]
    NotSent(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody knows whether the executor did it. A start must be searched for before it is repeated, unless the executor
    /// takes keys.
    #[error("it is not known whether the executor did what was asked")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The executor said no, and will say so again.
    #[error("the executor refused")]
    Refused(Failure),
    /// The executor cannot do it now, and did nothing.
    #[error("the executor is busy or unavailable{}", Because(.why))]
    Retry {
        /// When it asked to be tried again.
        after: Option<Duration>,
        /// What it said, or what is known of why; empty where nothing is.
        why: String,
    },
}

impl ExecutorError {
    /// Whether trying the same call again may help.
    pub const fn may_be_repeated(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// A reason in brackets, where there is one.
struct Because<'a>(&'a str);

impl std::fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0.trim_end_matches('.')) }
    }
}
