//! What each event means.

use signalbox_contract::change::{ChangeId, ReviewHead};

use super::*;
use crate::forge::{Closing, Proposal};

fn change() -> ChangeId {
    ChangeId { forge: "gerrit".parse().expect("a name"), project: "demo".to_owned(), number: 1 }
}

fn head() -> ReviewHead {
    ReviewHead {
        change: change(),
        patch_set: Some(2),
        sha: SHA.parse().expect("a commit"),
        ref_name: "refs/changes/01/1/2".parse().expect("a ref"),
        branch: "master".parse().expect("a branch"),
        topic: None,
        url: Some("https://gerrit.example.org/c/demo/+/1".parse().expect("an address")),
    }
}

fn proposed(proposal: Proposal) -> Vec<Happening> {
    vec![Happening::Proposed { head: head(), proposal, wip: false, private: false, hashtags: Vec::new(), follows: None }]
}

fn moved(ref_name: &str, sha: Option<&str>) -> Happening {
    let sha = sha.map(|sha| sha.parse().expect("a commit"));
    Happening::Moved { project: "demo".to_owned(), ref_name: ref_name.parse().expect("a ref"), sha, merged: None }
}

fn remove(value: &mut Value, name: &str) {
    value.as_object_mut().expect("an object").remove(name);
}

type Variation = fn(&mut Value);

#[test]
fn a_patch_set_is_understood_as_every_version_says_it() {
    let variations: &[(&str, Variation)] = &[
        ("3.10", |_| {}),
        ("numbers as strings, up to 2.x", |event| {
            event["change"]["number"] = json!("1");
            event["patchSet"]["number"] = json!("2");
            event["eventCreatedOn"] = json!("1795371318");
        }),
        ("the project as an object, webhooks", |event| {
            event["project"] = json!({"name": "demo"});
            event["changeKey"] = json!({"key": "I0000000000000000000000000000000000000001"});
        }),
        ("the change's project as an object", |event| event["change"]["project"] = json!({"name": "demo"})),
        ("no project in the change", |event| remove(&mut event["change"], "project")),
        ("no number: it stands in the ref", |event| remove(&mut event["change"], "number")),
        ("no number, no ref: it stands in the address", |event| {
            remove(&mut event["change"], "number");
            remove(&mut event["patchSet"], "ref");
        }),
        ("no ref: it can be told", |event| remove(&mut event["patchSet"], "ref")),
        ("no patch set's number: it stands in the ref", |event| remove(&mut event["patchSet"], "number")),
        ("no branch in the change", |event| remove(&mut event["change"], "branch")),
        ("a full branch", |event| event["change"]["branch"] = json!("refs/heads/master")),
        ("a commit in capitals", |event| event["patchSet"]["revision"] = json!(SHA.to_uppercase())),
        ("the patch set within the change", |event| {
            event["change"]["currentPatchSet"] = event["patchSet"].clone();
            remove(event, "patchSet");
        }),
        ("no time", |event| remove(event, "eventCreatedOn")),
        ("nobody's names", |event| {
            for name in ["owner", "uploader"] {
                remove(&mut event["change"], name);
            }
            event["uploader"] = json!({"username": ""});
        }),
        ("what nobody has heard of yet", |event| {
            event["hologram"] = json!({"deep": [1, 2, {"x": null}]});
            event["patchSet"]["kind"] = json!("SOMETHING_NEW");
            event["change"]["status"] = json!("SOMETHING_NEW");
        }),
    ];
    for (what, vary) in variations {
        assert_eq!(translated(&with("patchset-created", vary)), Ok(proposed(Proposal::Uploaded)), "{what}");
    }
}

