//! Telling a GitLab, and comparing with it.

use signalbox_contract::RunId;
use signalbox_contract::change::{ChangeId, Origin, ReviewHead};
use signalbox_service::secret::SecretString;

use super::*;
use crate::forge::scripted::{Scripted, answer};
use crate::forge::{Closing, Proposal, Severity, Standing};

fn at(server: &Scripted) -> GitlabForge {
    let mut settings = settings();
    settings.url = server.url();
    settings.token = Some(SecretString::from("canary-token"));
    forge(settings)
}

fn review(standing: Standing) -> Review {
    let head = ReviewHead {
        change: ChangeId { forge: "gitlab".parse().expect("a name"), project: "group/hello".to_owned(), number: 7 },
        patch_set: None,
        sha: SHA.parse().expect("a commit"),
        ref_name: "refs/merge-requests/7/head".parse().expect("a ref"),
        branch: "main".parse().expect("a branch"),
        topic: None,
        url: None,
    };
    let run: RunId = "0".repeat(26).parse().expect("a run");
    let url = "https://signalbox.example.org/view/runs/1".parse().expect("an address");
    Review { origin: Origin::Review(head), run, standing, overtaken: None, summary: "build: fine".to_owned(), url, build: None }
}

const REQUEST: &str = r#"{"iid": 7, "source_branch": "topic", "source_project_id": 15, "target_project_id": 15}"#;

