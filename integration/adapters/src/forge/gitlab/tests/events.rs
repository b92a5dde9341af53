//! What each delivery means.

use signalbox_contract::change::{ChangeId, ReviewHead};

use super::*;
use crate::forge::{Closing, Proposal};

fn project() -> Value {
    json!({
        "id": 15, "name": "Hello", "path_with_namespace": "group/sub/hello", "web_url": "https://gitlab.example.org/group/sub/hello",
        "git_http_url": "https://gitlab.example.org/group/sub/hello.git", "default_branch": "main", "visibility_level": 0
    })
}

pub(super) fn push(name: &str, before: &str, after: &str) -> Value {
    json!({
        "object_kind": "push", "event_name": "push", "before": before, "after": after, "ref": name,
        "checkout_sha": if after == NOTHING { Value::Null } else { json!(after) },
        "user_email": null, "project_id": 15, "project": project(), "commits": [], "total_commits_count": 0
    })
}

fn moved(name: &str, sha: Option<&str>) -> Vec<Happening> {
    vec![Happening::Moved {
        project: "group/sub/hello".to_owned(),
        ref_name: name.parse().expect("a ref"),
        sha: sha.map(|sha| sha.parse().expect("a commit")),
        merged: None,
    }]
}

#[test]
fn a_branch_is_created_moved_and_deleted() {
    assert_eq!(translated(&push("refs/heads/main", NOTHING, SHA)), Ok(moved("refs/heads/main", Some(SHA))));
    assert_eq!(translated(&push("refs/heads/main", OLD, SHA)), Ok(moved("refs/heads/main", Some(SHA))));
    assert_eq!(translated(&push("refs/heads/main", OLD, NOTHING)), Ok(moved("refs/heads/main", None)));
}

#[test]
fn an_annotated_tag_is_the_commit_that_it_names() {
    let mut tag = push("refs/tags/v1", NOTHING, OLD);
    tag["object_kind"] = json!("tag_push");
    tag["checkout_sha"] = json!(SHA);
    assert_eq!(translated(&tag), Ok(moved("refs/tags/v1", Some(SHA))));
    tag["checkout_sha"] = Value::Null;
    assert_eq!(translated(&tag), Ok(moved("refs/tags/v1", Some(OLD))));
    tag["after"] = json!(NOTHING);
    assert_eq!(translated(&tag), Ok(moved("refs/tags/v1", None)));
}

#[test]
fn a_push_is_understood_as_every_version_says_it() {
    let long = "a".repeat(64);
    let variations: &[(&str, Value)] = &[
        ("no kind but an event's name", {
            let mut body = push("refs/heads/main", OLD, SHA);
            body.as_object_mut().expect("an object").remove("object_kind");
            body
        }),
        ("no path but an address", {
            let mut body = push("refs/heads/main", OLD, SHA);
            body["project"] = json!({"web_url": "https://gitlab.example.org/group/sub/hello"});
            body
        }),
        ("no project but a repository, GitLab 8", {
            let mut body = push("refs/heads/main", OLD, SHA);
            body["project"] = Value::Null;
            body["repository"] = json!({"homepage": "https://gitlab.example.org/group/sub/hello"});
            body
        }),
    ];
    for (what, body) in variations {
        assert_eq!(translated(body), Ok(moved("refs/heads/main", Some(SHA))), "{what}");
    }
    assert_eq!(translated(&push("refs/heads/main", OLD, &long)), Ok(moved("refs/heads/main", Some(&long))), "SHA-256");
}

#[test]
fn what_we_pushed_ourselves_starts_nothing() {
    let key = format!("refs/heads/cd/{}", "0".repeat(26) + "-0-1");
    assert_eq!(translated(&push(&key, NOTHING, SHA)), Err(Untranslated::Ours));
    // A branch of the same beginning is somebody's own.
    // What a mirror of ours begins with.
    assert_eq!(translated(&push("refs/heads/cd/default", NOTHING, SHA)), Err(Untranslated::Ours));
    assert_eq!(translated(&push("refs/heads/cd/tools", OLD, SHA)), Ok(moved("refs/heads/cd/tools", Some(SHA))));
}