#[test]
fn what_is_used_has_to_be_there() {
    let faults: &[(&str, Variation)] = &[
        ("patchSet", |event| remove(event, "patchSet")),
        ("patchSet.revision", |event| remove(&mut event["patchSet"], "revision")),
        ("patchSet.revision", |event| event["patchSet"]["revision"] = json!("HEAD")),
        ("patchSet.revision", |event| event["patchSet"]["revision"] = json!(NOTHING)),
        ("patchSet.ref", |event| event["patchSet"]["ref"] = json!("--upload-pack=x")),
        ("patchSet.ref", |event| event["patchSet"]["ref"] = json!("refs/heads/master")),
        ("change.branch", |event| event["change"]["branch"] = json!("a b")),
        ("change.number", |event| {
            for name in ["number", "url"] {
                remove(&mut event["change"], name);
            }
            remove(&mut event["patchSet"], "ref");
        }),
        ("change.number", |event| {
            event["change"]["number"] = json!(0);
        }),
        ("change.project", |event| {
            remove(event, "project");
            remove(&mut event["change"], "project");
        }),
        ("change.project", |event| {
            remove(event, "project");
            event["change"]["project"] = json!("a\u{0}b");
        }),
    ];
    for (field, vary) in faults {
        let error = translated(&with("patchset-created", vary)).expect_err(field);
        assert!(matches!(&error, Untranslated::Malformed { field: named, .. } if named == field), "{field}: {error:?}");
    }
}

#[test]
fn a_change_that_is_not_ready_says_so() {
    let tells: &[(Variation, bool, bool)] = &[
        (|event| event["change"]["wip"] = json!(true), true, false),
        (|event| event["change"]["private"] = json!(true), false, true),
        (|event| event["change"]["status"] = json!("DRAFT"), true, true),
        (|event| event["patchSet"]["isDraft"] = json!(true), true, true),
    ];
    for (vary, is_wip, is_private) in tells {
        let happened = translated(&with("patchset-created", vary)).expect("understood");
        let [Happening::Proposed { wip, private, .. }] = &*happened else { panic!("{happened:?}") };
        assert_eq!((wip, private), (is_wip, is_private));
    }
}

#[test]
fn topic_and_hashtags_come_along() {
    let event = with("patchset-created", |event| {
        event["change"]["topic"] = json!("t1");
        event["change"]["hashtags"] = json!(["h1", 7, "", "h 2"]);
    });
    let happened = translated(&event).expect("understood");
    let [Happening::Proposed { head, hashtags, .. }] = &*happened else { panic!("{happened:?}") };
    assert_eq!(head.topic.as_deref(), Some("t1"));
    assert_eq!(hashtags, &["h1", "h 2"]);
}

#[test]
fn a_change_that_is_restored_ready_or_public_again_is_ready() {
    for kind in ["change-restored", "wip-state-changed", "private-state-changed", "draft-published"] {
        assert_eq!(translated(&event(kind)), Ok(proposed(Proposal::Ready)), "{kind}");
    }
    for (kind, field) in [("wip-state-changed", "wip"), ("private-state-changed", "private")] {
        let happened = translated(&with(kind, |event| event["change"][field] = json!(true))).expect("understood");
        assert!(matches!(&*happened, [Happening::Proposed { proposal: Proposal::Seen, .. }]), "{happened:?}");
    }
}

#[test]
fn a_topic_or_hashtag_is_seen_where_the_patch_set_is_told_and_else_by_the_next_comparison() {
    for kind in ["topic-changed", "hashtags-changed", "private-state-changed", "custom-keyed-values-changed"] {
        assert!(matches!(&*translated(&event(kind)).expect("understood"), [Happening::Proposed { .. }]), "{kind}");
        let without = with(kind, |event| remove(event, "patchSet"));
        assert!(matches!(translated(&without), Err(Untranslated::NotNeeded(_))), "{kind}");
    }
}

#[test]
fn a_change_that_is_over_is_not_proposed_again() {
    for status in ["MERGED", "ABANDONED"] {
        for kind in ["patchset-created", "comment-added", "wip-state-changed", "topic-changed"] {
            let event = with(kind, |event| {
                event["change"]["status"] = json!(status);
                event["comment"] = json!("Patch Set 2:\n\nrecheck");
            });
            assert!(matches!(translated(&event), Err(Untranslated::NotNeeded(_))), "{status} {kind}");
        }
    }
}

