//! The files.

use std::io;
use std::path::PathBuf;

use signalbox_contract::AttemptKey;
use signalbox_contract::api::executor::log::MAX_CHUNK;
use signalbox_service::secret::SecretString;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::mask::Mask;

/// The folder with all logs.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    folder: PathBuf,
}

/// Some of a log.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// The offset after them.
    pub(crate) next: u64,
    /// Whether they reach to the end of what there is now.
    pub(crate) to_the_end: bool,
}

impl Logs {
    /// The logs in `folder`.
    pub(crate) const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, key: &AttemptKey) -> PathBuf {
        self.folder.join(format!("{key}.log"))
    }

    /// Begins an attempt's log, which takes `limit` bytes of what the build prints.
    pub(crate) async fn begin(&self, key: &AttemptKey, limit: u64, secrets: [SecretString; 2]) -> io::Result<LogFile> {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(self.path(key)).await?;
        Ok(LogFile { file, mask: Mask::new(secrets), room: limit, cut: false, line_open: false })
    }

    /// Reads from an offset on. A log that was never begun is empty.
    pub(crate) async fn read(&self, key: &AttemptKey, from: u64) -> io::Result<Chunk> {
        let mut file = match File::open(self.path(key)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Chunk { next: from, to_the_end: true, ..Chunk::default() }),
            Err(error) => return Err(error),
        };
        let size = file.metadata().await?.len();
        if from >= size {
            return Ok(Chunk { bytes: Vec::new(), next: from, to_the_end: true });
        }
        file.seek(io::SeekFrom::Start(from)).await?;
        let wanted = (size - from).min(MAX_CHUNK as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(MAX_CHUNK));
        file.take(wanted).read_to_end(&mut bytes).await?;
        let next = from + bytes.len() as u64;
        Ok(Chunk { bytes, next, to_the_end: next >= size })
    }

    /// Removes an attempt's log. That there is none is as good.
    pub(crate) async fn remove(&self, key: &AttemptKey) -> io::Result<()> {
        match tokio::fs::remove_file(self.path(key)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A log that is being written.
pub(crate) struct LogFile {
    file: File,
    mask: Mask,
    room: u64,
    cut: bool,
    line_open: bool,
}

impl LogFile {
    /// Appends what the build printed. What is over the limit is dropped, and one line says so.
    pub(crate) async fn printed(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.cut {
            return Ok(());
        }
        let bytes = self.mask.next(bytes);
        let fits = usize::try_from(self.room).unwrap_or(usize::MAX).min(bytes.len());
        self.append(&bytes[..fits]).await?;
        self.room -= fits as u64;
        if fits < bytes.len() {
            self.cut = true;
            self.say("the log is full: what the build prints from here on is not kept").await?;
        }
        Ok(())
    }

    /// Appends a line of the executor's own.
    pub(crate) async fn say(&mut self, line: &str) -> io::Result<()> {
        if !self.cut {
            let rest = self.mask.rest();
            self.append(&rest).await?;
        }
        let begin = if self.line_open { "\n" } else { "" };
        self.append(format!("{begin}signalbox: {line}\n").as_bytes()).await
    }

    async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(last) = bytes.last() else { return Ok(()) };
        self.line_open = *last != b'\n';
        self.file.write_all(bytes).await?;
        // Readers see what has been flushed to the kernel, no more.
        self.file.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_over_the_limit_is_dropped_and_said_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let logs = Logs::new(folder.path().to_owned());
        let key: AttemptKey = "01jd8qk4wmfvt9e3v1n0t2m6xz-1-1".parse().expect("valid");
        let mut log = logs.begin(&key, 10, [SecretString::from("aaaaaaaa"), SecretString::from("bbbbbbbb")]).await.expect("begun");
        log.say("begins").await.expect("said");
        for _ in 0..3 {
            log.printed(b"123456").await.expect("printed");
        }
        log.say("ends").await.expect("said");
        let chunk = logs.read(&key, 0).await.expect("read");
        let text = String::from_utf8(chunk.bytes).expect("text");
        let full = "signalbox: the log is full: what the build prints from here on is not kept\n";
        assert_eq!(text, format!("signalbox: begins\n1234561234\n{full}signalbox: ends\n"));
        let rest = logs.read(&key, 18).await.expect("read");
        assert!(rest.bytes.starts_with(b"123456") && rest.to_the_end);
        logs.remove(&key).await.expect("removed");
        assert!(logs.read(&key, 5).await.expect("read").to_the_end);
    }
}
