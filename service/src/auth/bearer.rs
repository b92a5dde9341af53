//! Where a token may stand in a request: in one `Authorization` header, or in the session's cookie. Never in the URL,
//! which ends up in logs, histories and `Referer` headers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;

use super::capable::GIT_USER;
use super::{Denied, MAX_TOKEN};
use crate::http::ACCESS_TOKEN;
use crate::secret::SecretString;

/// The cookie in which the pages keep the operator's token.
pub const SESSION_COOKIE: &str = "signalbox-session";

/// The token in the `Authorization` header.
pub(super) fn bearer(parts: &Parts) -> Result<SecretString, Denied> {
    let (scheme, credentials) = authorization(parts)?.ok_or(Denied::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Denied::Malformed);
    }
    token(credentials)
}

/// The same, or else the token in the session's cookie.
pub(super) fn bearer_or_session(parts: &Parts) -> Result<SecretString, Denied> {
    if parts.headers.contains_key(AUTHORIZATION) {
        return bearer(parts);
    }
    without_query(parts)?;
    let mut found = None;
    for header in parts.headers.get_all(COOKIE) {
        let Ok(text) = header.to_str() else { continue };
        for pair in text.split(';') {
            let Some((name, value)) = pair.trim().split_once('=') else { continue };
            // Two cookies of this name are what somebody makes who can only add one.
            if name == SESSION_COOKIE && found.replace(value).is_some() {
                return Err(Denied::Ambiguous);
            }
        }
    }
    token(found.ok_or(Denied::Missing)?)
}

/// The token in the `Authorization` header, as it is or as a password: git knows no other way.
pub(super) fn bearer_or_password(parts: &Parts) -> Result<SecretString, Denied> {
    let (scheme, credentials) = authorization(parts)?.ok_or(Denied::Missing)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return bearer(parts);
    }
    if credentials.len() > 2 * MAX_TOKEN {
        return Err(Denied::TooLong);
    }
    let decoded = STANDARD.decode(credentials).map_err(|_| Denied::Malformed)?;
    let text = std::str::from_utf8(&decoded).map_err(|_| Denied::Malformed)?;
    match text.split_once(':') {
        Some((user, password)) if user == GIT_USER => token(password),
        _ => Err(Denied::Malformed),
    }
}

/// The scheme and the credentials of the one `Authorization` header.
fn authorization(parts: &Parts) -> Result<Option<(&str, &str)>, Denied> {
    without_query(parts)?;
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(header) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(Denied::Ambiguous);
    }
    let text = header.to_str().map_err(|_| Denied::Malformed)?;
    let (scheme, credentials) = text.split_once(' ').ok_or(Denied::Malformed)?;
    Ok(Some((scheme, credentials.trim_start_matches(' '))))
}

/// A token in the URL makes a request unacceptable, also beside a good one.
fn without_query(parts: &Parts) -> Result<(), Denied> {
    let query = parts.uri.query().unwrap_or_default();
    if url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name.eq_ignore_ascii_case(ACCESS_TOKEN)) {
        return Err(Denied::Ambiguous);
    }
    Ok(())
}

/// The text, if it can be a token: nothing but the letters of one, and not too many.
pub(super) fn token(text: &str) -> Result<SecretString, Denied> {
    if text.len() > MAX_TOKEN {
        return Err(Denied::TooLong);
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Err(Denied::Malformed);
    }
    Ok(SecretString::from(text))
}
