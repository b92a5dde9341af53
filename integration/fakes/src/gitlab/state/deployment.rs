//! Environments and deployments.

use jiff::Timestamp;

/// Where something is deployed to.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Its id.
    pub id: u64,
    /// Whose it is.
    pub project: u64,
    /// What it is called.
    pub name: String,
    /// Where it can be seen.
    pub external_url: Option<String>,
    /// `production`, `staging`, `testing`, `development` or `other`.
    pub tier: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it was stopped.
    pub stopped: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Environment {
    /// Its name as it stands in addresses.
    pub fn slug(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        self.name.chars().take(24).map(plain).collect()
    }

    /// What a name says of the tier.
    pub fn tier_of(name: &str) -> &'static str {
        let name = name.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if has(&["dev", "review", "trunk"]) {
            "development"
        } else if has(&["test", "tst", "int", "acc", "qa", "qc"]) {
            "testing"
        } else if has(&["stg", "stag", "mod", "pre", "demo", "non"]) {
            "staging"
        } else if has(&["prod", "prd", "live", "gprd"]) {
            "production"
        } else {
            "other"
        }
    }
}

/// That something was deployed.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Its id.
    pub id: u64,
    /// Its number in the project.
    pub iid: u64,
    /// Whose it is.
    pub project: u64,
    /// Where to.
    pub environment: u64,
    /// The branch or tag.
    pub ref_name: String,
    /// Whether that is a tag.
    pub tag: bool,
    /// The commit.
    pub sha: String,
    /// `created`, `running`, `success`, `failed`, `canceled`, `blocked` or `skipped`.
    pub status: String,
    /// Who did it.
    pub user: u64,
    /// The job that did it.
    pub job: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
