//! A yard: a real Gerrit in front, a GitLab with the real runner behind, and everything of ours between them.

use std::path::PathBuf;

use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::DeliverySummary;
use signalbox_contract::api::run::{Outcome, RunState};
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::Options;
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_scenarios::{Change, Gerrit, Gitlab, Pipeline, Workspace, World, WorldOptions};
use tempfile::TempDir;

/// The secret of the webhooks of the forge `hooked`.
pub(crate) const HOOK: &str = "sesame0open7now";

/// A repository of the yard: where its changes come from, and what else is said of it.
pub(crate) struct Track {
    /// Its name in Gerrit, here and in GitLab.
    pub(crate) name: &'static str,
    /// Where it is built.
    pub(crate) executor: &'static str,
    /// Who tells of its changes: `gerrit` by its stream, `hooked` by webhooks.
    pub(crate) forge: &'static str,
}

impl Track {
    /// One that GitLab builds.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, executor: "gitlab", forge: "gerrit" }
    }
}

/// A yard.
pub(crate) struct Yard {
    pub(crate) gerrit: Gerrit,
    pub(crate) gitlab: Gitlab,
    pub(crate) world: World,
    gates: TempDir,
    tracks: Vec<&'static str>,
}

impl Yard {
    /// Sets one up. None where a part of it cannot be had, which is said.
    pub(crate) async fn new(tracks: &[Track], special: impl FnOnce(&mut Options)) -> Option<Self> {
        let gerrit = Gerrit::start().await?;
        let mut gitlab = Gitlab::start_with(special).await;
        if !gitlab.add_runner().await {
            return None;
        }
        let mut options = WorldOptions::default().with_gerrit(&gerrit).with_gerrit_hooks(&gerrit, HOOK).with_telling_gitlab(&gitlab);
        for Track { name, executor, forge } in tracks {
            gerrit.project(name).await;
            let rules = format!(
                "executor = \"{executor}\"\nforge = \"{forge}\"\nproject = \"{name}\"\n\
                 [[repositories.{name}.on]]\nevent = \"review\"\n[[repositories.{name}.on]]\nevent = \"merged\"\nartifact = \"{name}\"\n\
                 [repositories.{name}.artifacts]\n{name} = {{ path = \"out/{name}\" }}\n"
            );
            options = options.with_repository(name, &gerrit.source(name), &rules);
        }
        let world = World::with(options).await;
        gitlab.fake.believe(&std::fs::read(world.site().join("ca.pem")).expect("an authority")).expect("believed");
        // What happens before is taken note of alone.
        world.says(Service::Controller, "the stream of events stands", 1).await;
        let gates = tempfile::tempdir().expect("a folder");
        Some(Self { gerrit, gitlab, world, gates, tracks: tracks.iter().map(|track| track.name).collect() })
    }

    fn gate(&self, name: &str) -> PathBuf {
        self.gates.path().join(name)
    }

    /// Lets the jobs of a repository wait once they have begun.
    pub(crate) fn shut(&self, name: &str) {
        std::fs::write(self.gate(name), "").expect("shut");
    }

    /// Lets them go on.
    pub(crate) fn open(&self, name: &str) {
        std::fs::remove_file(self.gate(name)).expect("open");
    }

    /// A definition whose only job waits at the repository's gate, runs this, and leaves the file `text` as what is deployed.
    pub(crate) fn definition(&self, name: &str, script: &str) -> String {
        let gate = self.gate(name);
        format!(
            "compile:\n  script:\n    - while [ -e {} ]; do echo waiting; sleep 0.2; done\n    - '{script}'\n    - mkdir -p out\n    \
             - cp text out/{name}\n  artifacts: {{paths: [out/]}}\n",
            gate.display()
        )
    }

    /// A clone of a repository, with such a definition.
    pub(crate) async fn workspace(&self, name: &str) -> Workspace {
        let workspace = self.gerrit.clone_of(name).await;
        workspace.write(&[(".gitlab-ci.yml", &self.definition(name, "true")), ("text", "text\n")]);
        workspace
    }

    /// Waits until the only pipeline of a patch set is at work.
    pub(crate) async fn at_work(&self, name: &str, change: &Change) -> Pipeline {
        let run = self.world.run_for(name, change).await.id;
        let at_work = || async {
            let run = self.world.run(run).await;
            assert_ne!(run.summary.state, RunState::Finished, "{run:#?}");
            self.pipelines(name, change).into_iter().find(|pipeline| pipeline.status == Status::Running)
        };
        self.world.patiently("its pipeline is at work", at_work).await
    }

    /// Waits until GitLab tells of the builds of a repository.
    pub(crate) async fn told(&self, name: &str) {
        self.world.patiently("a webhook that works", || async { self.gitlab.tells(name).then_some(()) }).await;
    }

    /// The pipelines of a patch set.
    pub(crate) fn pipelines(&self, name: &str, change: &Change) -> Vec<Pipeline> {
        let sha = change.sha.to_string();
        self.gitlab.pipelines(name).into_iter().filter(|pipeline| pipeline.sha == sha).collect()
    }

    /// A patch set ends like this, with one pipeline and one vote.
    pub(crate) async fn judged(&self, name: &str, change: &Change, patch_set: u64, outcome: Outcome) {
        self.world.judged(&self.gerrit, name, change, patch_set, outcome).await;
        let pipelines = self.pipelines(name, change);
        assert_eq!(pipelines.len(), 1, "one patch set has one pipeline: {pipelines:#?}");
    }

    /// How many events of a kind have come.
    pub(crate) async fn came(&self, kind: &str) -> usize {
        let (mut count, mut path) = (0, "/deliveries?limit=200".to_owned());
        loop {
            let page: Page<DeliverySummary> = self.world.get(&path).await;
            count += page.items.iter().filter(|delivery| delivery.kind == kind).count();
            let Some(next) = page.next else { return count };
            path = format!("/deliveries?limit=200&cursor={next}");
        }
    }

    /// Waits until at least so many events of a kind have come, and nothing that has come waits to be acted on.
    pub(crate) async fn settled(&self, kind: &str, least: usize) {
        let settled = || async {
            let page: Page<DeliverySummary> = self.world.get("/deliveries?limit=200&state=received").await;
            (page.items.is_empty() && self.came(kind).await >= least).then_some(())
        };
        self.world.patiently(&format!("{least} × {kind}, acted on"), settled).await;
    }

    /// Ends everything, and fails if something is left over.
    pub(crate) async fn close(self) {
        for name in &self.tracks {
            self.world.idle(name).await;
        }
        self.world.close().await;
        self.gitlab.close(&self.tracks).await;
        self.gerrit.close().await;
    }
}
