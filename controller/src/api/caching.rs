//! What may be kept by whoever has read it, and how it is asked whether it still holds.

use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use signalbox_service::http as service_http;

/// For how long an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// What is under this address never changes any more.
    ForEver,
    /// It is asked each time whether it still holds.
    Revalidated,
}

impl Caching {
    /// For ever, or not.
    pub(super) const fn of(for_ever: bool) -> Self {
        if for_ever { Self::ForEver } else { Self::Revalidated }
    }

    /// The headers of an answer that `tag` names.
    pub(super) fn headers(self, tag: &str) -> service_http::Result<[(HeaderName, HeaderValue); 2]> {
        let control = match self {
            Self::ForEver => "private, max-age=31536000, immutable",
            Self::Revalidated => "private, no-cache",
        };
        let tag = HeaderValue::try_from(tag).map_err(service_http::internal)?;
        Ok([(ETAG, tag), (CACHE_CONTROL, HeaderValue::from_static(control))])
    }

    /// `304`: what the reader has still holds.
    pub(super) fn unchanged(self, tag: &str) -> service_http::Result<Response> {
        Ok((StatusCode::NOT_MODIFIED, self.headers(tag)?).into_response())
    }
}

/// Whether `If-None-Match` names the tag (RFC 9110, section 13.1.2: weak comparison).
pub(super) fn matches_tag(headers: &HeaderMap, tag: &str) -> bool {
    let named = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}
