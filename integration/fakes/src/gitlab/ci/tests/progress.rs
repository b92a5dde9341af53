//! How pipelines go on.

use proptest::prelude::*;

use crate::gitlab::ci::When;
use crate::gitlab::ci::progress::{JobState, Status, has_warnings, next, revive, status};

fn job(name: &str, stage: usize) -> JobState {
    JobState { name: name.to_owned(), stage, needs: None, when: When::OnSuccess, allow_failure: false, status: Status::Created }
}

fn needing(name: &str, stage: usize, needs: &[&str]) -> JobState {
    JobState { needs: Some(needs.iter().map(|need| (*need).to_owned()).collect()), ..job(name, stage) }
}

fn go_on(jobs: &mut [JobState]) {
    for change in next(jobs) {
        jobs[change.job].status = change.to;
    }
}

fn end(jobs: &mut [JobState], name: &str, ended: Status) {
    jobs.iter_mut().find(|job| job.name == name).unwrap().status = ended;
    go_on(jobs);
}

fn states(jobs: &[JobState]) -> Vec<&'static str> {
    jobs.iter().map(|job| job.status.word()).collect()
}

#[test]
fn a_stage_waits_for_the_one_before() {
    let mut jobs = [job("a", 0), job("b", 0), job("c", 1)];
    go_on(&mut jobs);
    assert_eq!((states(&jobs), status(&jobs)), (vec!["pending", "pending", "created"], Status::Pending));
    end(&mut jobs, "a", Status::Success);
    assert_eq!((jobs[2].status, status(&jobs)), (Status::Created, Status::Running));
    end(&mut jobs, "b", Status::Success);
    assert_eq!((jobs[2].status, status(&jobs)), (Status::Pending, Status::Running));
    end(&mut jobs, "c", Status::Success);
    assert_eq!(status(&jobs), Status::Success);
}

#[test]
fn a_failure_skips_the_rest_and_wakes_those_that_wait_for_it() {
    let mut jobs = [
        job("a", 0),
        job("b", 1),
        JobState { when: When::OnFailure, ..job("mourn", 1) },
        JobState { when: When::Always, ..job("clean", 2) },
    ];
    go_on(&mut jobs);
    end(&mut jobs, "a", Status::Failed);
    assert_eq!(states(&jobs), ["failed", "skipped", "pending", "created"]);
    end(&mut jobs, "mourn", Status::Success);
    assert_eq!(jobs[3].status, Status::Pending);
    end(&mut jobs, "clean", Status::Success);
    assert_eq!(status(&jobs), Status::Failed);
}

#[test]
fn a_failure_that_is_allowed_is_a_warning() {
    let mut jobs = [JobState { allow_failure: true, ..job("a", 0) }, job("b", 1)];
    go_on(&mut jobs);
    end(&mut jobs, "a", Status::Failed);
    end(&mut jobs, "b", Status::Success);
    assert_eq!((status(&jobs), has_warnings(&jobs)), (Status::Success, true));
}

#[test]
fn a_manual_job_blocks_only_when_it_may_not_fail() {
    let manual = |allowed| [JobState { when: When::Manual, allow_failure: allowed, ..job("ask", 0) }, job("after", 1)];
    let mut optional = manual(true);
    go_on(&mut optional);
    assert_eq!((states(&optional), status(&optional)), (vec!["manual", "pending"], Status::Pending));
    end(&mut optional, "after", Status::Success);
    assert_eq!(status(&optional), Status::Success);
    let mut blocking = manual(false);
    go_on(&mut blocking);
    assert_eq!((states(&blocking), status(&blocking)), (vec!["manual", "created"], Status::Manual));
    end(&mut blocking, "ask", Status::Success);
    assert_eq!(blocking[1].status, Status::Pending);
}

#[test]
fn needs_overtake_stages() {
    let mut jobs = [job("a", 0), job("slow", 0), needing("b", 1, &["a"]), needing("now", 2, &[]), job("c", 2)];
    go_on(&mut jobs);
    assert_eq!(states(&jobs), ["pending", "pending", "created", "pending", "created"]);
    end(&mut jobs, "a", Status::Success);
    assert_eq!(jobs[2].status, Status::Pending);
    end(&mut jobs, "b", Status::Failed);
    end(&mut jobs, "now", Status::Success);
    end(&mut jobs, "slow", Status::Success);
    assert_eq!((jobs[4].status, status(&jobs)), (Status::Skipped, Status::Failed));
}

