//! `signalbox show` and `logs`: one run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{AttemptView, EventView, ReportView, RunView, StepKind};
use signalbox_contract::{Origin, RunId};

use crate::connection::{Connection, path, with_query};
use crate::follow::{LAST_WORDS, Watch};
use crate::log::{LogReader, Printer, log_path, parts};
use crate::mistake::Mistake;
use crate::output::{Output, duration, harmless, moment, size, table, took};
use crate::trouble::Troubles;
use crate::words;

/// How many events are asked for at once.
const PAGE: usize = 200;

/// A run and its events, as `show --events --json` prints them.
#[derive(Serialize)]
struct WithEvents<'r> {
    run: &'r RunView,
    events: Vec<EventView>,
}

/// `GET /runs/{id}`.
pub(crate) async fn show(connection: &Connection, run: RunId, events: bool, output: Output) -> Result<u8> {
    let id = run.to_string();
    let view: RunView = connection.get(&path(["runs", &id])).await?;
    if !events {
        output.show(&view, whole)?;
        return Ok(0);
    }
    let mut all: Vec<EventView> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event.n);
        let query = [("after", Some(after.to_string())), ("limit", Some(PAGE.to_string()))];
        let page: Page<EventView> = connection.get(&with_query(&path(["runs", &id, "events"]), query)).await?;
        let full = page.items.len() >= PAGE || page.next.is_some();
        let moved = page.items.iter().any(|event| event.n > after);
        all.extend(page.items);
        all.sort_by_key(|event| event.n);
        if !full || !moved {
            break;
        }
    }
    output.show(&WithEvents { run: &view, events: all }, |both| format!("{}\n{}", whole(both.run), history(&both.events)))?;
    Ok(0)
}

/// What `logs` prints.
pub(crate) struct Wanted {
    pub(crate) step: Option<String>,
    pub(crate) attempt: Option<u16>,
    pub(crate) part: Option<String>,
    pub(crate) follow: bool,
    pub(crate) tail: Option<u64>,
    pub(crate) raw: bool,
}

/// `GET /runs/{id}/steps/{step}/log`.
pub(crate) async fn logs(connection: &Connection, run: RunId, wanted: Wanted, output: Output) -> Result<u8> {
    let mut watch = Watch::new(connection, run);
    watch.look().await?;
    let (step, _) = chosen(watch.seen()?, &wanted)?;
    let mut printer = Printer::new(output, wanted.raw, &step);
    if let Some(bytes) = wanted.tail {
        let Some(attempt) = chosen(watch.seen()?, &wanted)?.1 else { return Ok(0) };
        for (part, name) in chosen_parts(attempt, &wanted)? {
            heading(&name, attempt, &wanted, output);
            let path = log_path(run, &step, attempt.key.attempt, part.as_deref(), Some(bytes));
            let mut answer = connection.download(&path).await?;
            while let Some(chunk) = answer.chunk().await.map_err(|error| connection.explain(error))? {
                printer.print(attempt.key.attempt, part.as_deref(), &chunk)?;
            }
        }
        printer.finish(attempt.key.attempt)?;
        return Ok(0);
    }
    let mut number = None;
    let mut logs: BTreeMap<Option<String>, LogReader> = BTreeMap::new();
    let (mut speaking, mut ended_at) = (None, None);
    let mut troubles = Troubles::default();
    loop {
        let view = watch.seen()?;
        // A log that does not begin, or go on, waits for any step that is tried again, also for an earlier one.
        for trouble in view.steps.iter().filter(|_| wanted.follow && !output.json).filter_map(|step| troubles.news(step)) {
            eprintln!("{}", harmless(&trouble));
        }
        let attempt = match number {
            Some(number) => view.steps.iter().flat_map(|step| &step.attempts).find(|known| known.key == number),
            None => chosen(view, &wanted)?.1,
        };
        let mut complete = false;
        if let Some(attempt) = attempt.filter(|attempt| attempt.ended || !attempt.parts.is_empty() || !wanted.follow) {
            number = Some(attempt.key);
            complete = true;
            for (part, name) in chosen_parts(attempt, &wanted)? {
                let log = logs.entry(part.clone()).or_insert_with(|| LogReader::new(run, &step, attempt.key.attempt, part.as_deref()));
                let mut print = |bytes: &[u8]| {
                    if speaking.as_ref() != Some(&part) {
                        heading(&name, attempt, &wanted, output);
                        speaking = Some(part.clone());
                    }
                    printer.print(attempt.key.attempt, part.as_deref(), bytes)
                };
                while log.advance(connection, &mut print).await? {}
                complete &= log.is_complete();
            }
        }
        // An attempt that is over has no more to say, even if its log never came to its end.
        let ended = attempt.map_or(view.summary.finished_at.is_some(), |attempt| attempt.ended);
        // Where the last of it was cut, it is asked for again, for a moment.
        let over = ended && (complete || attempt.is_none() || ended_at.get_or_insert_with(Instant::now).elapsed() > LAST_WORDS);
        if !wanted.follow || over || (complete && attempt.is_some_and(|attempt| attempt.parts.len() == 1)) {
            if let Some(attempt) = attempt {
                printer.finish(attempt.key.attempt)?;
            }
            return Ok(0);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        // A connection that is cut is made anew; the log goes on from where it was.
        watch.look().await?;
    }
}

/// The parts whose logs are wanted: the one that was named, by its id or its name, or else all.
fn chosen_parts(attempt: &AttemptView, wanted: &Wanted) -> Result<Vec<(Option<String>, String)>> {
    let all = parts(attempt);
    let Some(named) = &wanted.part else { return Ok(all) };
    let by_id = all.iter().find(|(part, _)| part.as_deref() == Some(named));
    let found = by_id.or_else(|| all.iter().rfind(|(_, name)| name == named)).cloned();
    let Some(found) = found else {
        let names: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).filter(|name| !name.is_empty()).collect();
        let there = if names.is_empty() { "it shows none (yet)".to_owned() } else { format!("it has: {}", names.join(", ")) };
        return Err(Mistake::usage(format!("the attempt has no such part; {there}")).into());
    };
    Ok(vec![found])
}

