//! How a service is served: every bound in one place.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::config::TlsFiles;

/// The most that a handler ever collects of a body in memory, whatever its route allows.
pub(super) const MAX_BUFFERED: usize = 8 * 1024 * 1024;

/// The longest path and query, in bytes.
pub(super) const MAX_URI: usize = 8 * 1024;

/// How a service is served. [`ServeOptions::new`] gives what suits most.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The service's name, as it stands in the log.
    pub name: &'static str,
    /// How many connections may be open. When one more comes, the one that has been idle for longest is closed.
    pub max_connections: usize,
    /// How many requests may be at work before further ones are refused with 503.
    pub max_requests: usize,
    /// How long a request's head may take, from the connection's beginning or the last answer. A connection on which
    /// nothing happens is closed after this time too.
    pub header_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long an ordinary request's body may take in all.
    pub body_deadline: Duration,
    /// How long an ordinary handler may take to begin its answer.
    pub response_timeout: Duration,
    /// How long a client may take no byte of an answer before its connection is closed.
    pub write_timeout: Duration,
    /// How long requests that are at work may go on once the end has begun.
    pub drain: Duration,
    /// The largest body of an ordinary request, in bytes.
    pub max_body: usize,
    /// The certificate and its key; none means clear text.
    pub tls: Option<TlsFiles>,
    /// How often the certificate's files are looked at.
    pub tls_poll: Duration,
    /// What the server counts of itself. [`finish`](super::finish) registers it.
    pub metrics: ServeMetrics,
}

impl ServeOptions {
    /// What suits most services.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            max_connections: 1024,
            max_requests: 1024,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(5),
            body_deadline: Duration::from_secs(30),
            response_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(20),
            max_body: 64 * 1024,
            tls: None,
            tls_poll: Duration::from_secs(5),
            metrics: ServeMetrics::default(),
        }
    }

    /// The same with TLS from these files, if there are any.
    #[must_use]
    pub fn tls(mut self, tls: Option<TlsFiles>) -> Self {
        self.tls = tls;
        self
    }
}

/// What a server counts of itself.
#[derive(Debug, Clone, Default)]
pub struct ServeMetrics {
    /// Connections that are open.
    pub connections: Gauge,
    /// New certificates that could not be used, so that the old one stays.
    pub certificates_refused: Counter,
}

impl ServeMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("http_connections", "Connections that are open", self.connections.clone());
        let words = "New certificates that could not be used, so that the old one stays";
        registry.register("tls_certificates_refused", words, self.certificates_refused.clone());
    }
}

/// The bounds of routes whose bodies are streams: large, long, and never whole in memory.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// The largest body, in bytes.
    pub max_body: u64,
    /// How long a body may take in all.
    pub body_deadline: Duration,
    /// How long a body may stand still.
    pub idle: Duration,
    /// How long the handler may take to begin its answer once the body's time is over.
    pub response_timeout: Duration,
}

impl StreamLimits {
    /// Bodies of up to `max_body` bytes within `body_deadline`, that never stand still for more than half a minute.
    pub const fn new(max_body: u64, body_deadline: Duration) -> Self {
        Self { max_body, body_deadline, idle: Duration::from_secs(30), response_timeout: Duration::from_mins(1) }
    }
}
