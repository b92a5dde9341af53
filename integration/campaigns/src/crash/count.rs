//! Counting: what was asked, against what each receiver says it did; and what is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use signalbox_contract::Verdict;
use signalbox_contract::api::run::{Outcome, RunView};
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::state::status::Status;

use super::line::Done;
use super::stage::{BRANCH, CHANGES, REVIEW, Stage};
use crate::asker::Asker;
use crate::books;
use crate::figures::Times;
use crate::report::Part;

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
    parts.push(left_over(stage, asker).await);
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
        for (sha, runs) in known {
            if runs > 1 || !asked.contains(sha.as_str()) {
                doubled += 1;
                findings.push(format!("doubled: {repo} has {runs} runs of {sha:?}"));
            }
        }
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
    for (key, times) in &begun {
        if *times > 1 {
            findings.push(format!("doubled: the build {key} began {times} times"));
        }
        if !keys.contains(key) {
            findings.push(format!("doubled: the build {key} began, which is no attempt of a run that was asked for"));
        }
    }
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
            let counted = all.len() as u64 - off;
            (pipelines, cancelled) = (pipelines + counted, cancelled + off);
            let attempts = one.view.as_deref().map_or(1, |view| attempts(view).len()) as u64;
            if counted > attempts {
                findings.push(format!("doubled: {repo} has {counted} pipelines of {} for {attempts} attempts: {all:?}", one.sha));
            }
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

/// How often the local executor took each build, as its log tells.
fn begun(log: &str) -> BTreeMap<String, u64> {
    let mut begun = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("build.accepted")) {
        let key = line.split("key").nth(1).map(|rest| {
            let rest = rest.trim_start_matches(|letter: char| !letter.is_ascii_alphanumeric());
            rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect::<String>()
        });
        if let Some(key) = key {
            *begun.entry(key).or_default() += 1;
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
        let wanted = usize::from(view.summary.outcome == Some(Outcome::Passed));
        if one.switches.iter().any(|times| *times > 1 || *times < wanted) {
            findings.push(format!("the hosts showed run {} of {} {:?} times", view.summary.id, one.repo, one.switches));
        }
    }
    let names: BTreeSet<&str> = done.iter().filter(|one| one.shown.is_some()).map(|one| one.repo).collect();
    for name in names {
        let passed = |one: &&Done| one.view.as_ref().is_some_and(|view| view.summary.outcome == Some(Outcome::Passed));
        let last = done.iter().rfind(|one| one.repo == name && passed(one)).and_then(|one| one.shown.clone());
        for host in 0..stage.world.hosts.len() {
            let lines = stage.world.activations(host, name);
            let numbers: Vec<u64> = lines.iter().filter(|line| line[0] == "shown").filter_map(|line| line.get(1)?.parse().ok()).collect();
            if !numbers.is_sorted_by(|one, next| one < next) {
                findings.push(format!("host {host} showed {name} in another order: {numbers:?}"));
            }
            let now = stage.world.shown(host, name);
            if now != last {
                findings.push(format!("host {host} shows {now:?} as {name}, not {last:?}"));
            }
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
        let wanted = if view.summary.outcome == Some(Outcome::Passed) { vec![1] } else { Vec::new() };
        let given: Vec<i64> = gerrit.votes(change).await.into_values().flatten().collect();
        votes += given.len() as u64;
        if given != wanted {
            let what = if given.len() > wanted.len() { "doubled" } else { "lost" };
            findings.push(format!("{what}: change {change} has the votes {given:?} instead of {wanted:?}"));
        }
    }
    Part::tried("votes", vec![("votes".to_owned(), votes)], findings)
}

/// What is left over: work to do, what is held, refs, processes, mounts, files, grants.
async fn left_over(mut stage: Stage, asker: &Asker) -> Part {
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
    let Stage { world, gitlab, gerrit } = stage;
    gitlab.close(&[]).await;
    if let Some(gerrit) = gerrit.and_then(Arc::into_inner) {
        gerrit.close().await;
    }
    drop(world);
    Part::tried("left over", vec![("things left over".to_owned(), findings.len() as u64)], findings)
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
    fn each_build_is_counted_as_often_as_it_is_told() {
        let log = "{\"fields\":{\"key\":\"01ab-1-1\",\"message\":\"build.accepted\"}}\nkey=01ab-1-1 build.accepted\nother key=x\n\
                   INFO build.accepted key=02cd-0-2 repo=x\n";
        assert_eq!(begun(log), [("01ab-1-1".to_owned(), 2), ("02cd-0-2".to_owned(), 1)].into());
    }
}
