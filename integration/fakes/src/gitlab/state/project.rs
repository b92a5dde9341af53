//! Projects: settings, protected branches, variables, keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::hook::Hook;
use super::plan::Plan;
use super::user::level;

/// Who may see something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Visibility {
    /// Members alone.
    Private,
    /// Whoever is logged in.
    Internal,
    /// Everybody.
    Public,
}

impl Visibility {
    /// What the API calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Internal => "internal",
            Self::Public => "public",
        }
    }

    /// What hooks call it.
    pub const fn number(self) -> u32 {
        match self {
            Self::Private => 0,
            Self::Internal => 10,
            Self::Public => 20,
        }
    }

    /// The one with this name.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Private, Self::Internal, Self::Public].into_iter().find(|visibility| visibility.word() == word)
    }
}

/// How far a project's deletion has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Marked and renamed; it can be restored.
    Marked(Timestamp),
    /// Being destroyed: it is not shown any more, but its path is still taken.
    Destroying,
}

/// A branch, or a pattern of branches, that not everybody may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedBranch {
    /// Its id.
    pub id: u64,
    /// Its name, which may hold `*`.
    pub name: String,
    /// The least level that may push; 0 means nobody.
    pub push: u32,
    /// The least level that may merge.
    pub merge: u32,
    /// The least level that may take the protection away.
    pub unprotect: Option<u32>,
    /// Whether those who may push may push by force.
    pub allow_force_push: bool,
    /// Users who may push besides.
    pub users: Vec<u64>,
    /// Deploy keys that may push besides.
    pub deploy_keys: Vec<u64>,
}

/// A variable for jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether jobs get a file with the value.
    pub file: bool,
    /// Whether only protected branches and tags get it.
    pub protected: bool,
    /// Whether logs hide it.
    pub masked: bool,
    /// Whether even the API hides it.
    pub hidden: bool,
    /// Whether other variables in it stay as they are.
    pub raw: bool,
    /// The environments that get it.
    pub scope: String,
    /// What it is for.
    pub description: Option<String>,
}

/// A key for ssh that belongs to projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployKey {
    /// Its id, the same in all projects.
    pub id: u64,
    /// What it is called.
    pub title: String,
    /// The public key.
    pub key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The projects that have it, and whether it may push there.
    pub projects: BTreeMap<u64, bool>,
}

/// Rules for what may be pushed, as GitLab's paid editions have them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushRules {
    /// Messages of commits must match it.
    pub commit_message_regex: Option<String>,
    /// Names of branches must match it.
    pub branch_name_regex: Option<String>,
    /// The largest file, in mebibytes.
    pub max_file_size: Option<u64>,
    /// The largest push, in bytes.
    pub max_push_size: Option<u64>,
}

/// A project.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its id.
    pub id: u64,
    /// The group or user whose it is.
    pub namespace: u64,
    /// What it is called.
    pub name: String,
    /// The last part of its path.
    pub path: String,
    /// What it is for.
    pub description: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// Set by the first push.
    pub default_branch: Option<String>,
    /// Who made it.
    pub creator: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When something last happened in it.
    pub last_activity_at: Timestamp,
    /// Whether it was put away: nothing can be pushed.
    pub archived: bool,
    /// How far its deletion has gone.
    pub deletion: Option<Deletion>,
    /// Who has which level in it alone.
    pub members: BTreeMap<u64, u32>,
    /// All other settings, by the API's names.
    pub settings: BTreeMap<String, Value>,
    /// Branches that not everybody may change.
    pub protected_branches: Vec<ProtectedBranch>,
    /// Tags that not everybody may make: their patterns and the least level.
    pub protected_tags: BTreeMap<String, u32>,
    /// Variables of its jobs.
    pub variables: Vec<Variable>,
    /// Whom it tells.
    pub hooks: Vec<Hook>,
    /// What may be pushed.
    pub push_rules: PushRules,
    /// Its pipelines, oldest first.
    pub pipelines: Vec<u64>,
    /// Its merge requests, oldest first.
    pub merge_requests: Vec<u64>,
    /// The number of the next pipeline.
    pub next_pipeline: u64,
    /// What its pipelines are made from instead of its `.gitlab-ci.yml`.
    pub plan: Option<Plan>,
}

/// Settings that every project has, with what they are in a new one.
pub(super) fn usual_settings() -> BTreeMap<String, Value> {
    use serde_json::json;
    [
        ("auto_cancel_pending_pipelines", json!("enabled")),
        ("auto_devops_enabled", json!(false)),
        ("build_timeout", json!(3600)),
        ("builds_access_level", json!("enabled")),
        ("ci_config_path", Value::Null),
        ("ci_default_git_depth", json!(20)),
        ("ci_forward_deployment_enabled", json!(true)),
        ("ci_pipeline_variables_minimum_override_role", json!("developer")),
        ("group_runners_enabled", json!(true)),
        ("issues_enabled", json!(true)),
        ("jobs_enabled", json!(true)),
        ("lfs_enabled", json!(true)),
        ("merge_method", json!("merge")),
        ("merge_requests_enabled", json!(true)),
        ("only_allow_merge_if_pipeline_succeeds", json!(false)),
        ("packages_enabled", json!(true)),
        ("public_jobs", json!(true)),
        ("remove_source_branch_after_merge", json!(true)),
        ("repository_access_level", json!("enabled")),
        ("request_access_enabled", json!(true)),
        ("restrict_user_defined_variables", json!(true)),
        ("shared_runners_enabled", json!(true)),
        ("snippets_enabled", json!(true)),
        ("topics", json!([])),
        ("wiki_enabled", json!(true)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

impl Project {
    /// Whether a setting is on.
    pub fn is_on(&self, setting: &str) -> bool {
        self.settings.get(setting).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A setting's word.
    pub fn word(&self, setting: &str) -> Option<&str> {
        self.settings.get(setting).and_then(Value::as_str).filter(|word| !word.is_empty())
    }

    /// Whether pipelines are made at all.
    pub fn runs_jobs(&self) -> bool {
        self.is_on("jobs_enabled") && self.word("builds_access_level") != Some("disabled")
    }

    /// The least level that may give variables to a pipeline; nobody's when no role may.
    pub fn least_level_for_variables(&self) -> u32 {
        match self.word("ci_pipeline_variables_minimum_override_role") {
            Some("owner") => level::OWNER,
            Some("maintainer") => level::MAINTAINER,
            Some("no_one_allowed") => u32::MAX,
            _ => level::DEVELOPER,
        }
    }

    /// What protects a branch, if anything does.
    pub fn protection(&self, branch: &str) -> Option<&ProtectedBranch> {
        // A name says more than a pattern, so it is asked first.
        let exact = self.protected_branches.iter().find(|protected| protected.name == branch);
        exact.or_else(|| self.protected_branches.iter().find(|protected| matches(&protected.name, branch)))
    }

    /// Whether a branch or tag is protected.
    pub fn protects(&self, name: &str, tag: bool) -> bool {
        if tag { self.protected_tags.keys().any(|pattern| matches(pattern, name)) } else { self.protection(name).is_some() }
    }
}

/// Whether a name matches a pattern in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything_and_nothing() {
        for (pattern, name, expected) in [
            ("main", "main", true),
            ("main", "mainly", false),
            ("release/*", "release/1.0", true),
            ("release/*", "releases/1", false),
            ("*-stable", "1-stable", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
