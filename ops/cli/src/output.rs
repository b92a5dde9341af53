//! What is printed: for people as lines and tables, for programs as one JSON document.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde::Serialize;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// For programs.
    pub(crate) json: bool,
}

impl Output {
    /// Whether a person looks on: then progress may be drawn and what a build prints is freed of control characters.
    pub(crate) fn for_a_terminal(self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    /// Prints `value` as JSON, or as `text` says.
    pub(crate) fn show<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        if self.json {
            return line(&serde_json::to_string_pretty(value)?);
        }
        let text = text(value);
        line(text.trim_end())
    }
}

/// Prints a line. A reader that went away (`| head`) is an error here, unlike with `println!`, which would panic.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// A table without lines, as wide as the terminal.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// A moment, to the second.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A duration between two moments, as people say it.
pub(crate) fn took(from: Timestamp, to: Timestamp) -> String {
    let millis = u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or_default();
    duration(std::time::Duration::from_millis(millis))
}

/// How long ago something was, roughly, as people say it.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let minutes = now.duration_since(then).as_mins().max(0);
    match minutes {
        0 => "less than a minute".to_owned(),
        1..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// A duration, as people say it.
pub(crate) fn duration(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A size, as people say it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    format!("{amount:.1} {unit}")
}

/// Text that came from elsewhere, safe to show on a terminal: no control characters, no escape sequences, nothing that
/// turns the direction of the text.
pub(crate) fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\u{1b}' => skip_sequence(&mut rest),
            '\n' | '\t' => safe.push(letter),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            letter if letter.is_control() => {}
            letter => safe.push(letter),
        }
    }
    safe
}

/// Skips what follows an escape character: a sequence of parameters up to its final letter, or one letter.
fn skip_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next_if(|next| !next.is_control()) {
        Some('[') => {
            while rest.next_if(|next| matches!(next, ' '..='?')).is_some() {}
            let _ = rest.next_if(|next| matches!(next, '@'..='~'));
        }
        Some(']') => {
            // An operating system command ends with BEL, or with the escape that the caller sees next.
            while rest.next_if(|next| *next != '\u{7}' && *next != '\u{1b}' && *next != '\n').is_some() {}
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_log_cannot_write_to_the_terminal() {
        assert_eq!(harmless("\u{1b}[31mred\u{1b}[0m\n"), "red\n");
        assert_eq!(harmless("a\u{1b}]0;title\u{7}b\r\0\u{9b}c"), "abc");
        assert_eq!(harmless("x\u{202e}y\u{1b}"), "xy");
        assert_eq!(harmless("\u{1b}]never ends\nnext"), "\nnext");
    }

    #[test]
    fn sizes_and_durations_read_well() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 * 1024 * 1024), "3.0 MiB");
        assert_eq!(duration(std::time::Duration::from_millis(1234)), "1.2 s");
        assert_eq!(duration(std::time::Duration::from_secs(125)), "2 min 05 s");
    }
}
