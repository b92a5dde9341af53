//! Gerrit's REST API: one origin, one account, bounded answers.
//!
//! Whatever is answered is looked at without trust. A redirect is never followed: it would take the password elsewhere.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use reqwest::redirect::Policy;
use serde_json::Value;
use signalbox_service::auth::install_crypto;
use signalbox_service::client::{authority, is_here};
use signalbox_service::secret::ExposeSecret as _;
use url::Url;

use super::{GerritSetUpError, GerritSettings};
use crate::forge::payload::cut;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 8 << 20;

/// The most that is read of an answer without success.
const MAX_REFUSAL: usize = 16 << 10;

/// The longest words of Gerrit's that are repeated.
const WORDS: usize = 300;

/// How long reaching Gerrit may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The line that begins every JSON answer, so that no browser takes it for a script.
const GUARD: &[u8] = b")]}'";

/// Why a call did not bring what was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestError {
    /// It could not be reached, or the answer broke off: nobody knows whether it was done.
    #[error("Gerrit did not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It said no.
    #[error("Gerrit answered {status}: {words}")]
    Said {
        /// With what.
        status: StatusCode,
        /// In its own words.
        words: String,
        /// When it asked to be tried again.
        after: Option<Duration>,
    },
    /// It redirects.
    #[error("Gerrit redirects to {to}")]
    Redirected {
        /// To where, as far as that may be said.
        to: String,
    },
    /// It answered something else than was asked for.
    #[error("Gerrit's answer {0}")]
    Unreadable(&'static str),
}

/// A client of one Gerrit, for one account.
#[derive(Clone)]
pub(super) struct Rest {
    base: Url,
    http: reqwest::Client,
    authorization: HeaderValue,
    password: signalbox_service::secret::SecretString,
    limit: Duration,
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<Value>,
}

impl<'a> Ask<'a> {
    /// A reading call of what stands below `/a/`.
    pub(super) const fn get(path: &'a [&'a str]) -> Self {
        Self::new(Method::GET, path, None)
    }

    /// The same, with a query.
    pub(super) const fn query(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }

    /// A changing call.
    pub(super) const fn post(path: &'a [&'a str], body: Value) -> Self {
        Self::new(Method::POST, path, Some(body))
    }

    /// A call with any method.
    pub(super) const fn new(method: Method, path: &'a [&'a str], body: Option<Value>) -> Self {
        Self { method, path, query: &[], body }
    }
}

/// An answer of success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Rest {
    /// A client of the Gerrit that is configured, if there is a password.
    pub(super) fn new(settings: &GerritSettings) -> Result<Option<Self>, GerritSetUpError> {
        install_crypto();
        let secure = check_address(&settings.url)?;
        let Some(password) = settings.password.clone() else { return Ok(None) };
        let mut base = settings.url.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", settings.url.path()));
        }
        let basic = STANDARD.encode(format!("{}:{}", settings.user, password.expose_secret()));
        let mut authorization = HeaderValue::try_from(format!("Basic {basic}")).map_err(|_| GerritSetUpError::Account)?;
        authorization.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .https_only(secure)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(10))
            .user_agent(concat!("signalbox/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &settings.ca {
            builder = builder.tls_certs_only(authority(path).map_err(GerritSetUpError::Authority)?);
        } else if !secure {
            // Reading the system's authorities costs time, and nothing here would use them.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| GerritSetUpError::Client(error.without_url()))?;
        Ok(Some(Self { base, http, authorization, password, limit: settings.timeout }))
    }

    /// The address of a change, for people.
    pub(super) fn page(&self, project: &str, number: u64) -> Option<Url> {
        self.base.join(&format!("c/{project}/+/{number}")).ok()
    }

    /// Makes a call and reads the JSON that it answers.
    pub(super) async fn json(&self, ask: Ask<'_>) -> Result<Value, RestError> {
        let answer = self.call(ask).await?;
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/html") {
            return Err(RestError::Unreadable("is a page for people, as of a login or a proxy"));
        }
        let body = answer.body.strip_prefix(GUARD).unwrap_or(&answer.body);
        serde_json::from_slice(body).map_err(|_| RestError::Unreadable("is not the JSON that was expected"))
    }

    /// Makes a call and reads its answer whole.
    pub(super) async fn call(&self, ask: Ask<'_>) -> Result<Answer, RestError> {
        match tokio::time::timeout(self.limit, self.exchange(ask)).await {
            Ok(answer) => answer,
            Err(_) => Err(RestError::Unreachable("no whole answer came in time".into())),
        }
    }

    async fn exchange(&self, ask: Ask<'_>) -> Result<Answer, RestError> {
        let mut builder = self
            .http
            .request(ask.method.clone(), self.address(&ask)?)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(body) = ask.body {
            builder = builder.header(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")).body(body.to_string());
        }
        let mut response = builder.send().await.map_err(lost)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_redirection() {
            return Err(RestError::Redirected { to: self.target(&headers) });
        }
        let most = if status.is_success() { MAX_ANSWER } else { MAX_REFUSAL };
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            let room = most.saturating_sub(body.len());
            if chunk.len() > room && status.is_success() {
                return Err(RestError::Unreadable("is larger than any that is read"));
            }
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if room == 0 {
                break;
            }
        }
        if status.is_success() {
            return Ok(Answer { headers, body: body.freeze() });
        }
        let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
        Err(RestError::Said { status, words: self.words(&headers, &body), after })
    }

    /// What Gerrit's clock shows, by the head of an answer.
    pub(super) fn clock(headers: &HeaderMap) -> Option<Timestamp> {
        let text = headers.get(DATE)?.to_str().ok()?;
        Some(jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(text).ok()?.timestamp())
    }

    fn address(&self, ask: &Ask<'_>) -> Result<Url, RestError> {
        let mut url = self.base.clone();
        // A part that is a dot or two would be left out of the path, and another thing asked for.
        if ask.path.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(RestError::Unreadable("is not asked for: a name is a dot"));
        }
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("a").extend(ask.path);
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        Ok(url)
    }

    /// Where a redirect leads, without what it may hold of secrets.
    fn target(&self, headers: &HeaderMap) -> String {
        let to = headers.get(LOCATION).and_then(|value| self.base.join(value.to_str().ok()?).ok());
        to.map_or_else(|| "nowhere".to_owned(), |to| cut(&to.origin().ascii_serialization(), WORDS).to_owned())
    }

    /// What Gerrit says of its refusal: a line or two of plain text. A page for people, as a proxy has it, says nothing.
    fn words(&self, headers: &HeaderMap, body: &[u8]) -> String {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(body);
        if kind.starts_with("text/html") || text.trim_start().starts_with('<') {
            return "a page for people".to_owned();
        }
        let words: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let password = self.password.expose_secret();
        let words = if password.is_empty() { words } else { words.replace(password, "[password]") };
        cut(words.trim(), WORDS).to_owned()
    }
}

fn lost(error: reqwest::Error) -> RestError {
    RestError::Unreachable(error.without_url().into())
}

/// Whether the address is one of TLS.
fn check_address(base: &Url) -> Result<bool, GerritSetUpError> {
    let loopback = is_here(base);
    if !base.username().is_empty() || base.password().is_some() {
        return Err(GerritSetUpError::Address("must not hold credentials"));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(GerritSetUpError::Address("must have no query and no fragment"));
    }
    match base.scheme() {
        "https" => Ok(true),
        "http" if loopback => Ok(false),
        "http" => Err(GerritSetUpError::Address("must begin with https, unless it is on loopback: a password goes there")),
        _ => Err(GerritSetUpError::Address("must begin with https")),
    }
}
