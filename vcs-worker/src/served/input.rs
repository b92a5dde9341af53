//! What a git client sends, on its way to git.

use std::io::Write as _;

use axum::body::Body;
use flate2::write::GzDecoder;
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

/// How much a client may send once it is unpacked. Clients name what they want and have, fifty bytes each.
const MOST: usize = 64 * 1024 * 1024;

/// How much is unpacked at a time: gzip can make it a thousand times larger.
const STEP: usize = 4 * 1024;

/// A client's request, packed or not.
pub(super) struct Input {
    body: Body,
    gzipped: bool,
}

impl Input {
    pub(super) const fn new(body: Body, gzipped: bool) -> Self {
        Self { body, gzipped }
    }

    /// Feeds it to git. An error means that git was not given all of it, and that what it answers is worth nothing.
    pub(super) async fn feed(self, mut stdin: ChildStdin) -> std::io::Result<()> {
        let mut decoder = self.gzipped.then(|| GzDecoder::new(Vec::new()));
        let mut sent = 0;
        let mut chunks = self.body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(std::io::Error::other)?;
            let Some(decoder) = decoder.as_mut() else {
                send(&mut stdin, &chunk, &mut sent).await?;
                continue;
            };
            for step in chunk.chunks(STEP) {
                decoder.write_all(step)?;
                let plain = std::mem::take(decoder.get_mut());
                send(&mut stdin, &plain, &mut sent).await?;
            }
        }
        if let Some(decoder) = decoder {
            let rest = decoder.finish()?;
            send(&mut stdin, &rest, &mut sent).await?;
        }
        stdin.shutdown().await
    }
}

async fn send(stdin: &mut ChildStdin, bytes: &[u8], sent: &mut usize) -> std::io::Result<()> {
    *sent += bytes.len();
    if *sent > MOST {
        return Err(std::io::Error::other("the request is too large"));
    }
    match stdin.write_all(bytes).await {
        // Git answers as soon as it knows enough, and reads no further.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