#[test]
fn a_merge_closes_the_change_and_moves_its_branch_to_what_was_made() {
    // Not to the patch set's own commit: merged, rebased and picked changes have another.
    let event = with("change-merged", |event| event["newRev"] = json!(TIP));
    let branch = Happening::Moved {
        project: "demo".to_owned(),
        ref_name: "refs/heads/master".parse().expect("a ref"),
        sha: Some(TIP.parse().expect("a commit")),
        merged: Some(change()),
    };
    let closed = Happening::Closed { change: change(), closing: Closing::Merged };
    assert_eq!(translated(&event), Ok(vec![closed.clone(), branch]));
    // Old versions do not say it; there `ref-updated` does.
    assert_eq!(translated(&super::event("change-merged")), Ok(vec![closed]));
}

#[test]
fn an_abandoned_or_deleted_change_is_closed() {
    for (kind, closing) in [("change-abandoned", Closing::Abandoned), ("change-deleted", Closing::Deleted)] {
        let event = with(kind, |event| remove(event, "patchSet"));
        assert_eq!(translated(&event), Ok(vec![Happening::Closed { change: change(), closing }]), "{kind}");
    }
}

fn comment(text: &str) -> Value {
    with("comment-added", |event| {
        event["comment"] = json!(text);
        event["author"] = json!({"name": "Dev Eloper", "username": "dev"});
        event["approvals"] = json!([{"type": "Code-Review", "description": "Code-Review", "value": "1", "oldValue": "0"}]);
    })
}

#[test]
fn a_comment_that_asks_for_it_is_a_recheck() {
    let asked = proposed(Proposal::Recheck { by: "dev".to_owned(), mark: "1795371318".to_owned() });
    for text in [
        "Patch Set 2:\n\nrecheck",
        "Patch Set 2: Code-Review+1\n\nrecheck\n",
        "Patch Set 2: Code-Review-1 Verified+1\n\n(2 comments)\n\nthat was a hiccup\n\nRecheck.",
        "Patch Set 2: -Verified\n\n(1 inline comment)\n\nrecheck",
        "recheck",
    ] {
        assert_eq!(translated(&comment(text)), Ok(asked.clone()), "{text:?}");
    }
    let beside = with("comment-added", |event| {
        event["author"] = json!({"email": "dev@example.com", "username": "dev"});
        event["comment"] = json!("Patch Set 2:\n\n(1 comment)");
        event["patchSetComments"] = json!({"/PATCHSET_LEVEL": [{"message": "recheck"}]});
    });
    assert_eq!(translated(&beside), Ok(asked));
}

#[test]
fn other_comments_and_votes_ask_for_nothing() {
    for text in [
        "",
        "Patch Set 2: Code-Review+1",
        "Patch Set 2:\n\nplease do not recheck this",
        "Patch Set 2:\n\n> recheck\n\nWhy?",
        "Patch Set 2: recheck",
    ] {
        assert!(matches!(translated(&comment(text)), Err(Untranslated::NotNeeded(_))), "{text:?}");
    }
}

#[test]
fn our_own_comments_never_start_anything() {
    let ours: &[(&str, Variation)] = &[
        ("by username", |event| event["author"] = json!({"username": "robot"})),
        ("by address", |event| event["author"] = json!({"email": "robot@example.com"})),
        ("by address, with an empty username", |event| event["author"] = json!({"email": "robot@example.com", "username": ""})),
        ("by tag", |event| event["tag"] = json!("autogenerated:signalbox")),
        ("by its beginning, when nobody is named", |event| {
            remove(event, "author");
            event["comment"] = json!("Patch Set 2: Verified+1\n\nSignalbox: passed\n\nrecheck");
        }),
    ];
    for (what, vary) in ours {
        let mut event = comment("Patch Set 2: Verified+1\n\nrecheck");
        vary(&mut event);
        assert_eq!(translated(&event), Err(Untranslated::Ours), "{what}");
    }
}

#[test]
fn two_requests_of_one_person_have_marks_of_their_own() {
    let mark = |event: &Value| match &*translated(event).expect("understood") {
        [Happening::Proposed { proposal: Proposal::Recheck { mark, .. }, .. }] => mark.clone(),
        other => panic!("{other:?}"),
    };
    let first = comment("recheck");
    let mut second = comment("recheck");
    second["eventCreatedOn"] = json!(1_795_371_400);
    assert_ne!(mark(&first), mark(&second));
    // Without any time, what else differs has to do.
    let mut third = comment("recheck");
    remove(&mut third, "eventCreatedOn");
    assert!(!mark(&third).is_empty());
}

