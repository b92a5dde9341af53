//! `signalbox mirrors`: what is at the mirrors, and cleaning them.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use http::header::HeaderMap;
use jiff::Timestamp;
use signalbox_contract::api::Page;
use signalbox_contract::api::mirrors::{CollectFailure, CollectRequest, CollectResult, MirrorInfo};
use signalbox_contract::{MirrorName, RefName};
use signalbox_service::clock::{Clock as _, SystemClock};

use crate::connection::{Connection, with_query};
use crate::mistake::code;
use crate::output::{Output, age, harmless, size, table};

/// How long an answer may take: the controller asks the VCS worker, which asks the mirrors' servers.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many times it is gone on where one request does not remove all.
const ROUNDS: usize = 100;

/// `GET /mirrors`.
pub(crate) async fn list(connection: &Connection, cursor: Option<String>, output: Output) -> Result<u8> {
    let connection = connection.clone().answering_within(PATIENCE);
    let page: Page<MirrorInfo> = connection.get(&with_query("/mirrors", [("cursor", cursor)])).await?;
    output.show(&page, |page| listed(page, SystemClock.now()))?;
    Ok(0)
}

/// `POST /mirrors/collect`: only shows what would go, unless `for_good`.
pub(crate) async fn collect(connection: &Connection, for_good: bool, output: Output) -> Result<u8> {
    let connection = connection.clone().answering_within(PATIENCE);
    let request = CollectRequest { dry_run: !for_good };
    let mut all = CollectResult { dry_run: request.dry_run, ..CollectResult::default() };
    for _ in 0..ROUNDS {
        let some: CollectResult = connection.post("/mirrors/collect", HeaderMap::new(), &request).await?;
        let moved = !(some.refs.is_empty() && some.copies.is_empty());
        all.refs.extend(some.refs);
        all.copies.extend(some.copies);
        // Each request begins anew, so the last one's failures are those that there are.
        (all.failures, all.more) = (some.failures, some.more);
        if !for_good || !all.more || !moved {
            break;
        }
    }
    let failed = !all.failures.is_empty();
    output.show(&all, |all| collected(all, SystemClock.now()))?;
    Ok(if failed { code::RUN_FAILED } else { 0 })
}

/// The mirror's name as people read it.
fn at(mirror: Option<&MirrorName>) -> String {
    mirror.map_or_else(|| "(own)".to_owned(), ToString::to_string)
}

/// The short name of a ref among ours: its attempt.
fn short(name: &RefName) -> String {
    name.short().to_owned()
}

fn listed(page: &Page<MirrorInfo>, now: Timestamp) -> String {
    let more = page.next.as_deref().map(|next| format!("more: signalbox mirrors --cursor '{next}'")).unwrap_or_default();
    if page.items.is_empty() {
        let none = "nothing is at the mirrors that this token may see; a run's first build puts something there";
        return if more.is_empty() { none.to_owned() } else { more };
    }
    let rows = page.items.iter().map(|info| {
        let dash = || "-".to_owned();
        let refs = match info.refs.len() as u64 + info.more_refs {
            0 => "none".to_owned(),
            count => format!("{count}, oldest {}", info.refs.first().map_or_else(dash, |first| age(first.since, now))),
        };
        let used = info.used_at.map_or_else(dash, |used| age(used, now));
        let place = info.url.as_ref().map_or_else(dash, ToString::to_string);
        let project = info.project.clone().unwrap_or_else(dash);
        [at(info.mirror.as_ref()), info.name.to_string(), project, refs, info.size.map_or_else(dash, size), used, place]
    });
    let mut text = table(["MIRROR", "REPOSITORY", "PROJECT", "REFS OF RUNS", "SIZE", "USED", "WHERE"], rows);
    for info in &page.items {
        if let Some(failure) = &info.failure {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{} at {}: {failure} ({})", info.name, at(info.mirror.as_ref()), failure.code.as_str());
        }
    }
    let refs: Vec<_> = page.items.iter().flat_map(|info| info.refs.iter().map(move |shown| (info, shown))).collect();
    if !refs.is_empty() {
        let rows = refs.into_iter().map(|(info, shown)| {
            let sha = shown.sha.to_string().chars().take(10).collect();
            [at(info.mirror.as_ref()), info.name.to_string(), short(&shown.ref_name), sha, age(shown.since, now)]
        });
        let _ = write!(text, "\n\n{}", table(["MIRROR", "REPOSITORY", "REF", "COMMIT", "AGE"], rows));
    }
    harmless(&format!("{text}\n{more}"))
}

fn collected(all: &CollectResult, now: Timestamp) -> String {
    let refs = all.refs.iter().map(|gone| {
        [at(gone.mirror.as_ref()), gone.name.to_string(), format!("ref {}", short(&gone.ref_name)), age(gone.since, now), String::new()]
    });
    let copies = all.copies.iter().map(|gone| {
        let names = gone.names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
        ["-".to_owned(), names, "copy of the source".to_owned(), age(gone.used_at, now), size(gone.size)]
    });
    let rows: Vec<_> = refs.chain(copies).collect();
    let mut text = if rows.is_empty() {
        "nothing is older than the VCS worker's `retention` keeps it".to_owned()
    } else {
        let (verb, then) = if all.dry_run { ("would go", "; `signalbox mirrors gc --yes` removes it") } else { ("went", "") };
        let what = format!("{} refs and {} copies {verb}{then}", all.refs.len(), all.copies.len());
        format!("{}\n{what}", table(["MIRROR", "REPOSITORY", "WHAT", "AGE", "SIZE"], rows))
    };
    if all.more {
        text.push_str("\nthere is more: ask again");
    }
    for CollectFailure { mirror, name, failure } in &all.failures {
        let _ = write!(text, "\n{name} at {}: {failure} ({})", at(mirror.as_ref()), failure.code.as_str());
    }
    harmless(&text)
}
