//! `GET /blobs` and `GET /versions/NAME`.

use axum::extract::State;
use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::store::BlobInfo;
use signalbox_contract::grant::Action;
use signalbox_contract::name::MAX_ARTIFACT_NAME;
use signalbox_contract::{ArtifactName, Code, Problem};
use signalbox_service::auth::Operator;
use signalbox_service::http::{Json, Path, Query, Result};

use super::blobs::target;
use super::{App, problem};

/// How many items a page has unless told otherwise.
const DEFAULT_LIMIT: u32 = 100;

/// How many items a page has at most.
const MAX_LIMIT: u32 = 1000;

/// Which names are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlobsQuery {
    prefix: Option<String>,
    cursor: Option<u64>,
    limit: Option<u32>,
}

/// Which versions are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionsQuery {
    cursor: Option<u64>,
    limit: Option<u32>,
}

fn invalid(field: &str, detail: &str) -> Problem {
    Problem::new(Code::InvalidRequest).field(field, detail)
}

fn limit(limit: Option<u32>) -> Result<usize> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        given @ 1..=MAX_LIMIT => Ok(given as usize),
        _ => Err(invalid("limit", &format!("must be between 1 and {MAX_LIMIT}")).into()),
    }
}

/// List the names that the caller may read, in alphabetical order.
#[utoipa::path(
    get, path = "/blobs", tag = "blobs", security(("operator" = [])),
    params(
        ("prefix" = Option<String>, Query, description = "Only names that begin with this."),
        ("cursor" = Option<u64>, Query, description = "The `next` of the page before."),
        ("limit" = Option<u32>, Query, description = "How many, 1000 at most. A page may have fewer and a `next` all the same."),
    ),
    responses(
        (status = 200, description = "A page of names and what they show.", body = Page<BlobInfo>),
        (status = 400, description = "A parameter is not valid.", body = Problem),
        (status = 401, description = "No valid token.", body = Problem),
    )
)]
pub(super) async fn list_blobs(
    operator: Operator,
    Query(query): Query<BlobsQuery>,
    State(app): State<App>,
) -> Result<Json<Page<BlobInfo>>> {
    let limit = limit(query.limit)?;
    let prefix = query.prefix.unwrap_or_default();
    if prefix.len() > MAX_ARTIFACT_NAME || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("prefix", "must be the beginning of an artifact name").into());
    }
    let sees = |name: &ArtifactName| operator.may(Action::BlobRead, &target(name));
    let page = app.store.catalog.page(&prefix, query.cursor, limit, sees).await.map_err(|error| problem::catalog(&error))?;
    let Some((items, next)) = page else {
        return Err(invalid("cursor", "is not one that was given by a page, or is too old").into());
    };
    Ok(Json(Page { items, next: next.map(|next| next.to_string()) }))
}

/// List what a name shows and has shown, newest first.
#[utoipa::path(
    get, path = "/versions/{name}", tag = "blobs", security(("operator" = [])),
    params(
        ("name" = ArtifactName, Path, description = "The name."),
        ("cursor" = Option<u64>, Query, description = "The `next` of the page before."),
        ("limit" = Option<u32>, Query, description = "How many, 1000 at most."),
    ),
    responses(
        (status = 200, description = "A page of the name's history.", body = Page<BlobInfo>),
        (status = 400, description = "A parameter is not valid.", body = Problem),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 404, description = "There is no such name, or the token does not allow to see it.", body = Problem),
    )
)]
pub(super) async fn list_versions(
    operator: Operator,
    Path(name): Path<ArtifactName>,
    Query(query): Query<VersionsQuery>,
    State(app): State<App>,
) -> Result<Json<Page<BlobInfo>>> {
    versions(&app, &operator, &name, &query).await
}

/// A page of a name's history.
pub(super) async fn versions(app: &App, operator: &Operator, name: &ArtifactName, query: &VersionsQuery) -> Result<Json<Page<BlobInfo>>> {
    if !operator.may(Action::BlobRead, &target(name)) {
        return Err(Problem::not_found().into());
    }
    let limit = limit(query.limit)?;
    if query.cursor.is_some_and(|cursor| i64::try_from(cursor).is_err()) {
        return Err(invalid("cursor", "is not one that was given by a page").into());
    }
    let page = app.store.catalog.versions(name, query.cursor, limit).await.map_err(|error| problem::catalog(&error))?;
    if page.items.is_empty() && query.cursor.is_none() {
        return Err(Problem::not_found().into());
    }
    let next = page.items.last().filter(|_| page.more).map(|last| last.version.to_string());
    Ok(Json(Page { items: page.items, next }))
}
