//! A pipeline with all that belongs to it: its jobs, and the pipelines that it started.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::GitLabExecutor;
use super::part::JobRef;
use super::place::PipelineRef;
use crate::gitlab::{Bridge, GitLabError, Job, Pipeline};

/// How many pages of jobs of one pipeline are read. GitLab allows some 500 jobs where nobody has raised that.
const PAGES: usize = 10;

/// How deep pipelines that start pipelines are followed. Child pipelines may nest twice; other projects' may go on.
const DEPTH: usize = 3;

/// How many of them are followed in all.
const DOWNSTREAM: usize = 20;

/// What was seen of a build.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) pipeline: Pipeline,
    /// Its jobs and those of the pipelines that it started, oldest first.
    pub(super) jobs: Vec<GatheredJob>,
    /// Whether there were more than were read.
    pub(super) more: bool,
    /// Whether it starts other pipelines.
    pub(super) has_bridges: bool,
}

#[derive(Debug)]
pub(super) struct GatheredJob {
    pub(super) at: JobRef,
    pub(super) job: Job,
    /// Whether it only starts another pipeline, and so has no log.
    pub(super) is_bridge: bool,
    /// The names of the bridges that led to it.
    pub(super) below: Vec<String>,
}

impl GatheredJob {
    /// Its name for people.
    pub(super) fn title(&self) -> String {
        let mut title: String = self.below.iter().flat_map(|bridge| [bridge.as_str(), " / "]).collect();
        title.push_str(&self.job.name);
        crate::gitlab::plain(&title)
    }

    /// Whether it is a job of the pipeline itself.
    pub(super) fn is_own(&self) -> bool {
        self.below.is_empty()
    }
}

impl GitLabExecutor {
    /// Reads a pipeline's jobs, and follows it to others.
    pub(super) async fn gather(&self, build: PipelineRef, pipeline: Pipeline, bridged: Option<bool>) -> Result<Gathered, GitLabError> {
        let mut gathered = Gathered { pipeline, jobs: Vec::new(), more: false, has_bridges: false };
        let mut known = BTreeSet::from([build]);
        let mut waiting = VecDeque::from([(build, Vec::<String>::new())]);
        while let Some((at, below)) = waiting.pop_front() {
            let own = below.is_empty();
            match self.gitlab.jobs(&at.reference(), at.pipeline, PAGES).await {
                Ok(listed) => {
                    gathered.more |= listed.more;
                    gathered.jobs.extend(newest(listed.items).into_iter().map(|job| GatheredJob {
                        at: JobRef { project: at.project, job: job.id },
                        job,
                        is_bridge: false,
                        below: below.clone(),
                    }));
                }
                // Another project may be closed to our token; its bridge shows how it stands.
                Err(GitLabError::NotFound { .. } | GitLabError::Forbidden { .. }) if !own => continue,
                Err(error) => return Err(error),
            }
            if below.len() >= DEPTH || (own && bridged == Some(false)) {
                continue;
            }
            let bridges = match self.gitlab.bridges(&at.reference(), at.pipeline, 1).await {
                Ok(listed) => newest_bridges(listed.items),
                Err(GitLabError::NotFound { .. } | GitLabError::Forbidden { .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            gathered.has_bridges |= own && !bridges.is_empty();
            for Bridge { job, downstream_pipeline } in bridges {
                if let Some(next) = downstream_pipeline {
                    let next = PipelineRef { project: next.project_id, pipeline: next.id };
                    if known.len() > DOWNSTREAM {
                        gathered.more = true;
                    } else if known.insert(next) {
                        let below = below.iter().cloned().chain([job.name.clone()]).collect();
                        waiting.push_back((next, below));
                    }
                }
                let at = JobRef { project: at.project, job: job.id };
                gathered.jobs.push(GatheredJob { at, job, is_bridge: true, below: below.clone() });
            }
        }
        // Oldest first, as people read them; what other pipelines did stands behind.
        gathered.jobs.sort_by_key(|job| (job.below.len(), job.at));
        Ok(gathered)
    }
}

/// The last try of each job. Old versions list the earlier ones, too.
fn newest(jobs: Vec<Job>) -> Vec<Job> {
    let mut by_name: BTreeMap<String, Job> = BTreeMap::new();
    for job in jobs {
        match by_name.get(&job.name) {
            Some(other) if other.id >= job.id => {}
            _ => {
                by_name.insert(job.name.clone(), job);
            }
        }
    }
    by_name.into_values().collect()
}

fn newest_bridges(bridges: Vec<Bridge>) -> Vec<Bridge> {
    let mut by_name: BTreeMap<String, Bridge> = BTreeMap::new();
    for bridge in bridges {
        match by_name.get(&bridge.job.name) {
            Some(other) if other.job.id >= bridge.job.id => {}
            _ => {
                by_name.insert(bridge.job.name.clone(), bridge);
            }
        }
    }
    by_name.into_values().collect()
}
