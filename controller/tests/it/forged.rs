//! What a GitLab says that is not so, is late, or is about something else: signed as it should be, and believed in nothing.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeliveryState, DeliverySummary};
use signalbox_contract::api::run::{Outcome, RunSummary};
use signalbox_contract::{Origin, Verdict};

use crate::house::{House, Setup, answer, expect};

/// What is in the file that holds the webhooks' secret.
const SECRET: &str = "far-token-0000000000";

/// A GitLab that builds and tells of it, and a project there whose branch is built.
fn setup() -> Setup {
    Setup::default().table(
        "[forges.lab]\nkind = \"gitlab\"\nurl = \"https://ci.example.org/\"\nsecret_files = [\"far.token\"]
        [repositories.reviewed]\nsource = \"https://ci.example.org/team/hello\"\nexecutor = \"local\"
        forge = \"lab\"\nproject = \"team/hello\"\n[[repositories.reviewed.on]]\nevent = \"branch\"",
    )
}

async fn tells(house: &House, kind: &str, body: &Value) {
    let request = house.bare(Method::POST, "/webhooks/lab").header("x-gitlab-token", SECRET).header("x-gitlab-event", kind);
    answer(request.json(body), StatusCode::NO_CONTENT).await;
}

/// All that was told, once it was acted on.
async fn settled(house: &House) -> Vec<DeliverySummary> {
    let all = async || expect::<Page<DeliverySummary>>(house.get("/deliveries?limit=200"), StatusCode::OK).await.items;
    house.sees("all is acted on", async || all().await.iter().all(|one| one.acted_at.is_some())).await;
    all().await
}

/// That a pipeline of a project has ended, as GitLab says it.
fn pipeline(project: u64, id: u64, status: &str) -> Value {
    json!({
        "object_kind": "pipeline",
        "object_attributes": { "id": id, "ref": "main", "sha": "3dd5b154a8a882f049ffaff665187cfb6e816c43", "status": status,
            "detailed_status": "passed", "finished_at": "2026-01-31 10:00:00 UTC" },
        "project": { "id": project, "path_with_namespace": format!("cd/{project}") },
        "builds": [],
    })
}

// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_hook_says_of_a_build_how_it_ended_is_what_the_executor_says() {
    let house = House::with(setup()).await;
    let run = house.cd(&json!({ "repo": "native", "ref": "main" })).await;
    house.builds(run).await;
    // Success before it runs; of a pipeline that nobody knows; of another project's; and of a job.
    tells(&house, "Pipeline Hook", &pipeline(7, 1, "success")).await;
    tells(&house, "Pipeline Hook", &pipeline(7, 987_654_321, "success")).await;
    tells(&house, "Pipeline Hook", &pipeline(12, 1, "success")).await;
    let job = json!({ "object_kind": "build", "build_id": 3, "build_status": "success", "pipeline_id": 1, "project_id": 7 });
    tells(&house, "Job Hook", &job).await;
    let deliveries = settled(&house).await;
    assert_eq!(deliveries.len(), 4);
    assert!(deliveries.iter().all(|one| one.state == DeliveryState::Ignored && one.deeds.is_empty()), "{deliveries:#?}");
    house.builds(run).await;

    house.world.far().ends(run, Verdict::Failed);
    let ended = house.ends(run, Outcome::Failed).await;
    // What was said before, and arrives now, changes nothing about the end.
    for (id, status) in [(1, "running"), (2, "success"), (3, "canceled")] {
        tells(&house, "Pipeline Hook", &pipeline(7, id, status)).await;
    }
    settled(&house).await;
    let view = house.ends(run, Outcome::Failed).await;
    assert_eq!(view.summary.finished_at, ended.summary.finished_at);
    house.close().await;
}

// Threats 16 and 17.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_chooses_neither_the_source_nor_who_asks() {
    let house = House::with(setup()).await;
    let push = |project: Value, n: u8| {
        json!({
            "object_kind": "push", "event_name": "push", "ref": "refs/heads/main",
            "before": "0000000000000000000000000000000000000000", "after": format!("{n:040x}"), "checkout_sha": format!("{n:040x}"),
            "user_name": "Administrator", "user_username": "root", "user_email": "root@example.org",
            "project_id": 7, "project": project,
            "repository": { "url": "git@evil.example.org:team/hello.git", "git_http_url": "https://evil.example.org/team/hello.git" },
            "commits": [{ "id": format!("{n:040x}"), "author": { "name": "signalbox", "email": "signalbox@example.org" } }],
        })
    };
    let evil = "https://evil.example.org/team/hello.git";
    let named =
        json!({ "path_with_namespace": "team/hello", "git_http_url": evil, "http_url": evil, "web_url": evil, "git_ssh_url": evil });
    tells(&house, "Push Hook", &push(named, 1)).await;
    // A project that nobody has registered, at an address that somebody has.
    let other = json!({ "path_with_namespace": "evil/hello", "git_http_url": "https://ci.example.org/team/hello.git" });
    tells(&house, "Push Hook", &push(other, 2)).await;
    let deliveries = settled(&house).await;
    assert!(deliveries.iter().any(|one| one.reason == "No repository is configured for the project evil/hello."), "{deliveries:#?}");
    let runs: Page<RunSummary> = expect(house.get("/runs?limit=200"), StatusCode::OK).await;
    assert_eq!(runs.items.len(), 1, "{runs:#?}");
    let run = &runs.items[0];
    assert_eq!(run.principal, "forge:lab");
    assert!(matches!(&run.origin, Origin::Moved { project, .. } if project == "team/hello"), "{run:#?}");
    house.sees("it is fetched", async || !house.world.sources().fetched.is_empty()).await;
    assert_eq!(house.world.sources().fetched, ["https://ci.example.org/team/hello"]);
    house.ends(run.id, Outcome::Passed).await;
    house.close().await;
}
