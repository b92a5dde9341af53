//! What a forge is asked, and what is done about what it answers: events come late, out of order, or not at all.

use reqwest::StatusCode;
use serde_json::{Value, json};
use signalbox_adapters::forge::{Closing, Proposal, Standing};
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{Outcome, RunSummary};

use crate::deliveries::{acted, deliveries, delivers, only, runs, said, setup};
use crate::house::{House, Setup, expect};
use crate::stand_ins::forge::{commit, elsewhere, moved, proposed, tagged, uncounted};

/// What a forge says that counts no patch sets.
fn uncounted_said(id: &str, kind: &str, patch_set: u32, follows: Option<u32>) -> Value {
    let mut body = said(id, kind, 7, patch_set);
    body["uncounted"] = json!(true);
    body["follows"] = json!(follows);
    body
}

/// Has what is there compared, once.
async fn looks(house: &House, id: &str) {
    let asked = house.forge.asked();
    delivers(house, &said(id, "missed", 0, 0)).await;
    house.sees("it is compared", async || house.forge.asked() > asked).await;
}

/// A house with these settings whose forge was compared once, when this was there.
async fn known(setup: Setup, heads: Vec<signalbox_adapters::forge::Happening>) -> House {
    let mut house = House::open().await;
    house.forge.has(heads);
    house.stops().await;
    house.set_up(setup);
    house.comes_back().await;
    house.sees("it was looked at", async || house.forge.asked() > 0).await;
    looks(&house, "settle").await;
    looks(&house, "and settle").await;
    house
}

async fn is_ignored(house: &House, reason: &str) {
    house.sees(reason, async || deliveries(house).await.iter().any(|one| one.reason.contains(reason))).await;
}

fn of(runs: &[RunSummary], change: u64, patch_set: u32) -> Vec<&RunSummary> {
    runs.iter().filter(|run| run.origin.sha() == Some(&commit(change, patch_set))).collect()
}

// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_commit_that_is_told_of_late_stops_nothing_and_the_newest_is_what_is_told() {
    let house = House::with(setup()).await;
    house.world.sources().script("refs/changes/07/7/3", "wait");
    delivers(&house, &uncounted_said("1", "uploaded", 1, None)).await;
    house.ends(only(&house).await, Outcome::Passed).await;
    house.forge.has(vec![uncounted(7, 3, Proposal::Seen)]);
    // The second commit's event is late, so the third does not follow what is known.
    delivers(&house, &uncounted_said("3", "uploaded", 3, Some(2))).await;
    house.sees("the newest is built", async || of(&runs(&house).await, 7, 3).len() == 1).await;
    let newest = of(&runs(&house).await, 7, 3)[0].id;
    house.builds(newest).await;
    for (id, kind, follows) in [("2", "uploaded", Some(1)), ("note", "recheck", None)] {
        delivers(&house, &uncounted_said(id, kind, 2, follows)).await;
    }
    house
        .sees("both are doubted", async || {
            let doubted = deliveries(&house).await.into_iter().filter(|one| one.reason.contains("the forge is asked"));
            doubted.count() == 3
        })
        .await;
    looks(&house, "look").await;
    assert_eq!(runs(&house).await.len(), 2, "the older one is not built");
    assert!(house.run(newest).await.summary.outcome.is_none(), "and stops nothing");
    // One that follows what is known is newer, and needs no question.
    house.forge.has(vec![uncounted(7, 4, Proposal::Seen)]);
    delivers(&house, &uncounted_said("4", "uploaded", 4, Some(3))).await;
    house.ends(newest, Outcome::Stopped).await;
    // The two commits are told of apart, in whatever order: what counts is the verdict of each.
    house.sees("the newest is built", async || of(&runs(&house).await, 7, 4).len() == 1).await;
    let newest = of(&runs(&house).await, 7, 4)[0].id;
    house.until("its verdict is told", newest, |view| view.report.as_ref().is_some_and(|r| r.told == Some(Standing::Passed))).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_for_something_that_only_seemed_newer_is_built_again() {
    let house = known(setup(), Vec::new()).await;
    house.world.sources().script("refs/changes/07/7/2", "wait");
    delivers(&house, &uncounted_said("1", "uploaded", 2, None)).await;
    let newest = only(&house).await;
    house.builds(newest).await;
    // An older push, as it might look like a newer one: the branch went back and forth.
    delivers(&house, &uncounted_said("2", "uploaded", 1, Some(2))).await;
    house.ends(newest, Outcome::Stopped).await;
    house.world.sources().script("refs/changes/07/7/2", "pass");
    house.forge.has(vec![uncounted(7, 2, Proposal::Seen)]);
    looks(&house, "look").await;
    house.sees("it is built again", async || of(&runs(&house).await, 7, 2).iter().any(|run| run.outcome == Some(Outcome::Passed))).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_closed_while_nobody_listened_keeps_no_run() {
    for (closing, reason) in [
        (Closing::Abandoned, "Stopped: the change was abandoned."),
        (Closing::Merged, "Stopped: the change was merged."),
        (Closing::Deleted, "Stopped: the change was deleted."),
    ] {
        let house = known(setup(), Vec::new()).await;
        house.world.sources().script("refs/changes/07/7/1", "wait");
        house.forge.has(vec![proposed(7, 1, Proposal::Seen, false)]);
        looks(&house, "look").await;
        house.sees("it is built", async || !runs(&house).await.is_empty()).await;
        let run = only(&house).await;
        house.builds(run).await;
        looks(&house, "look again").await;
        assert!(house.run(run).await.summary.outcome.is_none());
        house.forge.has(Vec::new());
        house.forge.closes(7, closing);
        looks(&house, "look once more").await;
        let view = house.ends(run, Outcome::Stopped).await;
        assert_eq!(view.summary.reason, reason);
        house.close().await;
    }
}

// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_comes_before_what_opened_it_is_remembered() {
    let house = House::with(setup()).await;
    delivers(&house, &said("2", "abandoned", 7, 1)).await;
    acted(&house, "abandoned").await;
    delivers(&house, &said("1", "uploaded", 7, 1)).await;
    is_ignored(&house, "The change is closed.").await;
    assert!(runs(&house).await.is_empty());
    // It is opened again, and that was heard before the close.
    delivers(&house, &said("3", "ready", 7, 1)).await;
    house.ends(only(&house).await, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_deleted_private_or_restored_is_treated_so() {
    let house = House::with(setup()).await;
    house.world.sources().script("refs/changes/07/7/1", "wait");
    delivers(&house, &said("1", "uploaded", 7, 1)).await;
    let run = only(&house).await;
    house.builds(run).await;
    delivers(&house, &said("2", "deleted", 7, 1)).await;
    assert_eq!(house.ends(run, Outcome::Stopped).await.summary.reason, "Stopped: the change was deleted.");
    let mut private = said("3", "uploaded", 8, 1);
    private["private"] = json!(true);
    delivers(&house, &private).await;
    is_ignored(&house, "The change is private.").await;
    delivers(&house, &said("4", "ready", 8, 1)).await;
    house
        .sees("it is public, and built", async || of(&runs(&house).await, 8, 1).iter().any(|run| run.outcome == Some(Outcome::Passed)))
        .await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_were_missed_are_built_where_a_rule_wants_tags_and_those_of_before_are_not() {
    let release = "[[repositories.reviewed.on]]\nevent = \"tag\"\nbranches = [\"v*\"]\n";
    let before = vec![moved("main", commit(1, 1), None), tagged("v1", commit(1, 1))];
    // The project was compared before anybody wanted its tags.
    let mut house = known(setup(), before.clone()).await;
    house.stops().await;
    house.set_up(setup().table(release));
    house.comes_back().await;
    looks(&house, "one").await;
    looks(&house, "two").await;
    assert!(runs(&house).await.is_empty(), "a tag of long ago is no news");
    for n in 2..7 {
        house.world.sources().script(&format!("v{n}"), "pass");
    }
    let many = (2..7).map(|n| tagged(&format!("v{n}"), commit(1, n)));
    house.forge.has(before.into_iter().chain(many).chain([tagged("other", commit(1, 8))]).collect());
    looks(&house, "three").await;
    house.sees("each is built", async || runs(&house).await.iter().filter(|run| run.outcome == Some(Outcome::Passed)).count() == 5).await;
    looks(&house, "four").await;
    assert_eq!(runs(&house).await.len(), 5);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_moved_unheard_is_deployed_by_a_rule_for_merges_only_where_a_merge_moved_it() {
    let rules = "[[repositories.reviewed.on]]\nevent = \"merged\"\nbranches = [\"main\", \"next\"]\nartifact = \"site/hello\"\ninputs = { WHY = \"merged\" }\n";
    let house = known(setup().table(rules), vec![moved("next", commit(1, 1), None)]).await;
    house.world.sources().script("next", "pass");
    house.forge.has(vec![moved("next", commit(1, 2), None)]);
    looks(&house, "pushed").await;
    looks(&house, "and settled").await;
    assert!(runs(&house).await.is_empty(), "a direct push is no merge");
    house.forge.has(vec![moved("next", commit(1, 3), None)]);
    house.forge.merges(commit(1, 3), 1);
    looks(&house, "merged").await;
    house.ends(only(&house).await, Outcome::Passed).await;
    // That the branch moved was heard, and that it was a merge was not.
    house.forge.merges(commit(1, 4), 1);
    let mut body = said("4", "moved", 1, 4);
    body["branch"] = json!("next");
    delivers(&house, &body).await;
    acted(&house, "moved").await;
    house.forge.has(vec![moved("next", commit(1, 4), None)]);
    looks(&house, "found").await;
    house.sees("it is deployed", async || of(&runs(&house).await, 1, 4).iter().any(|run| run.outcome == Some(Outcome::Passed))).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_be_about_changes_with_a_topic_or_a_hashtag_alone() {
    let rules = "[[repositories.reviewed.on]]\nevent = \"review\"\ninputs = { WHY = \"release\" }\n\
                 topics = [\"release-*\"]\nhashtags = [\"ready\", \"go/*\"]\n";
    let setup = setup().table(rules);
    let house = known(setup, vec![moved("main", commit(1, 1), None)]).await;
    let of_change = async |count: usize| {
        house.sees("as many runs", async || of(&runs(&house).await, 7, 1).len() == count).await;
        house.sees("they are over", async || of(&runs(&house).await, 7, 1).iter().all(|run| run.outcome == Some(Outcome::Passed))).await;
    };
    let touch = async |id: &str, kind: &str, topic: &str, hashtags: &[&str]| {
        let mut body = said(id, kind, 7, 1);
        (body["topic"], body["hashtags"]) = (json!(topic), json!(hashtags));
        delivers(&house, &body).await;
        let all = async || deliveries(&house).await;
        house.sees("it is acted on", async || all().await.iter().all(|one| one.acted_at.is_some())).await;
    };
    // The rule for every change builds it, the other one waits.
    touch("1", "uploaded", "tidy", &["ready"]).await;
    of_change(1).await;
    touch("2", "touched", "release-9", &[]).await;
    touch("3", "touched", "tidy", &["go/now"]).await;
    assert_eq!(of(&runs(&house).await, 7, 1).len(), 1, "both are wanted");
    touch("4", "touched", "release-9", &["other", "go/now"]).await;
    of_change(2).await;
    touch("5", "touched", "release-9", &["ready"]).await;
    assert_eq!(of(&runs(&house).await, 7, 1).len(), 2, "once is enough");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_of_which_a_forge_does_not_say_how_it_is_hides_no_other_and_is_asked_for_again_by_itself() {
    let another = "[repositories.another]\nsource = \"https://git.example.org/another\"\nexecutor = \"local\"\nenvironment = \"test\"
        forge = \"forge\"\nproject = \"team/another\"\n[[repositories.another.on]]\nevent = \"review\"\nbranches = [\"main\"]";
    let house = known(setup().table(another), Vec::new()).await;
    house.forge.is_silent("team/another", true);
    house.forge.has(vec![proposed(7, 1, Proposal::Seen, false), elsewhere("team/another", proposed(8, 1, Proposal::Seen, false))]);
    looks(&house, "look").await;
    let others = async || expect::<Page<RunSummary>>(house.get("/runs?repo=another"), StatusCode::OK).await.items;
    house.sees("what is said is acted on", async || of(&runs(&house).await, 7, 1).len() == 1).await;
    assert_eq!(others().await, [], "of the other nothing is said");
    house.forge.is_silent("team/another", false);
    house.sees("the other is built, and nobody had to ask", async || of(&others().await, 8, 1).len() == 1).await;
    house.close().await;
}
