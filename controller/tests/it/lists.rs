//! Which runs a list has.

use reqwest::{Method, StatusCode};
use serde_json::json;
use signalbox_contract::RunId;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{Outcome, RunSummary};
use signalbox_contract::grant::Action;

use crate::house::{House, SOURCE, Setup, expect, on_repos, refused};

async fn found(house: &House, token: &str, query: &[(&str, &str)]) -> Vec<RunId> {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let page: Page<RunSummary> = expect(house.by(token, Method::GET, &format!("/runs?{query}")), StatusCode::OK).await;
    page.items.into_iter().map(|run| run.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_and_a_tag_of_one_name_are_told_apart_by_their_full_names() {
    let house = House::open().await;
    house.world.sources().script("v1", "pass");
    let asked = async |name: &str, outcome| {
        let run = house.cd(&json!({ "repo": "hello", "ref": name })).await;
        house.ends(run, outcome).await;
        run
    };
    let short = asked("v1", Outcome::Passed).await;
    let branch = asked("refs/heads/v1", Outcome::Passed).await;
    let tag = asked("refs/tags/v1", Outcome::Passed).await;
    // Of these it never came to light which of them was meant.
    let (gone, gone_tag) = (asked("gone", Outcome::Failed).await, asked("refs/tags/gone", Outcome::Failed).await);
    let other = asked("refs/changes/01/1/1", Outcome::Passed).await;
    for (name, runs) in [
        ("v1", vec![tag, branch, short]),
        ("refs/heads/v1", vec![branch, short]),
        ("refs/tags/v1", vec![tag]),
        ("gone", vec![gone_tag, gone]),
        ("refs/heads/gone", vec![gone]),
        ("refs/tags/gone", vec![gone_tag, gone]),
        ("refs/changes/01/1/1", vec![other]),
        ("refs/heads/v", vec![]),
    ] {
        assert_eq!(found(&house, house.token(), &[("ref", name)]).await, runs, "{name}");
        assert_eq!(found(&house, house.token(), &[("ref", name), ("repo", "hello")]).await, runs, "{name}, of its repository");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_named_by_its_source_url_too() {
    let mut house = House::open().await;
    let run = house.cd(&json!({ "repo": SOURCE, "ref": "main" })).await;
    let of_another = house.cd(&json!({ "repo": "native", "ref": "main" })).await;
    for (named, runs) in [
        ("hello", vec![run]),
        (SOURCE, vec![run]),
        // Another spelling of the same place.
        (&format!("{SOURCE}.git/"), vec![run]),
        ("native", vec![of_another]),
        ("https://git.example.org/nothing", vec![]),
    ] {
        assert_eq!(found(&house, house.token(), &[("repo", named)]).await, runs, "{named}");
    }
    let stranger = house.token_of("stranger", vec![on_repos(&[Action::Read], &["native"])]);
    assert!(found(&house, &stranger, &[("repo", SOURCE)]).await.is_empty(), "what may not be seen is not found by its source either");
    // What was fetched from there stays known, whatever is configured since.
    house.ends(run, Outcome::Passed).await;
    house.stops().await;
    house.set_up(Setup::default().source("https://git.example.org/moved"));
    house.comes_back().await;
    for source in [SOURCE, "https://git.example.org/moved"] {
        assert_eq!(found(&house, house.token(), &[("repo", source)]).await, [run], "{source}");
    }
    let problem = refused(house.get("/runs?repo=https%3A%2F%2Fuser%3Ahunter2%40git.example.org%2Fhello"), 400).await;
    assert_eq!(problem.detail, "A parameter is not valid at `repo`: must be the name of a repository, or its source URL.");
    house.close().await;
}
