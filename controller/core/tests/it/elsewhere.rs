//! Builds at a server that has a mirror of its own, and that begins them by itself when something is pushed there.

use signalbox_contract::api::run::Outcome;
use signalbox_contract::api::vcs::{Naming, RefsAction};
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::{FailureCode, Verdict};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::plan::{CdOrder, Native, Pick, Request, Route, Work, resolve_native};
use signalbox_controller_core::{Act, Event};

use crate::sample::{cd, elsewhere, named, native_job, sha, target};
use crate::story::{BUILD, DEPLOY, Story};

/// A run that was handed over, and whose build is waited for.
fn expected() -> Story {
    let mut story = Story::of(native_job());
    story.starting();
    assert!(story.tell(&Event::Started { key: story.key(BUILD), build: None }));
    story
}

fn found(story: &mut Story, build: &str) {
    assert!(story.tell(&Event::Found { key: story.key(BUILD), build: Some(build.to_owned()), surplus: Vec::new() }));
}

#[test]
fn what_is_newest_is_known_before_the_push_that_begins_the_build() {
    let mut story = Story::of(native_job());
    story.fetched();
    let Some(Act::Prepare(intent)) = story.act(BUILD, Kind::Prepare) else { panic!("first the executor is asked") };
    assert_eq!((intent.naming, &intent.sha), (Naming::Same, &sha(7)));
    assert!(story.act(BUILD, Kind::Publish).is_none());
    story.prepared();
    let Some(Act::Publish(request)) = story.act(BUILD, Kind::Publish) else { panic!("then the ref is pushed") };
    assert_eq!(request.mirror.as_ref().map(AsRef::as_ref), Some("forge"));
    assert_eq!(
        (request.naming, request.original.as_ref().map(signalbox_contract::RefName::as_str)),
        (Naming::Same, Some("refs/heads/main"))
    );
    story.published();
    assert!(matches!(story.act(BUILD, Kind::Start), Some(Act::Start(order)) if order.published.moved));
    assert!(story.tell(&Event::Started { key: story.key(BUILD), build: None }));
    assert_eq!((story.phase(BUILD), story.run().stopped_by.as_ref()), ("expected", None));
    assert!(matches!(story.act(BUILD, Kind::Find), Some(Act::Find(at)) if at.anchor.as_deref() == Some("41")));
    found(&mut story, "42");
    story.ended(Verdict::Success);
    story.sealed();
    story.deployed(DEPLOY, &[signalbox_contract::api::deploy::HostOutcome::Switched]);
    assert_eq!(story.outcome(), Some(Outcome::Passed));
    story.is_over();
    let removed = story.desk.effects.values().find_map(|pending| match &pending.effect.act {
        Act::Unpublish(request) => Some(request.clone()),
        _ => None,
    });
    let removed = removed.expect("what was published is taken away");
    assert_eq!((removed.action, removed.naming), (RefsAction::Remove, Naming::Same), "and how it was named is said");
}

#[test]
fn a_build_that_never_comes_fails_with_words_and_only_once_it_is_sure_that_it_never_runs() {
    let (mut late, mut never, mut unfound) = (expected(), expected(), expected());
    late.late(BUILD);
    assert!(never.tell(&Event::Found { key: never.key(BUILD), build: None, surplus: Vec::new() }));
    assert!(unfound.fails(BUILD, Kind::Find, FailureCode::WorkerUnavailable));
    for mut story in [late, never, unfound] {
        assert_eq!(story.phase(BUILD), "stopping");
        assert!(story.fenced());
        let failure = story.attempt(BUILD).failure.clone().expect("a failure");
        assert_eq!((failure.code, story.outcome()), (FailureCode::BuildNeverCame, Some(Outcome::Failed)));
        assert!(failure.detail.contains("local") && failure.hint.contains("rules"), "{failure}");
        assert_eq!(story.run().steps[1].attempts.len(), 1, "to try it again would come to the same");
        story.is_over();
    }
}

#[test]
fn a_build_has_its_own_time_however_late_it_came() {
    let mut story = expected();
    let expected = story.attempt(BUILD).deadline;
    story.desk.seconds += 500;
    found(&mut story, "42");
    assert!(story.attempt(BUILD).deadline > expected);
}

