//! How builds are looked at: all of a project's with one question where there are several, and each one's jobs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use signalbox_contract::AttemptKey;
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_service::telemetry::causes;

use super::GitLabExecutor;
use super::gather::Gathered;
use super::place::PipelineRef;
use super::refusal::translate;
use super::state;
use super::tests_part::Tests;
use crate::executor::{ExecutorError, Tracked};
use crate::gitlab::{GitLabError, Pipeline, PipelineQuery, Status};

/// From how many builds of a project on they are asked for together.
const TOGETHER: usize = 3;

/// How many pages of a project's pipelines are read for that.
const PAGES: usize = 3;

/// How many builds are looked at at the same time.
const AT_ONCE: usize = 4;

/// How long what was seen of a build that waits, and has not moved since, is believed.
const STILL: Duration = Duration::from_secs(30);

/// How many builds are remembered.
const REMEMBERED: usize = 4096;

/// What was seen of builds before. Losing it costs calls and nothing else.
#[derive(Debug, Default)]
pub(super) struct Memory {
    builds: Mutex<BTreeMap<PipelineRef, Remembered>>,
    /// Since when reports of tests are asked for.
    reports: Mutex<BTreeMap<PipelineRef, Timestamp>>,
    /// Since when attempts are searched for in vain.
    searches: Mutex<BTreeMap<AttemptKey, Timestamp>>,
}

#[derive(Debug, Clone)]
struct Remembered {
    has_bridges: bool,
    status: Status,
    updated_at: Option<Timestamp>,
    observation: Observation,
    at: Instant,
}

impl Memory {
    /// For how long a build's report of tests has been asked for in vain, of which this is one more time.
    pub(super) fn awaited_for(&self, build: PipelineRef, now: Timestamp) -> SignedDuration {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() >= REMEMBERED && !reports.contains_key(&build) {
            reports.pop_first();
        }
        now.duration_since(*reports.entry(build).or_insert(now))
    }

    /// For how long the answer to an attempt's start has been missing; `None` if we do not know of that.
    pub(super) fn lost_for(&self, key: &AttemptKey, now: Timestamp) -> Option<SignedDuration> {
        let searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        searches.get(key).map(|since| now.duration_since(*since))
    }

    /// For how long an attempt has been searched for in vain, of which this is one more time.
    pub(super) fn searched_for(&self, key: &AttemptKey, now: Timestamp) -> SignedDuration {
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        if searches.len() >= REMEMBERED && !searches.contains_key(key) {
            // The oldest keys are those of runs that are over.
            searches.pop_first();
        }
        now.duration_since(*searches.entry(*key).or_insert(now))
    }

    fn of(&self, build: PipelineRef) -> Option<Remembered> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner).get(&build).cloned()
    }

    fn keep(&self, build: PipelineRef, gathered: &Gathered, observation: &Observation) {
        let mut builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(observation.state, BuildState::Ended { .. }) {
            builds.remove(&build);
            self.reports.lock().unwrap_or_else(PoisonError::into_inner).remove(&build);
            return;
        }
        if builds.len() >= REMEMBERED {
            // The oldest numbers are those of builds that ended or that nobody waits for any more.
            builds.pop_first();
        }
        let remembered = Remembered {
            has_bridges: gathered.has_bridges,
            status: gathered.pipeline.status.clone(),
            updated_at: gathered.pipeline.updated_at,
            observation: observation.clone(),
            at: Instant::now(),
        };
        builds.insert(build, remembered);
    }
}

