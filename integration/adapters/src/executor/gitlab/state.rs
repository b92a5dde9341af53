//! What GitLab's states are in our words. Pure.

use jiff::{SignedDuration, Timestamp};
use signalbox_contract::build::{BuildState, PartState, Stamp};
use signalbox_contract::{FailureClass, Verdict};

use super::gather::{Gathered, GatheredJob};
use super::place::PipelineRef;
use crate::gitlab::{Job, Status, plain};

/// How many jobs are named in a sentence.
const NAMED: usize = 5;

/// How long a job waits for a runner before that is called long.
const LONG: SignedDuration = SignedDuration::from_mins(1);

/// The state of a whole build.
pub(super) fn build(gathered: &Gathered, now: Timestamp) -> BuildState {
    let pipeline = &gathered.pipeline;
    let jobs = &gathered.jobs;
    match &pipeline.status {
        // One that is being cancelled still runs until its jobs have given in.
        Status::Running | Status::Canceling => BuildState::Running,
        Status::Success => ended(Verdict::Success, None, forgiven(jobs)),
        Status::Failed => failed(gathered),
        Status::Canceled => ended(Verdict::Aborted, None, "The pipeline was cancelled.".to_owned()),
        Status::Skipped => ended(
            Verdict::Skipped,
            Some(FailureClass::Work),
            "GitLab skipped the pipeline. A commit message with [ci skip] or [skip ci] does that, and so do rules.".to_owned(),
        ),
        Status::Manual => waiting(match named(jobs, |job| job.status == Status::Manual) {
            Some(names) => format!("Somebody has to start a job by hand in GitLab: {names}."),
            None => "Somebody has to go on by hand in GitLab.".to_owned(),
        }),
        Status::Scheduled => waiting("A delayed job begins later.".to_owned()),
        Status::Pending => waiting(longest_wait(jobs, now).unwrap_or_else(|| "It waits for a runner.".to_owned())),
        Status::Created => waiting("GitLab has made the pipeline.".to_owned()),
        Status::WaitingForResource => waiting("It waits for a resource group.".to_owned()),
        Status::Preparing => waiting("GitLab prepares it.".to_owned()),
        Status::WaitingForCallback => waiting("It waits for an answer from outside of GitLab.".to_owned()),
        Status::Other(word) => unknown(word, pipeline.started_at),
    }
}

/// The state of one job.
pub(super) fn part(gathered: &GatheredJob, build: PipelineRef, now: Timestamp) -> PartState {
    let job = &gathered.job;
    let state = match &job.status {
        Status::Running | Status::Canceling => BuildState::Running,
        Status::Success => ended(Verdict::Success, None, String::new()),
        Status::Failed => {
            let cause = Cause::of(job.failure_reason.as_deref());
            ended(cause.verdict, Some(cause.class), cause.words)
        }
        Status::Canceled => ended(Verdict::Aborted, None, String::new()),
        Status::Skipped => ended(Verdict::Skipped, None, String::new()),
        Status::Manual => waiting("Somebody has to start it by hand in GitLab.".to_owned()),
        Status::Scheduled => waiting("It is delayed.".to_owned()),
        Status::Pending => waiting(wait_for_runner(job, now).unwrap_or_else(|| "It waits for a runner.".to_owned())),
        Status::Created => waiting("It waits for the stages or jobs before it.".to_owned()),
        Status::WaitingForResource => waiting("It waits for a resource group.".to_owned()),
        Status::Preparing => waiting("GitLab prepares it.".to_owned()),
        Status::WaitingForCallback => waiting("It waits for an answer from outside of GitLab.".to_owned()),
        Status::Other(word) => unknown(word, job.started_at),
    };
    PartState {
        stage: job.stage.as_deref().map(plain).filter(|stage| !stage.is_empty()),
        may_fail: job.allow_failure.unwrap_or(false),
        // A job that no runner took has printed nothing.
        has_log: !gathered.is_bridge && job.started_at.is_some() && job.erased_at.is_none(),
        started_at: job.started_at,
        finished_at: job.finished_at,
        url: job.web_url.clone().filter(|url| matches!(url.scheme(), "http" | "https")),
        ..PartState::new(gathered.at.name(build), gathered.title(), state)
    }
}