#[test]
fn one_build_of_a_ref_at_a_time_is_under_way_and_others_wait_without_taking_room() {
    let mut story = Story::of(native_job());
    story.tracking();
    let first = story.id();
    let second = story.another(native_job());
    story.fetched();
    assert_eq!(story.phase(BUILD), "waiting");
    let waits = signalbox_controller_core::view::view(story.run(), Vec::new()).steps[1].reason.clone();
    assert_eq!(waits, "waits until no other build of main is under way at forge");
    assert_eq!(story.desk.resource(&crate::sample::executor("local")).claims().count(), 1, "it keeps no place from others");
    story.another(Request::Cd(Box::new(elsewhere(cd("other", None)))));
    story.fetched();
    assert_eq!(story.phase(BUILD), "preparing", "another repository's ref is another");
    story.id = Some(first);
    story.ended(Verdict::Failed);
    story.sealed();
    story.id = Some(second);
    assert_eq!(story.phase(BUILD), "preparing");
}

#[test]
fn a_run_that_is_stopped_while_it_waits_for_a_ref_gives_up_its_place() {
    let mut story = Story::of(native_job());
    story.tracking();
    story.another(native_job());
    story.fetched();
    assert!(story.stop().is_ok());
    assert_eq!(story.outcome(), Some(Outcome::Stopped));
    assert_eq!(story.desk.resources.values().map(|resource| resource.claims().count()).sum::<usize>(), 2, "only the first holds any");
}

#[test]
fn a_push_that_is_called_off_is_waited_for_and_what_it_began_is_cancelled() {
    let pushing = || {
        let mut story = Story::of(native_job());
        story.fetched();
        story.prepared();
        assert!(story.stop().is_ok());
        assert_eq!(story.phase(BUILD), "publishing", "nobody knows yet whether it has begun something");
        story
    };
    let (mut through, mut failed, mut late) = (pushing(), pushing(), pushing());
    through.published();
    assert!(failed.fails(BUILD, Kind::Publish, FailureCode::WorkerUnavailable));
    late.late(BUILD);
    for mut story in [through, failed, late] {
        assert_eq!(story.phase(BUILD), "stopping");
        assert!(story.fenced());
        assert_eq!((story.verdict(BUILD), story.outcome()), (Some(Verdict::Aborted), Some(Outcome::Stopped)));
        story.is_over();
    }
}

#[test]
fn a_push_of_which_nobody_knows_is_fenced_and_one_that_was_refused_began_nothing() {
    for (code, phase) in [(FailureCode::WorkerUnavailable, "stopping"), (FailureCode::SourceDenied, "ended")] {
        let mut story = Story::of(native_job());
        story.fetched();
        story.prepared();
        assert!(story.fails(BUILD, Kind::Publish, code));
        assert_eq!(story.phase(BUILD), phase, "{code:?}");
    }
}

#[test]
fn a_build_of_another_commit_is_cancelled_and_ours_is_tried_again() {
    let other = |story: &Story, state| {
        Event::Observed(Observation { sha: Some(sha(9)), ..Observation::new(story.key(BUILD), "42", Stamp(1), state) })
    };
    let (mut running, mut over) = (expected(), expected());
    for story in [&mut running, &mut over] {
        found(story, "42");
    }
    let event = other(&running, BuildState::Running);
    assert!(running.tell(&event));
    assert!(matches!(running.act(BUILD, Kind::Cancel), Some(Act::Cancel(at)) if at.build.as_deref() == Some("42")));
    running.ended(Verdict::Aborted);
    let event = other(&over, BuildState::Ended { verdict: Verdict::Success, class: None, reason: String::new() });
    assert!(over.tell(&event));
    for mut story in [running, over] {
        assert!(matches!(story.act(BUILD, Kind::Seal), Some(Act::Seal { publish: false, .. })), "what it made is not ours");
        story.sealed();
        let first = &story.run().steps[1].attempts[0];
        assert_eq!(first.verdict, Some(Verdict::Lost));
        assert!(first.failure.as_ref().is_some_and(|failure| failure.detail.contains(sha(9).as_str())));
        assert_eq!((story.key(BUILD).attempt, story.phase(BUILD)), (2, "preparing"));
    }
}

