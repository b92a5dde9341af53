//! A run, as its readers see it.

use signalbox_contract::api::run::{AttemptView, RunAction, RunSummary, RunView, StepKind, StepState, StepView};
use signalbox_contract::build::BuildState;
use signalbox_contract::{AttemptKey, JobName};

use crate::attempt::{Attempt, Phase};
use crate::plan::{Request, Work};
use crate::resource::ResourceKey;
use crate::run::{Run, Step};

/// What the lists show of a run.
pub fn summary(run: &Run) -> RunSummary {
    let target = run.request.target();
    let asked = match &run.request {
        Request::Cd(order) => Some(order.ref_name.clone()),
        Request::Deploy { .. } | Request::Rollback { .. } => None,
    };
    RunSummary {
        id: run.id,
        number: run.number,
        kind: run.kind(),
        repo: run.request.repo().cloned(),
        ref_name: asked,
        sha: run.sha.clone(),
        artifact: run.request.artifact().cloned(),
        environment: target.map(|target| target.environment.clone()),
        published_name: target.map(|target| target.name.clone()),
        state: run.state(),
        outcome: run.outcome,
        unreadable: false,
        reason: run.reason.clone(),
        principal: run.principal.clone(),
        origin: run.request.origin().clone(),
        accepted_at: run.accepted_at,
        rerun_at: (run.reruns > 0).then_some(run.line),
        finished_at: run.finished_at,
    }
}

/// A whole run, for somebody who may do these of the things that can be done with it.
pub fn view(run: &Run, actions: Vec<RunAction>) -> RunView {
    let (source, built) = match &run.request {
        Request::Cd(order) => (Some(order.source.clone()), Some(order.executor.clone())),
        Request::Deploy { .. } | Request::Rollback { .. } => (None, None),
    };
    RunView {
        summary: summary(run),
        source,
        job: job(run),
        executor: built,
        steps: (0_u16..).zip(&run.steps).map(|(index, step)| step_view(run, index, step)).collect(),
        report: run.reporting.as_ref().map(crate::Reporting::view),
        actions,
        version: run.version,
    }
}

fn job(run: &Run) -> Option<JobName> {
    run.steps.iter().find_map(|step| match &step.plan.work {
        Work::Build { definition, .. } => definition.job().cloned(),
        Work::Mirror { .. } | Work::Deploy { .. } | Work::Activate { .. } => None,
    })
}

fn step_view(run: &Run, index: u16, step: &Step) -> StepView {
    let key = |n: usize| u16::try_from(n).ok().map(|attempt| AttemptKey { run: run.id, step: index, attempt });
    StepView {
        index,
        name: step.plan.name.clone(),
        stage: step.plan.stage.clone(),
        kind: match step.plan.work {
            Work::Mirror { .. } => StepKind::Mirror,
            Work::Build { .. } => StepKind::Build,
            Work::Deploy { .. } => StepKind::Deploy,
            Work::Activate { .. } => StepKind::Activate,
        },
        state: step.state,
        verdict: step.verdict(),
        reason: reason(step),
        attempts: (1..).zip(&step.attempts).filter_map(|(n, attempt)| Some(attempt_view(key(n)?, attempt))).collect(),
    }
}

/// What a step waits for, or why it ended as it did.
fn reason(step: &Step) -> String {
    match step.state {
        StepState::Waiting => match step.latest().map(|attempt| &attempt.phase) {
            Some(Phase::Claiming { of: ResourceKey::Executor(executor) }) => format!("waits for a place at the executor {executor}"),
            Some(Phase::Claiming { of: ResourceKey::Environment(name) }) => format!("waits for the environment {name}"),
            Some(Phase::Claiming { of: ResourceKey::Ref { mirror, ref_name, .. } }) => {
                format!("waits until no other build of {} is under way at {mirror}", ref_name.short())
            }
            _ => String::new(),
        },
        StepState::Active => match step.latest().map(|attempt| (&attempt.phase, &attempt.trouble)) {
            Some((_, Some(trouble))) => format!("is tried again: {trouble}"),
            Some((Phase::Tracking { seen: BuildState::Waiting { why } }, None)) => why.clone(),
            Some((Phase::Finding { offered: true }, None)) => "waits for the executor to begin it".to_owned(),
            _ => String::new(),
        },
        StepState::Ended => step.latest().and_then(|attempt| attempt.failure.as_ref()).map(ToString::to_string).unwrap_or_default(),
        StepState::Pending | StepState::Skipped => String::new(),
    }
}

/// One attempt of a run, if it has it.
pub fn attempt(run: &Run, key: &AttemptKey) -> Option<AttemptView> {
    let step = run.steps.get(usize::from(key.step)).filter(|_| key.run == run.id)?;
    let attempt = step.attempts.get(usize::from(key.attempt).checked_sub(1)?)?;
    Some(attempt_view(*key, attempt))
}

fn attempt_view(key: AttemptKey, attempt: &Attempt) -> AttemptView {
    AttemptView {
        key,
        attempt_url: format!("/runs/{}/steps/{}/attempts/{}", key.run, key.step, key.attempt),
        ended: attempt.ended(),
        phase: attempt.phase.word().to_owned(),
        verdict: attempt.verdict,
        class: attempt.class,
        failure: attempt.failure.clone(),
        build: attempt.build.clone(),
        url: attempt.url.clone(),
        parts: attempt.parts.clone(),
        remarks: attempt.remarks.clone(),
        artifacts: attempt.artifacts.clone(),
        hosts: attempt.hosts.clone(),
        started_at: attempt.started_at,
        finished_at: attempt.finished_at,
    }
}