async fn server(request: &'static str, there: &'static str, status: &'static str, said: &'static str) -> Scripted {
    Scripted::new(move |asked| match asked {
        asked if asked.contains("/merge_requests/7 ") => answer("200 OK", "", request),
        asked if asked.starts_with("GET ") => answer("200 OK", "", there),
        asked if asked.contains("/projects/16/") => answer("404 Not Found", "", r#"{"message":"404 Project Not Found"}"#),
        _ => answer(status, "", said),
    })
    .await
}

#[tokio::test]
async fn a_standing_becomes_the_commits_status() {
    for (standing, state) in
        [(Standing::Started, "running"), (Standing::Passed, "success"), (Standing::Failed, "failed"), (Standing::Undecided, "canceled")]
    {
        let server =
            server(REQUEST, r#"[{"id": 1, "name": "signalbox", "status": "pending", "pipeline_id": 31}]"#, "201 Created", "{}").await;
        let told = at(&server).tell(&review(standing)).await.expect("told");
        assert!(told.written && told.remarks.is_empty());
        let asked = server.seen().pop().expect("asked");
        assert!(asked.starts_with(&format!("POST /api/v4/projects/group%2Fhello/statuses/{SHA} ")), "{asked}");
        for word in [
            format!("\"state\":\"{state}\""),
            "\"ref\":\"topic\"".to_owned(),
            "\"pipeline_id\":31".to_owned(),
            "\"name\":\"signalbox\"".to_owned(),
        ] {
            assert!(asked.contains(&word), "{word} in {asked}");
        }
    }
}

#[tokio::test]
async fn what_is_there_already_is_not_written_again() {
    let there = r#"[{"id": 1, "name": "signalbox", "status": "failed"},
        {"id": 2, "name": "signalbox", "status": "success", "target_url": "https://signalbox.example.org/view/runs/1"}]"#;
    let server = server(REQUEST, there, "500 x", "").await;
    assert_eq!(at(&server).tell(&review(Standing::Passed)).await.expect("told"), Told::default());
    // Its answer was lost, and a newer commit came meanwhile.
    let late = Review { overtaken: Some(Standing::Passed), ..review(Standing::Undecided) };
    assert_eq!(at(&server).tell(&late).await.expect("told"), Told::default());
}

#[tokio::test]
async fn the_refusal_by_which_old_versions_say_that_it_is_so_is_a_success() {
    let said = r#"{"message":"Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"}"#;
    let server = server(REQUEST, "[]", "400 Bad Request", said).await;
    assert_eq!(at(&server).tell(&review(Standing::Started)).await.expect("told"), Told::default());
}

#[tokio::test]
async fn a_fork_that_does_not_let_us_in_is_told_where_it_is_proposed() {
    let fork = r#"{"iid": 7, "source_branch": "topic", "source_project_id": 16, "target_project_id": 15}"#;
    let server = server(fork, "[]", "201 Created", "{}").await;
    let told = at(&server).tell(&review(Standing::Passed)).await.expect("told");
    assert!(told.written && told.remarks.len() == 1, "{told:?}");
    assert!(server.seen().pop().expect("asked").starts_with("POST /api/v4/projects/group%2Fhello/"));
}

#[tokio::test]
async fn a_refusal_says_what_to_do_and_never_the_token() {
    for (status, said) in [("401 Unauthorized", r#"{"message":"401 Unauthorized"}"#), ("403 Forbidden", r#"{"message":"canary-token"}"#)] {
        let server = server(REQUEST, "[]", status, said).await;
        let Err(ForgeError::Refused(failure)) = at(&server).tell(&review(Standing::Passed)).await else { panic!("{status}") };
        assert!(!failure.hint.is_empty() && !format!("{failure:?}").contains("canary"), "{failure:?}");
    }
    let html = Scripted::new(|_| answer("200 OK", "content-type: text/html\r\n", "<html>")).await;
    assert!(matches!(at(&html).tell(&review(Standing::Passed)).await, Err(ForgeError::Unreachable(_))));
}

#[tokio::test]
async fn a_branch_is_told_at_its_commit() {
    let server = server(REQUEST, "[]", "201 Created", "{}").await;
    let origin = Origin::Moved {
        forge: "gitlab".parse().expect("a name"),
        project: "group/hello".to_owned(),
        ref_name: "refs/heads/main".parse().expect("a ref"),
        sha: SHA.parse().expect("a commit"),
    };
    assert!(at(&server).tell(&Review { origin, ..review(Standing::Passed) }).await.expect("told").written);
    assert!(server.seen().pop().expect("asked").contains("\"ref\":\"main\""));
}

#[tokio::test]
async fn what_is_open_is_found_without_an_event() {
    let server = Scripted::new(|asked| {
        let requests = format!(
            r#"[{{"iid": 7, "sha": "{SHA}", "target_branch": "main", "title": "Draft: x", "labels": ["ci"], "web_url": "https://gitlab.example.org/x"}},
                {{"iid": 8, "sha": null, "target_branch": "main"}}, 7]"#
        );
        let own = format!("cd/{}-0-1", "0".repeat(26));
        let branches = format!(r#"[{{"name": "main", "commit": {{"id": "{OLD}"}}}}, {{"name": "{own}", "commit": {{"id": "{OLD}"}}}}]"#);
        let tags = format!(r#"[{{"name": "v1", "target": "{OLD}", "commit": {{"id": "{SHA}"}}}}]"#);
        let wanted = |what| asked.lines().next().is_some_and(|line| line.contains(what));
        answer("200 OK", "", if wanted("/branches") { &branches } else if wanted("/tags") { &tags } else { &requests })
    })
    .await;
    let heads = at(&server).heads(&[watched("group/hello")]).await.expect("found");
    let [
        Happening::Proposed { head, wip: true, hashtags, .. },
        Happening::Moved { ref_name, .. },
        Happening::Moved { ref_name: tag, sha, .. },
    ] = &*heads
    else {
        panic!("{heads:?}")
    };
    assert_eq!((head.change.number, &hashtags[..], ref_name.as_str()), (7, &["ci".to_owned()][..], "refs/heads/main"));
    assert_eq!((tag.as_str(), sha.as_ref().map(AsRef::as_ref)), ("refs/tags/v1", Some(SHA)), "an annotated tag is its commit");
    // Where nobody wants tags, nobody asks for them.
    let seen = server.seen().len();
    at(&server).heads(&[Watched { tags: false, ..watched("group/hello") }]).await.expect("found");
    assert_eq!(server.seen().len(), seen + 2);
}

#[tokio::test]
async fn one_merge_request_is_asked_for_and_what_is_not_shown_is_gone_only_where_its_project_is_shown() {
    let change = ChangeId { forge: "gitlab".parse().expect("a name"), project: "group/hello".to_owned(), number: 7 };
    for (state, closing) in [("merged", Closing::Merged), ("closed", Closing::Abandoned)] {
        let server = Scripted::new(move |_| answer("200 OK", "", &format!(r#"{{"iid": 7, "state": "{state}"}}"#))).await;
        assert_eq!(at(&server).change(&change).await.expect("an answer"), Some(Happening::Closed { change: change.clone(), closing }));
    }
    let open = format!(r#"{{"iid": 7, "state": "opened", "sha": "{SHA}", "target_branch": "main"}}"#);
    let server = Scripted::new(move |_| answer("200 OK", "", &open)).await;
    assert!(matches!(at(&server).change(&change).await, Ok(Some(Happening::Proposed { proposal: Proposal::Seen, .. }))));
    let missing = |asked: &str| asked.contains("/merge_requests/").then(|| answer("404 Not Found", "", r#"{"message":"404 Not found"}"#));
    let project = r#"{"id": 15, "path_with_namespace": "group/hello"}"#;
    let server = Scripted::new(move |asked| missing(asked).unwrap_or_else(|| answer("200 OK", "", project))).await;
    let gone = Happening::Closed { change: change.clone(), closing: Closing::Deleted };
    assert_eq!(at(&server).change(&change).await.expect("an answer"), Some(gone));
    let server = Scripted::new(|_| answer("404 Not Found", "", r#"{"message":"404 Project Not Found"}"#)).await;
    assert!(matches!(at(&server).change(&change).await, Err(ForgeError::Refused(_))));
}

#[tokio::test]
async fn a_branch_was_merged_where_a_merge_request_for_it_made_its_commit() {
    let of = |more: &str| format!(r#"[{{"iid": 6, "state": "opened", "sha": "{SHA}"}}, {{"iid": 7, "target_branch": "main"{more}}}]"#);
    let (branch, sha) = ("refs/heads/main".parse().expect("a ref"), SHA.parse().expect("a commit"));
    for (more, merged) in [
        (format!(r#", "state": "merged", "merge_commit_sha": "{SHA}", "sha": "{OLD}""#), Some(7)),
        (format!(r#", "state": "merged", "merge_commit_sha": null, "squash_commit_sha": "{SHA}""#), Some(7)),
        (format!(r#", "state": "merged", "sha": "{SHA}""#), Some(7)),
        (format!(r#", "state": "merged", "sha": "{OLD}""#), None),
        (format!(r#", "state": "opened", "sha": "{SHA}""#), None),
    ] {
        let requests = of(&more);
        let server = Scripted::new(move |_| answer("200 OK", "", &requests)).await;
        let found = at(&server).merged_as("group/hello", &branch, &sha).await.expect("an answer");
        assert_eq!(found.map(|change| change.number), merged, "{more}");
        assert!(server.seen()[0].starts_with(&format!("GET /api/v4/projects/group%2Fhello/repository/commits/{SHA}/merge_requests?")));
    }
    let server = Scripted::new(|_| answer("404 Not Found", "", "{}")).await;
    assert_eq!(at(&server).merged_as("group/hello", &branch, &sha).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_webhook_that_does_not_sign_is_found_where_signatures_alone_are_believed() {
    for (secrets, hook, severity) in [
        (false, r#", "signing_token_present": true"#, Severity::Fine),
        (false, r#", "signing_token_present": false"#, Severity::Error),
        (false, "", Severity::Error),
        (true, "", Severity::Fine),
    ] {
        let hooks = format!(r#"[{{"id": 1, "url": "https://signalbox.example.org/webhooks/gitlab", "alert_status": "executable"{hook}}}]"#);
        let server = Scripted::new(move |asked| {
            let project = r#"{"id": 15, "path_with_namespace": "group/hello"}"#;
            answer("200 OK", "", if asked.contains("/hooks") { &hooks } else { project })
        })
        .await;
        let mut settings = settings();
        settings.url = server.url();
        settings.token = Some(SecretString::from("canary-token"));
        settings.signing = vec![SecretString::from("whsec_b2xkIGtleQ==")].into();
        if secrets {
            settings.secrets = vec![SecretString::from("secret")].into();
        }
        let findings = forge(settings).examine(&["group/hello".to_owned()]).await;
        let about = findings.iter().find(|finding| finding.detail.contains("webhook of")).expect("it is looked at");
        assert_eq!(about.severity, severity, "{hook}: {about:?}");
    }
}

// Two at once would make two pipelines of one commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_commit_is_told_of_once_at_a_time_and_two_commits_side_by_side() {
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    // Each is held until another is there beside it. Where none may be, one that came in spite of that would be there soon.
    for (other, most, patience) in [(SHA, 1, Duration::from_millis(150)), (OLD, 2, Duration::from_secs(20))] {
        let told = Arc::new((Mutex::new((0, 0)), Condvar::new()));
        let counts = Arc::clone(&told);
        let server = Scripted::new(move |asked| {
            if asked.starts_with("POST ") {
                let (count, changed) = &*counts;
                let mut held = count.lock().expect("a count");
                held.0 += 1;
                held.1 = held.1.max(held.0);
                changed.notify_all();
                let (mut held, _) = changed.wait_timeout_while(held, patience, |(_, peak)| *peak < 2).expect("a count");
                held.0 -= 1;
            }
            answer("200 OK", "", if asked.contains("/merge_requests/7 ") { REQUEST } else { "[]" })
        })
        .await;
        let forge = at(&server);
        let (one, mut two) = (review(Standing::Started), review(Standing::Passed));
        if let Origin::Review(head) = &mut two.origin {
            head.sha = other.parse().expect("a commit");
        }
        let both = tokio::join!(forge.tell(&one), forge.tell(&two));
        assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
        let (now, peak) = *told.0.lock().expect("a count");
        assert_eq!((now, peak), (0, most), "{other}");
    }
}
