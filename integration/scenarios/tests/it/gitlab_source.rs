//! A GitLab as the place where changes come from: what people push and propose there is built, shown at its commits, stopped
//! when it is overtaken, and deployed when it is merged. Its own webhooks tell of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use signalbox_contract::CommitSha;
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeliveryState, DeliverySummary};
use signalbox_contract::api::run::{Outcome as Ended, RunState, RunSummary};
use signalbox_contract::change::Origin;
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::Outcome;
use signalbox_fakes::gitlab::fault::HookFaults;
use signalbox_fakes::gitlab::options::Version;
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_scenarios::{GROUP, Gitlab, Team, Upstream, World, WorldOptions, hook};

/// What is built, by the project's own pipelines and by ours.
const DEFINITION: &str = "compile: {script: [make], artifacts: {paths: [out/]}}\n";

/// A GitLab in which people work and which builds, with everything of ours beside it.
struct Stage {
    gitlab: Gitlab,
    team: Team,
    world: World,
    /// The commits whose builds do not end by themselves.
    held: Arc<Mutex<BTreeSet<String>>>,
}

impl Stage {
    /// With these repositories, each with its project there and what is said of it.
    async fn new(version: Version, repositories: &[(&str, &str, &str)]) -> Self {
        let gitlab = Gitlab::start_with(|options| options.version = version).await;
        let held: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let holds = Arc::clone(&held);
        gitlab.fake.script(move |_, pipeline| {
            let held = holds.lock().unwrap_or_else(PoisonError::into_inner).contains(&pipeline.sha);
            Some(if held { Outcome::hangs() } else { Outcome::success().leaving("out/tool", pipeline.sha.as_bytes()) })
        });
        let team = gitlab.team();
        let mut options = WorldOptions::default().with_telling_gitlab(&gitlab).with_team(&team);
        for (name, project, lines) in repositories {
            let lines = format!("executor = \"gitlab\"\nforge = \"front\"\nproject = \"{project}\"\n{lines}");
            options = options.with_repository(name, &team.source(name), &lines);
        }
        let world = World::with(options).await;
        gitlab.fake.believe(&std::fs::read(world.site().join("ca.pem")).expect("an authority")).expect("believed");
        Self { gitlab, team, world, held }
    }

