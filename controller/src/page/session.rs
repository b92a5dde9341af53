//! Signing in and out.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use signalbox_service::auth::{Operator, SESSION_COOKIE};
use signalbox_service::http::{Form, Refusal, internal};

use super::error::PageError;
use super::{Button, Visitor, page};
use crate::api::Api;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    notice: &'static str,
    visitor: Option<Visitor>,
    refresh: bool,
}

/// A form without a token is one whose token is not valid.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Credentials {
    token: String,
}

/// `GET /sign-in`
pub(super) async fn get(operator: Result<Operator, Refusal>) -> Result<Response, PageError> {
    if operator.is_ok() {
        return Ok(Redirect::to("/").into_response());
    }
    page(&SignIn { notice: "", visitor: None, refresh: false })
}

/// `POST /sign-in`: the token goes into a cookie that scripts cannot read and other sites cannot use, and that ends with it.
pub(super) async fn sign_in(State(api): State<Api>, Form(Credentials { token }): Form<Credentials>) -> Result<Response, PageError> {
    let token = token.trim();
    let Ok(claims) = api.verifier.operator(token) else {
        let notice = "This is not a token that is valid here. It may have ended, been revoked, or be for another service.";
        let answer = page(&SignIn { notice, visitor: None, refresh: false })?;
        return Ok((StatusCode::UNAUTHORIZED, answer).into_response());
    };
    let left = claims.exp.saturating_sub(api.clock.now().as_second()).max(0);
    let cookie = cookie(&api, token, left)?;
    Ok(([(SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// `POST /sign-out`
pub(super) async fn sign_out(State(api): State<Api>, Form(Button {}): Form<Button>) -> Result<Response, PageError> {
    Ok(([(SET_COOKIE, cookie(&api, "", 0)?)], Redirect::to("/sign-in")).into_response())
}

fn cookie(api: &Api, token: &str, seconds: i64) -> Result<HeaderValue, PageError> {
    let secure = if api.config.common.tls.is_some() { "; Secure" } else { "" };
    let text = format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let mut value = HeaderValue::try_from(text).map_err(|error| PageError::Refused(internal(error)))?;
    value.set_sensitive(true);
    Ok(value)
}
