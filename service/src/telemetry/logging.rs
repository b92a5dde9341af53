//! The log, on standard error: readable on a terminal, one JSON object a line everywhere else, unless a variable says which.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Once;

use tracing::{Level, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// The variables that say what is logged; the first one counts.
const FILTERS: [&str; 2] = ["SIGNALBOX_LOG", "RUST_LOG"];

/// The variable that says how the log is written: `text` or `json`.
const FORM: &str = "SIGNALBOX_LOG_FORMAT";

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Readable { colours: bool },
    Json,
}

impl Form {
    /// What the variable says; else what suits whoever reads. With a word that is not known, that word.
    fn chosen(word: Option<&str>, terminal: bool, no_color: bool) -> (Self, Option<&str>) {
        let readable = Self::Readable { colours: terminal && !no_color };
        let usual = if terminal { readable } else { Self::Json };
        match word {
            None | Some("") => (usual, None),
            Some("text") => (readable, None),
            Some("json") => (Self::Json, None),
            Some(other) => (usual, Some(other)),
        }
    }
}

/// Begins to log. Safe to call again: tests do.
///
/// What is logged follows `SIGNALBOX_LOG`, else `RUST_LOG`, else everything from `info` on. Whatever these say, the
/// libraries below us never log more than `info`: at `debug` some of them print headers, and tokens with them.
///
/// `SIGNALBOX_LOG_FORMAT` is `text` or `json`; without it a terminal gets text, and everything else JSON.
pub fn init_logging(service: &'static str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let text = FILTERS.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
        let (filter, complaint) = parse_filter(&text);
        let word = std::env::var(FORM).ok();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let (form, unknown) = Form::chosen(word.as_deref(), std::io::stderr().is_terminal(), no_color);
        // Another subscriber, set by a test for itself, is left alone.
        let _ = subscriber(std::io::stderr, filter, form).try_init();
        if let Some(error) = complaint {
            tracing::warn!(%error, "log.filter_ignored");
        }
        if let Some(word) = unknown {
            tracing::warn!(variable = FORM, word = plain(word), "log.format_not_known");
        }
        tracing::debug!(service, "log.begun");
    });
}

/// Makes a panic a line of the log like any other, with its place and without the values that its message may hold. For
/// the process's first lines, not for tests, which would no longer say what failed.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // Only a message that stands in the source as it is holds nobody's values.
        let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(its message may hold values)");
        tracing::error!(place, panic = message, "process.panicked");
    }));
}

fn parse_filter(text: &str) -> (EnvFilter, Option<String>) {
    let builder = EnvFilter::builder().with_default_directive(Level::INFO.into());
    match builder.parse(text) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error.to_string())),
    }
}

fn subscriber<W>(writer: W, filter: EnvFilter, form: Form) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let ours =
        tracing_subscriber::filter::filter_fn(|metadata| *metadata.level() <= Level::INFO || metadata.target().starts_with("signalbox"));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match form {
        Form::Readable { colours } => {
            let fields = debug_fn(|writer, field, value| {
                let value = plain(&format!("{value:?}"));
                if field.name() == "message" { write!(writer, "{value}") } else { write!(writer, "{field}={value}") }
            });
            layer.with_target(false).with_ansi(colours).compact().fmt_fields(fields.delimited(" ")).boxed()
        }
        Form::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(ours).with_filter(filter))
}

/// The text without anything that moves a cursor, begins a line or turns the direction of reading: what comes from
/// outside must not be able to write lines of its own.
fn plain(text: &str) -> String {
    let deceives = |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        if deceives(c) {
            // Writing to a string cannot fail.
            let _ = write!(plain, "{}", c.escape_unicode());
        } else {
            plain.push(c);
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(filter: &str, form: Form, work: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(move || writer.clone(), parse_filter(filter).0, form);
        tracing::subscriber::with_default(subscriber, work);
        let bytes = captured.0.lock().expect("unpoisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn the_form_is_what_the_variable_says_and_else_what_suits_the_reader() {
        let chosen = |word, terminal| Form::chosen(word, terminal, false);
        let text = |colours| Form::Readable { colours };
        assert_eq!([chosen(None, true), chosen(None, false)], [(text(true), None), (Form::Json, None)]);
        assert_eq!([chosen(Some("text"), false), chosen(Some("json"), true)], [(text(false), None), (Form::Json, None)]);
        assert_eq!([chosen(Some(""), false), chosen(Some("xml"), false)], [(Form::Json, None), (Form::Json, Some("xml"))]);
        assert_eq!(Form::chosen(Some("text"), true, true).0, text(false), "without colours where they are not wanted");
    }

    const HOSTILE: &str = "a\r\nERROR forged\u{1b}[2J\0\u{202e}b";

    // Threat 59.
    #[test]
    fn a_hostile_value_stays_within_its_line() {
        let work = || {
            let _span = tracing::info_span!("request", id = %HOSTILE).entered();
            tracing::info!(name = %HOSTILE, other = HOSTILE, "event.happened {HOSTILE}");
        };
        let json = log("", Form::Json, work);
        assert_eq!(json.lines().count(), 1, "{json:?}");
        let parsed: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&parsed["name"], &parsed["spans"][0]["id"]), (&HOSTILE.into(), &HOSTILE.into()));
        let readable = log("", Form::Readable { colours: false }, work);
        assert_eq!(readable.lines().count(), 1, "{readable:?}");
        assert!(!readable.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{readable:?}");
    }

    // Threat 66.
    #[test]
    fn libraries_say_no_more_than_info_whatever_the_filter_says() {
        let text = log("trace", Form::Json, || {
            tracing::trace!(target: "h2::frame", "authorization: canary");
            tracing::debug!(target: "reqwest::connect", "canary");
            tracing::info!(target: "sqlx", "their news");
            tracing::trace!("our own");
        });
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("their news") && text.contains("our own"), "{text}");
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_not_the_end() {
        let (_, complaint) = parse_filter("=====");
        assert!(complaint.is_some());
    }
}