/// Says whose words follow, where there are several.
fn heading(name: &str, attempt: &AttemptView, wanted: &Wanted, output: Output) {
    if wanted.part.is_none() && !output.json && attempt.parts.iter().filter(|part| part.has_log).count() > 1 {
        eprintln!("{}", harmless(&format!("── {name}")));
    }
}

/// The step whose log is wanted, and its attempt if there is one yet.
fn chosen<'v>(view: &'v RunView, wanted: &Wanted) -> Result<(String, Option<&'v AttemptView>)> {
    let step = match &wanted.step {
        Some(name) => view.steps.iter().find(|step| step.name == *name),
        None => view.steps.iter().find(|step| step.kind == StepKind::Build).or(view.steps.first()),
    };
    let Some(step) = step else {
        let names: Vec<&str> = view.steps.iter().map(|step| step.name.as_str()).collect();
        return Err(Mistake::usage(format!("the run has no such step; it has: {}", names.join(", "))).into());
    };
    let attempt = match wanted.attempt {
        Some(number) => {
            let found = step.attempts.iter().find(|known| known.key.attempt == number);
            let words = || format!("the step {} has {} attempts, and no attempt {number}", step.name, step.attempts.len());
            Some(found.ok_or_else(|| Mistake::usage(words()))?)
        }
        None => step.attempts.last(),
    };
    Ok((step.name.clone(), attempt))
}

/// How a run ended, in a line.
pub(crate) fn ending(view: &RunView) -> String {
    let run = &view.summary;
    let mut line = format!("run {} {}", run.id, words::result(run));
    if let Some(end) = run.finished_at {
        line = format!("{line} in {}", took(run.began_at(), end));
    }
    if !run.reason.is_empty() {
        line = format!("{line}: {}", run.reason);
    }
    harmless(&line)
}

