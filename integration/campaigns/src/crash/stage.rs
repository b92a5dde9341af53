//! Where it is played.

use std::sync::Arc;
use std::time::Duration;

use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::Outcome;
use signalbox_scenarios::{Gerrit, Gitlab, World, WorldOptions};

use super::line::{Kind, Line};

/// What is built here, and shown on the hosts.
pub(super) const LOCAL: [&str; 3] = ["alpha", "beta", "gamma"];

/// What GitLab builds from a branch, and is shown on the hosts.
pub(super) const BRANCH: &str = "branch";

/// What GitLab builds from refs that are neither branches nor tags.
pub(super) const REVIEW: &str = "review";

/// What Gerrit proposes: built here, and in GitLab.
pub(super) const CHANGES: [(&str, &str); 2] = [("change-here", "local"), ("change-there", "gitlab")];

/// The services, what is in front of them and what is behind.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) gitlab: Gitlab,
    pub(super) gerrit: Option<Arc<Gerrit>>,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let gitlab = Gitlab::start().await;
        gitlab.fake.script(|job, pipeline| {
            // Some take longer than others; which, the commit says.
            let lasting = u64::from_str_radix(pipeline.sha.get(..4).unwrap_or_default(), 16).unwrap_or_default() % 1200;
            let outcome = Outcome::success().lasting(Duration::from_millis(200 + lasting)).saying(format!("{}\n", job.plan.name));
            let places = [BRANCH, REVIEW].into_iter().chain(CHANGES.map(|(name, _)| name));
            Some(places.fold(outcome, |outcome, name| outcome.leaving(&format!("out/{name}"), pipeline.sha.as_bytes())))
        });
        let mut options = WorldOptions::default().with_telling_gitlab(&gitlab);
        for name in LOCAL {
            options = options.with_own_repository(name, "executor = \"local\"");
        }
        for name in [BRANCH, REVIEW] {
            let lines = format!("executor = \"gitlab\"\n[repositories.{name}.artifacts]\n{name} = {{ path = \"out/{name}\" }}");
            options = options.with_own_repository(name, &lines);
        }
        let gerrit = Gerrit::start().await.map(Arc::new);
        if let Some(gerrit) = &gerrit {
            options = options.with_gerrit(gerrit);
            for (name, executor) in CHANGES {
                gerrit.project(name).await;
                let rules = format!(
                    "executor = \"{executor}\"\nforge = \"gerrit\"\nproject = \"{name}\"\n[[repositories.{name}.on]]\nevent = \"review\""
                );
                options = options.with_repository(name, &gerrit.source(name), &rules);
            }
        }
        let world = World::with(options).await;
        let authority = std::fs::read(world.site().join("ca.pem")).unwrap_or_default();
        if let Err(error) = gitlab.fake.believe(&authority) {
            eprintln!("GitLab will not tell: {error}");
        }
        if gerrit.is_some() {
            // What happens before is taken note of alone.
            world.says(Service::Controller, "the stream of events stands", 1).await;
        }
        Self { world, gitlab, gerrit }
    }

    /// The lines of work.
    pub(super) async fn lines(&self) -> Vec<Line> {
        let repository = |name: &str| self.world.repositories[name].clone();
        let hosts: Vec<_> = self.world.hosts.iter().map(|host| host.files.clone()).collect();
        let mut lines: Vec<Line> = LOCAL.iter().map(|name| Line::new(name, Kind::Local(repository(name)), hosts.clone())).collect();
        lines.push(Line::new(BRANCH, Kind::Branch(repository(BRANCH)), hosts.clone()));
        lines.push(Line::new(REVIEW, Kind::Review(repository(REVIEW)), Vec::new()));
        if let Some(gerrit) = &self.gerrit {
            for (name, executor) in CHANGES {
                let workspace = gerrit.clone_of(name).await;
                let kind = Kind::Change { gerrit: Arc::clone(gerrit), workspace, here: executor == "local" };
                lines.push(Line::new(name, kind, Vec::new()));
            }
        }
        lines
    }
}
