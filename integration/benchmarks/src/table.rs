//! What was measured, beside what it is measured against.

use std::fmt::Write as _;

use serde::Serialize;

/// What a figure must reach. Figures of rates are compared as ours by the peer's, times likewise; without a peer the figure
/// itself is compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// At least this much.
    AtLeast(f64),
    /// At most this much.
    AtMost(f64),
}

impl Goal {
    /// Whether `value` reaches it.
    pub(crate) fn reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn words(self, unit: &str) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {}{unit}", number(bound)),
            Self::AtMost(bound) => format!("≤ {}{unit}", number(bound)),
        }
    }
}

/// A peer's figure, or a floor's.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Peer {
    /// Who or what it is.
    pub(crate) name: &'static str,
    /// Its figure, in the row's unit.
    pub(crate) figure: f64,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// The measurement that it belongs to: `M1`.
    pub(crate) id: &'static str,
    /// What was measured.
    pub(crate) what: String,
    /// Our figure.
    pub(crate) ours: f64,
    /// What it is compared with; none where the figure itself counts.
    pub(crate) peer: Option<Peer>,
    /// The unit of both figures: `/s`, `ms`, `MiB`.
    pub(crate) unit: &'static str,
    /// Without this the measurement has failed.
    pub(crate) must: Option<Goal>,
    /// What we are out for.
    pub(crate) aim: Option<Goal>,
}

impl Row {
    /// What is compared with the goals.
    pub(crate) fn value(&self) -> f64 {
        self.peer.as_ref().map_or(self.ours, |peer| self.ours / peer.figure)
    }

    /// Whether all that it must reach is reached.
    pub(crate) fn holds(&self) -> bool {
        self.must.is_none_or(|goal| goal.reached(self.value()))
    }

    fn cells(&self) -> [String; 8] {
        let unit = if self.peer.is_some() { "x".to_owned() } else { format!(" {}", self.unit) };
        let figure = |value: f64| format!("{} {}", number(value), self.unit);
        let goal = |goal: Option<Goal>| goal.map_or_else(|| "–".to_owned(), |goal| goal.words(&unit));
        let verdict = match (self.must, self.aim) {
            (Some(_), _) if !self.holds() => "MISSED",
            (_, Some(aim)) if aim.reached(self.value()) => "aim",
            (Some(_), _) => "must",
            _ => "–",
        };
        [
            self.id.to_owned(),
            self.what.clone(),
            figure(self.ours),
            self.peer.as_ref().map_or_else(|| "–".to_owned(), |peer| format!("{} ({})", figure(peer.figure), peer.name)),
            self.peer.as_ref().map_or_else(|| "–".to_owned(), |_| format!("{}x", number(self.value()))),
            goal(self.must),
            goal(self.aim),
            verdict.to_owned(),
        ]
    }
}

/// A figure with three digits that count, and none more than that where it is large.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1000.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) && !grouped.ends_with('-') {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else if magnitude >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

const HEADER: [&str; 8] = ["", "measured", "ours", "peer", "ratio", "must", "aim", "reached"];

/// The table as Markdown, which is read well as text too.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let lines: Vec<[String; 8]> = std::iter::once(HEADER.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [3; 8];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (width, cell) in widths.iter().zip(line) {
            // Writing to a string cannot fail.
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            for width in widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, peer: f64) -> Row {
        Row {
            id: "M1",
            what: "accepts".to_owned(),
            ours,
            peer: Some(Peer { name: "PostgreSQL", figure: peer }),
            unit: "/s",
            must: Some(Goal::AtLeast(1.0)),
            aim: Some(Goal::AtLeast(2.0)),
        }
    }

    #[test]
    fn a_row_says_what_it_reached() {
        let reached = |ours| row(ours, 1000.0).cells()[7].clone();
        assert_eq!([reached(999.0), reached(1000.0), reached(2000.0)], ["MISSED", "must", "aim"]);
        let time = Row { must: Some(Goal::AtMost(2.0)), aim: None, ..row(1.5, 1.0) };
        assert!(time.holds() && !Row { ours: 2.5, ..time }.holds());
        let alone = Row { peer: None, must: Some(Goal::AtMost(64.0)), unit: "MiB", ..row(63.0, 1.0) };
        assert_eq!((alone.cells()[5].as_str(), alone.holds()), ("≤ 64 MiB", true));
    }

    #[test]
    fn figures_are_short() {
        let texts = [0.254, 3.0, 12.34, 345.6, 12_345.6, 1_234_567.0].map(number);
        assert_eq!(texts, ["0.25", "3", "12.3", "346", "12,346", "1,234,567"]);
    }

    #[test]
    fn the_table_is_markdown_with_columns_that_stand_below_each_other() {
        let text = markdown(&[row(20_000.0, 10_000.0)]);
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        assert!(text.contains("| M1  | accepts  | 20,000 /s | 10,000 /s (PostgreSQL) | 2x"), "{text}");
    }
}
