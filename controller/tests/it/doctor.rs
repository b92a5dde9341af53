//! Everything that the controller depends on is examined, and what is wrong is said with what to do.

use reqwest::{Method, StatusCode};
use serde_json::json;
use signalbox_adapters::forge::{Finding, Severity};
use signalbox_contract::api::doctor::{DoctorFinding, DoctorReport};
use signalbox_contract::grant::Action;
use signalbox_contract::{Failure, FailureCode};

use crate::house::{House, Setup, expect, on_repos, refused};
use crate::stand_ins::{At, Mood};

async fn examined(house: &House) -> DoctorReport {
    expect(house.get("/doctor"), StatusCode::OK).await
}

fn about<'r>(report: &'r DoctorReport, about: &str) -> Vec<&'r DoctorFinding> {
    report.findings.iter().filter(|finding| finding.about == about).collect()
}

/// What is said of one thing: how bad the worst is, and its words.
fn worst<'r>(report: &'r DoctorReport, what: &str) -> (Severity, &'r str) {
    let found = about(report, what);
    let worst = found.iter().max_by_key(|finding| finding.severity).unwrap_or_else(|| panic!("{what} is not in {report:#?}"));
    (worst.severity, &worst.detail)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_each_thing_that_was_looked_at_is_told_to_be_fine() {
    let setup = Setup::default().table("[forges.forge]\nkind = \"gerrit\"\nurl = \"https://gerrit.example.org\"\nuser = \"ci\"");
    let project = "[repositories.third]\nsource = \"https://git.example.org/third\"\nforge = \"forge\"\nproject = \"team/hello\"";
    let house = House::with(setup.table(project)).await;
    let near =
        json!([{ "severity": "fine", "detail": "There is room." }, { "mirror": "far", "severity": "fine", "detail": "It answers." }]);
    house.world.sources().findings = serde_json::from_value(near).expect("findings");
    let report = examined(&house).await;
    assert_eq!(report.worst, Severity::Fine, "{report:#?}");
    let looked: Vec<&str> = report.findings.iter().map(|finding| finding.about.as_str()).collect();
    for what in [
        "controller",
        "VCS worker",
        "artifact store",
        "deployment worker",
        "own mirrors",
        "mirror far",
        "executor local",
        "executor spare",
        "forge forge",
        "repository third",
        "environment test",
        "environment production",
    ] {
        assert!(looked.contains(&what), "{what} in {looked:?}");
    }
    assert_eq!(worst(&report, "forge forge").1, "team/hello can be used.");
    assert_eq!(worst(&report, "repository third").1, "https://git.example.org/third can be read.");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_what_to_do_and_the_rest_all_the_same() {
    let setup = Setup::default().table("[forges.forge]\nkind = \"gerrit\"\nurl = \"https://gerrit.example.org\"\nuser = \"ci\"");
    let third = "[repositories.third]\nsource = \"https://git.example.org/third\"";
    let house = House::with(setup.table(third)).await;
    house.forge.ails(Finding::new(Severity::Error, "The label\u{1b}[31m is missing.", "Define it."));
    house.world.sources().findings = serde_json::from_value(
        json!([{ "mirror": "far", "severity": "warning", "detail": "The token ends soon.", "hint": "Make another." }]),
    )
    .expect("findings");
    let denied = Failure::new(FailureCode::SourceDenied, "The source lets nobody in.").hint("Give its entry a credential.");
    house.world.sources().unreadable.insert("https://git.example.org/third".parse().expect("a source"), denied);
    house.world.is(At::Deploy, Mood::Babbling);
    house.world.goes_away(At::Spare).await;
    house.world.goes_away(At::Store).await;
    let report = examined(&house).await;
    assert_eq!(report.worst, Severity::Error);
    assert_eq!(worst(&report, "mirror far"), (Severity::Warning, "The token ends soon."));
    assert_eq!(worst(&report, "forge forge"), (Severity::Error, "The label [31m is missing."));
    assert_eq!(worst(&report, "repository third"), (Severity::Error, "The source lets nobody in."));
    assert_eq!(worst(&report, "environments"), (Severity::Error, "The deployment worker could not be asked."));
    for gone in ["artifact store", "executor spare"] {
        let [finding] = about(&report, gone)[..] else { panic!("{gone}: {report:#?}") };
        assert!(finding.severity == Severity::Error && finding.detail.starts_with("Nobody answers at http://127.0.0.1:"), "{finding:?}");
        assert!(finding.hint.contains(if gone == "artifact store" { "`artifact_store`" } else { "`executors.spare.url`" }), "{finding:?}");
    }
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Fine || !finding.hint.is_empty()), "{report:#?}");
    assert_eq!(worst(&report, "executor local").0, Severity::Fine);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_examined_once_at_a_time_and_for_those_who_look_after_all() {
    let house = House::open().await;
    house.world.is(At::Vcs, Mood::Hanging);
    // Of two who ask at once one is turned away, whichever it is, and the other waits for the worker that hangs.
    let ask = || Box::pin(house.get("/doctor").send());
    let (turned_away, waits) = futures_util::future::select(ask(), ask()).await.factor_first();
    assert_eq!(turned_away.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);
    house.world.is(At::Vcs, Mood::Well);
    assert_eq!(waits.await.expect("an answer").status(), StatusCode::OK);
    let some = house.token_of("some", vec![on_repos(&[Action::Operate], &["team/*"]), on_repos(&[Action::Read], &["*"])]);
    refused(house.by(&some, Method::GET, "/doctor"), 403).await;
    house.close().await;
}