#[test]
fn who_needs_a_skipped_job_is_skipped_and_revived_with_it() {
    let mut jobs = [job("a", 0), needing("b", 1, &["a"]), needing("c", 1, &["b"]), job("d", 2)];
    go_on(&mut jobs);
    end(&mut jobs, "a", Status::Failed);
    assert_eq!(states(&jobs), ["failed", "skipped", "skipped", "skipped"]);
    jobs[0].status = Status::Pending;
    for change in revive(&jobs, "a") {
        jobs[change.job].status = change.to;
    }
    assert_eq!(states(&jobs), ["pending", "created", "created", "created"]);
    end(&mut jobs, "a", Status::Success);
    assert_eq!(jobs[1].status, Status::Pending);
}

#[test]
fn a_delayed_job_is_scheduled_and_a_cancelled_one_ends_the_pipeline() {
    let mut jobs = [JobState { when: When::Delayed(60), ..job("later", 0) }, job("b", 1)];
    go_on(&mut jobs);
    assert_eq!((states(&jobs), status(&jobs)), (vec!["scheduled", "created"], Status::Scheduled));
    end(&mut jobs, "later", Status::Canceled);
    assert_eq!((jobs[1].status, status(&jobs)), (Status::Skipped, Status::Canceled));
}

fn any_job(at: usize) -> impl Strategy<Value = JobState> {
    let when = prop_oneof![
        5 => Just(When::OnSuccess),
        1 => Just(When::OnFailure),
        1 => Just(When::Always),
        1 => Just(When::Manual),
        1 => Just(When::Delayed(1)),
    ];
    let needs = prop::option::of(prop::collection::vec(0..at.max(1), 0..3));
    (when, any::<bool>(), needs).prop_map(move |(when, allow_failure, needs)| JobState {
        name: format!("job-{at}"),
        // Stages rise with the numbers, so that whatever is needed stands in the same stage or an earlier one.
        stage: at / 3,
        needs: needs.map(|needs| needs.into_iter().filter(|need| *need < at).map(|need| format!("job-{need}")).collect()),
        when,
        allow_failure,
        status: Status::Created,
    })
}

fn any_pipeline() -> impl Strategy<Value = (Vec<JobState>, Vec<(usize, u8)>)> {
    let jobs = (1..12_usize).prop_flat_map(|count| (0..count).map(any_job).collect::<Vec<_>>());
    (jobs, prop::collection::vec((any::<usize>(), any::<u8>()), 64))
}

proptest! {
    #[test]
    fn every_pipeline_ends_and_nothing_starts_too_early((mut jobs, luck) in any_pipeline()) {
        for (which, outcome) in luck {
            let changes = next(&jobs);
            for change in &changes {
                let changed = &jobs[change.job];
                prop_assert_eq!(changed.status, Status::Created);
                let Some(needs) = changed.needs.as_ref().filter(|_| change.to == Status::Pending) else { continue };
                let needed: Vec<&JobState> = jobs.iter().filter(|job| needs.contains(&job.name)).collect();
                let now = |job: &JobState| {
                    let decided = changes.iter().find(|change| jobs[change.job].name == job.name);
                    decided.map_or(job.status, |change| change.to)
                };
                // GitLab does not wait for the others once one of them is skipped, which matters to jobs that always run.
                let hopeless = needed.iter().any(|job| matches!(now(job), Status::Skipped | Status::Manual));
                prop_assert!(hopeless || needed.iter().all(|job| now(job).is_complete()), "{} started too early", changed.name);
            }
            for change in changes {
                jobs[change.job].status = change.to;
            }
            prop_assert!(next(&jobs).is_empty(), "what was decided once is decided");
            let waiting: Vec<usize> = (0..jobs.len()).filter(|at| matches!(jobs[*at].status, Status::Pending | Status::Scheduled | Status::Manual)).collect();
            let Some(at) = waiting.get(which % waiting.len().max(1)) else { break };
            jobs[*at].status = match outcome % 4 {
                0 => Status::Failed,
                1 => Status::Canceled,
                _ => Status::Success,
            };
        }
        prop_assert!(jobs.iter().all(|job| job.status.is_complete()), "{:?}", jobs);
        let failed = jobs.iter().any(|job| job.status == Status::Failed && !job.allow_failure);
        let all = status(&jobs);
        prop_assert!(all.is_complete());
        prop_assert_eq!(all == Status::Failed, failed);
    }
}
