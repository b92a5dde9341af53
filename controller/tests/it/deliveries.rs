//! What forges say: written down, acted on once, shown, replayed; and what they are told.

use std::time::Instant;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use signalbox_adapters::forge::{Proposal, Standing, Streamed};
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeedKind, DeliveryState, DeliverySummary, DeliveryView, Via};
use signalbox_contract::api::run::{Outcome, RunState, RunSummary};
use signalbox_contract::grant::Action;
use signalbox_contract::{Origin, RunId};

use crate::house::{House, Setup, answer, expect, on_repos, refused};
use crate::stand_ins::forge::{SECRET, commit, moved, proposed};

/// A forge with the project of a repository `reviewed`, whose changes are built and whose branch is deployed.
pub(crate) fn setup() -> Setup {
    Setup::default()
        .table(
            "[forges.forge]\nkind = \"gerrit\"\nurl = \"http://127.0.0.1:9\"\nuser = \"signalbox\"\nresync = \"1h\"
            [repositories.reviewed]\nsource = \"https://git.example.org/reviewed\"\nexecutor = \"local\"\nenvironment = \"test\"
            forge = \"forge\"\nproject = \"team/hello\"
            [[repositories.reviewed.on]]\nevent = \"review\"\nbranches = [\"main\"]
            [[repositories.reviewed.on]]\nevent = \"branch\"\nbranches = [\"main\"]\nartifact = \"site/hello\"",
        )
        .capacity(50)
}

pub(crate) fn said(id: &str, kind: &str, change: u64, patch_set: u32) -> Value {
    json!({ "id": id, "kind": kind, "change": change, "patch_set": patch_set })
}

pub(crate) async fn delivers(house: &House, body: &Value) {
    let request = house.bare(Method::POST, "/webhooks/forge").header("x-secret", SECRET).json(body);
    answer(request, StatusCode::NO_CONTENT).await;
}

pub(crate) async fn deliveries(house: &House) -> Vec<DeliverySummary> {
    expect::<Page<DeliverySummary>>(house.get("/deliveries?limit=200"), StatusCode::OK).await.items
}

/// The delivery of this kind, once it was acted on.
pub(crate) async fn acted(house: &House, kind: &str) -> DeliverySummary {
    let is = |one: &DeliverySummary| one.kind == kind && one.state != DeliveryState::Received;
    house.sees("it is acted on", async || deliveries(house).await.iter().any(is)).await;
    deliveries(house).await.into_iter().find(is).expect("it is there")
}

pub(crate) async fn runs(house: &House) -> Vec<RunSummary> {
    expect::<Page<RunSummary>>(house.get("/runs?repo=reviewed&limit=200"), StatusCode::OK).await.items
}

