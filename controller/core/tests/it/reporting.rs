//! What the forge of a change is told.

use signalbox_contract::api::run::{Outcome, RerunFrom};
use signalbox_contract::{AttemptKey, FailureCode, Standing, Verdict};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::plan::{CdOrder, Request};
use signalbox_controller_core::{Act, Event, Reporting};

use crate::sample::{cd, failure, reviewed};
use crate::story::{BUILD, MIRROR, Story};

fn review() -> Story {
    Story::of(Request::Cd(Box::new(reviewed(cd("hello", None)))))
}

fn reporting(story: &Story) -> &Reporting {
    story.run().reporting.as_ref().expect("its forge is told")
}

/// What is to be told, and which telling it is.
fn pending(story: &Story) -> Option<(Standing, u32)> {
    let key = story.run().latest_key(MIRROR).expect("it has begun");
    let pending = story.desk.pending(key, Kind::Report)?;
    let Act::Report { serial } = pending.effect.act else { panic!("not a report") };
    Some((reporting(story).wanted, serial))
}

fn told(story: &mut Story, serial: u32) -> bool {
    let key = story.key(MIRROR);
    story.tell(&Event::Reported { key, serial, remarks: vec!["The label is gone.".to_owned()] })
}

#[test]
fn a_run_is_told_of_when_it_starts_and_when_it_has_ended_and_not_between() {
    let mut story = review();
    assert_eq!(pending(&story), Some((Standing::Started, 1)));
    assert!(told(&mut story, 1));
    assert_eq!(pending(&story), None);
    story.built();
    assert_eq!(pending(&story), Some((Standing::Passed, 2)));
    assert!(told(&mut story, 2));
    assert!(!told(&mut story, 2), "twice is once");
    assert_eq!((reporting(&story).told, pending(&story)), (Some(Standing::Passed), None));
    assert_eq!(reporting(&story).remarks, ["The label is gone."]);
}

#[test]
fn a_forge_that_was_away_is_told_the_end_alone() {
    let mut story = review();
    story.built();
    assert_eq!(pending(&story), Some((Standing::Passed, 2)), "the one took the other's place");
    assert!(!told(&mut story, 1), "what was told too late is told again");
    assert!(told(&mut story, 2));
}

#[test]
fn a_run_that_nobody_wants_to_hear_of_is_not_told_of() {
    let silent = CdOrder { vote: false, ..reviewed(cd("hello", None)) };
    for order in [silent, cd("hello", None), CdOrder { vote: true, ..cd("hello", None) }] {
        let mut story = Story::of(Request::Cd(Box::new(order)));
        story.built();
        assert_eq!(story.run().reporting, None);
    }
}

#[test]
fn what_was_stopped_lost_or_failed_by_a_machine_says_nothing_of_the_change() {
    let mut stopped = review();
    assert!(stopped.stop().is_ok());
    assert_eq!((stopped.outcome(), pending(&stopped)), (Some(Outcome::Stopped), Some((Standing::Undecided, 2))));
    let mut unreachable = review();
    assert!(unreachable.fails(MIRROR, Kind::Fetch, FailureCode::SourceUnreachable));
    assert_eq!((unreachable.outcome(), pending(&unreachable)), (Some(Outcome::Failed), Some((Standing::Undecided, 2))));
    let mut undefined = review();
    assert!(undefined.fails(MIRROR, Kind::Fetch, FailureCode::DefinitionInvalid));
    assert_eq!(pending(&undefined), Some((Standing::Failed, 2)));
}

#[test]
fn a_commit_that_a_newer_one_overtook_before_it_was_fetched_is_superseded() {
    let mut story = review();
    assert!(story.fails(MIRROR, Kind::Fetch, FailureCode::RefMoved));
    assert_eq!((story.outcome(), pending(&story)), (Some(Outcome::Superseded), Some((Standing::Undecided, 2))));
    let mut asked = Story::of(Request::Cd(Box::new(cd("hello", None))));
    assert!(asked.fails(MIRROR, Kind::Fetch, FailureCode::RefMoved));
    assert_eq!(asked.outcome(), Some(Outcome::Failed), "who asked by name is told");
}

#[test]
fn a_rerun_withdraws_what_was_said() {
    let mut story = review();
    story.fetched();
    assert!(story.fails(BUILD, Kind::Prepare, FailureCode::SourceDenied));
    assert_eq!(story.verdict(BUILD), Some(Verdict::Failed));
    assert!(told(&mut story, 2));
    assert!(story.rerun(RerunFrom::Failed).is_ok());
    assert_eq!(pending(&story), Some((Standing::Started, 3)));
}

#[test]
fn a_forge_that_refuses_is_not_asked_again_until_there_is_something_else_to_say() {
    let mut story = review();
    let key = story.key(MIRROR);
    assert!(story.tell(&Event::EffectFailed { key, kind: Kind::Report, failure: failure(FailureCode::Internal) }));
    assert!(reporting(&story).failure.is_some());
    assert_eq!(pending(&story), None);
    story.built();
    assert_eq!((pending(&story), &reporting(&story).failure), (Some((Standing::Passed, 2)), &None));
}

#[test]
fn what_was_said_before_a_rerun_does_not_hide_that_it_could_not_be_said_again() {
    let mut story = review();
    assert!(story.fails(MIRROR, Kind::Fetch, FailureCode::SourceUnreachable));
    assert!(told(&mut story, 2));
    // The rerun's start may be told, and its answer lost, before the same end comes once more.
    assert!(story.rerun(RerunFrom::Start).is_ok());
    assert!(story.fails(MIRROR, Kind::Fetch, FailureCode::SourceUnreachable));
    assert_eq!((reporting(&story).told, reporting(&story).wanted), (Some(Standing::Undecided), Standing::Undecided));
    assert!(!reporting(&story).settled(), "nobody knows what the forge shows");
    let spokesman = AttemptKey { run: story.id(), step: MIRROR, attempt: 1 };
    let refused = Event::EffectFailed { key: spokesman, kind: Kind::Report, failure: failure(FailureCode::Internal) };
    assert!(story.tell(&refused));
    assert!(reporting(&story).failure.is_some(), "that is said");
}

#[test]
fn why_a_run_was_stopped_is_said() {
    let mut story = review();
    let event = Event::StopRequested { by: "forge:gerrit".to_owned(), reason: Some("patch set 3 came".to_owned()) };
    assert!(story.desk.commit(story.id(), &event, None).is_ok());
    assert_eq!(story.run().reason, "Stopped: patch set 3 came.");
    assert_eq!(story.run().stopped_by.as_deref(), Some("forge:gerrit"));
}
