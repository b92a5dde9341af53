//! What dies or is away while a change is built between a real Gerrit and GitLab with its real runner: when it is back, all
//! ends right, with one vote, and nothing is done twice.

use std::time::Duration;

use signalbox_contract::api::run::Outcome;
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::fault::HookFaults;
use signalbox_fakes::gitlab::state::status::Status;

use crate::yard::{Track, Yard};

/// How long a runner may say nothing here. It says something every three seconds.
const RUNNER: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_away_for_a_while_a_change_gets_one_right_vote() {
    let tracks = ["gerrit-away", "gitlab-away", "runner-away", "runner-retried", "services", "hooks"].map(Track::new);
    let Some(mut yard) = Yard::new(&tracks, |options| options.runner_patience = RUNNER).await else { return };
    gerrit_is_killed_while_a_change_is_built(&mut yard).await;
    webhooks_are_off_lost_doubled_and_late(&yard).await;
    gitlab_is_away_while_a_change_is_built(&yard).await;
    the_runner_is_killed_while_changes_are_built(&mut yard).await;
    each_service_is_killed_while_a_change_is_built(&mut yard).await;
    yard.close().await;
}

async fn gerrit_is_killed_while_a_change_is_built(yard: &mut Yard) {
    let mut workspace = yard.workspace("gerrit-away").await;
    yard.shut("gerrit-away");
    let change = workspace.propose("Built while nobody looks", "").await;
    yard.at_work("gerrit-away", &change).await;
    yard.gerrit.kill().await;
    yard.open("gerrit-away");
    let run = yard.world.run_for("gerrit-away", &change).await;
    yard.world.ends(run.id, Outcome::Passed).await;
    yard.world.says(Service::Controller, "a forge could not be told", 1).await;
    yard.gerrit.up().await;
    yard.judged("gerrit-away", &change, 1, Outcome::Passed).await;
    // It is listened to again.
    yard.world.says(Service::Controller, "the stream of events stands", 2).await;
    workspace.write(&[("text", "afterwards\n")]);
    let second = workspace.amend("").await;
    yard.judged("gerrit-away", &second, 2, Outcome::Passed).await;
}

async fn webhooks_are_off_lost_doubled_and_late(yard: &Yard) {
    let mut workspace = yard.workspace("hooks").await;
    let first = workspace.propose("Told of", "").await;
    yard.judged("hooks", &first, 1, Outcome::Passed).await;
    yard.told("hooks").await;

    // Nothing is told at all, and GitLab has turned the webhook off: it is seen all the same.
    let faults = yard.gitlab.fake.faults();
    faults.hooks(HookFaults { off: true, ..HookFaults::default() });
    yard.gitlab.turn_off("hooks");
    workspace.write(&[("text", "nobody tells\n")]);
    let second = workspace.amend("").await;
    yard.judged("hooks", &second, 2, Outcome::Passed).await;

    let delay = Duration::from_secs(2);
    faults.hooks(HookFaults { dropped: 0.4, doubled: 0.6, delayed: 0.5, delay, off: false });
    yard.told("hooks").await;
    workspace.write(&[("text", "told in any order\n")]);
    let third = workspace.amend("").await;
    yard.judged("hooks", &third, 3, Outcome::Passed).await;
    yard.gitlab.up();
}

async fn gitlab_is_away_while_a_change_is_built(yard: &Yard) {
    let mut workspace = yard.workspace("gitlab-away").await;
    yard.shut("gitlab-away");
    let change = workspace.propose("Built while GitLab comes and goes", "").await;
    let pipeline = yard.at_work("gitlab-away", &change).await;
    // The runner has its source by then, and needs GitLab no more before it has something to hand in.
    let waiting = || async { yard.gitlab.log(pipeline.id, "compile").contains("waiting").then_some(()) };
    yard.world.patiently("the job waits", waiting).await;
    yard.gitlab.down();
    yard.world.says(Service::Controller, "an executor could not be looked at", 1).await;
    yard.gitlab.up();
    yard.open("gitlab-away");
    yard.judged("gitlab-away", &change, 1, Outcome::Passed).await;
}

async fn the_runner_is_killed_while_changes_are_built(yard: &mut Yard) {
    let mut one = yard.workspace("runner-away").await;
    let mut other = yard.workspace("runner-retried").await;
    let definition = yard.definition("runner-retried", "true") + "  retry: {max: 1, when: stuck_or_timeout_failure}\n";
    other.write(&[(".gitlab-ci.yml", &definition)]);
    yard.shut("runner-away");
    yard.shut("runner-retried");
    let lost = one.propose("Its runner dies", "").await;
    let retried = other.propose("Its runner dies, and GitLab tries again", "").await;
    yard.at_work("runner-away", &lost).await;
    yard.at_work("runner-retried", &retried).await;
    yard.gitlab.kill_runner().await;
    yard.open("runner-away");
    yard.open("runner-retried");
    yard.gitlab.runner_up();
    // That its runner died says nothing about the change, so it gets the news and no vote.
    let run = yard.world.run_for("runner-away", &lost).await;
    let view = yard.world.ends(run.id, Outcome::Failed).await;
    assert!(view.summary.reason.contains("not heard of any more"), "{}", view.summary.reason);
    yard.world
        .patiently("Gerrit is told", || async {
            let said = yard.gerrit.said(lost.number).await;
            said.last()?.words.contains("no verdict").then_some(())
        })
        .await;
    assert!(yard.gerrit.votes(lost.number).await.is_empty());
    assert_eq!(yard.pipelines("runner-away", &lost).len(), 1);
    yard.judged("runner-retried", &retried, 1, Outcome::Passed).await;
}

async fn each_service_is_killed_while_a_change_is_built(yard: &mut Yard) {
    let mut workspace = yard.workspace("services").await;
    let victims = [Service::Controller, Service::VcsWorker, Service::ArtifactStore, Service::DeployWorker];
    let mut last = None;
    for (patch_set, killed) in (1..).zip(victims) {
        let text = format!("past the death of the {killed}\n");
        workspace.write(&[("text", &text)]);
        yard.shut("services");
        let change = match patch_set {
            1 => workspace.propose("Outlives them all", "").await,
            _ => workspace.amend("").await,
        };
        yard.at_work("services", &change).await;
        yard.world.services.crash(killed).await;
        yard.open("services");
        yard.judged("services", &change, patch_set, Outcome::Passed).await;
        last = Some((change, text));
    }
    // And once more on the way to the hosts.
    let (change, text) = last.expect("a change");
    yard.shut("services");
    yard.gerrit.submit(change.number).await;
    let tip = yard.gerrit.tip("services").await;
    let run = yard.world.run_at("services", &tip).await;
    yard.gitlab.until("services", "it is built", |pipeline| pipeline.ref_name == "master" && pipeline.status == Status::Running).await;
    for killed in victims {
        yard.world.services.crash(killed).await;
    }
    yard.open("services");
    yard.world.ends(run.id, Outcome::Passed).await;
    for host in 0..2 {
        assert_eq!(yard.world.shown(host, "services").as_deref(), Some(text.as_str()));
    }
    let built = yard.gitlab.pipelines("services").into_iter().filter(|pipeline| pipeline.ref_name == "master").count();
    assert_eq!(built, 1);
}
