//! The one face that every forge has for us.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::HeaderMap;
use jiff::Timestamp;
use signalbox_contract::change::ChangeId;
use signalbox_contract::{CommitSha, Failure, ForgeName, Origin, RefName, RunId, Standing};
use url::Url;

use super::{Finding, Happening, Untranslated};

/// What each call answers, some time later.
pub type Fut<'a, T> = BoxFuture<'a, Result<T, ForgeError>>;

/// A system where changes are proposed, reviewed and merged.
///
/// Every call may be repeated and decides nothing.
pub trait Forge: Send + Sync {
    /// Its configured name.
    fn name(&self) -> &ForgeName;

    /// What can be said of a delivery before its body is there.
    ///
    /// # Errors
    /// When it cannot be genuine, whatever its body.
    fn glance(&self, headers: &HeaderMap, path: &str) -> Result<Glance, Forged>;

    /// Whether a delivery is genuine, what identifies it, and what of it is kept.
    ///
    /// # Errors
    /// When it is not genuine, or cannot be kept.
    fn admit(&self, knock: &Knock<'_>) -> Result<Admitted, Forged>;

    /// The same for a line of its stream, which is genuine as its server is.
    ///
    /// # Errors
    /// When it cannot be kept; always, where there is no stream.
    fn admit_streamed(&self, line: &[u8]) -> Result<Admitted, Forged> {
        let _ = line;
        Err(Forged::Unreadable)
    }

    /// What a delivery that was admitted means.
    ///
    /// # Errors
    /// When it means nothing to us.
    fn translate(&self, kind: &str, body: &[u8]) -> Result<Vec<Happening>, Untranslated>;

    /// Whether it can be asked how things are there: whether there are credentials for that.
    fn can_be_asked(&self) -> bool {
        true
    }

    /// What is open, where branches are, and where tags are wanted those, in these projects: found without any event.
    fn heads<'a>(&'a self, projects: &'a [Watched]) -> Fut<'a, Vec<Happening>>;

    /// How one change is now: proposed, or closed. Nothing where that cannot be said.
    fn change<'a>(&'a self, change: &'a ChangeId) -> Fut<'a, Option<Happening>>;

    /// The change whose merge brought the branch to this commit. Nothing where somebody pushed it there.
    fn merged_as<'a>(&'a self, project: &'a str, branch: &'a RefName, sha: &'a CommitSha) -> Fut<'a, Option<ChangeId>>;

    /// The events since then that the forge has kept, as its stream would have brought them; nothing where it keeps none.
    /// More than were missed may come.
    fn events_since(&self, since: Timestamp) -> Fut<'_, Option<Vec<Bytes>>> {
        let _ = since;
        Box::pin(async { Ok(None) })
    }

    /// Makes what the forge shows of a run what it should be. What is so already is not written again.
    fn tell<'a>(&'a self, review: &'a Review) -> Fut<'a, Told>;

    /// Events as the forge streams them, where it does. The stream reconnects by itself and never ends.
    fn stream(&self) -> Option<BoxStream<'static, Streamed>>;

    /// Whether it can be used as it is configured, for these projects, and what to do where it cannot.
    fn examine<'a>(&'a self, projects: &'a [String]) -> BoxFuture<'a, Vec<Finding>> {
        let _ = projects;
        Box::pin(async { Vec::new() })
    }
}

/// A project that is compared with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its path.
    pub project: String,
    /// Whether its tags are looked at too: there may be many, and few want them.
    pub tags: bool,
}

/// A request to one of our webhooks.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What stood behind the forge's name in the path, where a secret may stand.
    pub path: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// When it came.
    pub at: Timestamp,
}

/// What can be said of a delivery before its body is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glance {
    /// Whoever sends it knows a secret.
    Known,
    /// It carries a signature, which only the body will show to be good.
    Signed,
}

/// A delivery that is genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// What identifies it: two with the same are one. The source's own id, else made from its content.
    pub id: String,
    /// Its kind, in the forge's word.
    pub kind: String,
    /// The headers that are kept, without secrets.
    pub headers: Vec<(String, String)>,
    /// The body that is kept: JSON, without secrets.
    pub body: Vec<u8>,
}

/// Why a delivery was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// Its secret or signature is missing or wrong.
    #[error("the delivery is not signed as it should be")]
    Unsigned,
    /// Its signature is too old, or from the future.
    #[error("the delivery's signature is not of now")]
    Stale,
    /// It is genuine, but its body is no JSON object.
    #[error("the delivery's body cannot be read")]
    Unreadable,
}

/// What comes from a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streamed {
    /// It stands, anew: what happened before has to be compared.
    Connected,
    /// An event.
    Event(Bytes),
    /// It was cut, and will be tried again.
    Cut {
        /// Why, for the log.
        why: String,
    },
}

/// What a forge should show of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// What the run is for.
    pub origin: Origin,
    /// The run.
    pub run: RunId,
    /// How it stands.
    pub standing: Standing,
    /// How it stood, where its commit has been overtaken and there is therefore no verdict any more. A forge that shows this already
    /// leaves it: it was said in time, and its answer was lost.
    pub overtaken: Option<Standing>,
    /// In a few sentences, for people.
    pub summary: String,
    /// The run's page.
    pub url: Url,
    /// The build's own name at its executor, where it has one.
    pub build: Option<String>,
}

/// What telling came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Whether anything had to be written.
    pub written: bool,
    /// What people should know: a label that the forge dropped, a change that is closed.
    pub remarks: Vec<String>,
}

/// Why a call to a forge did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// It could not be reached, or did not answer as it should; it may be asked again.
    #[error("the forge could not be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It cannot do it now.
    #[error("the forge is busy or unavailable")]
    Retry {
        /// When it asked to be tried again.
        after: Option<Duration>,
    },
    /// It said no, and will say so again.
    #[error("the forge refused")]
    Refused(Failure),
}
