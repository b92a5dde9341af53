//! Metrics: a registry that is a value, so that several services can live in one process.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::http::{Readiness, ServeOptions, internal, serve};
use crate::shutdown::Shutdown;

/// The media type in which the metrics are given.
pub const METRICS_MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The bounds of the histogram of requests, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0];

/// What a service tells of itself. Clones are the same.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    service: &'static str,
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    readiness: Readiness,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

impl Telemetry {
    /// The telemetry of a service; its name becomes a label of each metric.
    pub fn new(service: &'static str) -> Self {
        let mut registry = Registry::with_labels([("service".into(), service.into())].into_iter());
        let requests = Family::default();
        let durations: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_duration_seconds", "Time until an answer began", durations.clone());
        Self(Arc::new(Inner { service, registry: Mutex::new(registry), requests, durations, readiness: Readiness::default() }))
    }

    /// The service's name.
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// The registry, for metrics of the service's own. A label's values must be few: never a path or a name that
    /// callers choose. A counter is registered without `_total`, which the format adds.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the service needs before it is ready.
    pub fn readiness(&self) -> Readiness {
        self.0.readiness.clone()
    }

    /// All metrics as text.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub fn metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry())?;
        Ok(text)
    }

    /// `GET /metrics`.
    pub fn metrics_router(&self) -> Router {
        Router::new().route("/metrics", get(show)).with_state(self.clone())
    }

    /// Serves the metrics on a listener of their own, in clear text, until the end begins.
    pub async fn serve(&self, listener: TcpListener, shutdown: Shutdown) {
        let options = ServeOptions { max_connections: 16, drain: Duration::from_secs(1), ..ServeOptions::new("metrics") };
        // The metrics' own requests are counted nowhere: a telemetry of their own takes them.
        let router = crate::http::finish(self.metrics_router(), &options, &Self::new(self.0.service));
        serve(listener, router, options, shutdown).await;
    }

    pub(crate) fn observe_request(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        self.0.requests.get_or_create(&RequestLabels { method, route: route.to_owned(), status }).inc();
        self.0.durations.get_or_create(&RouteLabels { method, route: route.to_owned() }).observe(took.as_secs_f64());
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("service", &self.0.service).finish_non_exhaustive()
    }
}

async fn show(State(telemetry): State<Telemetry>) -> Response {
    match telemetry.metrics() {
        Ok(text) => ([(CONTENT_TYPE, HeaderValue::from_static(METRICS_MEDIA_TYPE))], text).into_response(),
        Err(error) => internal(error).into_response(),
    }
}