impl GitLabExecutor {
    /// What is known of these. One that could not be asked for is left out; only if none could is that an error.
    pub(super) async fn look(&self, live: &[Tracked]) -> Result<Vec<Observation>, ExecutorError> {
        let mut observations = Vec::with_capacity(live.len());
        let mut by_project: BTreeMap<u64, Vec<(PipelineRef, &Tracked)>> = BTreeMap::new();
        for tracked in live {
            match PipelineRef::read(&tracked.build) {
                Some(build) => by_project.entry(build.project).or_default().push((build, tracked)),
                None => observations.push(gone(tracked, Stamp::default())),
            }
        }
        let mut fault = None;
        for builds in by_project.into_values() {
            let mut listed = self.together(&builds).await;
            let looks = builds.into_iter().map(|(build, tracked)| {
                let listed = listed.remove(&build.pipeline);
                async move { (tracked, self.look_at(build, tracked, listed).await) }
            });
            let looks: Vec<_> = looks.collect();
            let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
            while let Some((tracked, seen)) = looks.next().await {
                match seen {
                    Ok(Some(observation)) => observations.push(observation),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(build = tracked.build.as_str(), error = %causes(&error), "a pipeline could not be looked at");
                        fault = Some(error);
                    }
                }
            }
        }
        match fault {
            Some(error) if observations.is_empty() => Err(error),
            _ => Ok(observations),
        }
    }

    /// The pipelines of a project in one list, where there are several builds of it. What is not in it is asked for alone.
    async fn together(&self, builds: &[(PipelineRef, &Tracked)]) -> BTreeMap<u64, Pipeline> {
        let Some((build, _)) = builds.first().filter(|_| builds.len() >= TOGETHER) else { return BTreeMap::new() };
        match self.gitlab.pipelines(&build.reference(), &PipelineQuery::default(), PAGES).await {
            Ok(listed) => listed.items.into_iter().map(|pipeline| (pipeline.id, pipeline)).collect(),
            // The single questions that follow say what is wrong.
            Err(_) => BTreeMap::new(),
        }
    }

    async fn look_at(&self, build: PipelineRef, tracked: &Tracked, listed: Option<Pipeline>) -> Result<Option<Observation>, ExecutorError> {
        let remembered = self.memory.of(build);
        if let (Some(listed), Some(remembered)) = (&listed, &remembered)
            && is_still(listed, remembered)
            && remembered.observation.key == tracked.key
        {
            return Ok(Some(remembered.observation.clone()));
        }
        // A list leaves out what is wrong with a definition.
        let listed = listed.filter(|pipeline| pipeline.status != Status::Failed);
        let pipeline = match listed {
            Some(pipeline) => Ok(pipeline),
            None => self.gitlab.pipeline(&build.reference(), build.pipeline).await,
        };
        let gathered = match pipeline {
            Ok(pipeline) => self.gather(build, pipeline, remembered.as_ref().map(|remembered| remembered.has_bridges)).await,
            Err(error) => Err(error),
        };
        let gathered = match gathered {
            Ok(gathered) => gathered,
            Err(GitLabError::NotFound { .. }) => return self.not_there(build, tracked).await,
            Err(error) => return Err(translate(error)),
        };
        let observation = self.observation(build, tracked, &gathered).await;
        self.memory.keep(build, &gathered, &observation);
        Ok(Some(observation))
    }

    async fn observation(&self, build: PipelineRef, tracked: &Tracked, gathered: &Gathered) -> Observation {
        let now = self.clock.now();
        let mut parts: Vec<_> = gathered.jobs.iter().map(|job| state::part(job, build, now)).collect();
        let mut state = state::build(gathered, now);
        if gathered.pipeline.status.has_ended() && !gathered.jobs.is_empty() {
            match self.tests(build, gathered).await {
                Tests::None => {}
                Tests::Part(part) => parts.push(*part),
                Tests::NotYet => state = BuildState::Running,
            }
        }
        Observation {
            key: tracked.key,
            build: tracked.build.to_string(),
            stamp: state::stamp(gathered),
            state,
            parts,
            sha: gathered.pipeline.sha.parse().ok(),
            url: gathered.pipeline.web_url.clone().filter(|url| matches!(url.scheme(), "http" | "https")),
        }
    }

    /// GitLab says that there is no such pipeline; or does not show it, which it does not tell apart. It is gone where what
    /// is around it can still be seen; else nothing is said.
    async fn not_there(&self, build: PipelineRef, tracked: &Tracked) -> Result<Option<Observation>, ExecutorError> {
        let project = self.gitlab.project(&build.reference()).await.map_err(translate)?;
        if project.is_none() && !self.is_really_gone().await? {
            tracing::warn!(build = tracked.build.as_str(), "GitLab shows neither the pipeline, nor its project, nor the group");
            return Ok(None);
        }
        Ok(Some(gone(tracked, state::stamp_at(self.clock.now()))))
    }
}

fn gone(tracked: &Tracked, stamp: Stamp) -> Observation {
    Observation::new(tracked.key, tracked.build.as_str(), stamp, BuildState::Gone)
}

/// Whether a build that waits has not moved since it was looked at.
fn is_still(listed: &Pipeline, remembered: &Remembered) -> bool {
    let waits =
        matches!(listed.status, Status::Created | Status::WaitingForResource | Status::Pending | Status::Manual | Status::Scheduled);
    waits && listed.status == remembered.status && listed.updated_at == remembered.updated_at && remembered.at.elapsed() < STILL
}
