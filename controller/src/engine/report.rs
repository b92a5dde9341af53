//! Telling forges how runs stand.
//!
//! What is told is looked up at the moment of telling, for all runs that speak for the same commit together, and one
//! telling at a time for a change: so whatever overtakes what, the last word is the true one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use signalbox_adapters::forge::{Forge, ForgeError, Review, Standing};
use signalbox_contract::api::run::{StepState, StepView};
use signalbox_contract::{AttemptKey, Failure, FailureCode, ForgeName, Origin, RunId, Verdict};
use signalbox_controller_core::reporting::standing;
use signalbox_controller_core::{Event, Run, view};
use signalbox_service::telemetry::causes;
use url::Url;

use super::Fault;
use crate::store::{Store, StoreError};

/// The forges, by name.
pub type Forges = BTreeMap<ForgeName, Arc<dyn Forge>>;

/// How long a forge that could not be reached is left alone.
const REST: Duration = Duration::from_secs(5);

/// How long one telling may take. The adapter has shorter deadlines of its own.
const LONGEST: Duration = Duration::from_mins(2);

/// How many bytes of a summary are told.
const SUMMARY: usize = 2000;

/// Tells forges.
pub struct Reporter {
    store: Store,
    forges: Forges,
    /// What people reach the controller by.
    base: Url,
    /// One telling at a time for a change.
    turns: Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// Forges that could not be reached, and until when they are left alone.
    resting: Mutex<BTreeMap<ForgeName, Instant>>,
}

impl Reporter {
    /// A reporter to these forges, whose links begin with `base`.
    pub fn new(store: Store, forges: Forges, mut base: Url) -> Self {
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        Self { store, forges, base, turns: Mutex::default(), resting: Mutex::default() }
    }

    /// Has the forge show how the run stands.
    pub(super) async fn tell(&self, key: AttemptKey, serial: u32) -> Result<Option<Event>, Fault> {
        let Some(run) = self.store.run(key.run).await.map_err(|error| unread(&error))? else { return Ok(None) };
        let Some(name) = run.request.origin().forge() else { return Ok(None) };
        let forge = self.forges.get(name).ok_or_else(|| {
            let detail = format!("The forge {name} is not configured any more.");
            Fault::Failed(Failure::new(FailureCode::ForgeRefused, detail).hint("Put it back into the controller's configuration."))
        })?;
        if let Some(wait) = self.rest_of(name) {
            return Err(Fault::Again { after: Some(wait), why: unreached(format!("The forge {name} could not be reached a moment ago.")) });
        }
        let turn = self.turn(&subject(run.request.origin()));
        let _turn = turn.lock().await;
        // Looked up anew: it may have changed while others were told.
        let Some(review) = self.review(key.run).await? else { return Ok(None) };
        match tokio::time::timeout(LONGEST, forge.tell(&review)).await {
            Ok(Ok(told)) => {
                self.resting.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                tracing::info!(run = %key.run, forge = %name, standing = review.standing.word(), written = told.written, "the forge was told");
                Ok(Some(Event::Reported { key, serial, remarks: told.remarks }))
            }
            Ok(Err(error)) => Err(self.fault(name, &error)),
            Err(_) => Err(Fault::Again { after: None, why: unreached(format!("The forge {name} did not answer in time.")) }),
        }
    }

