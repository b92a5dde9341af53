//! Hooks: whom a project tells what, and how that went.

use std::collections::{BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

/// What a hook can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Branches changed.
    Push,
    /// Tags changed.
    TagPush,
    /// A merge request changed.
    MergeRequest,
    /// A pipeline changed.
    Pipeline,
    /// A job changed.
    Job,
    /// A deployment changed.
    Deployment,
    /// Somebody commented.
    Note,
    /// A release was made.
    Release,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Push, Self::TagPush, Self::MergeRequest, Self::Pipeline, Self::Job, Self::Deployment, Self::Note, Self::Release];

    /// The header `X-Gitlab-Event`.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Push => "Push Hook",
            Self::TagPush => "Tag Push Hook",
            Self::MergeRequest => "Merge Request Hook",
            Self::Pipeline => "Pipeline Hook",
            Self::Job => "Job Hook",
            Self::Deployment => "Deployment Hook",
            Self::Note => "Note Hook",
            Self::Release => "Release Hook",
        }
    }

    /// The name of its switch in the API, which is the name of its test too.
    pub const fn switch(self) -> &'static str {
        match self {
            Self::Push => "push_events",
            Self::TagPush => "tag_push_events",
            Self::MergeRequest => "merge_requests_events",
            Self::Pipeline => "pipeline_events",
            Self::Job => "job_events",
            Self::Deployment => "deployment_events",
            Self::Note => "note_events",
            Self::Release => "releases_events",
        }
    }

    /// What a delivery of it is called in the list of deliveries.
    pub const fn trigger(self) -> &'static str {
        match self {
            Self::Push => "push_hooks",
            Self::TagPush => "tag_push_hooks",
            Self::MergeRequest => "merge_request_hooks",
            Self::Pipeline => "pipeline_hooks",
            Self::Job => "job_hooks",
            Self::Deployment => "deployment_hooks",
            Self::Note => "note_hooks",
            Self::Release => "release_hooks",
        }
    }
}

/// How many deliveries of a hook are remembered.
pub const REMEMBERED: usize = 200;

/// Failures in a row after which a hook rests, and after which it is off for good.
const RESTS_AFTER: u32 = 3;
const ENDS_AFTER: u32 = 39;

/// That something was told, and what was answered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its id.
    pub id: u64,
    /// What it was about.
    pub topic: Topic,
    /// Where it went.
    pub url: String,
    /// The headers that were sent, secrets left out.
    pub request_headers: Vec<(String, String)>,
    /// What was told.
    pub body: String,
    /// The key that is the same for every repetition.
    pub key: String,
    /// The headers that were answered.
    pub response_headers: Vec<(String, String)>,
    /// What was answered.
    pub response_body: String,
    /// The status, or `internal error`.
    pub response_status: String,
    /// How long it took, in seconds.
    pub duration: f64,
    /// When it was sent.
    pub at: Timestamp,
}

/// A hook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Its id.
    pub id: u64,
    /// Where it goes.
    pub url: String,
    /// What it is called.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The secret that is sent along.
    pub token: Option<SecretString>,
    /// The secret that signs.
    pub signing_token: Option<SecretString>,
    /// What it is about.
    pub topics: BTreeSet<Topic>,
    /// The branches that it is about.
    pub branch_filter: Option<String>,
    /// Whether certificates are checked.
    pub verifies: bool,
    /// Headers that are sent along.
    pub custom_headers: Vec<(String, String)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Failures in a row.
    pub failures: u32,
    /// How often it rested already.
    pub rests: u32,
    /// Until when it rests.
    pub disabled_until: Option<Timestamp>,
    /// Whether it is off for good.
    pub disabled: bool,
    /// What was sent last, newest last.
    pub deliveries: VecDeque<Delivery>,
}

impl Hook {
    /// A hook that goes to this address, about these things. It still has to be put into a project.
    pub fn new(state: &mut super::State, url: &str, topics: impl IntoIterator<Item = Topic>) -> Self {
        Self {
            id: state.id(),
            url: url.to_owned(),
            name: None,
            description: None,
            token: None,
            signing_token: None,
            topics: topics.into_iter().collect(),
            branch_filter: None,
            verifies: true,
            custom_headers: Vec::new(),
            created_at: state.now(),
            failures: 0,
            rests: 0,
            disabled_until: None,
            disabled: false,
            deliveries: VecDeque::new(),
        }
    }

    /// What the API calls its state.
    pub fn alert_status(&self, now: Timestamp) -> &'static str {
        if self.disabled {
            "disabled"
        } else if self.disabled_until.is_some_and(|end| now < end) {
            "temporarily_disabled"
        } else {
            "executable"
        }
    }

    /// Notes how a delivery went. `at_once` is what servers before 17.11 do: an answer of 4xx turns a hook off for good.
    pub fn judge(&mut self, status: Option<u16>, now: Timestamp, auto_disable: bool, at_once: bool) {
        // An answer that points elsewhere counts as success, and is not followed.
        if status.is_some_and(|status| (200..400).contains(&status)) {
            self.failures = 0;
            self.rests = 0;
            self.disabled_until = None;
            self.disabled = false;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if !auto_disable {
            return;
        }
        if self.failures > ENDS_AFTER || (at_once && status.is_some_and(|status| (400..500).contains(&status))) {
            self.disabled = true;
        } else if self.failures > RESTS_AFTER {
            let minutes = (1_i64 << self.rests.min(11)).min(24 * 60);
            self.rests += 1;
            self.disabled_until = now.checked_add(SignedDuration::from_mins(minutes)).ok();
        }
    }

    /// Remembers a delivery, and forgets the oldest where there are too many.
    pub fn remember(&mut self, delivery: Delivery) {
        if self.deliveries.len() >= REMEMBERED {
            self.deliveries.pop_front();
        }
        self.deliveries.push_back(delivery);
    }
}
