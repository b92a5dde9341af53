//! Which job is built, and whether it can make what is asked for.

use signalbox_contract::api::run::Outcome;
use signalbox_contract::{FailureCode, Verdict};
use signalbox_controller_core::plan::{CdOrder, Request, Work, resolve};

use crate::sample::{cd, job, job_file, main_job, named, target};
use crate::story::{BUILD, MIRROR, Story};

fn chosen(order: &CdOrder, jobs: &[&str]) -> Result<String, FailureCode> {
    let steps = resolve(order, &named("refs/heads/main"), job_file(jobs)).map_err(|failure| failure.code)?;
    match &steps[0].work {
        Work::Build { definition, .. } => Ok(definition.job().expect("a job").to_string()),
        other => panic!("{other:?} is no build"),
    }
}

#[test]
fn the_job_that_is_named_is_built() {
    let order = CdOrder { job: Some(named("nightly")), ..cd("hello", None) };
    assert_eq!(chosen(&order, &["cd", "nightly"]), Ok("nightly".to_owned()));
    assert_eq!(chosen(&order, &["cd"]), Err(FailureCode::JobNotFound));
    assert_eq!(chosen(&order, &[]), Err(FailureCode::JobNotFound));
}

#[test]
fn without_a_name_the_job_cd_is_built_or_else_the_only_one() {
    let order = cd("hello", None);
    assert_eq!(chosen(&order, &["a", "cd", "z"]), Ok("cd".to_owned()));
    assert_eq!(chosen(&order, &["a"]), Ok("a".to_owned()));
    assert_eq!(chosen(&order, &["a", "b"]), Err(FailureCode::JobAmbiguous));
    assert_eq!(chosen(&order, &[]), Err(FailureCode::JobNotFound));
}

#[test]
fn an_ambiguous_job_fails_the_run_and_says_what_to_name() {
    let mut story = Story::of(main_job());
    assert!(story.fetched_with(job_file(&["a", "b"])));
    assert_eq!(story.outcome(), Some(Outcome::Failed));
    assert_eq!(story.verdict(MIRROR), Some(Verdict::Failed));
    assert!(story.run().reason.contains("a, b"), "{}", story.run().reason);
    story.is_over();
}

#[test]
fn an_artifact_that_the_job_does_not_declare_fails_the_run_before_anything_is_built() {
    let mut story = Story::of(main_job());
    let mut file = job_file(&["cd"]);
    file.jobs.insert(named("cd"), job(&["other"]));
    assert!(story.fetched_with(file));
    assert_eq!(story.outcome(), Some(Outcome::Failed));
    assert!(story.run().reason.contains("It declares: other."), "{}", story.run().reason);
    assert_eq!(story.run().steps.len(), 1);
    story.is_over();
}

// Threat 69.
#[test]
fn a_job_publishes_only_what_the_token_that_started_it_may_publish() {
    let order = CdOrder { artifacts: vec![named("mine-*")], ..cd("hello", None) };
    let file = |artifacts: &[&str]| {
        let mut file = job_file(&["cd"]);
        file.jobs.insert(named("cd"), job(artifacts));
        file
    };
    assert!(resolve(&order, &named("refs/heads/main"), file(&["mine-1", "mine-2"])).is_ok());
    let refused = resolve(&order, &named("refs/heads/main"), file(&["mine-1", "theirs"])).expect_err("not covered");
    assert_eq!(refused.code, FailureCode::ArtifactNotAllowed);
    assert!(refused.detail.contains("theirs"), "{refused}");
}

// Threat 69.
#[test]
fn what_the_commit_says_cannot_change_where_it_is_built_or_deployed() {
    let order = CdOrder { executor: named("big"), ..cd("hello", Some(("hello", target("production", "site")))) };
    let steps = resolve(&order, &named("refs/heads/main"), job_file(&["cd"])).expect("resolved");
    assert!(matches!(&steps[0].work, Work::Build { executor, .. } if executor.as_str() == "big"));
    assert_eq!(steps[1].work.target(), Some(&target("production", "site")));
    assert_eq!((steps[0].needs.as_slice(), steps[1].needs.as_slice()), ([0].as_slice(), [1].as_slice()));
}

#[test]
fn a_plan_that_was_never_resolved_is_resolved_anew_by_a_rerun() {
    let mut story = Story::of(Request::Cd(Box::new(cd("hello", None))));
    assert!(story.fetched_with(job_file(&["a", "b"])));
    assert!(story.rerun(signalbox_contract::api::run::RerunFrom::Failed).is_ok());
    assert_eq!(story.run().sha, None, "nothing of it was frozen");
    story.fetched();
    assert_eq!(story.phase(BUILD), "preparing");
}
