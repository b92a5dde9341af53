//! What a build made, by GitLab's own artifacts.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream;
use signalbox_contract::git::RepoPath;
use signalbox_contract::{Failure, FailureCode};

use super::GitLabExecutor;
use super::archive::{Entry, entries};
use super::gather::GatheredJob;
use super::part::JobRef;
use super::place::PipelineRef;
use super::refusal::translate;
use crate::executor::{Bytes as ByteStream, ExecutorError, OutputRef, Pick, Tracked};
use crate::gitlab::{Download, GitLabError};

/// How many archives of one build are looked into.
const ARCHIVES: usize = 50;

/// A file that was found.
struct Hit<'e> {
    at: JobRef,
    title: String,
    entry: &'e Entry,
}

impl GitLabExecutor {
    pub(super) async fn pick(&self, tracked: &Tracked, picks: &[Pick]) -> Result<Vec<OutputRef>, ExecutorError> {
        let Some(build) = PipelineRef::read(&tracked.build) else { return Ok(Vec::new()) };
        if picks.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = self.gitlab.pipeline(&build.reference(), build.pipeline).await.map_err(translate)?;
        let gathered = self.gather(build, pipeline, None).await.map_err(translate)?;
        let wanted = |job: &GatheredJob| picks.iter().any(|pick| pick.part.as_deref().is_none_or(|part| is_named(job, part, build)));
        let jobs: Vec<&GatheredJob> =
            gathered.jobs.iter().filter(|job| !job.is_bridge && job.job.has_archive() && wanted(job)).take(ARCHIVES).collect();
        let mut archives: BTreeMap<JobRef, Vec<Entry>> = BTreeMap::new();
        for job in &jobs {
            archives.insert(job.at, entries(&self.gitlab, job.at).await.map_err(translate)?);
        }
        let mut outputs = Vec::new();
        for pick in picks {
            let hits: Vec<Hit<'_>> = jobs
                .iter()
                .filter(|job| pick.part.as_deref().is_none_or(|part| is_named(job, part, build)))
                .filter_map(|job| Some((job, archives.get(&job.at)?)))
                .flat_map(|(job, entries)| {
                    let matching = entries.iter().filter(|entry| is_wanted(pick, entry));
                    matching.map(|entry| Hit { at: job.at, title: job.title(), entry })
                })
                .collect();
            if let Some(hit) = choose(pick, hits)? {
                let place = format!("{}/{}/{}", hit.at.project, hit.at.job, hit.entry.path);
                outputs.push(OutputRef { tracked: tracked.clone(), name: pick.name.clone(), place, size: Some(hit.entry.size) });
            }
        }
        Ok(outputs)
    }

    pub(super) async fn open(&self, output: &OutputRef) -> Result<ByteStream, ExecutorError> {
        let refused =
            || ExecutorError::Refused(Failure::new(FailureCode::ExecutorRefused, "The output's name is not one of this executor's."));
        let mut place = output.place.splitn(3, '/');
        let (Some(Ok(project)), Some(Ok(job)), Some(path)) = (place.next().map(str::parse), place.next().map(str::parse), place.next())
        else {
            return Err(refused());
        };
        let at = JobRef { project, job };
        let path: RepoPath = path.parse().map_err(|_| refused())?;
        let download = self.gitlab.artifact(&at.reference(), at.job, path.as_str()).await.map_err(|error| {
            if !error.is_not_found() {
                return translate(error);
            }
            let failure = Failure::new(FailureCode::ArtifactMissing, format!("GitLab has thrown {path} away."));
            ExecutorError::Refused(failure.hint("Give the job's artifacts a longer `expire_in`, and run it again."))
        })?;
        Ok(Box::pin(stream::unfold(Some(Reading { download, left: output.size }), step)))
    }
}

/// A file that is being read. It has as many bytes as the archive's directory says, no fewer and no more.
struct Reading {
    download: Download,
    left: Option<u64>,
}

async fn step(reading: Option<Reading>) -> Option<(Result<Bytes, ExecutorError>, Option<Reading>)> {
    let mut reading = reading?;
    let fault = |what: &str| Some((Err(ExecutorError::Unknown(what.to_owned().into())), None));
    match reading.download.chunk().await {
        Ok(Some(chunk)) => {
            if let Some(left) = &mut reading.left {
                match left.checked_sub(chunk.len() as u64) {
                    Some(rest) => *left = rest,
                    None => return fault("the artifact is larger than its archive says"),
                }
            }
            Some((Ok(chunk), Some(reading)))
        }
        Ok(None) if reading.left.is_some_and(|left| left > 0) => fault("the artifact is smaller than its archive says"),
        Ok(None) => None,
        Err(error @ GitLabError::Unreadable { .. }) => Some((Err(ExecutorError::Unknown(error.into())), None)),
        Err(error) => Some((Err(translate(error)), None)),
    }
}

/// Whether a part's name, as people write it, is this job's: its own name, or the part's.
fn is_named(job: &GatheredJob, part: &str, build: PipelineRef) -> bool {
    job.job.name == part || job.title() == part || job.at.name(build) == part
}

fn is_wanted(pick: &Pick, entry: &Entry) -> bool {
    // What GitLab would not give out by its path is none that can be read.
    if entry.path.parse::<RepoPath>().is_err() {
        return false;
    }
    match &pick.path {
        Some(path) => entry.path == path.as_str(),
        None => entry.path == pick.name.as_str() || entry.path.strip_suffix(pick.name.as_str()).is_some_and(|front| front.ends_with('/')),
    }
}

/// The one that is meant. Jobs pass artifacts on to each other, so that the very same file may be found several times.
fn choose<'e>(pick: &Pick, mut hits: Vec<Hit<'e>>) -> Result<Option<Hit<'e>>, ExecutorError> {
    hits.sort_by_key(|hit| hit.at);
    let same = |hit: &Hit<'_>| hit.entry.size == hits[0].entry.size && hit.entry.checksum == hits[0].entry.checksum;
    if hits.is_empty() || hits.iter().all(same) {
        return Ok(hits.into_iter().next());
    }
    let places: Vec<String> =
        hits.iter().take(5).map(|hit| format!("{} in {}", crate::gitlab::plain(&hit.entry.path), hit.title)).collect();
    let name = &pick.name;
    let failure =
        Failure::new(FailureCode::ArtifactMissing, format!("The build made several files that could be {name}: {}.", places.join(", ")));
    let hint = format!("Say which in the repository's configuration: artifacts.{name} = {{ part = \"JOB\", path = \"FILE\" }}.");
    Err(ExecutorError::Refused(failure.hint(hint)))
}
