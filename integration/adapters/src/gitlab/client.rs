//! The client itself: one origin, one token, bounded calls.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;
use signalbox_service::auth::install_crypto;
use signalbox_service::client::{ClientError, authority, is_here};
use signalbox_service::secret::{ExposeSecret as _, SecretString};
use url::Url;

use super::breaker::{Breaker, Health};
use super::budget::{Budget, date};
use super::error::GitLabError;
use super::outside::Outside;
use super::request::Request;
use super::token::Token;

/// The largest JSON answer that is read, in bytes.
const MAX_ANSWER: usize = 8 << 20;

/// The most that is read of an answer without success.
const MAX_REFUSAL: usize = 64 << 10;

/// How long reaching GitLab may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take, its body included. GitLab itself gives up after a minute.
const ANSWER: Duration = Duration::from_mins(1);

/// How many redirects of a reading call are followed: a project that was renamed has one.
const REDIRECTS: usize = 3;

/// How many calls a minute are made where nothing else is said.
const CALLS: u32 = 600;

/// Where a GitLab is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its address, with the path below which it is installed where that is not the root.
    pub url: Url,
    /// The token: personal, of a project or of a group.
    pub token: SecretString,
    /// The file from which it comes, and from which it is read again when it was changed.
    pub token_file: Option<PathBuf>,
    /// The only authorities whose certificates are believed, where it is not the system's.
    pub ca: Option<PathBuf>,
    /// How many calls a minute are made at most.
    pub calls_per_minute: u32,
    /// Origins with private addresses to which GitLab may redirect downloads: its object storage.
    pub storage: Vec<Url>,
}

impl Connection {
    /// A connection with the defaults.
    pub const fn new(url: Url, token: SecretString) -> Self {
        Self { url, token, token_file: None, ca: None, calls_per_minute: CALLS, storage: Vec::new() }
    }
}

/// Why a client of a GitLab could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GitLabSetUpError {
    /// The address is not one that may be called.
    #[error("the address of the GitLab {0}")]
    Address(&'static str),
    /// The token is not one.
    #[error("the token holds characters that no token has")]
    Token,
    /// The certificate authority cannot be used.
    #[error("the certificate authority of the GitLab cannot be used")]
    Authority(#[source] ClientError),
    /// TLS cannot be set up here.
    #[error("the client cannot be set up")]
    SetUp(#[source] reqwest::Error),
}

/// A client of one GitLab. Clones share its connections, its budget and what it knows of GitLab's health.
#[derive(Clone)]
pub struct GitLab(Arc<Inner>);

struct Inner {
    base: Url,
    token: Token,
    http: reqwest::Client,
    outside: Outside,
    budget: Budget,
    breaker: Breaker,
}

impl fmt::Debug for GitLab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitLab").field("base", &self.0.base.as_str()).finish_non_exhaustive()
    }
}

