//! Gerrit's events as they are streamed over ssh.
//!
//! The stream has no numbers, no replay and no heartbeat: so whoever reads it compares what is there after every
//! [`Streamed::Connected`], ssh itself asks whether the server still lives, and a silence without end ends the connection.
//! Dropping the stream ends ssh.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use serde_json::json;
use signalbox_service::clock::SharedClock;
use signalbox_service::process::{Running, Tail};
use signalbox_service::ssh::distrust;
use signalbox_service::telemetry::causes;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdout};

use super::admission::MAX_EVENT;
use super::heads::events_since;
use super::rest::Rest;
use super::ssh::command;
use super::{GerritSettings, GerritSsh};
use crate::forge::Streamed;
use crate::forge::payload::{at, cut, number, object, text};

/// How long is waited before the first connection that follows one that was cut, and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How long a connection must have stood for the pauses to begin anew.
const STOOD: Duration = Duration::from_secs(30);

/// How long reaching Gerrit and logging in may take.
const CONNECT: Duration = Duration::from_secs(45);

/// How long the events that Gerrit has kept may take. Meanwhile its stream is not read.
const KEPT: Duration = Duration::from_secs(10);

/// How long after Gerrit has taken the command it may still say that it is not allowed.
const GRACE: Duration = Duration::from_millis(500);

/// What ssh says once Gerrit has taken the command.
const ACCEPTED: &str = "exec request accepted on channel";

/// How much of what ssh says is kept.
const WORDS: usize = 2048;

/// The stream, which ends only when it is dropped.
pub(super) fn stream(
    settings: Arc<GerritSettings>,
    ssh: GerritSsh,
    rest: Option<Rest>,
    clock: SharedClock,
) -> BoxStream<'static, Streamed> {
    let reader = Reader { settings, ssh, rest, clock, line: None, pause: Duration::ZERO, last: None, owed: None, kept: VecDeque::new() };
    stream::unfold(reader, |mut reader| async {
        let streamed = reader.next().await;
        Some((streamed, reader))
    })
    .boxed()
}

/// A line that Gerrit printed.
enum Printed {
    Event(Bytes),
    TooLong,
}

struct Reader {
    settings: Arc<GerritSettings>,
    ssh: GerritSsh,
    rest: Option<Rest>,
    clock: SharedClock,
    line: Option<Line>,
    /// How long is waited before the next connection.
    pause: Duration,
    /// When the newest event was made, as Gerrit says.
    last: Option<Timestamp>,
    /// Since when events may have been missed that Gerrit could have kept.
    owed: Option<Timestamp>,
    /// Events that Gerrit has kept, and that are not given out yet.
    kept: VecDeque<Bytes>,
}

/// One connection that stands.
struct Line {
    /// Dropping it ends ssh.
    _running: Running,
    stdout: BufReader<ChildStdout>,
    stderr: Option<ChildStderr>,
    words: Tail,
    since: Instant,
    lines: Lines,
}

/// What was read and is no whole line yet. Gerrit's lines may be long; no buffer of a fixed length would do.
#[derive(Default)]
struct Lines {
    buffer: BytesMut,
    /// Whether a line is being left out that is too long.
    skipping: bool,
}

impl Reader {
    async fn next(&mut self) -> Streamed {
        if self.line.is_none() {
            return self.connect().await;
        }
        self.catch_up().await;
        if let Some(event) = self.kept.pop_front() {
            return Streamed::Event(event);
        }
        let Some(line) = &mut self.line else { return self.connect().await };
        let silence = self.settings.silence;
        let why = match tokio::time::timeout(silence, line.read()).await {
            Ok(Ok(Printed::Event(event))) => return Streamed::Event(self.noted(event)),
            Ok(Ok(Printed::TooLong)) => return Streamed::Event(self.missed()),
            Ok(Err(why)) => why,
            Err(_) => format!("no event came for {} minutes", silence.as_secs() / 60),
        };
        if line.since.elapsed() >= STOOD {
            self.pause = Duration::ZERO;
        }
        self.cut(why)
    }

    async fn connect(&mut self) -> Streamed {
        tokio::time::sleep(self.pause).await;
        match tokio::time::timeout(CONNECT, Line::establish(&self.ssh, &self.settings.user)).await {
            Ok(Ok(line)) => {
                self.line = Some(line);
                self.owed = self.last;
                Streamed::Connected
            }
            Ok(Err(why)) => self.cut(why),
            Err(_) => self.cut(format!("it did not connect within {} seconds", CONNECT.as_secs())),
        }
    }

    fn cut(&mut self, why: String) -> Streamed {
        self.line = None;
        self.pause = (self.pause * 2).clamp(PAUSE, LONGEST_PAUSE);
        Streamed::Cut { why }
    }

    /// Says that something was lost, at a time of its own: each loss is another.
    fn missed(&self) -> Bytes {
        let event =
            json!({"type": "dropped-output", "eventCreatedOn": self.clock.now().as_second(), "lost": self.clock.uuid().to_string()});
        Bytes::from(event.to_string())
    }

