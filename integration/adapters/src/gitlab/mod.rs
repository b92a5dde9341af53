//! GitLab, by its REST API: what the executor, the mirror and the forge share.
//!
//! Architecture invariant: whatever GitLab answers is hostile until it is parsed. Bodies, pages, times and words are
//! bounded; the token goes to the configured origin and to nobody else; what may be missing is optional, what is used is
//! checked, and HTML or a value of another type is [`GitLabError::Unreadable`], never a panic and never a guess.
//! A changing call says as precisely as can be known whether it was done.

mod about;
mod artifact;
mod branch;
mod breaker;
mod budget;
mod client;
mod creation;
mod error;
mod group;
mod hook;
mod job;
mod keys;
mod lenient;
mod outside;
mod page;
mod pipeline;
mod project;
mod report;
mod request;
mod token;
mod words;

#[cfg(test)]
pub(crate) mod tests;

pub use about::{TokenInfo, Version};
pub use artifact::{Download, Span};
pub use branch::{Branch, Commit};
pub use breaker::Health;
pub use client::{Connection, GitLab, GitLabSetUpError};
pub use creation::{NewGroup, NewProject, ProtectedBranch, User};
pub use error::{GitLabError, Message};
pub use group::Group;
pub use hook::{AlertStatus, HOOK_NAME, Hook, HookEvents, HookWish};
pub use job::{ArtifactFile, Bridge, Downstream, Job, JobPipeline};
pub use keys::PublicKey;
pub use page::Listed;
pub use pipeline::{DetailedStatus, NewPipeline, Pipeline, PipelineQuery, PipelineVariable, Status};
pub use project::{Project, ProjectRef, ProjectVariable};
pub use report::{TestCase, TestReport, TestSuite};
pub use request::Request;
pub use words::plain;
