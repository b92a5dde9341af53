//! The client with which services call each other, and the command line calls them.
//!
//! It never follows a redirect, never uses a proxy, never retries by itself: whether an act may be repeated is for the
//! caller, who is told as precisely as can be known whether it was done ([`CallError`]). Every answer is bounded in time
//! and size.

mod error;
mod stream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_contract::AttemptKey;
use signalbox_contract::api::Answer;
use signalbox_contract::token::{CAPABILITY_HEADER, Service};
use url::{Host, Url};

pub use error::{CallError, Cause};
use error::{Peer, classify};
pub use stream::Download;

use crate::auth::{MAX_WAIT, Signer, install_crypto, sha256};
use crate::http::{Health, READY};
use crate::secret::SecretString;
use crate::telemetry::request_id;

/// The largest JSON answer that is read, in bytes.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// The largest answer about a service's health.
const MAX_HEALTH: usize = 1024;

/// How long reaching the other side may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take beyond the time that the other side was asked to wait.
const ANSWER: Duration = Duration::from_secs(30);

/// How long a stream may stand still, in either direction.
const IDLE: Duration = Duration::from_mins(1);

/// How long a connection is kept for the next call. Less than the 10 seconds after which our servers close one that is
/// idle: a call on a connection that is being closed could not be told from one that was done.
const POOLED: Duration = Duration::from_secs(5);

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one that may be called.
    #[error("the address {0}")]
    Address(&'static str),
    /// The file with the certificate authority cannot be used.
    #[error("the certificate authority in {path} cannot be used")]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS cannot be set up here.
    #[error("the client cannot be set up")]
    SetUp(#[source] reqwest::Error),
}

/// How a service is that is ready.
#[derive(Debug)]
pub struct Ready {
    /// What time it is there, if its answer says so.
    pub time: Option<Timestamp>,
    /// The name of its configuration's file, where that was changed after the service started.
    pub outdated: Option<String>,
}

/// One act to ask for.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    aud: Service,
    method: Method,
    path: &'a str,
    key: Option<AttemptKey>,
    wait: Duration,
    capability: Option<&'a SecretString>,
}

impl<'a> Call<'a> {
    /// A changing call on behalf of the attempt `key`. `path` may carry a query.
    pub const fn post(aud: Service, path: &'a str, key: AttemptKey) -> Self {
        Self { aud, method: Method::POST, path, key: Some(key), wait: Duration::ZERO, capability: None }
    }

    /// A reading call.
    pub const fn get(aud: Service, path: &'a str) -> Self {
        Self { aud, method: Method::GET, path, key: None, wait: Duration::ZERO, capability: None }
    }

    /// A call with any method.
    pub const fn new(aud: Service, method: Method, path: &'a str, key: Option<AttemptKey>) -> Self {
        Self { aud, method, path, key, wait: Duration::ZERO, capability: None }
    }

    /// The same, letting the other side wait this long for the end before it answers; [`MAX_WAIT`] at most.
    #[must_use]
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// The same, with a capability for the other side to use towards a third service.
    #[must_use]
    pub const fn capability(mut self, capability: Option<&'a SecretString>) -> Self {
        self.capability = capability;
        self
    }
}

/// A client of one service. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    peer: Peer,
    http: reqwest::Client,
    answer: Duration,
}

