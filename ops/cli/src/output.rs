//! What is printed: for people as lines and tables, for programs as one JSON document.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use jiff::Timestamp;
use serde::Serialize;
use signalbox_contract::Digest;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// For programs.
    pub(crate) json: bool,
    /// For people with room: tables shorten nothing.
    pub(crate) wide: bool,
}

impl Output {
    /// Whether a person looks on: then progress may be drawn and what a build prints is freed of control characters.
    pub(crate) fn for_a_terminal(self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    /// A digest in a table: enough of it to tell it from others, as git does with commits.
    pub(crate) fn digest(self, digest: &Digest) -> String {
        if self.wide { digest.to_string() } else { digest.short() }
    }

    /// Prints `value` as JSON, or as `text` says.
    pub(crate) fn show<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        if self.json {
            return line(&serde_json::to_string_pretty(value)?);
        }
        let text = text(value);
        line(text.trim_end())
    }

    /// The same, that services are ready. They are there for their callers, whether anybody still reads this or not.
    pub(crate) fn show_ready<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        match self.show(value, text) {
            Err(error) if reader_went_away(&error) => Ok(()),
            said => said,
        }
    }
}

/// Prints a line. A reader that went away (`| head`) is an error here, unlike with `println!`, which would panic.
pub(crate) fn line(text: &str) -> Result<()> {
    // In one write: a reader that stops at the line that it waited for has been given the others too.
    bytes(format!("{text}\n").as_bytes())
}

/// Whether nobody reads what is printed: `| head`, say.
pub(crate) fn reader_went_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// The longest word that a table keeps whole whatever the terminal's width: a token's id, or an attempt's key, and no digest.
const LONGEST_WHOLE: usize = 40;

/// A table without lines, as wide as the terminal. Sentences are wrapped; words are not split, so that an id can be copied.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    arranged(header, rows, None)
}

/// The same, as wide as is said.
fn arranged<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    if let Some(width) = width {
        table.set_width(width);
    }
    let mut words = header.map(longest_word);
    for row in rows {
        for (longest, cell) in words.iter_mut().zip(&row) {
            *longest = (*longest).max(longest_word(cell));
        }
        table.add_row(row);
    }
    let last = N.saturating_sub(1);
    for (index, (column, longest)) in table.column_iter_mut().zip(words).enumerate() {
        // Nothing stands before the first column or behind the last: 80 letters are few.
        let beside = (u16::from(index > 0), u16::from(index < last));
        column.set_padding(beside);
        // What stands beside a column belongs to its width.
        let width = u16::try_from(longest.min(LONGEST_WHOLE)).unwrap_or(u16::MAX).saturating_add(beside.0 + beside.1);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
    }
    table.trim_fmt()
}

/// How wide a column must be for nothing in this cell to be split that is read as one: a word, or a moment.
fn longest_word(text: &str) -> usize {
    if text.bytes().all(|byte| byte.is_ascii_digit() || b"-: ".contains(&byte)) {
        return text.len();
    }
    text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or_default()
}

/// A moment, to the second.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A moment, to the minute: for lists of much else.
pub(crate) fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
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
    fn words_of_a_table_stay_whole_and_sentences_are_wrapped() {
        let run = "01m82j33x4e2h859xktfak5t8y";
        let sentence = "A sentence that is much longer than what is left of the line beside an id, as sentences are.";
        for width in [40, 60, 80] {
            let text = arranged(["RUN", "WHY", "BY RUN"], [[run.to_owned(), sentence.to_owned(), run.to_owned()]], Some(width));
            assert_eq!(text.matches(run).count(), 2, "{width}:\n{text}");
            assert!(text.lines().count() > 2, "{width}:\n{text}");
        }
        let plain = arranged(["A", "B"], [["x".to_owned(), "y".to_owned()]], Some(80));
        assert_eq!(plain.lines().count(), 2, "{plain}");
        let long = "a".repeat(200);
        assert!(arranged(["A"], [[long]], Some(80)).lines().all(|line| line.len() <= 80), "a word that is no id is split");
    }

    #[test]
    fn a_list_of_runs_fits_eighty_letters_and_no_date_is_split_at_any_width() {
        let header = ["RUN", "STATE", "WHAT", "COMMIT", "TO", "ACCEPTED (UTC)", "BY"];
        let at = minute("2026-11-23T02:03:04Z".parse().expect("a moment"));
        let row = ["01m82j33x4e2h859xktfak5t8y", "passed", "hello main", "4b825dc6", "-", &at, "admin"].map(str::to_owned);
        for width in [20, 60, 80, 120] {
            let text = arranged(header, [row.clone()], Some(width));
            assert!(text.contains("2026-11-23 02:03"), "{width}:\n{text}");
            assert!(width != 80 || text.lines().all(|line| line.chars().count() <= 80), "{width}:\n{text}");
        }
        let second = moment("2026-11-23T02:03:04Z".parse().expect("a moment"));
        let sentence = "A sentence that is longer than what is left of the line.".to_owned();
        let text = arranged(["WHEN", "WHY"], [[second.clone(), sentence]], Some(30));
        assert!(text.contains(&second), "{text}");
    }

    #[test]
    fn a_digest_is_short_unless_there_is_room() {
        let digest = Digest::from_bytes([0xab; 32]);
        let output = |wide| Output { json: false, wide };
        assert_eq!((output(false).digest(&digest), output(true).digest(&digest)), ("ab".repeat(6), digest.to_string()));
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