/// A run, with all that happened in it.
fn whole(view: &RunView) -> String {
    let run = &view.summary;
    let mut text = ending(view);
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(text, "\n  {name:<12} {value}");
        }
    };
    let kind = words::kind(run.kind);
    fact("what", Some(run.repo.as_ref().map_or_else(|| kind.to_owned(), |repo| format!("{kind} {repo}"))));
    fact("number", Some(run.number.to_string()));
    fact("source", view.source.as_ref().map(ToString::to_string));
    fact("ref", run.ref_name.as_ref().map(ToString::to_string));
    fact("commit", run.sha.as_ref().map(ToString::to_string));
    fact("job", view.job.as_ref().map(ToString::to_string));
    fact("executor", view.executor.as_ref().map(ToString::to_string));
    fact("environment", run.environment.as_ref().map(ToString::to_string));
    fact("publishes", run.published_name.as_ref().map(ToString::to_string));
    fact("by", Some(run.principal.clone()));
    fact("accepted", Some(moment(run.accepted_at)));
    fact("run again", run.rerun_at.map(moment));
    for (name, value) in origin(&run.origin) {
        fact(name, Some(value));
    }
    if let Some(report) = &view.report {
        told(&mut text, report);
    }
    text.push('\n');
    for step in &view.steps {
        let state = step.verdict.map_or_else(|| words::step(step.state), words::verdict);
        let _ = write!(text, "\n{} ({state})", step.name);
        if !step.reason.is_empty() {
            let _ = write!(text, ": {}", step.reason);
        }
        for attempt in &step.attempts {
            attempt_lines(&mut text, attempt);
        }
    }
    let actions: Vec<String> = view.actions.iter().map(|action| format!("{action:?}").to_lowercase()).collect();
    if !actions.is_empty() {
        let _ = write!(text, "\n\nallowed now: {}", actions.join(", "));
    }
    harmless(&text)
}

/// What made the run begin, where that was not a request.
fn origin(origin: &Origin) -> Vec<(&'static str, String)> {
    match origin {
        Origin::Api => Vec::new(),
        Origin::Review(head) => {
            let mut facts = vec![
                ("forge", head.change.forge.to_string()),
                ("change", origin.change().unwrap_or_default()),
                ("for", head.branch.short().to_owned()),
            ];
            facts.extend(head.topic.clone().map(|topic| ("topic", topic)));
            facts.extend(head.url.as_ref().map(|url| ("page", url.to_string())));
            facts
        }
        Origin::Moved { forge, project, ref_name, .. } => {
            vec![("forge", forge.to_string()), ("because", format!("{} of {project} moved", ref_name.short()))]
        }
    }
}

/// What the forge was told of it.
fn told(text: &mut String, report: &ReportView) {
    let ReportView { wanted, told, told_at, remarks, failure } = report;
    let said = told.map_or_else(|| "nothing yet".to_owned(), |told| told.word().to_owned());
    let at = told_at.map(|at| format!(" ({})", moment(at))).unwrap_or_default();
    let _ = write!(text, "\n  {:<12} {said}{at}", "told");
    if let Some(failure) = failure {
        let _ = write!(text, "\n  {:<12} {} is not told: {failure} ({})", "", wanted.word(), failure.code.as_str());
    } else if *told != Some(*wanted) {
        let _ = write!(text, "\n  {:<12} {} is being told", "", wanted.word());
    }
    for remark in remarks {
        let _ = write!(text, "\n  {:<12} {remark}", "");
    }
}

fn attempt_lines(text: &mut String, attempt: &AttemptView) {
    let how = match attempt.verdict {
        Some(verdict) => words::verdict(verdict),
        None => attempt.phase.as_str(),
    };
    let _ = write!(text, "\n  attempt {}: {how}, began {}", attempt.key.attempt, moment(attempt.started_at));
    if let Some(end) = attempt.finished_at {
        let _ = write!(text, ", took {}", took(attempt.started_at, end));
    }
    if let Some(failure) = &attempt.failure {
        let _ = write!(text, "\n    {failure} ({})", failure.code.as_str());
    }
    if let Some(url) = &attempt.url {
        let _ = write!(text, "\n    build {} at {url}", attempt.build.as_deref().unwrap_or_default());
    }
    for part in &attempt.parts {
        let stage = part.stage.as_deref().map(|stage| format!("{stage}: ")).unwrap_or_default();
        let _ = write!(text, "\n    part {stage}{} ({}): {}", part.name, part.part, words::part(part));
    }
    for remark in &attempt.remarks {
        let _ = write!(text, "\n    {remark}");
    }
    for artifact in &attempt.artifacts {
        let _ = write!(text, "\n    artifact {} {} {}", artifact.name, size(artifact.size), artifact.digest);
    }
    for host in &attempt.hosts {
        let _ = write!(text, "\n    host {} {} ({})", host.host, words::host(host), duration(Duration::from_millis(host.took_ms)));
    }
}

fn history(events: &[EventView]) -> String {
    let rows = events.iter().map(|event| {
        let who = event.principal.clone().unwrap_or_default();
        [event.n.to_string(), moment(event.at), event.kind.clone(), who, event.body.to_string()]
    });
    harmless(&table(["N", "WHEN (UTC)", "WHAT", "WHO", "DETAILS"], rows))
}
