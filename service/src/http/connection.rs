//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::options::ServeOptions;
use super::slots::{Answer, Place, Slot};
use super::unread::{Handed, Refusing};
use super::wire::{Faults, Watch, Wire};
use crate::shutdown::Shutdown;

/// The most that is buffered of a connection's input: the largest head, and the largest piece of a body.
const MAX_BUFFER: usize = 128 * 1024;

/// How long an idle connection may take to say goodbye once it is told to end.
const FAREWELL: Duration = Duration::from_millis(500);

/// What all connections of a service share.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) options: ServeOptions,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) shutdown: Shutdown,
}

/// Serves one connection until it ends, must make room, or the service ends.
pub(super) async fn converse(stream: TcpStream, peer: SocketAddr, place: Place, shared: Arc<Shared>) {
    let slot = Arc::clone(&place.slot);
    tokio::select! {
        () = serve_stream(stream, peer, &slot, &shared) => {}
        () = slot.evicted() => tracing::debug!("connection.evicted"),
    }
}

async fn serve_stream(stream: TcpStream, peer: SocketAddr, slot: &Arc<Slot>, shared: &Arc<Shared>) {
    // Small answers must not wait for a packet to fill; a socket that cannot do it is only slower.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = &shared.tls else {
        return serve_http1(stream, peer, slot, shared).await;
    };
    let stream = tokio::select! {
        accepted = tokio::time::timeout(shared.options.handshake_timeout, acceptor.accept(stream)) => match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "connection.handshake_failed"),
            Err(_) => return tracing::debug!("connection.handshake_timed_out"),
        },
        () = shared.shutdown.requested() => return,
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        serve_http2(stream, peer, slot, shared).await;
    } else {
        serve_http1(stream, peer, slot, shared).await;
    }
}

async fn serve_http1<S>(stream: S, peer: SocketAddr, slot: &Arc<Slot>, shared: &Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let faults = Faults::default();
    let handed = Handed::default();
    let wire = Wire::new(stream, Arc::clone(slot), shared.options.write_timeout);
    let wire = wire.watched(Watch::new(faults.clone()), Refusing::new(handed.clone()));
    let service = service_fn({
        let (slot, shared) = (Arc::clone(slot), Arc::clone(shared));
        move |mut request: Request<Incoming>| {
            let fault = faults.of(handed.count());
            // After a chunked body nobody reads along any more, so no head may follow.
            let last = fault.is_some() || request.headers().contains_key(TRANSFER_ENCODING);
            if let Some(fault) = fault {
                request.extensions_mut().insert(fault);
            }
            let answer = answer(request, peer, &slot, &shared);
            async move {
                let mut response = answer.await?;
                if last {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.options.header_timeout)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(wire), service);
    drive(connection, http1::Connection::graceful_shutdown, slot, shared).await;
}

async fn serve_http2<S>(stream: S, peer: SocketAddr, slot: &Arc<Slot>, shared: &Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wire = Wire::new(stream, Arc::clone(slot), shared.options.write_timeout);
    let service = service_fn({
        let (slot, shared) = (Arc::clone(slot), Arc::clone(shared));
        move |request: Request<Incoming>| answer(request, peer, &slot, &shared)
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(64 * 1024)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(wire), service);
    drive(connection, http2::Connection::graceful_shutdown, slot, shared).await;
}

/// Hands a request to the router.
fn answer(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    slot: &Arc<Slot>,
    shared: &Arc<Shared>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + Send + use<> {
    let busy = slot.request();
    // An upgrade that is asked for in clear text (h2c) is not offered: the request is answered as it stands.
    if request.version() == Version::HTTP_11 {
        request.headers_mut().remove(http::header::UPGRADE);
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    let answered = shared.router.clone().oneshot(request.map(Body::new));
    async move { Ok(answered.await?.map(|body| Answer::new(body, busy))) }
}

/// Drives a connection: ends it when the service ends, when nothing happens on it for too long, and when its client
/// takes nothing of its answer.
async fn drive<C, E>(connection: C, say_goodbye: impl Fn(Pin<&mut C>), slot: &Arc<Slot>, shared: &Arc<Shared>)
where
    C: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let mut connection = std::pin::pin!(connection);
    let options = &shared.options;
    let mut ending = false;
    let mut look = tokio::time::interval((options.header_timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(2)));
    let ended = shared.shutdown.requested();
    let mut ended = std::pin::pin!(ended);
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection.failed");
                }
                return;
            }
            () = ended.as_mut(), if !ending => {
                ending = true;
                say_goodbye(connection.as_mut());
                look = tokio::time::interval(FAREWELL / 4);
            }
            _ = look.tick() => {
                let still = slot.still_for();
                if slot.idle() && (still > options.header_timeout * 2 || ending && still > FAREWELL) {
                    return;
                }
                if slot.idle() && still > options.header_timeout && !ending {
                    // HTTP/1 has a timer of its own for this; HTTP/2 is told to go, and goes at the latest a turn later.
                    say_goodbye(connection.as_mut());
                }
                if slot.waits_for_client() && slot.unmoved_for() > options.write_timeout {
                    return tracing::debug!("connection.stalled");
                }
            }
        }
    }
}