/// How new this is. A pipeline's own time moves only with its state, so its jobs' times and states are counted in: each
/// can only go on, and a job that is tried again is a new one.
pub(super) fn stamp(gathered: &Gathered) -> Stamp {
    let pipeline = &gathered.pipeline;
    let jobs = gathered.jobs.iter().map(|gathered| &gathered.job);
    let of_jobs = jobs.clone().flat_map(|job| [job.created_at, job.started_at, job.finished_at, job.erased_at]);
    let times = of_jobs.chain([pipeline.created_at, pipeline.updated_at, pipeline.started_at, pipeline.finished_at]);
    let newest = times.flatten().map(Timestamp::as_millisecond).max().unwrap_or(0);
    let progress: u64 = jobs.map(|job| rank(&job.status)).sum::<u64>() + rank(&pipeline.status);
    Stamp((u64::try_from(newest).unwrap_or(0) << 16) | progress.min(0xffff))
}

/// How new it is that something is not there any more: newer than all that was seen of it.
pub(super) fn stamp_at(now: Timestamp) -> Stamp {
    Stamp((u64::try_from(now.as_millisecond()).unwrap_or(0) << 16) | 0xffff)
}

const fn rank(status: &Status) -> u64 {
    match status {
        Status::Created => 1,
        Status::WaitingForResource | Status::Preparing | Status::WaitingForCallback | Status::Manual | Status::Scheduled => 2,
        Status::Pending => 3,
        Status::Other(_) => 4,
        Status::Running => 5,
        Status::Canceling => 6,
        Status::Success | Status::Failed | Status::Canceled | Status::Skipped => 7,
    }
}

const fn waiting(why: String) -> BuildState {
    BuildState::Waiting { why }
}

const fn ended(verdict: Verdict, class: Option<FailureClass>, reason: String) -> BuildState {
    BuildState::Ended { verdict, class, reason }
}

/// A word of a newer version says nothing of whether it is over, so it is not.
fn unknown(word: &str, started: Option<Timestamp>) -> BuildState {
    if started.is_some() {
        return BuildState::Running;
    }
    waiting(format!("GitLab calls its state `{word}`, which this version of Signalbox does not know."))
}

/// What failed although it may.
fn forgiven(jobs: &[GatheredJob]) -> String {
    match named(jobs, |job| job.status == Status::Failed && job.allow_failure == Some(true)) {
        Some(names) => format!("It passed, although this failed, which may fail: {names}."),
        None => String::new(),
    }
}

fn failed(gathered: &Gathered) -> BuildState {
    let work = Some(FailureClass::Work);
    let decisive: Vec<&GatheredJob> = gathered
        .jobs
        .iter()
        .filter(|job| job.is_own() && job.job.status == Status::Failed && job.job.allow_failure != Some(true))
        .collect();
    if let Some(errors) = gathered.pipeline.yaml_errors.as_deref().map(plain).filter(|errors| !errors.is_empty()) {
        return ended(Verdict::Failed, work, format!("GitLab cannot use .gitlab-ci.yml: {errors}"));
    }
    if gathered.jobs.is_empty() {
        let words = "The pipeline has no jobs: GitLab could not make any of .gitlab-ci.yml for this branch.";
        return ended(Verdict::Failed, work, words.to_owned());
    }
    let causes: Vec<(&GatheredJob, Cause)> = decisive.into_iter().map(|job| (job, Cause::of(job.job.failure_reason.as_deref()))).collect();
    let Some((_, first)) = causes.first() else {
        return ended(
            Verdict::Failed,
            Some(FailureClass::Unknown),
            "GitLab says that the pipeline failed, and of no job that it did.".to_owned(),
        );
    };
    // One job whose work failed decides: doing it again elsewhere would not help.
    let class = causes.iter().map(|(_, cause)| cause.class).find(|class| *class == FailureClass::Work).unwrap_or(first.class);
    let verdict = if causes.iter().all(|(_, cause)| cause.verdict == Verdict::TimedOut) { Verdict::TimedOut } else { Verdict::Failed };
    let mut words: Vec<String> = causes.iter().take(NAMED).map(|(job, cause)| format!("{}: {}", job.title(), cause.words)).collect();
    if causes.len() > NAMED {
        words.push(format!("and {} more jobs failed.", causes.len() - NAMED));
    }
    ended(verdict, Some(class), words.join(" "))
}

/// Why a job failed.
struct Cause {
    verdict: Verdict,
    class: FailureClass,
    words: String,
}

