//! The queue and the recent runs.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use signalbox_contract::RunId;
use signalbox_service::auth::Operator;
use signalbox_service::http::Query;

use super::error::PageError;
use super::words::Row;
use super::{Visitor, page};
use crate::api::Api;

#[derive(Template)]
#[template(path = "runs.html")]
struct Runs {
    lists: Vec<List>,
    next: Option<String>,
    visitor: Option<Visitor>,
    refresh: bool,
}

struct List {
    title: &'static str,
    empty: &'static str,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    cursor: Option<RunId>,
}

/// `GET /`
pub(super) async fn get(State(api): State<Api>, operator: Operator, Query(query): Query<RunsQuery>) -> Result<Response, PageError> {
    let status = api.store.status(&api.visible(&operator).await?, query.cursor, 50).await?;
    let now = api.clock.now();
    let rows = |ids: &[RunId]| ids.iter().filter_map(|id| status.builds.get(id)).map(|run| Row::of(run, now)).collect::<Vec<_>>();
    let first = query.cursor.is_none();
    let mut lists = Vec::new();
    if first {
        lists.push(List { title: "Queued", empty: "Nothing waits.", rows: rows(&status.queued) });
        lists.push(List { title: "Building", empty: "Nothing is being built.", rows: rows(&status.building) });
    }
    lists.push(List { title: "Finished", empty: "No run has finished yet. Start one with `signalbox cd`.", rows: rows(&status.finished) });
    let refresh = first && !(status.queued.is_empty() && status.building.is_empty());
    page(&Runs { lists, next: status.next, visitor: Some(Visitor::of(&operator)), refresh })
}