#[test]
fn a_push_that_cannot_be_used_says_what_is_missing() {
    for (field, value) in [("ref", json!(null)), ("ref", json!("refs/heads/a b")), ("after", json!("x")), ("after", json!(7))] {
        let mut body = push("refs/heads/main", OLD, SHA);
        body[field] = value;
        let error = translated(&body).expect_err(field);
        assert!(matches!(&error, Untranslated::Malformed { field: named, .. } if named == field), "{error:?}");
    }
    assert!(matches!(translated(&push("refs/keep-around/x", OLD, SHA)), Err(Untranslated::NotNeeded(_))));
}

pub(super) fn request(action: &str) -> Value {
    json!({
        "object_kind": "merge_request", "event_type": "merge_request", "user": {"username": "dev"}, "project": project(),
        "labels": [{"id": 1, "title": "ci::full"}], "changes": {},
        "object_attributes": {
            "id": 99, "iid": 7, "target_branch": "main", "source_branch": "topic", "source_project_id": 16, "target_project_id": 15,
            "title": "One", "state": "opened", "action": action, "url": "https://gitlab.example.org/group/sub/hello/-/merge_requests/7",
            "created_at": "2022-01-17 15:47:39 UTC", "last_commit": {"id": SHA}
        }
    })
}

fn change() -> ChangeId {
    ChangeId { forge: "gitlab".parse().expect("a name"), project: "group/sub/hello".to_owned(), number: 7 }
}

fn proposed(proposal: Proposal, wip: bool) -> Vec<Happening> {
    let head = ReviewHead {
        change: change(),
        patch_set: None,
        sha: SHA.parse().expect("a commit"),
        ref_name: "refs/merge-requests/7/head".parse().expect("a ref"),
        branch: "main".parse().expect("a branch"),
        topic: None,
        url: Some("https://gitlab.example.org/group/sub/hello/-/merge_requests/7".parse().expect("an address")),
    };
    vec![Happening::Proposed { head, proposal, wip, private: false, hashtags: vec!["ci::full".to_owned()], follows: None }]
}

fn with(action: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = request(action);
    change(&mut body);
    body
}

#[test]
fn a_merge_request_is_proposed_when_it_opens_and_when_it_has_new_commits() {
    assert_eq!(translated(&request("open")), Ok(proposed(Proposal::Uploaded, false)));
    assert_eq!(translated(&request("reopen")), Ok(proposed(Proposal::Ready, false)));
    let updated = with("update", |body| body["object_attributes"]["oldrev"] = json!(OLD));
    let happened = translated(&updated).expect("understood");
    let [Happening::Proposed { proposal: Proposal::Uploaded, follows: Some(follows), .. }] = &*happened else { panic!("{happened:?}") };
    assert_eq!(follows.as_str(), OLD);
    // A rule may want a label.
    let labelled = with("update", |body| body["changes"] = json!({"labels": {"previous": [], "current": [{"title": "ci::full"}]}}));
    assert_eq!(translated(&labelled), Ok(proposed(Proposal::Seen, false)));
    // Its title, its people.
    let edited = with("update", |body| body["changes"] = json!({"title": {"previous": "a", "current": "b"}}));
    assert!(matches!(translated(&edited), Err(Untranslated::NotNeeded(_))));
    for action in ["approved", "unapproved", "approval", "unapproval", "an-action-of-tomorrow"] {
        assert!(matches!(translated(&request(action)), Err(Untranslated::NotNeeded(_))), "{action}");
    }
}

