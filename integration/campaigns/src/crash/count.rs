//! Counting: what was asked, against what each receiver says it did; and what is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use signalbox_contract::Verdict;
use signalbox_contract::api::run::{Outcome, RunView};
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::state::status::Status;

use super::judge;
use super::line::Done;
use super::stage::{BRANCH, CHANGES, REVIEW, Stage};
use crate::asker::Asker;
use crate::books;
use crate::evidence;
use crate::figures::Times;
use crate::report::{self, Part};

/// Who was killed, and how long it took to catch up.
pub(super) fn kills(killed: &BTreeMap<String, u64>, caught_up: &Times, undisturbed: &Times) -> Part {
    let mut figures: Vec<(String, u64)> = killed.iter().map(|(who, count)| (format!("× {who}"), *count)).collect();
    figures.insert(0, ("kills".to_owned(), killed.values().sum()));
    for (what, times) in [("caught up", caught_up), ("undisturbed run", undisturbed)] {
        for (share, time) in [("p50", times.p50), ("p99", times.p99), ("max", times.max)] {
            figures.push((format!("ms {what} {share}"), time));
        }
    }
    Part::tried("kills", figures, Vec::new())
}

/// Everything that can be counted once all is quiet. Ends the stage.
pub(super) async fn all(stage: Stage, asker: &Asker, done: &[Done]) -> Vec<Part> {
    let mut parts = vec![runs(asker, done).await, builds(&stage, done), activations(&stage, done)];
    parts.push(votes(&stage, done).await);
    let wrong = parts.iter().any(|part| part.verdict == report::Verdict::Broken);
    let (left, kept) = left_over(stage, asker, wrong).await;
    parts.push(left);
    report::refer(&mut parts, kept);
    parts
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.count() as u64
}

/// Each commit was asked for once, has one run, and that ended right.
async fn runs(asker: &Asker, done: &[Done]) -> Part {
    let mut findings: Vec<String> = done.iter().filter_map(|one| one.fault.clone()).map(|fault| format!("lost: {fault}")).collect();
    let lost = findings.len() as u64;
    let mut doubled = 0;
    let repos: BTreeSet<&str> = done.iter().map(|one| one.repo).filter(|repo| !repo.is_empty()).collect();
    for repo in repos {
        let asked: BTreeSet<&str> = done.iter().filter(|one| one.repo == repo).map(|one| one.sha.as_str()).collect();
        let mut known: BTreeMap<String, u64> = BTreeMap::new();
        match asker.runs(repo).await {
            Ok(runs) => runs.iter().for_each(|run| *known.entry(crate::asker::commit_of(run).unwrap_or_default()).or_default() += 1),
            Err(fault) => findings.push(fault),
        }
        let wrong = judge::runs(repo, &asked, &known);
        doubled += wrong.len() as u64;
        findings.extend(wrong);
    }
    let ended = |outcome: Outcome| count(views(done).filter(|view| view.summary.outcome == Some(outcome)));
    let (right, given_up) = (ended(Outcome::Passed), ended(Outcome::Lost));
    for view in views(done).filter(|view| !matches!(view.summary.outcome, Some(Outcome::Passed | Outcome::Lost))) {
        findings.push(format!(
            "ended wrong: {} of {:?} ended {:?}: {}",
            view.summary.id, view.summary.repo, view.summary.outcome, view.summary.reason
        ));
    }
    let attempts = views(done).flat_map(|view| &view.steps).flat_map(|step| &step.attempts);
    let figures = [
        ("asked", done.len() as u64),
        ("ended right", right),
        ("given up and said so", given_up),
        ("lost", lost),
        ("doubled", doubled),
        ("attempts tried again", count(attempts.filter(|attempt| attempt.verdict == Some(Verdict::Lost)))),
    ];
    Part::tried("runs", owned(&figures), findings)
}

fn views(done: &[Done]) -> impl Iterator<Item = &RunView> {
    done.iter().filter_map(|one| one.view.as_deref())
}

fn owned(figures: &[(&str, u64)]) -> Vec<(String, u64)> {
    figures.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

/// The local executor took each attempt's build once, and no others; GitLab has one pipeline for each attempt, and no others.
fn builds(stage: &Stage, done: &[Done]) -> Part {
    let mut findings = Vec::new();
    let keys: BTreeSet<String> = views(done).flat_map(attempts).collect();
    let begun = begun(&stage.world.services.log(Service::LocalExecutor));
    findings.extend(judge::builds(&keys, &begun));
    let (mut pipelines, mut cancelled) = (0, 0);
    let there = [BRANCH, REVIEW].into_iter().chain(CHANGES.iter().filter(|(_, executor)| *executor == "gitlab").map(|(name, _)| *name));
    for repo in there {
        let mut of_commit: BTreeMap<String, Vec<Status>> = BTreeMap::new();
        for pipeline in stage.gitlab.pipelines(repo) {
            of_commit.entry(pipeline.sha).or_default().push(pipeline.status);
        }
        for one in done.iter().filter(|one| one.repo == repo) {
            let all = of_commit.remove(&one.sha).unwrap_or_default();
            let off = count(all.iter().filter(|status| **status == Status::Canceled));
            (pipelines, cancelled) = (pipelines + all.len() as u64 - off, cancelled + off);
            let attempts = one.view.as_deref().map_or(1, |view| attempts(view).len()) as u64;
            findings.extend(judge::pipelines(repo, &one.sha, &all, attempts));
        }
        for (sha, all) in &of_commit {
            findings.extend(judge::pipelines(repo, sha, all, 0));
        }
    }
    let figures = [("builds here", begun.values().sum()), ("pipelines in GitLab", pipelines), ("pipelines too many, cancelled", cancelled)];
    Part::tried("builds", owned(&figures), findings)
}

/// The keys of a run's attempts to build it.
fn attempts(view: &RunView) -> Vec<String> {
    let builds = view.steps.iter().filter(|step| step.name == "build");
    builds.flat_map(|step| &step.attempts).map(|attempt| attempt.key.to_string()).collect()
}

/// How often the local executor took each build, as its log tells. A line that was torn when it was killed says nothing.
fn begun(log: &str) -> BTreeMap<String, u64> {
    let mut begun = BTreeMap::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if line["message"] == "build.accepted"
            && let Some(key) = line["key"].as_str()
        {
            *begun.entry(key.to_owned()).or_default() += 1;
        }
    }
    begun
}