    fn fault(&self, name: &ForgeName, error: &ForgeError) -> Fault {
        if let ForgeError::Refused(failure) = error {
            return Fault::Failed(failure.clone());
        }
        tracing::warn!(forge = %name, error = %causes(error), "a forge could not be told");
        let after = if let ForgeError::Retry { after } = error { *after } else { None };
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Instant::now() + after.unwrap_or(REST).min(REST));
        Fault::Again { after, why: unreached(error.to_string()) }
    }

    /// How much longer a forge is left alone.
    fn rest_of(&self, name: &ForgeName) -> Option<Duration> {
        let until = *self.resting.lock().unwrap_or_else(PoisonError::into_inner).get(name)?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    fn turn(&self, subject: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(subject).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(subject.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// What the forge should show, as all the runs that speak for the commit stand now.
    async fn review(&self, id: RunId) -> Result<Option<Review>, Fault> {
        let unread = |error| unread(&error);
        let Some(run) = self.store.run(id).await.map_err(unread)? else { return Ok(None) };
        let origin = run.request.origin().clone();
        let Some(sha) = origin.sha() else { return Ok(None) };
        let subject = subject(&origin);
        let mut speakers = Vec::new();
        for other in self.store.speakers(&subject, sha).await.map_err(unread)? {
            speakers.extend(if other == id { Some(run.clone()) } else { self.store.run(other).await.map_err(unread)? });
        }
        if speakers.is_empty() {
            speakers.push(run);
        }
        let stale = self.store.is_stale(&origin).await.map_err(unread)?;
        Ok(voice(&speakers, id).map(|(run, stands)| {
            // What is said of a commit that is not the newest any more is no vote.
            let standing = if stale { Standing::Undecided } else { stands };
            Review {
                origin,
                run: run.id,
                standing,
                overtaken: stale.then_some(stands),
                summary: summary(run, standing),
                url: self.link(run.id),
                build: run.steps.iter().rev().find_map(|step| step.latest()?.build.clone()),
            }
        }))
    }

    fn link(&self, run: RunId) -> Url {
        self.base.join(&format!("view/runs/{run}")).unwrap_or_else(|_| self.base.clone())
    }
}

/// What identifies a change or a branch at its forge.
pub(crate) fn subject(origin: &Origin) -> String {
    match origin {
        Origin::Api => String::new(),
        Origin::Review(head) => format!("{}:{}:{}", head.change.forge, head.change.project, head.change.number),
        Origin::Moved { forge, project, ref_name, .. } => format!("{forge}:{project}:{ref_name}"),
    }
}

/// How runs that speak for the same commit stand together, and which of them says so. A vote comes when all have ended.
fn voice(speakers: &[Run], asked: RunId) -> Option<(&Run, Standing)> {
    let standings: Vec<(&Run, Standing)> = speakers.iter().filter_map(|run| Some((run, standing(run)?))).collect();
    let of = |wanted: Standing| {
        let mut all = standings.iter().filter(|(_, standing)| *standing == wanted);
        let first = all.next()?;
        // The one that something has just happened to, if it is one of them.
        Some(*std::iter::once(first).chain(all).find(|(run, _)| run.id == asked).unwrap_or(first))
    };
    of(Standing::Started).or_else(|| of(Standing::Failed)).or_else(|| of(Standing::Undecided)).or_else(|| of(Standing::Passed))
}

/// In a few sentences, for people.
fn summary(run: &Run, standing: Standing) -> String {
    let seen = view::view(run, Vec::new());
    let mut lines = vec![match standing {
        Standing::Started => format!("Started {}.", named(run)),
        Standing::Passed => format!("{} passed.", named(run)),
        Standing::Failed => format!("{} failed.", named(run)),
        Standing::Undecided => format!("{} ended without a verdict.", named(run)),
    }];
    if !seen.summary.reason.is_empty() {
        lines.push(seen.summary.reason.clone());
    }
    if standing != Standing::Started {
        lines.extend(seen.steps.iter().map(|step| format!("- {}: {}", step.name, outcome(step))));
    }
    if let (Standing::Passed, Some(target)) = (standing, run.request.target()) {
        lines.push(format!("Deployed as {} to {}.", target.name, target.environment));
    }
    let mut text = lines.join("\n");
    let mut end = text.len().min(SUMMARY);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn named(run: &Run) -> String {
    run.request.repo().map_or_else(|| format!("Run {}", run.id), |repo| format!("{repo} #{}", run.number))
}

const fn outcome(step: &StepView) -> &'static str {
    match (step.state, step.verdict) {
        (StepState::Skipped, _) | (_, Some(Verdict::Skipped)) => "skipped",
        (_, Some(Verdict::Success)) => "passed",
        (_, Some(Verdict::Failed)) => "failed",
        (_, Some(Verdict::Unstable)) => "unstable",
        (_, Some(Verdict::Aborted)) => "stopped",
        (_, Some(Verdict::TimedOut)) => "timed out",
        (_, Some(Verdict::Lost)) => "lost",
        (_, None) => "not ended",
    }
}

/// What may pass. It stands in the effect's row; a report is no part of its run.
fn unreached(detail: String) -> Failure {
    Failure::new(FailureCode::WorkerUnavailable, detail)
}

fn unread(error: &StoreError) -> Fault {
    tracing::warn!(error = %causes(error), "what is to be told could not be read");
    Fault::Again { after: None, why: Failure::new(FailureCode::Internal, "What is to be told could not be read.") }
}