/// The only run, once there is one.
pub(crate) async fn only(house: &House) -> RunId {
    house.sees("a run", async || !runs(house).await.is_empty()).await;
    let runs = runs(house).await;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    runs[0].id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_set_is_built_and_its_forge_told_and_the_run_says_where_it_came_from() {
    let house = House::with(setup()).await;
    house.forge.remarks("The label Verified is not there.");
    delivers(&house, &said("1", "uploaded", 7, 2)).await;
    let run = only(&house).await;
    let view = house.ends(run, Outcome::Passed).await;
    assert_eq!(view.summary.principal, "forge:forge");
    let Origin::Review(head) = &view.summary.origin else { panic!("{:?}", view.summary.origin) };
    assert_eq!((head.change.number, head.patch_set, &head.sha), (7, Some(2), &commit(7, 2)));
    assert_eq!(view.summary.sha, Some(commit(7, 2)), "exactly this commit was fetched");
    house.sees("it is told", async || house.forge.told().len() == 2).await;
    let told = house.forge.told();
    assert_eq!((told[0].1, told[1].1), (Standing::Started, Standing::Passed));
    assert!(told[1].2.contains("reviewed #1 passed") && told[1].2.contains("build: passed"), "{}", told[1].2);
    let view = house.until("it says so", run, |view| view.report.as_ref().is_some_and(|r| r.told == Some(Standing::Passed))).await;
    assert_eq!(view.report.expect("a report").remarks, ["The label Verified is not there."]);
    let delivery = acted(&house, "uploaded").await;
    assert_eq!((delivery.state, delivery.via, delivery.repo), (DeliveryState::Done, Via::Webhook, "reviewed".parse().ok()));
    assert_eq!((delivery.deeds[0].what, delivery.deeds[0].run), (DeedKind::Started, Some(run)));
    assert_eq!(house.world.done(crate::stand_ins::At::Deploy, "deploy"), 0, "a change under review is not deployed");
    house.close().await;
}

// Threat 14.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_equal_deliveries_at_once_make_one_run_and_replays_make_no_more() {
    let house = House::with(setup()).await;
    join_all((0..1000).map(async |_| delivers(&house, &said("same", "uploaded", 7, 1)).await)).await;
    let run = only(&house).await;
    house.ends(run, Outcome::Passed).await;
    let delivery = acted(&house, "uploaded").await;
    assert_eq!(delivery.copies, 1000);
    for _ in 0..3 {
        answer(house.post(&format!("/deliveries/{}/replay", delivery.id), &json!({})), StatusCode::ACCEPTED).await;
        let again = acted(&house, "uploaded").await;
        assert_eq!((again.deeds[0].what, again.deeds[0].run), (DeedKind::Known, Some(run)));
    }
    // The same said anew, under another id, is the same too.
    delivers(&house, &said("other", "uploaded", 7, 1)).await;
    house.sees("both are acted on", async || deliveries(&house).await.iter().filter(|d| d.state == DeliveryState::Done).count() == 2).await;
    only(&house).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_different_ones_are_all_written_down_at_once_and_acted_on() {
    let house = House::with(setup()).await;
    let begun = Instant::now();
    join_all((0..1000).map(async |n| delivers(&house, &said(&n.to_string(), "rumour", 0, 0)).await)).await;
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    house
        .sees("all are acted on", async || {
            let page: Page<DeliverySummary> = expect(house.get("/deliveries?state=received"), StatusCode::OK).await;
            page.items.is_empty()
        })
        .await;
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page: Page<DeliverySummary> = expect(house.get(&format!("/deliveries?state=ignored&limit=200{cursor}")), StatusCode::OK).await;
        seen += page.items.len();
        assert!(page.items.iter().all(|one| one.reason == "nothing is done about rumour"));
        let Some(next) = page.next else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, 1000);
    house.close().await;
}