fn update(name: &str, old: &str, new: &str) -> Value {
    json!({"oldRev": old, "newRev": new, "refName": name, "project": "demo"})
}

fn ref_updated(name: &str, old: &str, new: &str) -> Value {
    json!({"type": "ref-updated", "eventCreatedOn": 1, "refUpdate": update(name, old, new)})
}

#[test]
fn branches_and_tags_move_whatever_form_their_names_have() {
    for (name, full) in [
        ("master", "refs/heads/master"),
        ("feature/a", "refs/heads/feature/a"),
        ("refs/heads/master", "refs/heads/master"),
        ("refs/tags/v1", "refs/tags/v1"),
    ] {
        assert_eq!(translated(&ref_updated(name, TIP, SHA)), Ok(vec![moved(full, Some(SHA))]), "{name}");
        assert_eq!(translated(&ref_updated(name, NOTHING, SHA)), Ok(vec![moved(full, Some(SHA))]), "{name} created");
        assert_eq!(translated(&ref_updated(name, SHA, NOTHING)), Ok(vec![moved(full, None)]), "{name} deleted");
    }
    let mut as_object = ref_updated("master", TIP, SHA);
    as_object["refUpdate"]["project"] = json!({"name": "demo"});
    assert_eq!(translated(&as_object), Ok(vec![moved("refs/heads/master", Some(SHA))]));
}

#[test]
fn the_refs_that_gerrit_keeps_for_itself_are_left_alone() {
    for name in [
        "refs/changes/01/1/2",
        "refs/changes/01/1/meta",
        "refs/meta/config",
        "refs/users/01/1000001",
        "refs/cache-automerge/3d/d5b154",
        "refs/sequences/changes",
        "refs/notes/review",
        "refs/groups/ab/abc",
        "refs/starred-changes/01/1/1000001",
        "HEAD",
    ] {
        assert!(matches!(translated(&ref_updated(name, TIP, SHA)), Err(Untranslated::NotNeeded(_))), "{name}");
    }
}

// Threat 33.
#[test]
fn many_refs_at_once_are_taken_one_by_one() {
    let batch = |updates: Vec<Value>| json!({"type": "batch-ref-updated", "eventCreatedOn": 1, "refUpdates": updates});
    let own = update("refs/changes/01/1/meta", TIP, SHA);
    let broken = update("refs/heads/b\u{f6}se", TIP, SHA);
    let good = update("refs/heads/master", TIP, SHA);
    assert_eq!(translated(&batch(vec![own.clone(), broken.clone(), good.clone()])), Ok(vec![moved("refs/heads/master", Some(SHA))]));
    assert!(matches!(translated(&batch(vec![own])), Err(Untranslated::NotNeeded(_))));
    assert!(matches!(translated(&batch(vec![broken])), Err(Untranslated::Malformed { .. })));
    assert_eq!(translated(&batch(vec![good; 10_000])), Ok(vec![Happening::Missed]));
}

#[test]
fn lost_events_are_said_to_be_lost() {
    assert_eq!(translated(&json!({"type": "dropped-output"})), Ok(vec![Happening::Missed]));
}

#[test]
fn what_nothing_is_done_about_is_no_error() {
    for kind in [
        "reviewer-added",
        "reviewer-deleted",
        "vote-deleted",
        "assignee-changed",
        "merge-failed",
        "project-created",
        "project-head-updated",
        "ref-replicated",
        "ref-replication-done",
        "rerun-check",
        "an-event-of-tomorrow",
        "<script>",
    ] {
        assert!(matches!(translated(&event(kind)), Err(Untranslated::NotNeeded(_))), "{kind}");
    }
    assert!(matches!(translated(&json!({"change": {}})), Err(Untranslated::Malformed { .. })));
}

#[test]
fn the_number_and_not_the_change_id_tells_changes_apart() {
    // The same Change-Id stands on several branches.
    let other = with("change-abandoned", |event| {
        event["change"]["number"] = json!(235_852);
        event["change"]["branch"] = json!("stable");
    });
    let [Happening::Closed { change: found, .. }] = &*translated(&other).expect("understood") else { panic!("closed") };
    assert_ne!(*found, change());
}