#[test]
fn duplicates_that_a_race_made_are_shown() {
    let mut story = expected();
    let surplus = vec!["43".to_owned(), "44".to_owned()];
    assert!(story.tell(&Event::Found { key: story.key(BUILD), build: Some("42".to_owned()), surplus }));
    let shown = signalbox_controller_core::view::view(story.run(), Vec::new()).steps[1].attempts[0].remarks.clone();
    assert!(shown.len() == 2 && shown[0].contains("43") && shown[1].contains("44"), "{shown:?}");
}

#[test]
fn what_a_native_build_made_is_looked_for_where_the_server_says() {
    let pick = |name: &str, part: Option<&str>| Pick { name: named(name), part: part.map(str::to_owned), path: Some(named("out/x")) };
    let native = Native { file: None, picks: vec![pick("hello", Some("build")), pick("theirs", None)] };
    let order = CdOrder { artifacts: vec![named("h*")], ..cd("hello", Some(("hello", target("test", "hello")))) };
    let picks = |order: &CdOrder| {
        let steps = resolve_native(order, &named("refs/heads/main"), &native).expect("resolved");
        let Work::Build { definition, .. } = &steps[0].work else { panic!("a build") };
        definition.picks().to_vec()
    };
    assert_eq!(picks(&order), [pick("hello", Some("build"))], "only what whoever asks may publish");
    let unsaid = CdOrder { deploy: Some((named("h/tool"), target("test", "hello"))), artifacts: vec![named("h/*")], ..order.clone() };
    assert_eq!(picks(&unsaid), [Pick::named(named("h/tool"))], "what is not configured is looked for by its name");
    let refused = resolve_native(&CdOrder { artifacts: Vec::new(), ..order }, &named("refs/heads/main"), &native);
    assert_eq!(refused.map_err(|failure| failure.code), Err(FailureCode::ArtifactNotAllowed));
}

#[test]
fn an_artifact_that_is_not_there_is_named_with_its_place() {
    let native = Native {
        file: None,
        picks: vec![Pick { name: named("hello"), part: Some("package".to_owned()), path: Some(named("out/hello.tar")) }],
    };
    let route = Route { mirror: Some(named("forge")), naming: None, native: Some(native) };
    let mut story = Story::of(Request::Cd(Box::new(CdOrder { route, ..cd("hello", Some(("hello", target("test", "hello")))) })));
    story.tracking();
    story.ended(Verdict::Success);
    assert!(matches!(story.act(BUILD, Kind::Seal), Some(Act::Seal { picks, .. }) if picks.len() == 1));
    assert!(story.tell(&Event::Sealed { key: story.key(BUILD), artifacts: Vec::new(), remarks: Vec::new() }));
    let failure = story.attempt(BUILD).failure.clone().expect("a failure");
    assert_eq!(failure.code, FailureCode::ArtifactMissing);
    assert!(failure.detail.contains("out/hello.tar") && failure.detail.contains("package"), "{failure}");
}

#[test]
fn only_branches_and_tags_of_a_mirror_elsewhere_keep_their_names() {
    let route = |naming| Route { mirror: Some(named("forge")), naming, native: None };
    let of = |naming, name: &str| route(naming).naming_of(&named(name), false);
    assert_eq!(of(None, "refs/heads/main"), Naming::Same);
    assert_eq!(of(None, "refs/tags/v1"), Naming::Same);
    for review in ["refs/changes/41/1041/3", "refs/merge-requests/7/head", "refs/heads/cd/0abc-1-1"] {
        assert_eq!(of(None, review), Naming::Run, "{review}");
        assert_eq!(of(Some(Naming::Same), review), Naming::Run, "{review}");
    }
    assert_eq!(of(Some(Naming::Run), "refs/heads/main"), Naming::Run);
    let with_inputs = route(None).naming_of(&named("refs/heads/main"), true);
    assert_eq!(with_inputs, Naming::Run, "a push carries no inputs");
    assert_eq!(of(Some(Naming::Replace), "refs/changes/41/1041/3"), Naming::Replace);
    assert_eq!(Route::default().naming_of(&named("refs/heads/main"), false), Naming::Run, "our own mirror begins nothing");
}
