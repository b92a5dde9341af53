//! The language that Signalbox's services speak with each other and with their users: identifiers, names, API types,
//! problem codes and token claims.
//!
//! Architecture invariant: nothing here does I/O, reads a clock or holds a secret. Every type that comes from outside
//! validates itself while it is parsed, so that a value which exists is a value which is right.

pub mod api;
pub mod build;
pub mod change;
pub mod digest;
pub mod failure;
pub mod git;
pub mod grant;
pub mod id;
pub mod job;
pub mod name;
pub mod problem;
pub mod source;
pub mod token;

mod schema;
mod text;

pub use build::{BuildState, FailureClass, Verdict};
pub use change::{Origin, Standing};
pub use digest::Digest;
pub use failure::{Failure, FailureCode};
pub use git::{CommitSha, RefName};
pub use id::{AttemptKey, RunId};
pub use name::{ArtifactName, EnvironmentName, ExecutorName, ForgeName, HostName, JobName, MirrorName, PublishedName, RepoName};
pub use problem::{Code, FieldError, Problem};
pub use source::{SourceConflict, SourceUrl};
pub use text::Invalid;
