//! Runners: programs elsewhere that do jobs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use secrecy::SecretString;

/// Whose jobs a runner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerScope {
    /// Everybody's.
    Instance,
    /// Those of a group and below.
    Group(u64),
    /// A project's.
    Project(u64),
}

impl RunnerScope {
    /// What the API calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Instance => "instance_type",
            Self::Group(_) => "group_type",
            Self::Project(_) => "project_type",
        }
    }
}

/// A runner.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Its id.
    pub id: u64,
    /// What it shows when it asks for jobs.
    pub token: SecretString,
    /// Whose jobs it does.
    pub scope: RunnerScope,
    /// What it is called.
    pub description: String,
    /// What it offers.
    pub tags: BTreeSet<String>,
    /// Whether it does jobs that ask for nothing.
    pub run_untagged: bool,
    /// Whether it rests.
    pub paused: bool,
    /// Whether it only does jobs of protected branches and tags.
    pub protected_only: bool,
    /// The longest that it lets a job run, in seconds.
    pub maximum_timeout: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it asked last.
    pub contacted_at: Option<Timestamp>,
    /// What it said of itself.
    pub version: Option<String>,
}
