//! What git answers, on its way to the client.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use signalbox_service::process::{Running, Tail};
use signalbox_service::telemetry::causes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::input::Input;

/// How many chunks may wait for a slow client.
const CHUNKS: usize = 4;

/// How large a chunk is.
const CHUNK: usize = 64 * 1024;

/// Streams git's answer. The task that does it ends with git, with the deadline, or when nobody reads any more; then git and
/// all that it started end too, and the reader's place is free.
pub(super) fn stream(running: Running, input: Input, deadline: Duration, room: OwnedSemaphorePermit) -> Body {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let work = async move {
        let gone = sender.clone();
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(deadline, converse(running, input, &sender)) => {
                outcome.unwrap_or_else(|_| Err(std::io::Error::other("the reader took too long")))
            }
            () = gone.closed() => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::warn!(error = %causes(&error), "mirror.read_failed");
            // The answer is cut off, not ended: git clients tell the difference.
            let _ = sender.send(Err(error)).await;
        }
        drop(room);
    };
    tokio::spawn(work.in_current_span());
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|chunk| (chunk, receiver)) });
    Body::from_stream(chunks)
}

async fn converse(mut running: Running, input: Input, sender: &mpsc::Sender<std::io::Result<Bytes>>) -> std::io::Result<()> {
    let (Some(stdin), Some(stdout), Some(stderr)) = (running.stdin.take(), running.stdout.take(), running.stderr.take()) else {
        return Err(std::io::Error::other("git has no streams"));
    };
    let pump = async {
        use futures_util::StreamExt as _;
        let mut chunks = ReaderStream::with_capacity(stdout, CHUNK);
        while let Some(chunk) = chunks.next().await {
            if sender.send(Ok(chunk?)).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let mut tail = Tail::new(1024);
    let complain = tail.read(stderr);
    tokio::try_join!(input.feed(stdin), pump, complain)?;
    let status = running.wait_within(Duration::from_secs(10), &CancellationToken::new()).await.map_err(std::io::Error::other)?;
    // A client that stops in the middle of a negotiation makes git end with an error; that is no answer cut short.
    if status.success() || status.code() == Some(128) {
        return Ok(());
    }
    Err(std::io::Error::other(format!("git ended with {status}: {}", String::from_utf8_lossy(&tail.into_bytes()).escape_debug())))
}