#[test]
fn a_draft_says_so_and_is_ready_later() {
    for (field, value) in
        [("draft", json!(true)), ("work_in_progress", json!(true)), ("title", json!("Draft: One")), ("title", json!("WIP: One"))]
    {
        let draft = with("open", |body| body["object_attributes"][field] = value);
        assert_eq!(translated(&draft), Ok(proposed(Proposal::Uploaded, true)), "{field}");
    }
    for field in ["draft", "work_in_progress"] {
        let ready = with("update", |body| body["changes"][field] = json!({"previous": true, "current": false}));
        assert_eq!(translated(&ready), Ok(proposed(Proposal::Ready, false)), "{field}");
    }
}

#[test]
fn a_merge_request_is_closed_or_merged() {
    for (action, state, closing) in [("close", "closed", Closing::Abandoned), ("merge", "merged", Closing::Merged)] {
        let closed = Happening::Closed { change: change(), closing };
        // Where nothing says what the merge made, the branch itself is looked at.
        let meaning = if closing == Closing::Merged { vec![closed.clone(), Happening::Missed] } else { vec![closed.clone()] };
        let body = with(action, |body| body["object_attributes"]["state"] = json!(state));
        assert_eq!(translated(&body), Ok(meaning.clone()));
        // Without an action the state says it.
        let body = with(action, |body| {
            body["object_attributes"]["state"] = json!(state);
            body["object_attributes"]["action"] = Value::Null;
        });
        assert_eq!(translated(&body), Ok(meaning));
        // An update that arrives after the end.
        let late = with("update", |body| {
            body["object_attributes"]["state"] = json!(state);
            body["object_attributes"]["oldrev"] = json!(OLD);
        });
        assert!(matches!(translated(&late), Err(Untranslated::NotNeeded(_))));
    }
    let seen = with("", |body| body["object_attributes"]["action"] = Value::Null);
    assert_eq!(translated(&seen), Ok(proposed(Proposal::Seen, false)));
}

#[test]
fn a_merge_moves_the_branch_to_what_it_made() {
    for field in ["merge_commit_sha", "squash_commit_sha"] {
        let body = with("merge", |body| {
            body["object_attributes"]["state"] = json!("merged");
            body["object_attributes"][field] = json!(OLD);
        });
        let ref_name = "refs/heads/main".parse().expect("a ref");
        let moved = Happening::Moved {
            project: "group/sub/hello".to_owned(),
            ref_name,
            sha: Some(OLD.parse().expect("a commit")),
            merged: Some(change()),
        };
        assert_eq!(translated(&body), Ok(vec![Happening::Closed { change: change(), closing: Closing::Merged }, moved]), "{field}");
    }
}

#[test]
fn a_merge_request_from_a_fork_belongs_to_the_project_that_it_is_for() {
    let body = with("open", |body| {
        body["object_attributes"]["source"] = json!({"path_with_namespace": "somebody/hello"});
        body["object_attributes"]["target"] = json!({"path_with_namespace": "group/sub/hello"});
    });
    assert_eq!(translated(&body), Ok(proposed(Proposal::Uploaded, false)));
}

pub(super) fn note(text: &str) -> Value {
    json!({
        "object_kind": "note", "event_type": "note", "user": {"username": "dev"}, "project": project(),
        "object_attributes": {"id": 1241, "note": text, "noteable_type": "MergeRequest", "system": false, "action": "create"},
        "merge_request": request("open")["object_attributes"].clone()
    })
}

#[test]
fn a_comment_that_asks_for_it_is_a_recheck() {
    let asked = Proposal::Recheck { by: "dev".to_owned(), mark: "1241".to_owned() };
    let happened = translated(&note("flaky\n\nrecheck")).expect("understood");
    let [Happening::Proposed { proposal, head, .. }] = &*happened else { panic!("{happened:?}") };
    assert_eq!((proposal, &head.change), (&asked, &change()));
    let others: &[fn(&mut Value)] = &[
        |body| body["object_attributes"]["note"] = json!("> recheck"),
        |body| body["object_attributes"]["noteable_type"] = json!("Issue"),
        |body| body["object_attributes"]["noteable_type"] = json!("Commit"),
        |body| body["object_attributes"]["system"] = json!(true),
        |body| body["object_attributes"]["action"] = json!("update"),
        |body| body["merge_request"]["state"] = json!("merged"),
    ];
    for change in others {
        let mut body = note("recheck");
        change(&mut body);
        assert!(matches!(translated(&body), Err(Untranslated::NotNeeded(_))), "{body}");
    }
    let mut own = note("recheck");
    own["user"]["username"] = json!("signalbox");
    assert_eq!(translated(&own), Err(Untranslated::Ours));
}

