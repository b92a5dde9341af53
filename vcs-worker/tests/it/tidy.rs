//! What is at the mirrors is told, and what is old is removed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use signalbox_contract::FailureCode;
use signalbox_contract::api::Page;
use signalbox_contract::api::mirrors::{CollectResult, MirrorFinding, MirrorInfo, Severity};
use signalbox_contract::api::vcs::{MAX_SOURCES, SourceFinding};
use signalbox_service::clock::{Clock as _, ManualClock, SystemClock};

use crate::house::{House, key};

const MIRRORS: &str = "[mirrors.far]\nkind = \"remote\"\nurl = \"http://{server}/m\"\nprivate = true\n\
                       [mirrors.gone]\nkind = \"remote\"\nurl = \"http://127.0.0.1:9/m\"\nprivate = true\n";

#[tokio::test]
async fn what_is_at_the_mirrors_is_told_with_age_and_size() {
    let house = House::with(MIRRORS, "").await;
    let mirror = house.mirror_at("m/team/hello.git").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    let (near, far) = (key(), key());
    house.publish(near, &sha).await;
    house.publish_at("far", far, &sha, json!({})).await;
    house.publish_at("far", key(), &sha, json!({ "naming": "same", "original": "refs/heads/main" })).await;
    // What others put among our refs is not ours.
    mirror.git(&["update-ref", "refs/heads/cd/theirs", sha.as_str()], "").await;
    house.refs_at("gone", key(), &sha, json!({})).await.expect_err("nobody there");

    let page: Page<MirrorInfo> = house.get("/mirrors").await;
    let told: Vec<_> = page.items.iter().map(|info| (info.mirror.as_ref().map(ToString::to_string), info.name.as_str())).collect();
    let name = "team/hello";
    assert_eq!(told, [(None, name), (Some("far".to_owned()), name), (Some("gone".to_owned()), name)]);
    let [own, there, gone] = page.items.as_slice() else { panic!("{page:?}") };
    assert!(own.size.is_some_and(|size| size > 0) && own.refs.len() == 1 && own.refs[0].attempt == near, "{own:?}");
    assert_eq!(there.refs.iter().map(|shown| (shown.attempt, &shown.sha)).collect::<Vec<_>>(), [(far, &sha)]);
    assert!(there.used_at.is_some() && there.url == Some(house.server.url("m/team/hello.git")), "{there:?}");
    assert!(gone.failure.is_some(), "{gone:?}");

    let first: Page<MirrorInfo> = house.get("/mirrors?limit=2").await;
    assert_eq!(first.items.len(), 2);
    let rest: Page<MirrorInfo> = house.get(&format!("/mirrors?limit=2&cursor={}", first.next.expect("there is more"))).await;
    assert_eq!((rest.items.len(), rest.next), (1, None));
}

#[tokio::test]
async fn old_refs_and_copies_go_and_what_is_young_or_under_its_own_name_stays() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let house = House::with_clock(MIRRORS, "", clock.clone()).await;
    let mirror = house.mirror_at("m/team/hello.git").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    house.publish(key(), &sha).await;
    house.publish_at("far", key(), &sha, json!({})).await;
    house.publish_at("far", key(), &sha, json!({ "naming": "same", "original": "refs/heads/main" })).await;
    mirror.git(&["update-ref", "refs/heads/cd/theirs", sha.as_str()], "").await;
    clock.advance(Duration::from_hours(24 * 8));
    let young = key();
    house.publish_at("far", young, &sha, json!({})).await;

    let would: CollectResult = house.act("/mirrors/collect", &json!({ "dry_run": true })).await;
    assert!(would.dry_run && would.refs.len() == 2 && would.copies.is_empty() && would.failures.is_empty(), "{would:?}");
    assert_eq!(mirror.git(&["for-each-ref"], "").await.lines().count(), 4, "nothing went");
    let went: CollectResult = house.act("/mirrors/collect", &json!({})).await;
    assert_eq!(went.refs, would.refs);
    let left = mirror.git(&["for-each-ref", "--format=%(refname)"], "").await;
    let young = format!("refs/heads/cd/{young}");
    assert!(["refs/heads/main", "refs/heads/cd/theirs", &young].iter().all(|name| left.lines().any(|line| line == *name)), "{left}");
    assert_eq!(left.lines().count(), 3);
    let again: CollectResult = house.act("/mirrors/collect", &json!({})).await;
    assert!(again.refs.is_empty(), "{again:?}");

    // A copy that nobody has used for a season goes too, and is made anew when it is wanted.
    clock.advance(Duration::from_hours(24 * 100));
    let went: CollectResult = house.act("/mirrors/collect", &json!({})).await;
    assert_eq!(went.copies.iter().map(|copy| copy.names.len()).collect::<Vec<_>>(), [1], "{went:?}");
    assert!(house.copies().is_empty());
    assert_eq!(house.mirror(&house.order("main")).await.sha, sha);
    house.publish_at("far", key(), &sha, json!({})).await;
}

#[tokio::test]
async fn the_doctor_says_what_is_wrong_with_a_mirror() {
    let house = House::with(MIRRORS, "").await;
    let found: Vec<MirrorFinding> = house.get("/mirrors/doctor").await;
    assert!(found.iter().any(|finding| finding.mirror.is_none() && finding.severity == Severity::Fine), "{found:?}");
    assert!(found.iter().any(|finding| finding.mirror.as_ref().is_some_and(|name| name.as_str() == "far")), "{found:?}");
}

#[tokio::test]
async fn each_source_is_said_to_be_readable_or_why_it_is_not() {
    let house = House::open().await;
    let readable = house.git_url();
    let nowhere = format!("{}-that-is-not-there", house.git_url());
    let named = |name: &str, source: &str| json!({ "name": name, "source": source });
    let unlisted = "https://git.example.org/nobody/allows";
    let sources = json!([named("a", &readable), named("b", &nowhere), named("c", unlisted)]);
    let found: Vec<SourceFinding> = house.act("/sources/examine", &json!({ "sources": sources })).await;
    let codes: Vec<_> = found.iter().map(|finding| finding.failure.as_ref().map(|failure| failure.code)).collect();
    assert_eq!(codes, [None, Some(FailureCode::SourceNotFound), Some(FailureCode::SourceNotAllowed)], "{found:?}");
    assert!(found.iter().filter_map(|finding| finding.failure.as_ref()).all(|failure| !failure.hint.is_empty()), "{found:?}");
    assert!(house.copies().is_empty(), "nothing is fetched");
    house.mirror(&house.order("main")).await;
    let sources = json!([named("team/hello", &readable), named("team/hello", &nowhere), named("other", &readable)]);
    let found: Vec<SourceFinding> = house.act("/sources/examine", &json!({ "sources": sources })).await;
    let [fine, taken, also_fine] = &found[..] else { panic!("{found:?}") };
    assert!(fine.failure.is_none() && also_fine.failure.is_none(), "{found:?}");
    let told = taken.failure.as_ref().expect("the name belongs to another source");
    assert!(told.detail.contains(&format!("team/hello belongs to {readable}")) && told.hint.contains("correct the `source`"), "{told:?}");
    let many = vec![named("a", &readable); MAX_SOURCES + 1];
    let problem = house.act_problem("/sources/examine", &json!({ "sources": many })).await;
    assert_eq!(problem.errors[0].field, "sources", "{problem:?}");
}
