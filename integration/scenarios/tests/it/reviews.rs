//! Changes in a real Gerrit, built in GitLab by its real runner: what people do with them, and what comes of it.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeliverySummary, Via};
use signalbox_contract::api::run::{Outcome, RunState};
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_scenarios::{Account, job_file};

use crate::yard::{HOOK, Track, Yard};

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_in_gerrit_is_built_or_stopped_and_voted_on_as_they_expect() {
    let mut tracks = ["newer", "failing", "abandoned", "deleted", "held", "quiet", "here", "hooked"].map(Track::new);
    tracks[6].executor = "local";
    (tracks[7].executor, tracks[7].forge) = ("local", "hooked");
    let Some(yard) = Yard::new(&tracks, |_| ()).await else { return };
    a_change_is_built_here_voted_on_submitted_and_deployed(&yard).await;
    what_webhooks_tell_is_as_good_as_what_the_stream_tells(&yard).await;
    a_newer_patch_set_stops_the_build_of_the_older_one(&yard).await;
    a_failing_build_is_told_with_its_reason_and_a_recheck_votes_anew(&yard).await;
    an_abandoned_change_is_left_and_a_restored_one_is_built(&yard).await;
    a_deleted_change_is_left(&yard).await;
    what_is_not_ready_or_private_waits_until_it_is_shown(&yard).await;
    what_says_nothing_about_the_source_starts_nothing(&yard).await;
    yard.close().await;
}

async fn a_change_is_built_here_voted_on_submitted_and_deployed(yard: &Yard) {
    let mut workspace = yard.gerrit.clone_of("here").await;
    workspace.write(&[(".signalbox.yaml", &job_file("cp text here", &["here"])), ("text", "one\n")]);
    let change = workspace.propose("Make a tool", "").await;
    yard.world.judged(&yard.gerrit, "here", &change, 1, Outcome::Passed).await;
    assert_eq!(yard.world.shown(0, "here"), None, "a change under review is not deployed");

    yard.gerrit.submit(change.number).await;
    let run = yard.world.run_at("here", &yard.gerrit.tip("here").await).await;
    yard.world.ends(run.id, Outcome::Passed).await;
    for host in 0..2 {
        assert_eq!(yard.world.shown(host, "here").as_deref(), Some("one\n"));
    }
    assert!(yard.gitlab.pipelines("here").is_empty());
}

async fn what_webhooks_tell_is_as_good_as_what_the_stream_tells(yard: &Yard) {
    let relay = yard.gerrit.deliver(&yard.world, &format!("/webhooks/hooked/{HOOK}")).await;
    let mut workspace = yard.gerrit.clone_of("hooked").await;
    workspace.write(&[(".signalbox.yaml", &job_file("cp text hooked", &["hooked"])), ("text", "told\n")]);
    let change = workspace.propose("Tell it by webhook", "").await;
    yard.world.judged(&yard.gerrit, "hooked", &change, 1, Outcome::Passed).await;
    yard.gerrit.submit(change.number).await;
    let run = yard.world.run_at("hooked", &yard.gerrit.tip("hooked").await).await;
    yard.world.ends(run.id, Outcome::Passed).await;
    assert_eq!(yard.world.shown(1, "hooked").as_deref(), Some("told\n"));
    let page: Page<DeliverySummary> = yard.world.get("/deliveries?limit=200&source=hooked").await;
    assert!(page.items.iter().all(|delivery| delivery.via == Via::Webhook), "{:#?}", page.items);
    for service in [Service::Controller, Service::VcsWorker] {
        assert!(!yard.world.services.log(service).contains(HOOK), "the secret in the path is in the log of the {service}");
    }
    drop(relay);
}

