//! The one face that every place for mirrors has for us.

use std::net::IpAddr;
use std::path::Path;

use futures_util::future::BoxFuture;
pub use signalbox_contract::api::mirrors::Severity;
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::{AttemptKey, CommitSha, Failure, RefName, RepoName};
use url::Url;

use super::Note;

/// What each call answers, some time later.
pub type Fut<'a, T> = BoxFuture<'a, Result<T, MirrorError>>;

/// A place where executors read: commits are shown there under refs.
///
/// Every call may be repeated and decides nothing. One call at a time is made for a repository.
pub trait Mirror: Send + Sync {
    /// Where it lives: the server whose addresses have to be checked before a call; none if it needs no network.
    fn server(&self) -> Option<&Url>;

    /// Shows a commit, and reads back what is shown.
    fn show<'a>(&'a self, order: &'a Order<'a>) -> Fut<'a, Shown>;

    /// Takes the attempt's own ref away; that it is gone already is as good. A ref under its original name stays.
    fn hide<'a>(&'a self, order: &'a Order<'a>) -> Fut<'a, Shown>;

    /// Tells what is there of a repository; none if there is nothing.
    fn list<'a>(&'a self, target: &'a Target<'a>) -> Fut<'a, Option<Listed>>;

    /// Takes away refs of ours that still are what they were when they were listed.
    fn clear<'a>(&'a self, target: &'a Target<'a>, refs: &'a [(RefName, CommitSha)]) -> Fut<'a, ()>;

    /// Looks for what keeps this place from being used, now or one day.
    fn examine<'a>(&'a self, addresses: &'a [IpAddr]) -> Fut<'a, Vec<Finding>>;
}

/// A repository at a mirror.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The repository's name on our side.
    pub name: &'a RepoName,
    /// A bare repository of ours from which is pushed: it holds what is to be shown.
    pub copy: &'a Path,
    /// The addresses of the mirror's server, which were checked: no other is used.
    pub addresses: &'a [IpAddr],
}

/// One commit that is to be shown, or taken away.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Which repository.
    pub target: Target<'a>,
    /// The attempt on whose behalf.
    pub key: &'a AttemptKey,
    /// The commit. The copy holds it, proven.
    pub sha: &'a CommitSha,
    /// Under which name.
    pub naming: Naming,
    /// The full ref at the source.
    pub original: Option<&'a RefName>,
    /// Where to write down what there was before.
    pub note: &'a Note,
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where the repository can be cloned from.
    pub url: Url,
    /// The full name of the ref there.
    pub ref_name: RefName,
    /// What it points to, read back.
    pub sha: CommitSha,
    /// The project, in the server's own words, where it has such.
    pub project: Option<String>,
    /// Whether the ref was moved there for this attempt: what was there already starts nothing.
    pub moved: bool,
}

/// What is there of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it can be looked at, or cloned from.
    pub url: Url,
    /// The project, in the server's own words, where it has such.
    pub project: Option<String>,
    /// How much room it takes there, in bytes, where the server tells.
    pub size: Option<u64>,
    /// The refs of ours, as many as are read.
    pub refs: Vec<(RefName, CommitSha)>,
}

/// Why a mirror did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorError {
    /// It will not be done, however often it is asked for.
    Final(Failure),
    /// It was not done, or nobody knows; asking again may help.
    Passing(Failure),
}

impl MirrorError {
    /// What failed.
    pub const fn failure(&self) -> &Failure {
        match self {
            Self::Final(failure) | Self::Passing(failure) => failure,
        }
    }
}

/// What was found when a place was examined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty where there is nothing to do.
    pub hint: String,
}

impl Finding {
    /// A finding with these words.
    pub fn new(severity: Severity, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { severity, detail: detail.into(), hint: hint.into() }
    }
}
