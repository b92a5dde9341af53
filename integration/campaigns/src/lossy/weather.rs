//! Bad weather between us and a server that speaks HTTP: some of its answers are 5xx, of which some come after it has done what was asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use tokio::task::AbortHandle;

use crate::dice::Dice;

/// The largest body that is handed on, in bytes.
const MOST: usize = 64 * 1024 * 1024;

/// What stands between. It goes when it is dropped.
#[derive(Debug)]
pub(super) struct Weather {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    behind: String,
    client: reqwest::Client,
    dice: Mutex<Dice>,
    /// Of a hundred answers.
    bad: AtomicU64,
    asked: AtomicU64,
    spoilt: AtomicU64,
}

impl Weather {
    /// Stands before the server at `behind`, a URL without a slash at its end. So many of a hundred answers go wrong.
    ///
    /// # Errors
    /// When no port is free.
    #[expect(clippy::disallowed_methods, reason = "what stands between on loopback needs no deadlines against clients that stall")]
    pub(super) async fn before(behind: &str, bad: u64, dice: Dice) -> std::io::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(std::io::Error::other)?;
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            behind: behind.to_owned(),
            client,
            dice: Mutex::new(dice),
            bad: AtomicU64::new(bad),
            asked: AtomicU64::default(),
            spoilt: AtomicU64::default(),
        });
        let router = axum::Router::new().fallback(hand_on).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            // It ends when it is dropped.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, serving: serving.abort_handle() })
    }

    /// Where it is, without a slash at the end.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on nothing goes wrong.
    pub(super) fn clear(&self) {
        self.shared.bad.store(0, Ordering::Relaxed);
    }

    /// How many requests there were, and how many of them were answered with 5xx.
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.shared.asked.load(Ordering::Relaxed), self.shared.spoilt.load(Ordering::Relaxed))
    }
}

impl Drop for Weather {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn hand_on(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.asked.fetch_add(1, Ordering::Relaxed);
    let (status, done) = {
        let mut dice = shared.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let bad = dice.percent(shared.bad.load(Ordering::Relaxed));
        let statuses = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];
        (bad.then(|| *dice.pick(&statuses)), dice.percent(30))
    };
    if let Some(status) = status {
        shared.spoilt.fetch_add(1, Ordering::Relaxed);
        // Whoever reads 5xx does not know whether it was done.
        if done {
            let _ = asked(&shared, request).await;
        }
        return (status, "bad weather\n").into_response();
    }
    match asked(&shared, request).await {
        Ok(answer) => answer,
        Err(why) => (StatusCode::BAD_GATEWAY, why).into_response(),
    }
}

async fn asked(shared: &Shared, request: Request) -> Result<Response, String> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MOST).await.map_err(|error| error.to_string())?;
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let asking = shared.client.request(parts.method, format!("{}{target}", shared.behind)).headers(end_to_end(parts.headers));
    let answer = asking.body(body).send().await.map_err(|error| error.to_string())?;
    let (status, headers) = (answer.status(), end_to_end(answer.headers().clone()));
    let bytes = answer.bytes().await.map_err(|error| error.to_string())?;
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// What is said to the other end, and not to us.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}