/// An answer that was read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl GitLab {
    /// A client of the GitLab that `connection` describes.
    ///
    /// # Errors
    /// When the address may not be called, or the token or the authority's file cannot be used.
    pub fn new(connection: &Connection) -> Result<Self, GitLabSetUpError> {
        install_crypto();
        let secure = check_address(&connection.url)?;
        let mut base = connection.url.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", connection.url.path()));
        }
        let token = Token::new(&connection.token, connection.token_file.clone())?;
        let authorities = connection.ca.as_deref().map(authority).transpose().map_err(GitLabSetUpError::Authority)?;
        let build = |builder: reqwest::ClientBuilder| {
            let builder = match &authorities {
                Some(authorities) => builder.tls_certs_only(authorities.clone()),
                // Reading the system's authorities costs time, and nothing here would use them.
                None if !secure => builder.tls_certs_only([]),
                None => builder,
            };
            builder.build().map_err(|error| GitLabSetUpError::SetUp(error.without_url()))
        };
        let http = build(builder().https_only(secure))?;
        let outside = Outside::new(&base, &connection.storage, build)?;
        Ok(Self(Arc::new(Inner {
            base,
            token,
            http,
            outside,
            budget: Budget::per_minute(connection.calls_per_minute),
            breaker: Breaker::default(),
        })))
    }

    /// Its address.
    pub fn base(&self) -> &Url {
        &self.0.base
    }

    /// How it is doing, as far as our calls tell.
    pub fn health(&self) -> Health {
        let left = self.0.budget.paused();
        match self.0.breaker.health() {
            Health::Well if !left.is_zero() => Health::Limited { left },
            health => health,
        }
    }

    /// Makes a call and reads the JSON that it answers.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn call<T: DeserializeOwned>(&self, request: Request) -> Result<T, GitLabError> {
        let answer = self.answer(&request).await?;
        parse(&answer)
    }

    /// Makes a call whose answer does not matter beyond its success.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn act(&self, request: Request) -> Result<(), GitLabError> {
        self.answer(&request).await.map(|_| ())
    }

    /// What GitLab's clock shows, by a call that costs it little; `None` if it does not say.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn clock(&self) -> Result<Option<Timestamp>, GitLabError> {
        let answer = self.answer(&Request::get(["version"])).await?;
        Ok(date(&answer.headers))
    }

    pub(super) async fn answer(&self, request: &Request) -> Result<Answer, GitLabError> {
        let url = request.url(&self.0.base)?;
        self.answer_at(request, url).await
    }

    pub(super) async fn answer_at(&self, request: &Request, url: Url) -> Result<Answer, GitLabError> {
        let exchange = async {
            let response = self.send(request, url, HeaderMap::new()).await?;
            let headers = response.headers().clone();
            let body = self.read(response, MAX_ANSWER, request.reads()).await?;
            Ok(Answer { headers, body })
        };
        match tokio::time::timeout(ANSWER, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(GitLabError::Unknown("no whole answer came in time".into())),
        }
    }

    /// Sends a call, and gives the response if it is a success. Redirects of reading calls within the API are followed; any
    /// other is the caller's.
    pub(super) async fn send(&self, request: &Request, url: Url, extra: HeaderMap) -> Result<reqwest::Response, GitLabError> {
        let mut url = url;
        for _ in 0..=REDIRECTS {
            let response = self.send_once(request, url.clone(), extra.clone()).await?;
            let status = response.status();
            if !(status.is_redirection() && request.reads() && status != StatusCode::NOT_MODIFIED) {
                return self.judge(request, response).await;
            }
            let target = redirect(&url, response.headers()).ok_or_else(|| GitLabError::unreadable("it redirects to no address"))?;
            if !self.is_ours(&target) {
                return Err(GitLabError::unreadable(format!("it redirects to elsewhere ({})", status.as_u16())));
            }
            url = target;
        }
        Err(GitLabError::unreadable("it redirects without end"))
    }

    /// One exchange, up to the response's head.
    pub(super) async fn send_once(&self, request: &Request, url: Url, extra: HeaderMap) -> Result<reqwest::Response, GitLabError> {
        let inner = &*self.0;
        inner.breaker.pass()?;
        inner.budget.turn().await?;
        let mut headers = extra;
        headers.insert(HeaderName::from_static("private-token"), inner.token.header());
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json, */*;q=0.5"));
        let mut builder = inner.http.request(request.method.clone(), url).headers(headers);
        if let Some(body) = &request.body {
            let body = body.clone().map_err(GitLabError::not_sent)?;
            builder = builder.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body);
        }
        let sent = match tokio::time::timeout(ANSWER, builder.send()).await {
            Ok(sent) => sent.map_err(failed),
            Err(_) => Err(GitLabError::Unknown("no answer came in time".into())),
        };
        inner.breaker.record(sent.as_ref().map(reqwest::Response::status));
        sent
    }

    /// The response, if it is a success; else what it means.
    pub(super) async fn judge(&self, request: &Request, response: reqwest::Response) -> Result<reqwest::Response, GitLabError> {
        let status = response.status();
        let limited = status == StatusCode::TOO_MANY_REQUESTS;
        let after = self.0.budget.learn(limited || status == StatusCode::SERVICE_UNAVAILABLE, response.headers());
        if status.is_success() {
            return Ok(response);
        }
        // What it says is for people; where it cannot be read, the status must do.
        let body = tokio::time::timeout(ANSWER, self.read(response, MAX_REFUSAL, true)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        Err(GitLabError::of(status, &self.without_token(&body), after, request.reads()))
    }

    /// The whole body, if it is no larger than `limit`.
    pub(super) async fn read(&self, mut response: reqwest::Response, limit: usize, reads: bool) -> Result<Bytes, GitLabError> {
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                    return Err(GitLabError::unreadable(format!("it is larger than {limit} bytes")));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body.freeze()),
                Err(error) if reads => {
                    self.0.breaker.fail("its answer was cut");
                    return Err(GitLabError::unreadable(format!("it was cut: {}", error.without_url())));
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Whether an address is below the API's, at the same origin.
    pub(super) fn is_ours(&self, url: &Url) -> bool {
        let api = format!("{}api/v4/", self.0.base.path());
        url.origin() == self.0.base.origin() && url.path().starts_with(&api) && url.username().is_empty() && url.password().is_none()
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.0.breaker
    }

    pub(super) fn outside(&self) -> &Outside {
        &self.0.outside
    }

    /// A server that repeats what it was sent must not bring the token into a message.
    fn without_token(&self, body: &Bytes) -> Vec<u8> {
        let secret = self.0.token.secret();
        let token = secret.expose_secret();
        let text = String::from_utf8_lossy(body);
        if token.is_empty() { text.into_owned().into_bytes() } else { text.replace(token, "[token]").into_bytes() }
    }
}

/// What both of our clients are made of.
pub(super) fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(10))
        .user_agent(concat!("signalbox/", env!("CARGO_PKG_VERSION")))
}

/// Where a redirect leads.
pub(super) fn redirect(from: &Url, headers: &HeaderMap) -> Option<Url> {
    from.join(headers.get(LOCATION)?.to_str().ok()?).ok()
}

/// A call that failed on the way.
pub(super) fn failed(error: reqwest::Error) -> GitLabError {
    let nothing_sent = error.is_connect() || error.is_builder();
    let error = error.without_url();
    if nothing_sent { GitLabError::NotSent(error.into()) } else { GitLabError::Unknown(error.into()) }
}

pub(super) fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, GitLabError> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/html") {
            return GitLabError::unreadable("it is a page for people, as of a login or a proxy, and not of the API");
        }
        // The parser's words would repeat what GitLab said.
        GitLabError::unreadable(format!("it is not the JSON that was expected ({:?}, line {})", error.classify(), error.line()))
    })
}

/// Whether the address is one of TLS.
fn check_address(base: &Url) -> Result<bool, GitLabSetUpError> {
    let loopback = is_here(base);
    if !base.username().is_empty() || base.password().is_some() {
        return Err(GitLabSetUpError::Address("must not hold credentials"));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(GitLabSetUpError::Address("must have no query and no fragment"));
    }
    match base.scheme() {
        "https" => Ok(true),
        "http" if loopback => Ok(false),
        "http" => Err(GitLabSetUpError::Address("must begin with https, unless it is on loopback")),
        _ => Err(GitLabSetUpError::Address("must begin with https")),
    }
}
