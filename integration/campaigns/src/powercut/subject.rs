//! One thing that must survive a power cut, and how that is tried.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signalbox_deploy_worker::release::script;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::disk::build;
use super::host::Releases;
use super::mirrors::Mirrored;
use super::recording::Recording;
use super::runs::AcceptedRuns;
use super::states::States;
use super::store::StoredBlobs;
use crate::{Part, Progress, Report};

/// What is done, and how it is judged.
pub trait Subject: Send + Sync + 'static {
    /// Its name on the command line.
    const NAME: &'static str;

    /// Whether what it opens may lie in memory, below `/dev`.
    const IN_MEMORY: bool = true;

    /// Judges what a power cut left in `folder`, whose contents are its own: starts what opens it, and says what of that
    /// which had been acknowledged is not there, or what is torn.
    fn judge(&self, folder: &Path, acknowledged: &BTreeSet<String>) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many states of each subject are opened at most.
    pub bound: usize,
    /// Whether one finding is enough.
    pub first_only: bool,
}

/// How long one state may take. Only a hanging service takes so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder for what is built again and again: in memory where that is possible, since there is nothing to keep.
fn scratch(in_memory: bool) -> std::io::Result<TempDir> {
    if in_memory && let Ok(folder) = tempfile::tempdir_in("/dev/shm") {
        return Ok(folder);
    }
    tempfile::tempdir()
}

/// Opens states of a recording, as many as the settings allow, and answers which were wrong, each with what was.
pub async fn open_states<S: Subject>(
    subject: &Arc<S>,
    recording: &Recording,
    settings: Settings,
    progress: &Progress,
) -> (usize, usize, Vec<String>) {
    let states = States::of(recording);
    let chosen = states.choose(settings.bound);
    progress.begin(S::NAME, chosen.len());
    let at_once = std::thread::available_parallelism().map_or(2, usize::from);
    let (places, mut opened) = (Arc::new(Semaphore::new(at_once)), JoinSet::new());
    let mut findings = Vec::new();
    for state in &chosen {
        let place = Arc::clone(&places).acquire_owned().await;
        let acknowledged: BTreeSet<String> = states.acknowledged(state.line).into_iter().map(str::to_owned).collect();
        let (tree, subject, described) = (states.tree(state), Arc::clone(subject), states.describe(state));
        opened.spawn(async move {
            let _place = place;
            let folder = match scratch(S::IN_MEMORY) {
                Ok(folder) => folder,
                Err(error) => return Some(format!("no folder for a state: {error}")),
            };
            if let Err(error) = build(&tree, folder.path()) {
                return Some(format!("a state cannot be built: {error}"));
            }
            let judged = tokio::time::timeout(PATIENCE, subject.judge(folder.path(), &acknowledged)).await;
            judged.unwrap_or_else(|_| Err(anyhow::anyhow!("it hangs"))).err().map(|what| format!("{what:#}\n      {described}"))
        });
        while let Some(result) = opened.try_join_next() {
            progress.step();
            findings.extend(result.unwrap_or_else(|error| Some(format!("it panicked: {error}"))));
        }
        if settings.first_only && !findings.is_empty() {
            break;
        }
    }
    while let Some(result) = opened.join_next().await {
        progress.step();
        findings.extend(result.unwrap_or_else(|error| Some(format!("it panicked: {error}"))));
    }
    (states.len(), chosen.len(), findings)
}

/// Opens states of a recording, and tells what was found.
pub async fn examine<S: Subject>(subject: &Arc<S>, recording: &Recording, settings: Settings, progress: &Progress) -> Part {
    let (there, opened, findings) = open_states(subject, recording, settings, progress).await;
    let figures = [
        ("calls", recording.calls),
        ("changes", recording.history.steps.len()),
        ("answers", recording.answers.len()),
        ("states", there),
        ("opened", opened),
    ];
    let figures = figures.into_iter().map(|(name, figure)| (name.to_owned(), figure as u64)).collect();
    Part::tried(S::NAME, figures, findings)
}

/// Which subjects there are.
pub const SUBJECTS: [&str; 4] = [AcceptedRuns::NAME, StoredBlobs::NAME, Mirrored::NAME, Releases::NAME];

/// The whole campaign, or some subjects of it.
pub async fn run(subjects: &[String], settings: Settings, progress: &Progress) -> Report {
    let begun = Instant::now();
    let mut parts = Vec::new();
    for name in SUBJECTS.into_iter().filter(|name| subjects.is_empty() || subjects.iter().any(|subject| subject == name)) {
        parts.push(match name {
            AcceptedRuns::NAME => part(AcceptedRuns::record().await, settings, progress).await,
            StoredBlobs::NAME => part(StoredBlobs::record().await, settings, progress).await,
            Mirrored::NAME => part(Mirrored::record().await, settings, progress).await,
            _ => part(Releases::record(script()).await, settings, progress).await,
        });
    }
    progress.end();
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Report { campaign: "powercut".to_owned(), milliseconds, parts }
}

async fn part<S: Subject>(recorded: anyhow::Result<(S, Recording)>, settings: Settings, progress: &Progress) -> Part {
    match recorded {
        Ok((subject, recording)) => examine(&Arc::new(subject), &recording, settings, progress).await,
        Err(error) => Part::tried(S::NAME, Vec::new(), vec![format!("{error:#}")]),
    }
}
