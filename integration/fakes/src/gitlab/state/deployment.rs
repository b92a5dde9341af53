//! Environments and deployments.

use jiff::Timestamp;

use super::State;
use super::hook::Topic;
use super::pipeline::Pipeline;
use crate::gitlab::hook::payload;

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

impl State {
    /// The environment of this name, made if it is not there.
    pub fn environment_named(&mut self, project: u64, name: &str) -> u64 {
        if let Some(found) = self.environments.values().find(|found| found.project == project && found.name == name) {
            return found.id;
        }
        let id = self.id();
        let now = self.now();
        let environment = Environment {
            id,
            project,
            name: name.to_owned(),
            external_url: None,
            tier: Environment::tier_of(name).to_owned(),
            description: None,
            stopped: false,
            created_at: now,
            updated_at: now,
        };
        self.environments.insert(id, environment);
        id
    }

    pub(super) fn add_deployment(&mut self, environment: u64, pipeline: &Pipeline, job: Option<u64>, status: &str, user: u64) -> u64 {
        let deployment = Deployment {
            id: 0,
            iid: 0,
            project: pipeline.project,
            environment,
            ref_name: pipeline.ref_name.clone(),
            tag: pipeline.tag,
            sha: pipeline.sha.clone(),
            status: status.to_owned(),
            user,
            job,
            created_at: pipeline.created_at,
            updated_at: pipeline.created_at,
        };
        self.insert_deployment(deployment)
    }

    /// Adds a deployment; its ids and times are given here.
    pub fn insert_deployment(&mut self, mut deployment: Deployment) -> u64 {
        deployment.id = self.id();
        deployment.iid = 1 + self.deployments.values().filter(|other| other.project == deployment.project).count() as u64;
        deployment.created_at = self.now();
        deployment.updated_at = deployment.created_at;
        let id = deployment.id;
        self.deployments.insert(id, deployment);
        id
    }

    /// Moves a deployment to a state, and tells of it.
    pub fn set_deployment(&mut self, id: u64, status: &str) {
        let now = self.now();
        let Some(deployment) = self.deployments.get_mut(&id) else {
            return;
        };
        if deployment.status == status {
            return;
        }
        status.clone_into(&mut deployment.status);
        deployment.updated_at = now;
        let (project, user) = (deployment.project, deployment.user);
        if !matches!(status, "created" | "blocked" | "skipped") {
            self.tell(project, Topic::Deployment, Some(user), None, |state| payload::deployment(state, id));
        }
    }
}