impl Cause {
    /// GitLab's list grows, so a word that is not known is shown as it is.
    fn of(reason: Option<&str>) -> Self {
        use FailureClass::{Configuration, Infrastructure, Unknown, Work};
        let (class, words) = match reason.unwrap_or_default() {
            "script_failure" => (Work, "its script failed."),
            "job_execution_timeout" => (Work, "it took longer than its timeout."),
            "trace_size_exceeded" => (Work, "it printed more than GitLab keeps of a log."),
            "missing_dependency_failure" => (Work, "artifacts of an earlier job that it needs are gone."),
            "stuck_or_timeout_failure" => (Infrastructure, "no runner took it, or the one that did was not heard of any more."),
            "runner_system_failure" => (Infrastructure, "its runner failed."),
            "api_failure" | "scheduler_failure" | "data_integrity_failure" | "stale_schedule" => {
                (Infrastructure, "GitLab failed to run it.")
            }
            "no_matching_runner" => (Configuration, "there is no runner with its tags."),
            "runner_unsupported" => (Configuration, "its runner is too old for it."),
            "ci_quota_exceeded" => (Configuration, "the group has used up its CI/CD minutes."),
            "builds_disabled" => (Configuration, "CI/CD is switched off in the project."),
            "user_blocked" => (Configuration, "the user of the executor's token is blocked."),
            "project_deleted" => (Configuration, "its project was deleted."),
            "archived_failure" => (Configuration, "it is too old to be run."),
            "unmet_prerequisites" | "environment_creation_failure" | "protected_environment_failure" => {
                (Configuration, "its environment could not be prepared, or may not be used.")
            }
            "forward_deployment_failure" | "deployment_rejected" => (Configuration, "GitLab did not allow its deployment."),
            "upstream_bridge_project_not_found" | "downstream_bridge_project_not_found" | "insufficient_bridge_permissions" => {
                (Configuration, "the project whose pipeline it should start is not to be had.")
            }
            "downstream_pipeline_creation_failed" => (Work, "the pipeline that it should start could not be made."),
            "" | "unknown_failure" => (Unknown, "GitLab does not say why."),
            other => {
                let words = format!("GitLab calls it `{}`.", plain(other));
                return Self { verdict: Verdict::Failed, class: Unknown, words };
            }
        };
        let verdict = if reason == Some("job_execution_timeout") { Verdict::TimedOut } else { Verdict::Failed };
        Self { verdict, class, words: words.to_owned() }
    }
}

/// The names of the jobs that are so, some of them.
fn named(jobs: &[GatheredJob], is_so: impl Fn(&Job) -> bool) -> Option<String> {
    let titles: Vec<String> = jobs.iter().filter(|job| is_so(&job.job)).map(GatheredJob::title).collect();
    let more = titles.len().saturating_sub(NAMED);
    let names = titles.into_iter().take(NAMED).reduce(|names, name| names + ", " + &name)?;
    Some(if more > 0 { format!("{names} and {more} more") } else { names })
}

fn longest_wait(jobs: &[GatheredJob], now: Timestamp) -> Option<String> {
    jobs.iter().filter(|job| job.job.status == Status::Pending).find_map(|job| {
        let words = wait_for_runner(&job.job, now)?;
        Some(format!("{}: {words}", job.title()))
    })
}

/// What is said of a job that waits for a runner for long. The time is rounded, so that each look does not say another.
fn wait_for_runner(job: &Job, now: Timestamp) -> Option<String> {
    let queued = job.queued_duration.and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok());
    let waits = queued.or_else(|| job.created_at.map(|made| now.duration_since(made)))?;
    if waits < LONG {
        return None;
    }
    let minutes = waits.as_mins();
    let since = match minutes {
        0..5 => "a minute".to_owned(),
        5..15 => "5 minutes".to_owned(),
        15..60 => "15 minutes".to_owned(),
        60..120 => "an hour".to_owned(),
        _ => format!("{} hours", minutes / 60),
    };
    let tags: Vec<String> = job.tag_list.iter().take(NAMED).map(|tag| plain(tag)).collect();
    let wants = if tags.is_empty() { String::new() } else { format!(" It wants a runner with the tags {}.", tags.join(", ")) };
    Some(format!("It has waited for a runner for more than {since}: there is none for it, or all are busy.{wants}"))
}
