//! The REST API, version 4: it translates and authorises. What is decided is decided in the state.

mod artifacts;
mod branches;
pub(crate) mod call;
mod caller;
mod commits;
mod deployments;
mod files;
mod groups;
mod hooks;
mod jobs;
mod keys;
mod merge_requests;
mod meta;
mod page;
mod params;
mod pipelines;
mod projects;
mod protected;
pub(crate) mod refusal;
mod statuses;
mod surround;
mod tokens;
mod variables;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};

use super::fake::Fake;
use refusal::Refusal;

/// Everything that is answered.
pub(crate) fn router(fake: Arc<Fake>) -> Router {
    let v4 = Router::new()
        .merge(artifacts::routes())
        .merge(branches::routes())
        .merge(commits::routes())
        .merge(deployments::routes())
        .merge(files::routes())
        .merge(groups::routes())
        .merge(hooks::routes())
        .merge(jobs::routes())
        .merge(keys::routes())
        .merge(merge_requests::routes())
        .merge(meta::routes())
        .merge(pipelines::routes())
        .merge(projects::routes())
        .merge(protected::routes())
        .merge(statuses::routes())
        .merge(tokens::routes())
        .merge(variables::routes())
        .merge(crate::gitlab::runner::routes())
        .fallback(|| async { Refusal::error(http::StatusCode::NOT_FOUND, "404 Not Found") })
        .method_not_allowed_fallback(|| async { Refusal::error(http::StatusCode::METHOD_NOT_ALLOWED, "405 Not Allowed") });
    Router::new()
        .nest("/api/v4", v4)
        .route("/oauth/discovery/keys", get(meta::keys))
        .route("/.well-known/openid-configuration", get(meta::openid))
        .fallback(any(surround::git))
        .layer(from_fn_with_state(Arc::clone(&fake), surround::surround))
        .with_state(fake)
}
