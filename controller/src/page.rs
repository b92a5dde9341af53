//! The pages: server-rendered, without a script. They show what the API answers, with the same authorisation, and do what
//! it does; the token is kept in a cookie that only this service gets back.

mod deliveries;
mod environments;
mod error;
mod origin;
mod parts;
mod run;
mod runs;
mod session;
mod words;

use askama::Template;
use axum::Router;
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use signalbox_contract::grant::{Action, Target};
use signalbox_service::auth::Operator;
use signalbox_service::http::without_parameters;

use crate::api::Api;

pub(crate) use error::to_readers;

use error::PageError;

/// Nothing but this service's own style sheet and forms: what a name or a log smuggles in cannot run, load or send.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("../templates/style.css");

/// The pages' routes.
pub(crate) fn router(api: Api) -> Router {
    // Each of these refuses what it does not know among its parameters; the others have none.
    let with_parameters = Router::new()
        .route("/", get(runs::get))
        .route("/view/runs/{id}/steps/{step}/log", get(run::log))
        .route("/view/environments", get(environments::get))
        .route("/view/deliveries", get(deliveries::list));
    let plain = Router::new()
        .route("/sign-in", get(session::get).post(session::sign_in))
        .route("/sign-out", post(session::sign_out))
        .route("/view/runs/{id}", get(run::get))
        .route("/view/runs/{id}/stop", post(run::stop))
        .route("/view/runs/{id}/rerun", post(run::rerun))
        .route("/view/environments/{name}/rollback", post(environments::rollback))
        .route("/view/deliveries/{id}", get(deliveries::one))
        .route("/view/deliveries/{id}/replay", post(deliveries::replay))
        .route("/assets/style.css", get(style));
    with_parameters
        .with_state(api.clone())
        .merge(without_parameters(plain.with_state(api)))
        .layer(map_response(error::as_page))
        .fallback(error::nowhere)
        .layer(map_response(protect))
}

/// The headers that every page has.
async fn protect(mut response: Response) -> Response {
    guard(response.headers_mut());
    response
}

fn guard(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    (headers, STYLE).into_response()
}

/// The form of a button alone: it sends no field, and what is sent all the same was meant and is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Button {}

/// Who looks at a page.
struct Visitor {
    principal: String,
    /// Whether all deliveries are theirs to see.
    deliveries: bool,
}

impl Visitor {
    fn of(operator: &Operator) -> Self {
        Self { principal: operator.principal().to_owned(), deliveries: operator.may(Action::Deliveries, &Target::default()) }
    }
}

/// A page, written out.
fn page<T: Template>(template: &T) -> Result<Response, PageError> {
    Ok(Html(template.render().map_err(|error| PageError::Refused(signalbox_service::http::internal(error)))?).into_response())
}
