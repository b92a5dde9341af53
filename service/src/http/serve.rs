//! The accept loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::Instrument as _;

use super::connection::{self, Shared};
use super::options::ServeOptions;
use super::slots::Slots;
use super::tls::Certificates;
use crate::shutdown::Shutdown;

/// How many connections the system keeps for us until they are accepted.
const BACKLOG: u32 = 4096;

/// How long accepting rests after the system refused, for instance for want of file descriptors.
const REST: Duration = Duration::from_millis(100);

/// Binds a listener. Must be called on the runtime.
///
/// # Errors
/// When the address is in use or not to be had.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A service that was killed must be able to come back at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Lets the process have as many files open as the system allows: each connection is one.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_err() {
        tracing::warn!(current = limit.current, "process.file_limit_kept");
    }
}

/// Serves until the end begins; then accepts nothing more, lets what is at work end within the drain's deadline, and
/// closes what is left. If the certificate cannot be loaded, it begins the end of the service.
pub async fn serve(listener: TcpListener, router: Router, options: ServeOptions, shutdown: Shutdown) {
    let service = options.name;
    let span = tracing::info_span!("http", service);
    serve_in_span(listener, router, options, shutdown).instrument(span).await;
}

async fn serve_in_span(listener: TcpListener, router: Router, options: ServeOptions, shutdown: Shutdown) {
    let certificates = match options.tls.as_ref().map(Certificates::load).transpose() {
        Ok(certificates) => certificates,
        Err(error) => {
            tracing::error!(error = %anyhow::Error::new(error).chain().map(ToString::to_string).collect::<Vec<_>>().join(": "), "http.no_certificate");
            return shutdown.begin();
        }
    };
    let mut tasks = JoinSet::new();
    if let Some(certificates) = &certificates {
        let refused = options.metrics.certificates_refused.clone();
        tasks.spawn(certificates.clone().watch(options.tls_poll, refused, shutdown.clone()).in_current_span());
    }
    let tls = certificates.map(|certificates| TlsAcceptor::from(certificates.server_config()));
    let slots = Slots::new(options.max_connections, options.metrics.connections.clone());
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, tls = tls.is_some(), "http.listening");
    }
    let drain = options.drain;
    let shared = Arc::new(Shared { router, options, tls, shutdown: shutdown.clone() });
    loop {
        while tasks.try_join_next().is_some() {}
        let next = async {
            let (stream, peer) = accept(&listener, &slots).await;
            (stream, peer, slots.take().await)
        };
        let (stream, peer, place) = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            next = next => next,
        };
        let span = tracing::info_span!("connection", %peer);
        tasks.spawn(connection::converse(stream, peer, place, Arc::clone(&shared)).instrument(span));
    }
    drop(listener);
    let drained = tokio::time::timeout(drain, async { while tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(connections = tasks.len(), "http.drain_timed_out");
    }
    tasks.shutdown().await;
    tracing::info!("http.ended");
}

/// The next connection. What the system refuses is tried again, for ever but not busily: a service that cannot accept
/// now may well be able to when others have gone. So that they do go, the one that has been idle for longest must.
async fn accept(listener: &TcpListener, slots: &Slots) -> (TcpStream, SocketAddr) {
    let mut failures = 0_u32;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client went away before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(error) => {
                if failures.is_multiple_of(100) {
                    tracing::error!(%error, "http.accept_failed");
                }
                failures = failures.wrapping_add(1);
                slots.evict_idle();
                tokio::time::sleep(REST).await;
            }
        }
    }
}
