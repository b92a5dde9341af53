//! `signalbox status`, `runs`, `stop`.

use std::fmt::Write as _;

use anyhow::Result;
use signalbox_contract::api::Page;
use signalbox_contract::api::run::{RunSummary, Status};
use signalbox_contract::{RefName, RunId};

use crate::arguments::StateFilter;
use crate::connection::{Connection, path, with_query};
use crate::output::{Output, harmless, minute, table};
use crate::words;

/// `GET /status`.
pub(crate) async fn status(connection: &Connection, cursor: Option<String>, output: Output) -> Result<u8> {
    let status: Status = connection.get(&with_query("/status", [("cursor", cursor)])).await?;
    output.show(&status, |status| {
        let mut text = String::new();
        for (name, ids) in [("queued", &status.queued), ("building", &status.building), ("finished", &status.finished)] {
            let runs: Vec<&RunSummary> = ids.iter().filter_map(|id| status.builds.get(id)).collect();
            // Writing to a string cannot fail.
            let _ = match runs.len() {
                0 => writeln!(text, "{name}: none"),
                number => writeln!(text, "{name}: {number}"),
            };
            if !runs.is_empty() {
                text.push_str(&list(runs));
                text.push_str("\n\n");
            }
        }
        text.push_str(&more(status.next.as_deref(), "status"));
        text
    })?;
    Ok(0)
}

/// What runs are listed by.
pub(crate) struct Filter {
    /// A name, or the URL of a source.
    pub(crate) repo: Option<String>,
    pub(crate) ref_name: Option<RefName>,
    pub(crate) state: Option<StateFilter>,
    pub(crate) limit: u16,
    pub(crate) cursor: Option<String>,
}

/// `GET /runs`.
pub(crate) async fn runs(connection: &Connection, filter: Filter, output: Output) -> Result<u8> {
    let state = filter.state.map(|state| {
        let word = match state {
            StateFilter::Queued => "queued",
            StateFilter::Building => "building",
            StateFilter::Stopping => "stopping",
            StateFilter::Finished => "finished",
        };
        word.to_owned()
    });
    let narrowed = filter.repo.is_some() || filter.ref_name.is_some() || filter.state.is_some() || filter.cursor.is_some();
    let query = [
        ("repo", filter.repo),
        ("ref", filter.ref_name.map(|name| name.to_string())),
        ("state", state),
        ("limit", Some(filter.limit.to_string())),
        ("cursor", filter.cursor),
    ];
    let page: Page<RunSummary> = connection.get(&with_query("/runs", query)).await?;
    output.show(&page, |page| {
        if page.items.is_empty() {
            let words =
                if narrowed { "no such runs; `signalbox runs` lists all" } else { "no runs; `signalbox cd REPO --ref REF` starts one" };
            return words.to_owned();
        }
        format!("{}\n{}", list(&page.items), more(page.next.as_deref(), "runs"))
    })?;
    Ok(0)
}

/// `POST /runs/{id}/stop`.
pub(crate) async fn stop(connection: &Connection, run: RunId, output: Output) -> Result<u8> {
    connection.order(&path(["runs", &run.to_string(), "stop"])).await?;
    let done = serde_json::json!({ "run": run, "stopping": true });
    output.show(&done, |_| format!("run {run} is being stopped; `signalbox show {run}` shows how far it is"))?;
    Ok(0)
}

fn list<'r>(runs: impl IntoIterator<Item = &'r RunSummary>) -> String {
    let none = || "-".to_owned();
    let rows = runs.into_iter().map(|run| {
        let about = match (&run.repo, &run.ref_name, &run.published_name) {
            (Some(repo), Some(_), _) if run.origin.change().is_some() => {
                format!("{repo} {}", harmless(&run.origin.change().unwrap_or_default()))
            }
            (Some(repo), Some(ref_name), _) => format!("{repo} {ref_name}"),
            (_, _, Some(name)) => format!("{} {name}", words::kind(run.kind)),
            _ => words::kind(run.kind).to_owned(),
        };
        let sha = run.sha.as_ref().map_or_else(none, |sha| sha.to_string().chars().take(8).collect());
        let place = run.environment.as_ref().map_or_else(none, ToString::to_string);
        [run.id.to_string(), words::result(run).to_owned(), about, sha, place, minute(run.accepted_at), run.principal.clone()]
    });
    table(["RUN", "STATE", "WHAT", "COMMIT", "TO", "ACCEPTED (UTC)", "BY"], rows)
}

/// How to get the next page, if there is one.
fn more(next: Option<&str>, command: &str) -> String {
    next.map(|next| format!("more: signalbox {command} --cursor {next}")).unwrap_or_default()
}