impl Client {
    /// A client of the service at `base`: an `https` origin, or an `http` one on loopback. With `ca`, only certificates
    /// of that authority are believed.
    ///
    /// # Errors
    /// When the address may not be called, or the authority's file cannot be used.
    pub fn new(base: Url, ca: Option<&Path>) -> Result<Self, ClientError> {
        install_crypto();
        let secure = check_address(&base)?;
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .https_only(secure)
            .tcp_nodelay(true)
            .pool_idle_timeout(POOLED)
            .user_agent(concat!("signalbox/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = ca {
            builder = builder.tls_certs_only(authority(path)?);
        } else if !secure {
            // Reading the system's authorities costs time, and nothing here would use them.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| ClientError::SetUp(error.without_url()))?;
        Ok(Self { peer: Peer::of(&base), base, http, answer: ANSWER })
    }

    /// The same, with this time for each answer instead of 30 seconds, beyond what the other side was asked to wait.
    #[must_use]
    pub const fn answering_within(mut self, limit: Duration) -> Self {
        self.answer = limit;
        self
    }

    /// The address of the service.
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// Asks for an act with `body`, and gives the answer.
    ///
    /// # Errors
    /// As [`CallError`] tells.
    pub async fn act<B, R>(&self, signer: &Signer, call: &Call<'_>, body: &B) -> Result<R, CallError>
    where
        B: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let body = self.write(body)?;
        self.signed(signer, call, Some(body)).await
    }

    /// Asks for an act that takes no body: a reading one.
    ///
    /// # Errors
    /// As [`CallError`] tells.
    pub async fn read<R: DeserializeOwned>(&self, signer: &Signer, call: &Call<'_>) -> Result<R, CallError> {
        self.signed(signer, call, None).await
    }

    /// Asks for an act that a ledger keeps, and gives how far it is. Asking again is calling this again.
    ///
    /// # Errors
    /// As [`CallError`] tells.
    pub async fn ask<B, R>(&self, signer: &Signer, call: &Call<'_>, body: &B) -> Result<Answer<R>, CallError>
    where
        B: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        self.act(signer, call, body).await
    }

    async fn signed<R: DeserializeOwned>(&self, signer: &Signer, call: &Call<'_>, body: Option<Bytes>) -> Result<R, CallError> {
        let url = self.url(call.path)?;
        let digest = sha256(body.as_deref().unwrap_or_default());
        // The path as it is sent: what the URL type made of it, not what we were given.
        let op = format!("{} {}", call.method, url.path());
        let token = signer.act(call.aud, &op, call.key, digest).map_err(|error| self.peer.not_sent(error))?;
        let wait = call.wait.min(MAX_WAIT);
        let mut headers = HeaderMap::new();
        if !wait.is_zero() {
            let preference = HeaderValue::try_from(format!("wait={}", wait.as_secs())).map_err(|error| self.peer.not_sent(error))?;
            headers.insert(HeaderName::from_static("prefer"), preference);
        }
        if let Some(capability) = call.capability {
            headers.insert(HeaderName::from_static(CAPABILITY_HEADER), self.secret_header("", capability)?);
        }
        self.exchange(call.method.clone(), url, Some(&token), headers, body, wait + self.answer).await
    }

    /// A call with a token of the caller's own, or none, and JSON both ways.
    ///
    /// # Errors
    /// As [`CallError`] tells.
    pub async fn json<B, R>(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretString>,
        headers: HeaderMap,
        body: Option<&B>,
    ) -> Result<R, CallError>
    where
        B: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let body = body.map(|body| self.write(body)).transpose()?;
        self.exchange(method, self.url(path)?, token, headers, body, self.answer).await
    }

    async fn exchange<R: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        token: Option<&SecretString>,
        headers: HeaderMap,
        body: Option<Bytes>,
        limit: Duration,
    ) -> Result<R, CallError> {
        let mut request = self.request(method, url, token, headers)?.timeout(limit);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body);
        }
        let response = request.send().await.map_err(|error| self.peer.failed(error))?;
        let response = classify(&self.peer, response).await?;
        self.parse(response).await
    }

    /// Asks the service whether it is ready, without a token, and answers what time it is there, where it says so.
    ///
    /// # Errors
    /// As [`CallError`] tells; [`CallError::Retry`], with what it lacks, where it is not ready.
    pub async fn health(&self) -> Result<Ready, CallError> {
        let (health, date) = self.ask_health("/health/ready").await?;
        // Another program on its port may answer whatever is asked for.
        let Some(health) = health.filter(|health| health.status == READY) else {
            return Err(self.peer.unknown("its answer is not that of a service that is ready"));
        };
        let time = date.and_then(|text| Some(jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(text).ok()?.timestamp()));
        Ok(Ready { time, outdated: health.outdated })
    }

    /// Asks who answers there, without a token: the service's name, as it says itself. None where nobody answers, or somebody
    /// who does not say.
    pub async fn who_answers(&self) -> Option<String> {
        let (health, _) = self.ask_health("/health/live").await.ok()?;
        Some(health?.service?.into_owned())
    }

    /// What a service says of its health, if that can be read, and the answer's date.
    async fn ask_health(&self, path: &str) -> Result<(Option<Health>, Option<String>), CallError> {
        let mut answer = self.get_stream(path, None, HeaderMap::new()).await?;
        let date = answer.headers().get(DATE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_HEALTH {
                break;
            }
        }
        Ok((serde_json::from_slice(&body).ok(), date))
    }

    fn request(
        &self,
        method: Method,
        url: Url,
        token: Option<&SecretString>,
        mut headers: HeaderMap,
    ) -> Result<reqwest::RequestBuilder, CallError> {
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, self.secret_header("Bearer ", token)?);
        }
        if let Some(id) = request_id::current() {
            headers.insert(request_id::HEADER, id.to_header());
        }
        if !headers.contains_key(ACCEPT) {
            headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/problem+json, */*;q=0.5"));
        }
        Ok(self.http.request(method, url).headers(headers))
    }

    async fn parse<R: DeserializeOwned>(&self, response: reqwest::Response) -> Result<R, CallError> {
        let status = response.status();
        let body = error::bounded(&self.peer, response, MAX_ANSWER).await?;
        // An answer without a body (204) gives an `R` that can be made of nothing.
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(text).map_err(|error| {
            // The parser's words would repeat what the other side said.
            self.peer.unknown(format!("its answer {} is not what was expected ({:?})", status.as_u16(), error.classify()))
        })
    }

    /// The address of `path`, which may carry a query. The path can only ever be a path: it names no other host.
    fn url(&self, path: &str) -> Result<Url, CallError> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        if !path.starts_with('/') {
            return Err(self.peer.not_sent("the path must begin with a slash"));
        }
        let mut url = self.base.clone();
        url.set_path(path);
        url.set_query(query);
        Ok(url)
    }

    fn write<B: Serialize + ?Sized>(&self, body: &B) -> Result<Bytes, CallError> {
        serde_json::to_vec(body).map(Bytes::from).map_err(|error| self.peer.not_sent(error))
    }

    fn secret_header(&self, prefix: &str, secret: &SecretString) -> Result<HeaderValue, CallError> {
        let mut value = HeaderValue::try_from(format!("{prefix}{}", secret.expose_secret()))
            .map_err(|_| self.peer.not_sent("the token holds characters that no token has"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Whether an address leads to this machine itself, so that what is sent there crosses no network.
pub fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether the address is one of TLS.
///
/// # Errors
/// When it may not be called at all.
pub(crate) fn check_address(base: &Url) -> Result<bool, ClientError> {
    let loopback = is_here(base);
    if !base.username().is_empty() || base.password().is_some() {
        return Err(ClientError::Address("must not hold credentials"));
    }
    if base.path() != "/" || base.query().is_some() || base.fragment().is_some() {
        return Err(ClientError::Address("must be a scheme, a host and a port, without a path"));
    }
    match base.scheme() {
        "https" => Ok(true),
        "http" if loopback => Ok(false),
        "http" => Err(ClientError::Address("must begin with https, unless it is on loopback")),
        _ => Err(ClientError::Address("must begin with https")),
    }
}

/// The certificates in a file of PEM blocks, for a client that believes these authorities alone.
///
/// # Errors
/// When the file cannot be read, or holds no certificate.
pub fn authority(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let unusable = |source| ClientError::Authority { path: path.to_owned(), source };
    let pem = std::fs::read(path).map_err(|error| unusable(error.into()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.into()))?;
    if certificates.is_empty() {
        return Err(unusable("it holds no certificate".into()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests;
