//! The one face that every executor has for us.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use signalbox_contract::build::Observation;
use signalbox_contract::{AttemptKey, RepoName};
use signalbox_service::secret::SecretString;

use super::{
    Abilities, Anchor, BuildIdentity, BuildRef, ExecutorError, Fenced, Finding, Found, Intent, LogChunk, LogCursor, Order, OutputRef,
    PartRef, Pick, Scope, Started, Tracked, Unidentified,
};

/// What each call answers, some time later.
pub type Fut<'a, T> = BoxFuture<'a, Result<T, ExecutorError>>;

/// Bytes, as they come.
pub type Bytes = BoxStream<'static, Result<bytes::Bytes, ExecutorError>>;

/// A system that builds.
///
/// Every call may be repeated and decides nothing. Systems that start when told (Jenkins, the local executor) and systems
/// that begin by themselves (a push that starts a pipeline, runners that pull) fit alike. A hook from the system is only
/// a reason to ask [`Executor::observe`] sooner.
pub trait Executor: Send + Sync {
    /// What it can do.
    fn abilities(&self) -> &Abilities;

    /// Finds out what is newest there. The answer is committed before the source is published and the build started, so
    /// that after a crash the search knows from where on to look.
    fn prepare<'a>(&'a self, intent: &'a Intent) -> Fut<'a, Anchor>;

    /// Starts the build.
    fn start<'a>(&'a self, order: &'a Order, anchor: &'a Anchor) -> Fut<'a, Started>;

    /// Searches for the attempt's build, after a start whose answer is not known.
    fn find<'a>(&'a self, key: &'a AttemptKey, anchor: &'a Anchor) -> Fut<'a, Found>;

    /// Tells what is known of these builds of one scope. Of one that the executor does not know (any more) it says
    /// `Gone`.
    fn observe<'a>(&'a self, scope: &'a Scope, live: &'a [Tracked]) -> Fut<'a, Vec<Observation>>;

    /// Asks for a build's end. That it has ended is for [`Executor::observe`] to tell.
    fn cancel<'a>(&'a self, tracked: &'a Tracked) -> Fut<'a, ()>;

    /// Makes sure that the attempt never starts from now on.
    fn fence<'a>(&'a self, key: &'a AttemptKey, anchor: &'a Anchor) -> Fut<'a, Fenced>;

    /// Reads on in a part's log.
    fn log<'a>(&'a self, part: &'a PartRef, from: &'a LogCursor) -> Fut<'a, LogChunk>;

    /// Finds these in what an ended build made, where [`Abilities::outputs`] says that we fetch it. What is not there is
    /// left out.
    fn outputs<'a>(&'a self, tracked: &'a Tracked, picks: &'a [Pick]) -> Fut<'a, Vec<OutputRef>>;

    /// Reads one of these.
    fn read<'a>(&'a self, output: &'a OutputRef) -> Fut<'a, Bytes>;

    /// Names the builds of an attempt that is over which still go on, besides the one that counted: a start that was repeated,
    /// or came late, has begun them. Of builds that may be another attempt's it names none. An executor that takes keys makes
    /// no two of one.
    fn surplus<'a>(&'a self, key: &'a AttemptKey, anchor: &'a Anchor, counted: Option<&'a BuildRef>) -> Fut<'a, Vec<BuildRef>> {
        let _ = (key, anchor, counted);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Lets the executor throw away what it keeps of the attempt. The attempt still cannot start again.
    fn forget<'a>(&'a self, key: &'a AttemptKey, anchor: &'a Anchor) -> Fut<'a, ()>;

    /// Of which of its builds a token is the identity, where it gives its builds such. Waits for the executor for a moment at
    /// most.
    fn identify<'a>(&'a self, token: &'a SecretString) -> BoxFuture<'a, Result<BuildIdentity, Unidentified>> {
        let _ = token;
        Box::pin(async { Err(Unidentified::Elsewhere) })
    }

    /// Whether it can be used as it is configured, for these repositories, and what to do where it cannot. Changes nothing.
    fn examine<'a>(&'a self, repos: &'a [RepoName]) -> BoxFuture<'a, Vec<Finding>> {
        let _ = repos;
        Box::pin(async { Vec::new() })
    }
}