/// Each run that deploys was shown once on each host, in an order in which none went over a newer one; the hosts show the last.
fn activations(stage: &Stage, done: &[Done]) -> Part {
    let (mut findings, mut shown) = (Vec::new(), 0);
    for one in done.iter().filter(|one| one.shown.is_some()) {
        let Some(view) = &one.view else { continue };
        shown += one.switches.iter().sum::<usize>() as u64;
        let passed = view.summary.outcome == Some(Outcome::Passed);
        findings.extend(judge::switches(&format!("run {} of {}", view.summary.id, one.repo), &one.switches, passed));
    }
    let names: BTreeSet<&str> = done.iter().filter(|one| one.shown.is_some()).map(|one| one.repo).collect();
    for name in names {
        let passed = |one: &&Done| one.view.as_ref().is_some_and(|view| view.summary.outcome == Some(Outcome::Passed));
        let last = done.iter().rfind(|one| one.repo == name && passed(one)).and_then(|one| one.shown.clone());
        for host in 0..stage.world.hosts.len() {
            let lines = stage.world.activations(host, name);
            let numbers: Vec<u64> = lines.iter().filter(|line| line[0] == "shown").filter_map(|line| line.get(1)?.parse().ok()).collect();
            let now = stage.world.shown(host, name);
            findings.extend(judge::host(host, name, &numbers, (now.as_deref(), last.as_deref())));
        }
    }
    Part::tried("activations", vec![("switches of a host".to_owned(), shown)], findings)
}

/// Each change has one vote, and that the right one.
async fn votes(stage: &Stage, done: &[Done]) -> Part {
    let Some(gerrit) = &stage.gerrit else { return Part::not_run("votes", "a Gerrit") };
    let (mut findings, mut votes) = (Vec::new(), 0);
    for one in done {
        let (Some(change), Some(view)) = (one.change, &one.view) else { continue };
        // What is given up says nothing about the change.
        let given: Vec<i64> = gerrit.votes(change).await.into_values().flatten().collect();
        votes += given.len() as u64;
        findings.extend(judge::votes(change, &given, view.summary.outcome == Some(Outcome::Passed)));
    }
    Part::tried("votes", vec![("votes".to_owned(), votes)], findings)
}

/// What is left over: work to do, what is held, refs, processes, mounts, files, grants. Ends the stage; what it leaves is kept where
/// something was wrong, and where, is said.
async fn left_over(mut stage: Stage, asker: &Asker, wrong: bool) -> (Part, Option<String>) {
    let mut findings = Vec::new();
    let projects: Vec<&str> = [BRANCH, REVIEW]
        .into_iter()
        .chain(stage.gerrit.iter().flat_map(|_| CHANGES).filter(|(_, at)| *at == "gitlab").map(|(name, _)| name))
        .collect();
    if let Err(left) = books::quiet(&stage.world.site(), asker.patience()).await {
        findings.push(left);
    }
    for project in &projects {
        if let Err(left) = stage.gitlab.tidy(project).await {
            findings.push(left);
        }
    }
    findings.extend(stage.world.end().await);
    findings.extend(books::left(&stage.world.site()).await);
    let incoming = stage.world.site().join("data/artifact-store/incoming");
    findings.extend(files(&incoming).into_iter().map(|file| format!("an upload is left: {file}")));
    for (number, host) in stage.world.hosts.iter().enumerate() {
        let temporary = files(&host.files).into_iter().filter(|file| file.contains("/.staging-"));
        findings.extend(temporary.map(|file| format!("on host {number} a file is left: {file}")));
    }
    let kept = (wrong || !findings.is_empty()).then(|| evidence::kept(&stage.world.site()));
    let Stage { world, gitlab, gerrit } = stage;
    gitlab.close(&[]).await;
    if let Some(gerrit) = gerrit.and_then(Arc::into_inner) {
        gerrit.close().await;
    }
    drop(world);
    (Part::tried("left over", vec![("things left over".to_owned(), findings.len() as u64)], findings), kept)
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            _ => found.push(entry.path().display().to_string()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_build_is_counted_as_often_as_it_is_told_and_a_torn_line_is_not() {
        let log = "{\"message\":\"build.accepted\",\"key\":\"01ab-1-1\"}\n{\"message\":\"build.ended\",\"key\":\"01ab-1-1\"}\n\
                   {\"message\":\"build.accepted\",\"key\":\"01ab-1-1\"}\n{\"message\":\"build.accepted\",\"key\":\"02cd\n\
                   {\"message\":\"build.accepted\",\"key\":\"02cd-0-2\"}\n";
        assert_eq!(begun(log), [("01ab-1-1".to_owned(), 2), ("02cd-0-2".to_owned(), 1)].into());
    }
}
