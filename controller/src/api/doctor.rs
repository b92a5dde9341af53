//! `GET /doctor`: everything that the controller depends on, examined.

use axum::extract::State;
use signalbox_contract::api::doctor::DoctorReport;
use signalbox_contract::{Code, Problem};
use signalbox_service::auth::Operator;
use signalbox_service::http::{self as service_http, Json};

use super::{Api, oversees};

/// When to come again while another examination is under way, in seconds.
const AGAIN: u32 = 10;

/// Whether everything can be used as it is configured, and what to do where it cannot: services and their clocks, mirrors,
/// executors, forges, hosts. All are asked, each within a time of its own; nothing is changed. Needs `operate` on all
/// repositories.
#[utoipa::path(get, path = "/doctor", tag = "operation", responses(
    (status = 200, description = "What was found. What does not answer is a finding too.", body = DoctorReport),
    (status = 401, description = "No valid token.", body = Problem),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 503, description = "It is being done already.", body = Problem),
))]
pub(super) async fn get(State(api): State<Api>, operator: Operator) -> service_http::Result<Json<DoctorReport>> {
    oversees(&operator)?;
    let busy = || Problem::new(Code::Unavailable).detail("Everything is being examined already.").retry_after(AGAIN);
    Ok(Json(api.doctor.examine().await.ok_or_else(busy)?))
}
