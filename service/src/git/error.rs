//! What can go wrong with git, as far as one can do something about it.

use signalbox_contract::FailureCode;

use crate::process::ProcessError;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The server wants credentials, or does not take ours.
    Denied,
    /// The server has no such repository, or says so to those who may not see it.
    NotFound,
    /// The repository has no such ref.
    NoSuchRef,
    /// The server does not give out this commit: it is gone, or hidden.
    NotOurRef,
    /// The server points elsewhere, which is not followed.
    Redirects,
    /// The server cannot be reached, or went away.
    Unreachable,
    /// The server's certificate is not believed.
    Certificate,
    /// The server's ssh host key is not the one that is pinned.
    HostKey,
    /// It took too long.
    Timeout,
    /// Nobody waits for it any more.
    Cancelled,
    /// The disk is full.
    DiskFull,
    /// The server sent more than is allowed.
    TooLarge,
    /// The server sent objects that are broken.
    BrokenObjects,
    /// The server does not speak git.
    NotGit,
    /// The server failed.
    ServerFailed,
    /// The server does not take this push: somebody else was there in between.
    NonFastForward,
    /// The server does not let a ref's history be replaced.
    ForceRefused,
    /// The server keeps this ref to itself.
    HiddenRef,
    /// The server does not take this push.
    Rejected,
    /// Another git is at work in the same repository.
    Locked,
    /// The commit is not in our repository.
    NoSuchObject,
    /// Git cannot be started here, or our own folders cannot be used.
    Local,
    /// Git failed in a way that is not known here.
    Other,
}

impl Fault {
    /// What it is, as the rest of a sentence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "the server does not let us in",
            Self::NotFound => "the server has no such repository",
            Self::NoSuchRef => "there is no such ref",
            Self::NotOurRef => "the server does not give out this commit",
            Self::Redirects => "the server redirects elsewhere",
            Self::Unreachable => "the server cannot be reached",
            Self::Certificate => "the server's certificate is not believed",
            Self::HostKey => "the server's host key is not the one that is pinned",
            Self::Timeout => "it took too long",
            Self::Cancelled => "it was cancelled",
            Self::DiskFull => "the disk is full",
            Self::TooLarge => "the server sent more than is allowed",
            Self::BrokenObjects => "the server sent broken objects",
            Self::NotGit => "the server does not speak git",
            Self::ServerFailed => "the server failed",
            Self::NonFastForward => "the ref has moved",
            Self::ForceRefused => "the server does not let the ref's history be replaced",
            Self::HiddenRef => "the server hides this ref",
            Self::Rejected => "the server refused the push",
            Self::Locked => "another git is at work in the repository",
            Self::NoSuchObject => "the commit is not here",
            Self::Local => "git cannot be run here",
            Self::Other => "git failed",
        }
    }

    /// The code under which services tell of it, where it is about a source.
    pub const fn failure_code(self) -> FailureCode {
        match self {
            Self::Denied => FailureCode::SourceDenied,
            Self::NotFound => FailureCode::SourceNotFound,
            Self::NoSuchRef => FailureCode::RefNotFound,
            Self::NotOurRef | Self::NoSuchObject => FailureCode::CommitNotFound,
            Self::Redirects => FailureCode::SourceRedirects,
            Self::Unreachable | Self::Certificate | Self::HostKey => FailureCode::SourceUnreachable,
            Self::Timeout => FailureCode::SourceTimeout,
            Self::DiskFull => FailureCode::DiskFull,
            Self::TooLarge => FailureCode::SourceTooLarge,
            Self::BrokenObjects | Self::NotGit | Self::ServerFailed => FailureCode::SourceBroken,
            Self::NonFastForward | Self::ForceRefused | Self::HiddenRef | Self::Rejected => FailureCode::ProofFailed,
            Self::Cancelled | Self::Locked | Self::Local | Self::Other => FailureCode::Internal,
        }
    }
}

/// A command of git's failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", fault.as_str())]
pub struct GitError {
    /// What went wrong.
    pub fault: Fault,
    /// What git said about it: bounded, in one line, free of control characters and credentials. It may quote the server.
    pub said: String,
    #[source]
    source: Option<ProcessError>,
}

impl GitError {
    /// An error with these words.
    pub fn new(fault: Fault, said: impl Into<String>) -> Self {
        Self { fault, said: said.into(), source: None }
    }

    pub(super) fn caused(fault: Fault, source: ProcessError) -> Self {
        Self { fault, said: source.to_string(), source: Some(source) }
    }
}
