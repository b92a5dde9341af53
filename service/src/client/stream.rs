//! Streams in both directions, in constant memory. They may take as long as they move.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;

use super::error::{CallError, Peer, classify};
use super::{Client, IDLE};
use crate::secret::SecretString;

/// An answer whose body comes as a stream.
#[derive(Debug)]
pub struct Download {
    peer: Peer,
    response: reqwest::Response,
}

impl Download {
    /// The status: a success, or `304`.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// How many bytes will come, if the other side says.
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes; `None` at the end. A stream that is cut or stands still is an error, never an end.
    ///
    /// # Errors
    /// [`CallError::Unknown`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, CallError> {
        match tokio::time::timeout(IDLE, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| self.peer.unknown(error.without_url())),
            Err(_) => Err(self.peer.unknown("nothing more came")),
        }
    }

    /// The bytes as a stream. After an error nothing follows.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(Some(self), |state| async {
            let mut download = state?;
            match download.chunk().await {
                Ok(None) => None,
                Ok(Some(chunk)) => Some((Ok(chunk), Some(download))),
                Err(error) => Some((Err(io::Error::other(error)), None)),
            }
        })
    }
}

impl Client {
    /// Gets `path` as a stream.
    ///
    /// # Errors
    /// As [`CallError`] tells; what the other side says is read whole.
    pub async fn get_stream(&self, path: &str, token: Option<&SecretString>, headers: HeaderMap) -> Result<Download, CallError> {
        let request = self.request(Method::GET, self.url(path)?, token, headers)?;
        // The deadline is for the head alone: one on the request would cut the body.
        let sent = tokio::time::timeout(self.answer, request.send()).await.map_err(|_| self.peer.unknown("no answer came in time"))?;
        let response = sent.map_err(|error| self.peer.failed(error))?;
        let judged = tokio::time::timeout(self.answer, classify(&self.peer, response)).await;
        let response = judged.map_err(|_| self.peer.unknown("its answer did not end in time"))??;
        Ok(Download { peer: self.peer.clone(), response })
    }

    /// Puts a stream at `path`, and gives the answer. Where its length is not known, it is sent in chunks.
    ///
    /// # Errors
    /// As [`CallError`] tells. [`CallError::Unknown`] too when the stream itself fails: the other side has seen a part.
    pub async fn put_stream<R, S>(
        &self,
        path: &str,
        token: Option<&SecretString>,
        mut headers: HeaderMap,
        content_length: impl Into<Option<u64>> + Send,
        body: S,
    ) -> Result<R, CallError>
    where
        R: DeserializeOwned,
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        if let Some(length) = content_length.into() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        let progress = Progress::new();
        let moved = progress.clone();
        let body = body.inspect(move |_| moved.touch());
        let request = self.request(Method::PUT, self.url(path)?, token, headers)?.body(reqwest::Body::wrap_stream(body));
        let exchange = async {
            let response = request.send().await.map_err(|error| self.peer.failed(error))?;
            self.parse(classify(&self.peer, response).await?).await
        };
        tokio::select! {
            answer = exchange => answer,
            () = progress.stalled() => Err(self.peer.unknown("the upload stands still")),
        }
    }
}

/// When a stream last moved.
#[derive(Clone)]
struct Progress {
    begun: Instant,
    last: Arc<AtomicU64>,
}

impl Progress {
    fn new() -> Self {
        Self { begun: Instant::now(), last: Arc::default() }
    }

    fn touch(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for [`IDLE`]; the answer, too, must come within that time after the last byte.
    async fn stalled(&self) {
        loop {
            let idle = self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)));
            match IDLE.checked_sub(idle) {
                None | Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    }
}
