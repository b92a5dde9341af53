//! Whether a service lives, and whether it is ready.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use signalbox_contract::{Code, Problem};

use super::extract::Json;
use super::parameters::without_parameters;
use super::problem::Result;
use crate::config::ConfigFile;
use crate::telemetry::Telemetry;

/// What a service needs before it can do its work, by name. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    needs: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
    file: Arc<OnceLock<ConfigFile>>,
}

impl Readiness {
    /// This need is met.
    pub fn met(&self, need: &'static str) {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner).insert(need, None);
    }

    /// This need is not met; `why` is shown to everybody who asks, so it must not hold an error's text.
    pub fn missing(&self, need: &'static str, why: impl Into<String>) {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner).insert(need, Some(why.into()));
    }

    /// The service does its work by this configuration, until it ends.
    pub fn configured_by(&self, file: ConfigFile) {
        // The first counts: it is the one that was read at the start.
        let _ = self.file.set(file);
    }

    /// The name of the configuration's file, if that was changed since the service started: what stands in it counts from the
    /// next start only.
    pub fn outdated(&self) -> Option<String> {
        self.file.get().filter(|file| file.changed()).map(ConfigFile::name)
    }

    /// What is missing, and why.
    pub fn unmet(&self) -> Vec<(&'static str, String)> {
        let needs = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        needs.iter().filter_map(|(need, why)| why.clone().map(|why| (*need, why))).collect()
    }
}

/// What a service that is ready says of itself.
pub(crate) const READY: &str = "ready";

/// The answer of both routes.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Health {
    /// In a word.
    #[schema(value_type = String)]
    pub(crate) status: Cow<'static, str>,
    /// Which service answers: addresses are mistaken for each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) service: Option<Cow<'static, str>>,
    /// The name of its configuration's file, where that was changed after the service started: it counts from the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outdated: Option<String>,
}

impl Health {
    fn of(service: &'static str, status: &'static str, outdated: Option<String>) -> Json<Self> {
        Json(Self { status: status.into(), service: Some(service.into()), outdated })
    }
}

/// `GET /health/live` and `GET /health/ready`; neither needs a token.
pub(super) fn routes(telemetry: &Telemetry) -> Router {
    let service = telemetry.service();
    let routes = Router::new()
        .route("/health/live", get(async move || Health::of(service, "live", None)))
        .route("/health/ready", get(async move |state| ready(service, state)))
        .with_state(telemetry.readiness());
    without_parameters(routes)
}

fn ready(service: &'static str, State(readiness): State<Readiness>) -> Result<Json<Health>> {
    let unmet = readiness.unmet();
    if unmet.is_empty() {
        return Ok(Health::of(service, READY, readiness.outdated()));
    }
    let problem = Problem::new(Code::Unavailable).detail("The service is not ready.").retry_after(5);
    Err(unmet.into_iter().fold(problem, |problem, (need, why)| problem.field(need, why)).into())
}