async fn a_newer_patch_set_stops_the_build_of_the_older_one(yard: &Yard) {
    let mut workspace = yard.workspace("newer").await;
    yard.shut("newer");
    let first = workspace.propose("First try", "").await;
    let pipeline = yard.at_work("newer", &first).await;
    workspace.write(&[("text", "second\n")]);
    let second = workspace.amend("").await;
    let run = yard.world.run_for("newer", &first).await;
    let view = yard.world.ends(run.id, Outcome::Stopped).await;
    assert!(view.summary.reason.contains("patch set 2 came"), "{}", view.summary.reason);
    yard.gitlab.until("newer", "it is cancelled", |found| found.id == pipeline.id && found.status == Status::Canceled).await;
    yard.open("newer");
    yard.judged("newer", &second, 2, Outcome::Passed).await;
    assert_eq!(yard.gerrit.votes(first.number).await, [(2, vec![1])].into(), "the older one has no vote");
    assert_eq!(yard.gitlab.pipelines("newer").len(), 2);

    // Submitted, it is deployed, and the vote stays what it is.
    yard.gerrit.submit(second.number).await;
    let run = yard.world.run_at("newer", &yard.gerrit.tip("newer").await).await;
    yard.world.ends(run.id, Outcome::Passed).await;
    for host in 0..2 {
        assert_eq!(yard.world.shown(host, "newer").as_deref(), Some("second\n"));
    }
}

async fn a_failing_build_is_told_with_its_reason_and_a_recheck_votes_anew(yard: &Yard) {
    let mut workspace = yard.workspace("failing").await;
    workspace.write(&[(".gitlab-ci.yml", &yard.definition("failing", "test -e repaired"))]);
    let change = workspace.propose("Does not work", "").await;
    yard.judged("failing", &change, 1, Outcome::Failed).await;
    let said = yard.gerrit.said(change.number).await;
    let verdict = said.last().expect("a verdict");
    assert!(verdict.words.contains("compile") && verdict.tag.starts_with("autogenerated:"), "{said:#?}");

    yard.gerrit.comment(change.number, "recheck").await;
    yard.world
        .patiently("the vote is withdrawn and given again", || async {
            (yard.gerrit.votes(change.number).await == [(1, vec![-1, 0, -1])].into()).then_some(())
        })
        .await;
    assert_eq!(yard.world.runs_for("failing", &change.sha).await.len(), 2);
    assert_eq!(yard.pipelines("failing", &change).len(), 2);

    workspace.write(&[("repaired", "yes\n")]);
    let mended = workspace.amend("").await;
    yard.judged("failing", &mended, 2, Outcome::Passed).await;
    assert_eq!(yard.gerrit.vote(change.number).await, 1);
}

async fn an_abandoned_change_is_left_and_a_restored_one_is_built(yard: &Yard) {
    let mut workspace = yard.workspace("abandoned").await;
    yard.shut("abandoned");
    let change = workspace.propose("Perhaps not", "").await;
    let pipeline = yard.at_work("abandoned", &change).await;
    yard.gerrit.act(change.number, "abandon").await;
    let run = yard.world.run_for("abandoned", &change).await;
    let view = yard.world.ends(run.id, Outcome::Stopped).await;
    assert!(view.summary.reason.contains("abandoned"), "{}", view.summary.reason);
    yard.gitlab.until("abandoned", "it is cancelled", |found| found.id == pipeline.id && found.status == Status::Canceled).await;
    assert!(yard.gerrit.votes(change.number).await.is_empty());

    yard.open("abandoned");
    yard.gerrit.act(change.number, "restore").await;
    yard.gerrit.until_vote(change.number, 1, 1).await;
    let outcomes: Vec<_> = yard.world.runs_for("abandoned", &change.sha).await.into_iter().map(|run| run.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Stopped), Some(Outcome::Passed)]);
    assert_eq!(yard.gerrit.votes(change.number).await, [(1, vec![1])].into());
}

async fn a_deleted_change_is_left(yard: &Yard) {
    let mut workspace = yard.workspace("deleted").await;
    yard.shut("deleted");
    let change = workspace.propose("Never mind", "").await;
    let pipeline = yard.at_work("deleted", &change).await;
    yard.gerrit.ask(Account::Admin, Method::DELETE, &format!("changes/{}", change.number), None).await;
    let run = yard.world.run_for("deleted", &change).await;
    let view = yard.world.ends(run.id, Outcome::Stopped).await;
    assert!(view.summary.reason.contains("deleted"), "{}", view.summary.reason);
    yard.gitlab.until("deleted", "it is cancelled", |found| found.id == pipeline.id && found.status == Status::Canceled).await;
    yard.open("deleted");
}