fn changed(project: &str, build: &str) -> Happening {
    Happening::BuildChanged { project: project.to_owned(), build: build.to_owned() }
}

#[test]
fn pipelines_and_jobs_are_a_reason_to_look() {
    let pipeline = json!({
        "object_kind": "pipeline", "project": project(), "merge_request": null,
        "object_attributes": {"id": 31, "ref": "main", "status": "a-state-of-tomorrow", "detailed_status": "passed with warnings",
            "variables": [{"key": "A", "value": "s3cret"}]},
        "builds": [{"id": 1, "name": "x", "runner": null}]
    });
    assert_eq!(translated(&pipeline), Ok(vec![changed("15", "31")]));
    let mut child = pipeline.clone();
    child["source_pipeline"] = json!({"project": {"id": 14}, "pipeline_id": 30, "job_id": 5});
    assert_eq!(translated(&child), Ok(vec![changed("15", "31"), changed("14", "30")]));

    // The header says `Job Hook`; `commit.id` is the pipeline's.
    let job = json!({"object_kind": "build", "project_id": 15, "build_id": 380, "build_status": "running", "commit": {"id": 2366}});
    assert_eq!(translated(&job), Ok(vec![changed("15", "2366")]));
    let newer = json!({"object_kind": "build", "project_id": "15", "pipeline_id": 2367, "commit": {"id": 2366}, "runner": null});
    assert_eq!(translated(&newer), Ok(vec![changed("15", "2367")]));
}

#[test]
fn what_nothing_is_done_about_is_no_error() {
    for kind in ["deployment", "release", "issue", "wiki_page", "feature_flag", "access_token", "a_kind_of_tomorrow"] {
        assert!(matches!(translated(&json!({"object_kind": kind})), Err(Untranslated::NotNeeded(_))), "{kind}");
    }
    let system = json!({"event_name": "project_create", "path_with_namespace": "a/b"});
    assert!(matches!(translated(&system), Err(Untranslated::NotNeeded(_))));
    assert!(matches!(translated(&json!({})), Err(Untranslated::Malformed { .. })));
}

// Threats 16 and 17.
#[test]
fn who_wrote_a_commit_and_where_a_body_says_that_the_source_is_change_nothing() {
    let plain = translated(&push("refs/heads/main", OLD, SHA)).expect("understood");
    let mut body = push("refs/heads/main", OLD, SHA);
    body["user_name"] = json!("signalbox");
    body["user_username"] = json!("signalbox");
    body["project"]["git_http_url"] = json!("https://evil.example.org/group/sub/hello.git");
    body["project"]["git_ssh_url"] = json!("git@evil.example.org:group/sub/hello.git");
    body["repository"] = json!({"url": "https://evil.example.org/x.git", "git_http_url": "https://evil.example.org/x.git"});
    body["commits"] = json!([{"id": SHA, "author": {"name": "signalbox", "email": "root@example.org"}}]);
    assert_eq!(translated(&body), Ok(plain));
    let ours = json!({"id": SHA, "author": {"name": "signalbox", "email": "signalbox@example.org"}});
    let request = with("open", |body| body["object_attributes"]["last_commit"] = ours.clone());
    assert_eq!(translated(&request), Ok(proposed(Proposal::Uploaded, false)));
    // A comment is whose account wrote it, not whose commit it is about.
    let mut comment = note("recheck");
    comment["merge_request"]["last_commit"] = ours;
    assert!(matches!(translated(&comment), Ok(happened) if happened.len() == 1));
}
