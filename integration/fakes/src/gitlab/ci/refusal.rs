//! Why there is no definition, or no pipeline.

use std::fmt;

/// What is wrong with a definition, each a sentence in GitLab's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<String>);

impl Errors {
    /// A single one.
    pub(super) fn one(sentence: impl Into<String>) -> Self {
        Self(vec![sentence.into()])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for Errors {}

/// Why a good definition makes no pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `workflow: rules` do not want one.
    #[error("Pipeline filtered out by workflow rules.")]
    Filtered,
    /// No job is left.
    #[error("Pipeline will not run for the selected trigger. The rules configuration prevented any jobs from being added to the pipeline.")]
    NoJobs,
    /// The jobs that are left do not fit together.
    #[error("{0}")]
    Invalid(String),
}
