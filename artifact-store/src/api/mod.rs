//! The store's HTTP API. Each handler's first lines say who may call it.

mod answer;
mod blobs;
mod condition;
mod digests;
mod fields;
mod grants;
mod lists;
mod openapi;
mod pins;
mod problem;
mod range;
mod scrub;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post, put};
use signalbox_service::auth::Verifier;
use signalbox_service::http::{ServeOptions, StreamLimits, described_parameters, finish_with, streaming};
use signalbox_service::ledger::Ledger;
use signalbox_service::telemetry::Telemetry;

use crate::store::Store;

pub use openapi::openapi;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Arc<Store>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) ledger: Ledger,
}

impl FromRef<App> for Arc<Verifier> {
    fn from_ref(app: &App) -> Self {
        Self::clone(&app.verifier)
    }
}

/// All routes with all layers.
pub(crate) fn router(app: App, upload_timeout: Duration, options: &ServeOptions, telemetry: &Telemetry) -> Router {
    let limits = StreamLimits::new(app.store.max_blob, upload_timeout);
    let ordinary = Router::new()
        .route("/blobs", get(lists::list_blobs))
        .route("/versions/{*name}", get(lists::list_versions))
        .route("/grants/{key}", get(grants::get_grant))
        .route("/scrub", post(scrub::post_scrub))
        .route("/unpin", post(pins::unpin))
        .route("/resolve", post(pins::resolve));
    let streams = Router::new()
        .route("/blobs/{*name}", put(blobs::put_blob).get(blobs::get_blob).delete(blobs::delete_blob))
        .route("/digests/{digest}", get(digests::get_digest))
        .route("/grants/{key}/{*name}", put(grants::put_grant))
        // An artifact may be called `close`.
        .route("/grants/{key}/close", post(grants::close_grant).put(grants::put_grant_close));
    let description = openapi();
    let known = |routes| described_parameters(routes, &description);
    let (ordinary, streams) = (known(ordinary.with_state(app.clone())), known(streams.with_state(app)));
    finish_with(ordinary, streaming(streams, limits), options, telemetry)
}