    /// A project that tells of what happens in it.
    async fn project(&self, name: &str, files: &[(&str, &str)]) -> Upstream<'_> {
        let project = self.team.project(&self.gitlab, name, files).await;
        hook(&self.gitlab, &self.world, &project.path).await;
        project
    }

    /// Commits to a branch something whose builds do not end by themselves, and pushes it.
    async fn held(&self, project: &Upstream<'_>, branch: &str, files: &[(&str, &str)]) -> CommitSha {
        let name = format!("refs/heads/{branch}");
        let sha = project.copy.commit(&name, files).await;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(sha.to_string());
        project.push(&[&name]).await;
        sha
    }

    /// Lets the builds of a commit pass.
    fn release(&self, sha: &CommitSha) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(sha.as_str());
        self.gitlab.fake.with(|state| {
            let of = |pipeline: u64| state.pipelines.get(&pipeline).is_some_and(|pipeline| pipeline.sha == sha.as_str());
            let jobs = state.jobs.values().filter(|job| job.is_build() && job.status == Status::Running && of(job.pipeline));
            for job in jobs.map(|job| job.id).collect::<Vec<_>>() {
                state.end_job(job, Status::Success, None);
            }
        });
    }

    /// Waits for so many runs of a commit of a merge request, and until all are at work in GitLab.
    async fn at_work(&self, repo: &str, sha: &CommitSha, count: usize) -> Vec<RunSummary> {
        let working = || async {
            let runs = self.world.runs_for(repo, sha).await;
            assert!(runs.iter().all(|run| run.state != RunState::Finished), "{runs:#?}");
            let pipelines = self.gitlab.pipelines(repo).into_iter();
            let running = pipelines.filter(|pipeline| pipeline.sha == sha.as_str() && pipeline.status == Status::Running).count();
            (runs.len() == count && running == count).then_some(runs)
        };
        self.world.patiently(&format!("{count} pipelines of {sha} are at work"), working).await
    }

    /// Waits for the only run of a commit of a merge request that is not stopped to pass, and for its status.
    async fn passes(&self, project: &Upstream<'_>, repo: &str, branch: &str, sha: &CommitSha) {
        let going = |run: &RunSummary| run.outcome != Some(Ended::Stopped);
        let run = self.world.patiently("a run", || async { self.world.runs_for(repo, sha).await.into_iter().find(going) }).await;
        self.world.ends(run.id, Ended::Passed).await;
        let shown = project.until_shown(&self.world, sha, branch, "success").await;
        assert!(shown.url.contains(&run.id.to_string()), "{shown:?}");
    }

    /// Waits for a run to be stopped, for this reason, and for the status that says it.
    async fn stops(&self, project: &Upstream<'_>, run: &RunSummary, branch: &str, sha: &CommitSha, reason: &str) {
        let view = self.world.ends(run.id, Ended::Stopped).await;
        assert!(view.summary.reason.contains(reason), "{}", view.summary.reason);
        project.until_shown(&self.world, sha, branch, "canceled").await;
        let of = |pipeline: &signalbox_scenarios::Pipeline| pipeline.sha == sha.as_str() && pipeline.status == Status::Canceled;
        self.gitlab.until("tool", "it is cancelled", of).await;
    }

    /// Waits until everything that has been told was acted on.
    async fn settled(&self) {
        self.gitlab.fake.pushes_followed().await;
        self.gitlab.fake.deliveries_sent().await;
        let settled = || async {
            let page: Page<DeliverySummary> = self.world.get("/deliveries?limit=200&state=received").await;
            page.items.is_empty().then_some(())
        };
        self.world.patiently("everything that was told is acted on", settled).await;
    }

    async fn close(self, repositories: &[&str]) {
        for name in repositories {
            self.world.idle(name).await;
        }
        self.world.close().await;
        self.gitlab.close(repositories).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_in_gitlab_is_built_or_stopped_and_shown_as_they_expect() {
    let rules = "[[repositories.tool.on]]\nevent = \"review\"\n\
                 [[repositories.tool.on]]\nevent = \"merged\"\nbranches = [\"main\"]\nartifact = \"tool\"\n\
                 [[repositories.tool.on]]\nevent = \"tag\"\n[[repositories.tool.on]]\nevent = \"branch\"\nbranches = [\"many-*\"]\n";
    // What our own mirror shows is watched too, as if it were a source: nothing that we push there starts anything.
    let echo = "[[repositories.echo.on]]\nevent = \"branch\"\nbranches = [\"cd/*\"]\n";
    let mirror = format!("{GROUP}/tool");
    let stage = Stage::new(Version(18, 5), &[("tool", "team/tool", rules), ("echo", &mirror, echo)]).await;
    stage.gitlab.fake.create_project(&mirror).await.expect("a project");
    hook(&stage.gitlab, &stage.world, &mirror).await;
    let tool = stage.project("tool", &[(".gitlab-ci.yml", DEFINITION), ("text", "begin\n")]).await;
    a_merge_request_is_built_and_its_status_shown_beside_its_own_pipeline(&stage, &tool).await;
    a_newer_push_stops_the_build_of_the_older_one(&stage, &tool).await;
    a_closed_merge_request_is_left_and_a_reopened_one_is_built(&stage, &tool).await;
    a_draft_waits_until_it_is_ready(&stage, &tool).await;
    somebodys_recheck_builds_once_more_and_our_own_nothing(&stage, &tool).await;
    a_merge_is_deployed_and_a_push_is_not(&stage, &tool).await;
    what_gitlab_tells_nobody_of_is_found(&stage, &tool).await;
    webhooks_that_are_lost_doubled_and_late_change_nothing(&stage, &tool).await;
    what_we_push_to_our_own_mirror_starts_nothing(&stage).await;
    stage.close(&["tool"]).await;
}

async fn a_merge_request_is_built_and_its_status_shown_beside_its_own_pipeline(stage: &Stage, tool: &Upstream<'_>) {
    let sha = stage.held(tool, "first", &[(".gitlab-ci.yml", DEFINITION), ("text", "first\n")]).await;
    let request = tool.open("first", "The first").await;
    let run = stage.at_work("tool", &sha, 1).await.remove(0);
    let Origin::Review(head) = &run.origin else { panic!("{run:#?}") };
    assert_eq!((head.change.number, head.change.project.as_str()), (request.number, "team/tool"));
    let running = tool.until_shown(&stage.world, &sha, "first", "running").await;
    assert!(running.url.contains(&run.id.to_string()), "{running:?}");
    stage.release(&sha);
    stage.passes(tool, "tool", "first", &sha).await;
    let shown = tool.statuses(&sha, "first").await;
    assert!(shown.iter().all(|shown| shown.pipeline == running.pipeline), "all in one pipeline: {shown:#?}");
    let source = stage.gitlab.fake.with(|state| state.pipelines[&running.pipeline].source.clone());
    assert_eq!(source, "push", "the project's own pipeline holds our status");
    let pipelines = stage.gitlab.pipelines("tool");
    assert_eq!(pipelines.len(), 1, "{pipelines:#?}");
}

async fn a_newer_push_stops_the_build_of_the_older_one(stage: &Stage, tool: &Upstream<'_>) {
    let older = stage.held(tool, "newer", &[(".gitlab-ci.yml", DEFINITION), ("text", "older\n")]).await;
    tool.open("newer", "Twice").await;
    let run = stage.at_work("tool", &older, 1).await.remove(0);
    let newer = tool.commit("newer", &[(".gitlab-ci.yml", DEFINITION), ("text", "newer\n")]).await;
    stage.stops(tool, &run, "newer", &older, "newer commits came").await;
    stage.passes(tool, "tool", "newer", &newer).await;
}

async fn a_closed_merge_request_is_left_and_a_reopened_one_is_built(stage: &Stage, tool: &Upstream<'_>) {
    let sha = stage.held(tool, "closed", &[(".gitlab-ci.yml", DEFINITION), ("text", "closed\n")]).await;
    let request = tool.open("closed", "Perhaps not").await;
    let run = stage.at_work("tool", &sha, 1).await.remove(0);
    tool.edit(&request, &json!({ "state_event": "close" })).await;
    stage.stops(tool, &run, "closed", &sha, "abandoned").await;
    stage.release(&sha);
    tool.edit(&request, &json!({ "state_event": "reopen" })).await;
    stage.passes(tool, "tool", "closed", &sha).await;
    let outcomes: Vec<_> = stage.world.runs_for("tool", &sha).await.into_iter().map(|run| run.outcome).collect();
    assert_eq!(outcomes, [Some(Ended::Stopped), Some(Ended::Passed)]);
    assert_eq!(tool.pipelines_with_ours(&sha, "closed").await, 1);
}

async fn a_draft_waits_until_it_is_ready(stage: &Stage, tool: &Upstream<'_>) {
    let sha = tool.commit("draft", &[(".gitlab-ci.yml", DEFINITION), ("text", "draft\n")]).await;
    let request = tool.open("draft", "Draft: not ready").await;
    stage.settled().await;
    assert!(stage.world.runs_for("tool", &sha).await.is_empty());
    assert!(tool.statuses(&sha, "draft").await.is_empty());
    tool.edit(&request, &json!({ "title": "Ready" })).await;
    stage.passes(tool, "tool", "draft", &sha).await;
}

async fn somebodys_recheck_builds_once_more_and_our_own_nothing(stage: &Stage, tool: &Upstream<'_>) {
    let sha = tool.commit("again", &[(".gitlab-ci.yml", DEFINITION), ("text", "again\n")]).await;
    let request = tool.open("again", "Once more").await;
    stage.passes(tool, "tool", "again", &sha).await;
    tool.comment_as_robot(&request, "recheck").await;
    tool.comment(&request, "> recheck\n\nno").await;
    stage.settled().await;
    assert_eq!(stage.world.runs_for("tool", &sha).await.len(), 1);
    tool.comment(&request, "Once more, please.\n\nrecheck").await;
    let twice = || async {
        let runs = stage.world.runs_for("tool", &sha).await;
        (runs.len() == 2 && runs.iter().all(|run| run.state == RunState::Finished)).then_some(runs)
    };
    let runs = stage.world.patiently("it is built once more", twice).await;
    let last = runs[1].id.to_string();
    stage
        .world
        .patiently("the status is the newer run's", || async {
            tool.statuses(&sha, "again").await.pop().filter(|shown| shown.state == "success" && shown.url.contains(&last))
        })
        .await;
    assert_eq!(tool.pipelines_with_ours(&sha, "again").await, 1);
}

async fn a_merge_is_deployed_and_a_push_is_not(stage: &Stage, tool: &Upstream<'_>) {
    let pushed = tool.commit("main", &[(".gitlab-ci.yml", DEFINITION), ("text", "pushed\n")]).await;
    stage.settled().await;
    tool.copy.git(&["update-ref", "refs/heads/merge", pushed.as_str()], "").await;
    let sha = tool.commit("merge", &[(".gitlab-ci.yml", DEFINITION), ("text", "merged\n")]).await;
    let request = tool.open("merge", "To be merged").await;
    stage.passes(tool, "tool", "merge", &sha).await;
    assert_eq!(stage.world.shown(0, "tool"), None, "what is under review is not deployed");
    tool.merge(&request).await;
    let run = stage.world.run_at("tool", sha.as_str()).await;
    stage.world.ends(run.id, Ended::Passed).await;
    for host in 0..2 {
        assert_eq!(stage.world.shown(host, "tool").as_deref(), Some(sha.as_str()));
    }
    tool.until_shown(&stage.world, &sha, "main", "success").await;
    let moved = |run: &RunSummary| matches!(&run.origin, Origin::Moved { sha, .. } if *sha == pushed);
    assert!(!stage.world.runs("tool").await.iter().any(moved), "what was only pushed is not deployed");
}

async fn what_gitlab_tells_nobody_of_is_found(stage: &Stage, tool: &Upstream<'_>) {
    let mut commits = Vec::new();
    for number in 0..5 {
        let text = format!("{number}\n");
        let files = [(".gitlab-ci.yml", DEFINITION), ("text", text.as_str())];
        commits.push(tool.copy.commit(&format!("refs/heads/many-{number}"), &files).await);
        tool.copy.git(&["tag", &format!("v{number}"), &format!("many-{number}")], "").await;
    }
    // Of so many in one push, no webhook tells.
    tool.push(&["refs/heads/many-0", "refs/heads/many-1", "refs/heads/many-2", "refs/heads/many-3", "refs/heads/many-4"]).await;
    tool.push(&["refs/tags/v0", "refs/tags/v1", "refs/tags/v2", "refs/tags/v3", "refs/tags/v4"]).await;
    for (number, sha) in commits.iter().enumerate() {
        for name in [format!("refs/heads/many-{number}"), format!("refs/tags/v{number}")] {
            let of =
                |run: &RunSummary| matches!(&run.origin, Origin::Moved { ref_name, sha: at, .. } if at == sha && ref_name.as_str() == name);
            let found = || async { stage.world.runs("tool").await.into_iter().find(of) };
            let run = stage.world.patiently(&format!("a run of {name}"), found).await;
            stage.world.ends(run.id, Ended::Passed).await;
        }
    }
    // Each that is shown under its own name has a pipeline of its own, however many there are.
    for number in 0..5 {
        for name in [format!("many-{number}"), format!("v{number}")] {
            let pipelines = stage.gitlab.pipelines("tool").into_iter().filter(|pipeline| pipeline.ref_name == name).count();
            assert_eq!(pipelines, 1, "{name}");
        }
    }
}

async fn webhooks_that_are_lost_doubled_and_late_change_nothing(stage: &Stage, tool: &Upstream<'_>) {
    stage.gitlab.fake.faults().hooks(HookFaults { dropped: 0.3, doubled: 0.6, delayed: 0.6, delay: Duration::from_secs(2), off: false });
    let mut last = stage.held(tool, "faults", &[(".gitlab-ci.yml", DEFINITION), ("text", "0\n")]).await;
    tool.open("faults", "Told in any order").await;
    for number in 1..4 {
        let text = format!("{number}\n");
        last = tool.commit("faults", &[(".gitlab-ci.yml", DEFINITION), ("text", text.as_str())]).await;
    }
    stage.passes(tool, "tool", "faults", &last).await;
    stage.gitlab.up();
    stage.settled().await;
    let runs = stage.world.runs_for("tool", &last).await;
    assert_eq!(runs.iter().filter(|run| run.outcome == Some(Ended::Passed)).count(), 1, "{runs:#?}");
    assert_eq!(tool.statuses(&last, "faults").await.last().map(|shown| shown.state.as_str()), Some("success"));
}

async fn what_we_push_to_our_own_mirror_starts_nothing(stage: &Stage) {
    stage.settled().await;
    let (mut ours, mut path) = (Vec::new(), "/deliveries?limit=200&source=front".to_owned());
    loop {
        let page: Page<DeliverySummary> = stage.world.get(&path).await;
        ours.extend(page.items.into_iter().filter(|delivery| delivery.kind == "Push Hook" && delivery.reason.contains("caused by us")));
        let Some(next) = page.next else { break };
        path = format!("/deliveries?limit=200&source=front&cursor={next}");
    }
    assert!(ours.len() > 3, "our pushes were told of: {ours:#?}");
    assert!(ours.iter().all(|delivery| delivery.state == DeliveryState::Ignored && delivery.deeds.is_empty()), "{ours:#?}");
    assert_eq!(stage.world.runs("echo").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_of_one_commit_have_one_status_also_in_a_gitlab_that_refuses_to_hear_it_twice() {
    let rules = "[[repositories.tool.on]]\nevent = \"review\"\ninputs = { FLAVOUR = \"a\" }\n\
                 [[repositories.tool.on]]\nevent = \"review\"\ninputs = { FLAVOUR = \"b\" }\n";
    // Until 18.2, a status that is what it was before is refused with 400.
    let stage = Stage::new(Version(18, 1), &[("tool", "team/tool", rules)]).await;
    // Where people work it makes no pipeline, so that there is none yet that could hold our status.
    let definition = format!("workflow: {{rules: [{{if: '$CI_PROJECT_NAMESPACE == \"{GROUP}\"'}}]}}\n{DEFINITION}");
    let tool = stage.project("tool", &[(".gitlab-ci.yml", &definition)]).await;
    let sha = stage.held(&tool, "both", &[(".gitlab-ci.yml", &definition), ("text", "both\n")]).await;
    tool.open("both", "Two flavours").await;
    let runs = stage.at_work("tool", &sha, 2).await;
    let running = tool.until_shown(&stage.world, &sha, "both", "running").await;
    for run in &runs {
        let told = format!("\"run\":\"{}\"", run.id);
        let log = || async {
            let log = stage.world.services.log(Service::Controller);
            log.lines().any(|line| line.contains("the forge was told") && line.contains(&told)).then_some(())
        };
        stage.world.patiently("both have told that they have started", log).await;
    }
    // What the second one had to say was said already.
    assert_eq!(tool.statuses(&sha, "both").await.len(), 1);
    stage.release(&sha);
    for run in &runs {
        stage.world.ends(run.id, Ended::Passed).await;
    }
    tool.until_shown(&stage.world, &sha, "both", "success").await;
    let shown = tool.statuses(&sha, "both").await;
    assert!(shown.iter().all(|shown| shown.pipeline == running.pipeline), "all in one pipeline: {shown:#?}");
    let external = stage.gitlab.fake.with(|state| state.pipelines.values().filter(|pipeline| pipeline.source == "external").count());
    assert_eq!(external, 1, "both at once have made one pipeline");
    stage.close(&["tool"]).await;
}