    /// Asks once for what was missed since the newest event, where the plugin `events-log` keeps it. What it does not bring
    /// is found by comparing; what was seen before is the same delivery again.
    async fn catch_up(&mut self) {
        let (Some(since), Some(rest)) = (self.owed.take(), &self.rest) else { return };
        match tokio::time::timeout(KEPT, events_since(rest, since)).await {
            Ok(Ok(Some(events))) => self.kept.extend(events.into_iter().filter(|event| event.len() <= MAX_EVENT)),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::warn!(forge = %self.settings.name, error = %causes(&error), "the events that Gerrit has kept cannot be read");
            }
        }
    }

    /// Takes note of when an event was made.
    fn noted(&mut self, event: Bytes) -> Bytes {
        let made = object(&event).and_then(|event| number(&event, &["eventCreatedOn"]));
        let made = made.and_then(|made| Timestamp::from_second(i64::try_from(made).ok()?).ok());
        self.last = self.last.max(made);
        self.dated(event)
    }

    /// A loss that Gerrit tells without its time would be taken for the one before.
    fn dated(&self, event: Bytes) -> Bytes {
        // Only so short a line can be one; longer ones need not be read twice.
        let lost = event.len() < 256
            && object(&event)
                .is_some_and(|event| text(&event, &["type"]) == Some("dropped-output") && at(&event, &["eventCreatedOn"]).is_none());
        if lost { self.missed() } else { event }
    }
}

impl Line {
    /// Starts ssh, and waits until Gerrit streams.
    async fn establish(ssh: &GerritSsh, user: &str) -> Result<Self, String> {
        // At this level ssh says when the command was taken; Gerrit itself says nothing before the first event.
        let mut running = command(ssh, user, "DEBUG2", &["gerrit", "stream-events"]).start().map_err(|error| causes(&error))?;
        // There is nothing to tell it.
        running.stdin = None;
        let (Some(stdout), Some(stderr)) = (running.stdout.take(), running.stderr.take()) else {
            return Err("ssh has no output".to_owned());
        };
        let mut line = Self {
            _running: running,
            stdout: BufReader::new(stdout),
            stderr: Some(stderr),
            words: Tail::new(WORDS),
            since: Instant::now(),
            lines: Lines::default(),
        };
        while !line.accepted() {
            if !line.listen().await {
                return Err(line.complaint());
            }
        }
        // A refusal comes right after, and ends it.
        let ends = async { while line.listen().await {} };
        if tokio::time::timeout(GRACE, ends).await.is_ok() {
            return Err(line.complaint());
        }
        line.since = Instant::now();
        Ok(line)
    }

    fn accepted(&self) -> bool {
        String::from_utf8_lossy(&self.words.clone().into_bytes()).contains(ACCEPTED)
    }

    /// Hears what ssh says next. False when it says no more: it has ended.
    async fn listen(&mut self) -> bool {
        let Some(stderr) = &mut self.stderr else { return false };
        let mut chunk = [0; 1024];
        match stderr.read(&mut chunk).await {
            Ok(count) if count > 0 => {
                self.words.push(&chunk[..count]);
                true
            }
            _ => {
                self.stderr = None;
                false
            }
        }
    }

    /// The next line. May be dropped at any time, and nothing is lost.
    async fn read(&mut self) -> Result<Printed, String> {
        let mut chunk = vec![0; 16 * 1024];
        loop {
            if let Some(found) = self.lines.take() {
                return Ok(found);
            }
            if self.stderr.is_none() {
                // It has ended, or is about to: what it printed last is still to be read.
                match self.stdout.read(&mut chunk).await {
                    Ok(count) if count > 0 => self.lines.buffer.extend_from_slice(&chunk[..count]),
                    _ => return Err(self.complaint()),
                }
                continue;
            }
            tokio::select! {
                biased;
                read = self.stdout.read(&mut chunk) => match read {
                    Ok(count) if count > 0 => self.lines.buffer.extend_from_slice(&chunk[..count]),
                    _ => {
                        while self.listen().await {}
                        return Err(self.complaint());
                    }
                },
                () = listen_to(&mut self.stderr, &mut self.words) => {}
            }
        }
    }

    /// What ssh and Gerrit said, without what ssh tells of itself.
    fn complaint(&self) -> String {
        let said = self.words.clone().into_bytes();
        let said = String::from_utf8_lossy(&said);
        if let Some(why) = distrust(&said) {
            return cut(&why.replace(char::is_control, " "), 500).to_owned();
        }
        // The first line may have lost its beginning.
        let whole = if said.len() >= WORDS { said.split_once('\n').map_or("", |(_, rest)| rest) } else { &said };
        let words: Vec<&str> = whole.lines().map(str::trim).filter(|line| !is_of_ssh_itself(line)).collect();
        let words: String = words.join(" ").chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        if words.is_empty() { "Gerrit closed the connection".to_owned() } else { cut(&words, 500).to_owned() }
    }
}