async fn what_is_not_ready_or_private_waits_until_it_is_shown(yard: &Yard) {
    let mut workspace = yard.workspace("held").await;
    let before = yard.came("patchset-created").await;
    let draft = workspace.propose("Not ready", "%wip").await;
    yard.settled("patchset-created", before + 1).await;
    workspace.refresh().await;
    workspace.write(&[(".gitlab-ci.yml", &yard.definition("held", "true")), ("text", "secret\n")]);
    let private = workspace.propose("Not for everybody", "%private").await;
    for change in [&draft, &private] {
        assert!(yard.world.runs_for("held", &change.sha).await.is_empty(), "{change:?}");
    }
    yard.gerrit.act(draft.number, "ready").await;
    yard.judged("held", &draft, 1, Outcome::Passed).await;
    assert!(yard.world.runs_for("held", &private.sha).await.is_empty());
    yard.gerrit.act(private.number, "private.delete").await;
    yard.judged("held", &private, 1, Outcome::Passed).await;
}

async fn what_says_nothing_about_the_source_starts_nothing(yard: &Yard) {
    let mut workspace = yard.workspace("quiet").await;
    let change = workspace.propose("Much said about it", "").await;
    yard.judged("quiet", &change, 1, Outcome::Passed).await;
    let at = format!("changes/{}", change.number);
    let acts: [(&str, Account, Method, String, Value); 15] = [
        ("topic-changed", Account::Developer, Method::PUT, format!("{at}/topic"), json!({ "topic": "talk" })),
        ("hashtags-changed", Account::Developer, Method::POST, format!("{at}/hashtags"), json!({ "add": ["talk"] })),
        ("reviewer-added", Account::Developer, Method::POST, format!("{at}/reviewers"), json!({ "reviewer": "admin" })),
        (
            "comment-added",
            Account::Admin,
            Method::POST,
            format!("{at}/revisions/current/review"),
            json!({ "labels": { "Code-Review": 1 } }),
        ),
        ("vote-deleted", Account::Admin, Method::POST, format!("{at}/reviewers/admin/votes/Code-Review/delete"), json!({})),
        ("reviewer-deleted", Account::Admin, Method::POST, format!("{at}/reviewers/admin/delete"), json!({})),
        (
            "comment-added",
            Account::Developer,
            Method::POST,
            format!("{at}/revisions/current/review"),
            json!({ "message": "> recheck\n\nno" }),
        ),
        (
            "custom-keyed-values-changed",
            Account::Developer,
            Method::POST,
            format!("{at}/custom_keyed_values"),
            json!({ "add": { "a": "b" } }),
        ),
        ("private-state-changed", Account::Developer, Method::POST, format!("{at}/private"), json!({})),
        ("wip-state-changed", Account::Developer, Method::POST, format!("{at}/wip"), json!({})),
        ("private-state-changed", Account::Developer, Method::POST, format!("{at}/private.delete"), json!({})),
        ("wip-state-changed", Account::Developer, Method::POST, format!("{at}/ready"), json!({})),
        ("ref-updated", Account::Admin, Method::PUT, "projects/quiet/tags/v1".to_owned(), json!({ "revision": "master" })),
        (
            "project-created",
            Account::Admin,
            Method::PUT,
            "projects/elsewhere".to_owned(),
            json!({ "create_empty_commit": true, "branches": ["master", "main"] }),
        ),
        ("project-head-updated", Account::Admin, Method::PUT, "projects/elsewhere/HEAD".to_owned(), json!({ "ref": "refs/heads/main" })),
    ];
    let mut kinds = BTreeSet::new();
    for (kind, account, method, path, body) in acts {
        let (status, answer) = yard.gerrit.asked(account, method, &path, Some(&body)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        kinds.insert(kind);
    }
    for kind in kinds {
        yard.settled(kind, 1).await;
    }
    // What came last is acted on last: by now everything before it was.
    let after = yard.world.runs("quiet").await;
    assert_eq!(after.len(), 1, "{after:#?}");
    assert!(after.iter().all(|run| run.state == RunState::Finished));
    assert_eq!(yard.gitlab.pipelines("quiet").len(), 1);
    assert_eq!(yard.gerrit.votes(change.number).await, [(1, vec![1])].into());
}
