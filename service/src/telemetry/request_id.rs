//! The request's id: it comes with the request or is made here, stands on every line of the log that the request causes
//! and in its answer, and goes along to the services that are asked on its behalf.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use signalbox_contract::AttemptKey;

/// The header in which the id travels.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from a request, in bytes.
pub const MAX: usize = 64;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: at most 64 letters, digits, dots, dashes and underscores, so that it can stand in a log, a
/// header and a file's name without any escape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id of 128 random bits.
    pub fn random() -> Self {
        let mut bytes = [0_u8; 16];
        // The system's random generator does not fail once the process runs; if it ever did, an id of zeros harms nobody.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        Self(format!("{:032x}", u128::from_be_bytes(bytes)).into())
    }

    /// The id of something that is done for an attempt. It begins with the attempt's key, so that whoever searches all logs
    /// for the key finds also what a service says of a request before it knows whether it is genuine.
    pub fn of_attempt(key: &AttemptKey, what: &str) -> Self {
        format!("{key}.{what}").parse().unwrap_or_else(|NotARequestId| Self::random())
    }

    /// The id that a request brought, if it brought exactly one that is plain.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HEADER).iter();
        let text = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        text.parse().ok()
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a header's value.
    pub fn to_header(&self) -> HeaderValue {
        // What an id may hold, a header may hold.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a request's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request's id has between 1 and 64 letters, digits, dots, dashes and underscores")]
pub struct NotARequestId;

impl std::str::FromStr for RequestId {
    type Err = NotARequestId;

    fn from_str(text: &str) -> Result<Self, NotARequestId> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > MAX || !text.bytes().all(plain) {
            return Err(NotARequestId);
        }
        Ok(Self(text.into()))
    }
}

/// The id of the request on whose behalf this task works. A task that is spawned does not inherit it: see [`scope`].
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Has each further line of the log that the present request causes name the attempt that it is for.
pub(crate) fn serves(key: &AttemptKey) {
    tracing::Span::current().record("key", tracing::field::display(key));
}

/// Runs work on behalf of the request with this id.
pub async fn scope<F: Future>(id: RequestId, work: F) -> F::Output {
    CURRENT.scope(id, work).await
}

/// Runs work on behalf of the request that this task works for, if any: for work that is about to be spawned.
pub fn inherit<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let id = current();
    async move {
        match id {
            Some(id) => scope(id, work).await,
            None => work.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threat 59.
    #[test]
    fn an_id_that_could_forge_a_line_is_replaced() {
        for text in ["", "a b", "a\tb", "a\u{1b}[31m", "é", "a/b", &"x".repeat(65)] {
            assert_eq!(text.parse::<RequestId>(), Err(NotARequestId), "{text:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(HEADER, HeaderValue::from_static("one"));
        assert_eq!(RequestId::from_headers(&headers).map(|id| id.to_string()), Some("one".to_owned()));
        headers.append(HEADER, HeaderValue::from_static("two"));
        assert_eq!(RequestId::from_headers(&headers), None, "which of the two is meant is unclear");
    }

    #[test]
    fn what_is_done_for_an_attempt_has_an_id_that_names_it() {
        let key: AttemptKey = "7zzzzzzzzzzzzzzzzzzzzzzzzz-65535-65535".parse().expect("the longest key there is");
        assert_eq!(RequestId::of_attempt(&key, "unpublish").as_str(), format!("{key}.unpublish"));
        assert_eq!(RequestId::of_attempt(&key, "not plain").as_str().len(), 32, "an id is always one");
    }

    #[tokio::test]
    async fn work_that_is_spawned_can_keep_the_id() {
        let id = RequestId::random();
        let seen = scope(id.clone(), async { tokio::spawn(inherit(async { current() })).await.expect("ended") }).await;
        assert_eq!(seen, Some(id));
        assert_eq!(current(), None);
    }
}