// Threat 13.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_is_refused_and_not_kept_and_an_unknown_forge_is_not_there() {
    let house = House::with(setup()).await;
    let body = said("1", "uploaded", 7, 1);
    refused(house.bare(Method::POST, "/webhooks/forge").json(&body), 401).await;
    refused(house.bare(Method::POST, "/webhooks/forge").header("x-secret", "guess").json(&body), 401).await;
    refused(house.bare(Method::POST, "/webhooks/forge/a/guess").json(&body), 401).await;
    refused(house.bare(Method::POST, "/webhooks/other").header("x-secret", SECRET).json(&body), 404).await;
    assert_eq!(deliveries(&house).await, []);
    answer(house.bare(Method::POST, "/webhooks/forge/in/the/path").json(&body), StatusCode::NO_CONTENT).await;
    let more = house.bare(Method::POST, "/webhooks/forge?of=tool").header("x-secret", SECRET).json(&body);
    answer(more, StatusCode::NO_CONTENT).await;
    only(&house).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_kept_is_answered_all_the_same_and_the_forge_compared() {
    let house = House::with(setup().table("[intake]\nbody = \"1KiB\"")).await;
    house.sees("it was looked at", async || house.forge.asked() == 1).await;
    let large = json!({ "id": "large", "kind": "uploaded", "padding": "x".repeat(5000) });
    delivers(&house, &large).await;
    house.sees("it is looked at again", async || house.forge.asked() == 2).await;
    let request = house.bare(Method::POST, "/webhooks/forge").header("x-secret", SECRET).body("not JSON");
    answer(request, StatusCode::NO_CONTENT).await;
    delivers(&house, &said("bomb", "bomb", 0, 0)).await;
    assert_eq!(acted(&house, "bomb").await.state, DeliveryState::Failed);
    let kept = acted(&house, "uploaded").await;
    assert!(kept.state == DeliveryState::Ignored && kept.reason.contains("too large"), "{kept:?}");
    assert_eq!(acted(&house, "unreadable").await.state, DeliveryState::Ignored);
    let problem = refused(house.post(&format!("/deliveries/{}/replay", kept.id), &json!({})), 409).await;
    assert!(problem.detail.contains("not kept"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_crash_is_acted_on_after_it() {
    let mut house = House::with(setup()).await;
    for round in 1..=5 {
        join_all((0..4).map(async |n| {
            let change = round * 10 + n;
            delivers(&house, &said(&format!("{change}"), "uploaded", change, 1)).await;
        }))
        .await;
        house.dies();
        house.comes_back().await;
    }
    house
        .sees("all are built", async || {
            let runs = runs(&house).await;
            runs.len() == 20 && runs.iter().all(|run| run.outcome == Some(Outcome::Passed))
        })
        .await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_patch_set_stops_the_older_ones_run_and_an_older_one_starts_nothing() {
    let house = House::with(setup()).await;
    house.world.sources().script("refs/changes/07/7/1", "wait");
    delivers(&house, &said("1", "uploaded", 7, 1)).await;
    let first = only(&house).await;
    house.builds(first).await;
    delivers(&house, &said("2", "uploaded", 7, 3)).await;
    let view = house.ends(first, Outcome::Stopped).await;
    assert_eq!(view.summary.reason, "Stopped: patch set 3 came.");
    house.sees("the newer one passes", async || runs(&house).await.iter().any(|run| run.outcome == Some(Outcome::Passed))).await;
    delivers(&house, &said("late", "uploaded", 7, 2)).await;
    house.sees("it is ignored", async || deliveries(&house).await.iter().any(|one| one.reason == "Patch set 3 is newer.")).await;
    assert_eq!(runs(&house).await.len(), 2);
    // The two patch sets are told of apart, in whatever order: what counts is the verdict of each.
    let newest = runs(&house).await[0].id;
    house.until("its vote is given", newest, |view| view.report.as_ref().is_some_and(|r| r.told == Some(Standing::Passed))).await;
    assert!(house.forge.told().iter().all(|told| told.1 != Standing::Failed));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recheck_builds_once_more_and_an_abandoned_change_nothing() {
    let house = House::with(setup()).await;
    delivers(&house, &said("1", "uploaded", 7, 1)).await;
    let first = only(&house).await;
    house.ends(first, Outcome::Passed).await;
    house.world.sources().script("refs/changes/07/7/1", "wait");
    for id in ["again", "again", "while it runs"] {
        delivers(&house, &said(id, "recheck", 7, 1)).await;
        house.sees("it is acted on", async || deliveries(&house).await.iter().all(|one| one.state != DeliveryState::Received)).await;
    }
    let all = runs(&house).await;
    assert_eq!(all.len(), 2, "{all:#?}");
    house.builds(all[0].id).await;
    house.sees("the vote is withdrawn", async || house.forge.told().last().is_some_and(|told| told.1 == Standing::Started)).await;
    delivers(&house, &said("enough", "abandoned", 7, 1)).await;
    let view = house.ends(all[0].id, Outcome::Stopped).await;
    assert_eq!(view.summary.reason, "Stopped: the change was abandoned.");
    house.world.sources().script("refs/changes/07/7/1", "pass");
    delivers(&house, &said("restored", "ready", 7, 1)).await;
    house
        .sees("it is built again", async || {
            let runs = runs(&house).await;
            runs.len() == 3 && runs[0].outcome == Some(Outcome::Passed)
        })
        .await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_progress_is_built_when_it_is_ready() {
    let house = House::with(setup()).await;
    let mut wip = said("1", "uploaded", 7, 1);
    wip["wip"] = json!(true);
    delivers(&house, &wip).await;
    assert_eq!(acted(&house, "uploaded").await.reason, "The change is work in progress.");
    assert!(runs(&house).await.is_empty());
    delivers(&house, &said("2", "ready", 7, 1)).await;
    house.ends(only(&house).await, Outcome::Passed).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_stops_the_review_and_deploys_the_branch_once() {
    let house = House::with(setup()).await;
    house.world.sources().script("refs/changes/07/7/1", "wait");
    delivers(&house, &said("1", "uploaded", 7, 1)).await;
    let review = only(&house).await;
    house.builds(review).await;
    delivers(&house, &said("2", "merged", 7, 1)).await;
    delivers(&house, &said("3", "moved", 7, 1)).await;
    house.ends(review, Outcome::Stopped).await;
    house.sees("the branch is deployed", async || runs(&house).await.iter().any(|run| run.outcome == Some(Outcome::Passed))).await;
    let all = runs(&house).await;
    assert_eq!(all.len(), 2, "{all:#?}");
    assert_eq!(all[0].environment.as_ref().map(AsRef::as_ref), Some("test"));
    assert!(matches!(&all[0].origin, Origin::Moved { sha, .. } if *sha == commit(7, 1)));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_was_away_is_told_the_last_of_it_once() {
    let house = House::with(setup()).await;
    house.forge.is_away(true);
    delivers(&house, &said("1", "uploaded", 7, 1)).await;
    house.ends(only(&house).await, Outcome::Passed).await;
    house.forge.is_away(false);
    house.sees("it is told", async || !house.forge.told().is_empty()).await;
    let run = only(&house).await;
    house.until("it is settled", run, |view| view.report.as_ref().is_some_and(|report| report.told.is_some())).await;
    assert_eq!(house.forge.told().iter().map(|told| told.1).collect::<Vec<_>>(), [Standing::Passed]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_at_first_is_taken_note_of_and_what_was_missed_later_is_built_once() {
    let mut house = House::open().await;
    house.forge.has(vec![proposed(7, 1, Proposal::Seen, false), moved("main", commit(1, 1), None)]);
    house.stops().await;
    house.set_up(setup());
    house.comes_back().await;
    house.sees("it was looked at", async || house.forge.asked() > 0).await;
    delivers(&house, &said("look", "missed", 0, 0)).await;
    acted(&house, "missed").await;
    let asked = house.forge.asked();
    house.forge.streams(Streamed::Connected);
    delivers(&house, &said("look again", "missed", 0, 0)).await;
    house.sees("it is compared", async || house.forge.asked() > asked).await;
    assert!(runs(&house).await.is_empty(), "ten thousand old changes are not built");
    house.forge.has(vec![proposed(7, 2, Proposal::Seen, false), proposed(8, 1, Proposal::Seen, false), moved("main", commit(1, 2), None)]);
    for id in ["one", "two", "three"] {
        delivers(&house, &said(id, "missed", 0, 0)).await;
    }
    house
        .sees("what was missed is built", async || runs(&house).await.iter().filter(|run| run.state == RunState::Finished).count() == 3)
        .await;
    let asked = house.forge.asked();
    delivers(&house, &said("four", "missed", 0, 0)).await;
    house.sees("it is compared once more", async || house.forge.asked() > asked).await;
    assert_eq!(runs(&house).await.len(), 3);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_seen_and_replayed_by_those_who_may() {
    let house = House::with(setup()).await;
    delivers(&house, &said("1", "uploaded", 7, 1)).await;
    delivers(&house, &said("2", "rumour", 0, 0)).await;
    house.ends(only(&house).await, Outcome::Passed).await;
    let (mine, strange) = (acted(&house, "uploaded").await, acted(&house, "rumour").await);
    let reader = house.token_of("reader", vec![on_repos(&[Action::Read], &["reviewed"])]);
    let page: Page<DeliverySummary> = expect(house.by(&reader, Method::GET, "/deliveries"), StatusCode::OK).await;
    assert_eq!(page.items.iter().map(|one| one.id).collect::<Vec<_>>(), [mine.id]);
    let view: DeliveryView = expect(house.by(&reader, Method::GET, &format!("/deliveries/{}", mine.id)), StatusCode::OK).await;
    assert_eq!((&view.headers[0].1, &view.body.expect("a body")["change"]), (&"yes".to_owned(), &json!(7)));
    refused(house.by(&reader, Method::GET, &format!("/deliveries/{}", strange.id)), 404).await;
    refused(house.by(&reader, Method::POST, &format!("/deliveries/{}/replay", mine.id)), 403).await;
    let other = house.token_of("other", vec![on_repos(&[Action::Read], &["hello"])]);
    refused(house.by(&other, Method::GET, &format!("/deliveries/{}", mine.id)), 404).await;
    let keeper = house.token_of("keeper", vec![on_repos(&[Action::Deliveries], &[])]);
    answer(house.by(&keeper, Method::POST, &format!("/deliveries/{}/replay", strange.id)), StatusCode::ACCEPTED).await;
    house.close().await;
}
