//! `signalbox deliveries`.

use std::fmt::Write as _;

use anyhow::Result;
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeedView, DeliverySummary, DeliveryView, Via};

use crate::arguments::{DeliveriesArguments, DeliveriesCommand};
use crate::connection::{Connection, path, with_query};
use crate::output::{Output, harmless, moment, size, table};
use crate::words;

/// `GET /deliveries`, `GET /deliveries/{id}` and `POST /deliveries/{id}/replay`.
pub(crate) async fn deliveries(connection: &Connection, request: DeliveriesArguments, output: Output) -> Result<u8> {
    match request.command {
        None => list(connection, request, output).await,
        Some(DeliveriesCommand::Show { id }) => {
            let view: DeliveryView = connection.get(&path(["deliveries", &id.to_string()])).await?;
            output.show(&view, whole)?;
            Ok(0)
        }
        Some(DeliveriesCommand::Replay { id }) => {
            connection.order(&path(["deliveries", &id.to_string(), "replay"])).await?;
            let done = serde_json::json!({ "delivery": id, "replayed": true });
            output.show(&done, |_| format!("delivery {id} is acted on again; `signalbox deliveries show {id}` shows what comes of it"))?;
            Ok(0)
        }
    }
}

async fn list(connection: &Connection, request: DeliveriesArguments, output: Output) -> Result<u8> {
    let query = [
        ("source", request.forge.as_ref().map(ToString::to_string)),
        ("state", request.state.map(|state| words::delivery(state.into()).to_owned())),
        ("limit", Some(request.limit.to_string())),
        ("cursor", request.cursor),
    ];
    let page: Page<DeliverySummary> = connection.get(&with_query("/deliveries", query)).await?;
    output.show(&page, |page| {
        if page.items.is_empty() {
            return "no deliveries that this token may see".to_owned();
        }
        let rows = page.items.iter().map(|one| {
            let repo = one.repo.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            let state = words::delivery(one.state).to_owned();
            [one.id.to_string(), state, one.source.to_string(), one.kind.clone(), repo, moment(one.received_at), outcome(one)]
        });
        let text = table(["ID", "STATE", "FORGE", "KIND", "REPOSITORY", "RECEIVED (UTC)", "WHAT CAME OF IT"], rows);
        let more = page.next.as_ref().map(|next| format!("\nmore: signalbox deliveries --cursor {next}")).unwrap_or_default();
        harmless(&format!("{text}{more}"))
    })?;
    Ok(0)
}

/// What was done about it, or why nothing was.
fn outcome(delivery: &DeliverySummary) -> String {
    let mut said: Vec<String> = delivery.deeds.iter().map(deed).collect();
    said.extend(Some(delivery.reason.clone()).filter(|reason| !reason.is_empty()));
    said.join("; ")
}

fn deed(deed: &DeedView) -> String {
    let mut text = words::deed(deed.what).to_owned();
    if let Some(run) = deed.run {
        // Writing to a string cannot fail.
        let _ = write!(text, " {run}");
    }
    if !deed.reason.is_empty() {
        let _ = write!(text, ": {}", deed.reason);
    }
    text
}

/// A delivery, with what is kept of it.
fn whole(view: &DeliveryView) -> String {
    let one = &view.summary;
    let mut text = format!("delivery {}: {}", one.id, words::delivery(one.state));
    if !one.reason.is_empty() {
        let _ = write!(text, ": {}", one.reason);
    }
    let via = match one.via {
        Via::Webhook => "webhook",
        Via::Stream => "stream",
    };
    let facts = [
        ("forge", Some(format!("{} (by {via})", one.source))),
        ("kind", Some(one.kind.clone())),
        ("repository", one.repo.as_ref().map(ToString::to_string)),
        ("received", Some(moment(one.received_at))),
        ("times", Some(one.copies.to_string())),
        ("acted on", one.acted_at.map(moment)),
        ("size", Some(size(one.size))),
        ("digest", Some(one.digest.to_string())),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            let _ = write!(text, "\n  {name:<12} {value}");
        }
    }
    for done in &one.deeds {
        let _ = write!(text, "\n- {}", deed(done));
    }
    for (name, value) in &view.headers {
        let _ = write!(text, "\n{name}: {value}");
    }
    match view.body.as_ref().map(serde_json::to_string_pretty) {
        Some(Ok(body)) => {
            let _ = write!(text, "\n\n{body}");
        }
        _ => text.push_str("\n\nIts body is not kept."),
    }
    harmless(&text)
}
