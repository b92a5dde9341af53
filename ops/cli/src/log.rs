//! Reading a step's log as it grows.

use std::collections::BTreeMap;

use anyhow::Result;
use http::header::{HeaderMap, HeaderValue, RANGE};
use signalbox_contract::RunId;
use signalbox_contract::api::executor::log::{COMPLETE, NEXT};
use signalbox_contract::api::run::AttemptView;
use signalbox_service::client::CallError;

use crate::connection::{Connection, path, with_query};
use crate::output::{Output, harmless};

/// The log of one attempt, and how far it was read.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: String,
    next: u64,
    complete: bool,
}

impl LogReader {
    /// The log of an attempt of the step `step`, from its beginning; of a part of it, where it has parts.
    pub(crate) fn new(run: RunId, step: &str, attempt: u16, part: Option<&str>) -> Self {
        Self { path: log_path(run, step, attempt, part, None), next: 0, complete: false }
    }

    /// Whether all of it was read.
    pub(crate) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Reads what is new, hands it to `sink`, and answers whether there was anything.
    pub(crate) async fn advance(&mut self, connection: &Connection, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        if self.complete {
            return Ok(false);
        }
        let mut headers = HeaderMap::new();
        if self.next > 0 {
            headers.insert(RANGE, HeaderValue::try_from(format!("bytes={}-", self.next))?);
        }
        let mut answer = match connection.stream(&self.path, headers).await {
            Ok(answer) => answer,
            // Nothing was printed yet, or nothing beyond what was read; or the service is away for a moment.
            Err(CallError::Refused(problem)) if matches!(problem.status, 404 | 416) => return Ok(false),
            Err(error) if error.may_pass() => return Ok(false),
            Err(error) => return Err(connection.refusal(error).await),
        };
        let complete = answer.headers().get(COMPLETE).is_some_and(|value| value == "true");
        let next = answer.headers().get(NEXT).and_then(|value| value.to_str().ok()?.parse().ok());
        let before = self.next;
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    self.next += chunk.len() as u64;
                    sink(&chunk)?;
                }
                Ok(None) => break,
                // What came is kept; the rest is asked for the next time.
                Err(_) => return Ok(self.next > before),
            }
        }
        // The offset that is told counts: a log that was cut short at its beginning has a gap there.
        self.next = next.unwrap_or(self.next);
        self.complete = complete;
        Ok(self.next > before)
    }
}

/// Where a log is.
pub(crate) fn log_path(run: RunId, step: &str, attempt: u16, part: Option<&str>, tail: Option<u64>) -> String {
    let path = path(["runs", &run.to_string(), "steps", step, "log"]);
    let query = [("attempt", Some(attempt.to_string())), ("tail", tail.map(|bytes| bytes.to_string())), ("part", part.map(str::to_owned))];
    with_query(&path, query)
}

/// The parts of an attempt that have logs: their ids and names. One that shows none has a single log, without a name.
pub(crate) fn parts(attempt: &AttemptView) -> Vec<(Option<String>, String)> {
    let with_log: Vec<_> = attempt.parts.iter().filter(|part| part.has_log).collect();
    if with_log.is_empty() {
        return vec![(None, String::new())];
    }
    with_log.into_iter().map(|part| (Some(part.part.clone()), part.name.clone())).collect()
}

/// The longest line that is one object; a longer one becomes several.
const LONGEST_LINE: usize = 64 * 1024;

/// Prints the logs of a step's attempt: as they are, or for a program an object a line.
pub(crate) struct Printer<'a> {
    output: Output,
    raw: bool,
    step: &'a str,
    /// What each part has said of a line that has not come to its end.
    begun: BTreeMap<Option<String>, Vec<u8>>,
}

impl<'a> Printer<'a> {
    /// A printer for the logs of the step `step`.
    pub(crate) fn new(output: Output, raw: bool, step: &'a str) -> Self {
        Self { output, raw, step, begun: BTreeMap::new() }
    }

    /// Prints what a part has said.
    pub(crate) fn print(&mut self, attempt: u16, part: Option<&str>, bytes: &[u8]) -> Result<()> {
        if !self.output.json {
            return if self.raw { crate::output::bytes(bytes) } else { print(bytes, self.output) };
        }
        let mut line = self.begun.remove(&part.map(str::to_owned)).unwrap_or_default();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if line.ends_with(b"\n") || line.len() >= LONGEST_LINE {
                self.tell(attempt, part, &line)?;
                line.clear();
            }
        }
        if !line.is_empty() {
            self.begun.insert(part.map(str::to_owned), line);
        }
        Ok(())
    }

    /// Prints the lines that never came to their end.
    pub(crate) fn finish(&mut self, attempt: u16) -> Result<()> {
        for (part, line) in std::mem::take(&mut self.begun) {
            self.tell(attempt, part.as_deref(), &line)?;
        }
        Ok(())
    }

    fn tell(&self, attempt: u16, part: Option<&str>, line: &[u8]) -> Result<()> {
        let line = String::from_utf8_lossy(line);
        let mut object = serde_json::json!({ "step": self.step, "attempt": attempt, "line": line.trim_end_matches(['\n', '\r']) });
        if let Some(part) = part {
            object["part"] = part.into();
        }
        crate::output::line(&object.to_string())
    }
}

/// Prints a piece of a log: on a terminal freed of control characters, elsewhere as it is.
pub(crate) fn print(bytes: &[u8], output: Output) -> Result<()> {
    if output.for_a_terminal() {
        // A letter cut by the end of the piece shows as a replacement; the log itself is not touched.
        return crate::output::bytes(harmless(&String::from_utf8_lossy(bytes)).as_bytes());
    }
    crate::output::bytes(bytes)
}