impl Lines {
    /// A whole line, if there is one. One that is too long is not kept, only noticed.
    fn take(&mut self) -> Option<Printed> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n');
            let Some(end) = end else {
                if self.skipping || self.buffer.len() > MAX_EVENT {
                    self.skipping = true;
                    self.buffer.clear();
                }
                return None;
            };
            let line = self.buffer.split_to(end + 1).freeze();
            if std::mem::take(&mut self.skipping) || line.len() > MAX_EVENT {
                return Some(Printed::TooLong);
            }
            if !line.trim_ascii().is_empty() {
                return Some(Printed::Event(line.slice(..end)));
            }
        }
    }
}

/// Whether a line is ssh's own account of what it does.
fn is_of_ssh_itself(line: &str) -> bool {
    line.is_empty()
        || ["debug1:", "debug2:", "debug3:", "OpenSSH_", "Authenticated to ", "Transferred: ", "Bytes per second: ", "Authenticating to "]
            .iter()
            .any(|mark| line.starts_with(mark))
}

async fn listen_to(stderr: &mut Option<ChildStderr>, words: &mut Tail) {
    let Some(stream) = stderr else { return std::future::pending().await };
    let mut chunk = [0; 1024];
    match stream.read(&mut chunk).await {
        Ok(count) if count > 0 => words.push(&chunk[..count]),
        _ => *stderr = None,
    }
}

#[cfg(test)]
mod tests {
    use signalbox_service::clock::SystemClock;

    use super::*;
    use crate::forge::scripted::{Scripted, answer};

    /// What comes out of these bytes, read in pieces of this length: a line's length, or nothing for one that was too long.
    fn read(bytes: &[u8], piece: usize) -> Vec<Option<usize>> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            lines.buffer.extend_from_slice(piece);
            while let Some(printed) = lines.take() {
                found.push(match printed {
                    Printed::Event(line) => Some(line.len()),
                    Printed::TooLong => None,
                });
            }
            assert!(lines.buffer.len() <= MAX_EVENT + piece.len());
        }
        found
    }

    #[test]
    fn each_loss_is_another_delivery_though_gerrit_gives_it_no_time() {
        let settings =
            Arc::new(GerritSettings::new("gerrit".parse().expect("a name"), "https://g.example.org".parse().expect("a URL"), "robot"));
        let ssh = GerritSsh { host: "127.0.0.1".to_owned(), port: 1, key: "/k".into(), known_hosts: "/h".into() };
        let clock = SystemClock::shared();
        let mut reader =
            Reader { settings, ssh, rest: None, clock, line: None, pause: Duration::ZERO, last: None, owed: None, kept: VecDeque::new() };
        let lost = Bytes::from_static(b"{\"type\":\"dropped-output\"}");
        let ids = [reader.noted(lost.clone()), reader.noted(lost), reader.missed()]
            .map(|line| super::super::admission::admit_event(&line).expect("readable").id);
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    }

    #[tokio::test]
    async fn what_gerrit_has_kept_is_played_after_a_connection_was_made_anew() {
        let lines =
            "{\"type\":\"a\",\"eventCreatedOn\":99}\n{\"type\":\"b\",\"eventCreatedOn\":100}\n{\"type\":\"c\",\"eventCreatedOn\":101}\n";
        let server = Scripted::new(move |_| answer("200 OK", "", lines)).await;
        let mut settings = GerritSettings::new("gerrit".parse().expect("a name"), server.url(), "robot");
        settings.password = Some("password".into());
        let ssh = GerritSsh { host: "127.0.0.1".to_owned(), port: 1, key: "/k".into(), known_hosts: "/h".into() };
        let rest = Rest::new(&settings).expect("settings that can be used");
        let (settings, clock) = (Arc::new(settings), SystemClock::shared());
        let mut reader =
            Reader { settings, ssh, rest, clock, line: None, pause: Duration::ZERO, last: None, owed: None, kept: VecDeque::new() };
        // The first connection owes nothing.
        reader.catch_up().await;
        assert!(reader.kept.is_empty() && server.seen().is_empty());
        reader.noted(Bytes::from_static(b"{\"eventCreatedOn\": 100}"));
        reader.noted(Bytes::from_static(b"{\"eventCreatedOn\": \"7\"}"));
        reader.owed = reader.last;
        reader.catch_up().await;
        reader.catch_up().await;
        // That second's own events are played again: several may have been made in it.
        assert_eq!((reader.kept.len(), server.seen().len()), (2, 1));
    }

    #[test]
    fn lines_of_any_length_are_read_up_to_a_bound_and_longer_ones_are_noticed() {
        let long = "x".repeat(900_000);
        let endless = "x".repeat(3 * MAX_EVENT);
        let bytes = format!("{{}}\n\n\r\n{long}\n{endless}\nab\nhalf");
        for piece in [1000, 16 * 1024, 5 << 20] {
            assert_eq!(read(bytes.as_bytes(), piece), [Some(2), Some(900_000), None, Some(2)], "{piece}");
        }
    }

    #[test]
    fn of_what_ssh_says_only_the_complaint_is_told() {
        assert!(is_of_ssh_itself("debug1: Offering public key: /secret/path"));
        assert!(is_of_ssh_itself("Authenticated to gerrit.example.org"));
        assert!(!is_of_ssh_itself("Host key verification failed."));
        assert!(!is_of_ssh_itself("fatal: not permitted"));
    }
}
