//! Reading values at a place of the definition, and collecting what is wrong with them in GitLab's words.

use std::fmt;

use super::value::{Map, Value};

/// More would help nobody.
const MOST_FAULTS: usize = 50;
/// How deep lists of scripts may nest: `!reference` puts lists into lists.
const DEEPEST_LIST: usize = 10;

/// Where in the definition a value stands: `jobs:build:artifacts`.
#[derive(Clone, Debug)]
pub(super) struct Place(String);

impl Place {
    pub(super) fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub(super) fn inside(&self, key: &str) -> Self {
        Self(format!("{}:{key}", self.0))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

/// What is wrong, so far.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    /// `PLACE what`.
    pub(super) fn add(&mut self, place: &Place, what: &str) {
        self.say(format!("{place} {what}"));
    }

    /// A sentence of its own.
    pub(super) fn say(&mut self, sentence: String) {
        if self.0.len() < MOST_FAULTS {
            self.0.push(sentence);
        }
    }

    /// What GitLab knows and this fake does not: said, never guessed.
    pub(super) fn unsupported(&mut self, place: &Place, what: &str) {
        self.add(place, &format!("config uses {what}, which this fake GitLab does not support"));
    }

    pub(super) fn none(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_list(self) -> Vec<String> {
        self.0
    }
}

/// Says which keys are unknown.
pub(super) fn check_keys(place: &Place, map: &Map, known: &[&str], faults: &mut Faults) {
    let unknown: Vec<&str> = map.keys().map(String::as_str).filter(|key| !known.contains(key)).collect();
    if !unknown.is_empty() {
        faults.add(place, &format!("config contains unknown keys: {}", unknown.join(", ")));
    }
}

/// Says which keys are GitLab's but are not modelled.
pub(super) fn refuse_keys(place: &Place, map: &Map, unmodelled: &[&str], faults: &mut Faults) {
    for key in unmodelled {
        if map.get(*key).is_some_and(|value| !value.is_null()) {
            faults.unsupported(place, &format!("`{key}`"));
        }
    }
}

pub(super) fn bool_at(place: &Place, map: &Map, key: &str, faults: &mut Faults) -> Option<bool> {
    match map.get(key)? {
        Value::Null => None,
        Value::Bool(is) => Some(*is),
        Value::Text(word) if matches!(word.to_lowercase().as_str(), "yes" | "on") => Some(true),
        Value::Text(word) if matches!(word.to_lowercase().as_str(), "no" | "off") => Some(false),
        _ => {
            faults.add(place, &format!("{} should be a boolean value", spoken(key)));
            None
        }
    }
}

pub(super) fn text_at(place: &Place, map: &Map, key: &str, faults: &mut Faults) -> Option<String> {
    match map.get(key)? {
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        _ => {
            faults.add(place, &format!("{} should be a string", spoken(key)));
            None
        }
    }
}

/// A list of texts; `only_list` says that a single text will not do.
pub(super) fn texts_at(place: &Place, map: &Map, key: &str, only_list: bool, faults: &mut Faults) -> Vec<String> {
    let Some(value) = map.get(key) else { return Vec::new() };
    match value {
        Value::Null => Vec::new(),
        Value::Text(text) if !only_list => vec![text.clone()],
        Value::List(list) => flat_texts(list, 0).unwrap_or_else(|| {
            faults.add(place, &format!("{} should be an array of strings", spoken(key)));
            Vec::new()
        }),
        _ => {
            let or = if only_list { "" } else { " or a string" };
            faults.add(place, &format!("{} should be an array of strings{or}", spoken(key)));
            Vec::new()
        }
    }
}

fn flat_texts(list: &[Value], depth: usize) -> Option<Vec<String>> {
    let mut flat = Vec::new();
    for value in list {
        match value {
            Value::Text(text) => flat.push(text.clone()),
            Value::List(list) if depth < DEEPEST_LIST => flat.extend(flat_texts(list, depth + 1)?),
            _ => return None,
        }
    }
    Some(flat)
}

/// A script: a text, or a list of texts and of lists of texts.
pub(super) fn script(place: &Place, value: &Value, faults: &mut Faults) -> Vec<String> {
    let lines = match value {
        Value::Text(text) => Some(vec![text.clone()]),
        Value::List(list) => flat_texts(list, 0),
        Value::Null => Some(Vec::new()),
        _ => None,
    };
    lines.unwrap_or_else(|| {
        faults.add(place, &format!("config should be a string or a nested array of strings up to {DEEPEST_LIST} levels deep"));
        Vec::new()
    })
}

/// Lists inside a list are put into it, as `!reference` makes them.
pub(super) fn flatten(list: &[Value], depth: usize) -> Vec<&Value> {
    let mut flat = Vec::new();
    for value in list {
        match value {
            Value::List(inner) if depth < DEEPEST_LIST => flat.extend(flatten(inner, depth + 1)),
            other => flat.push(other),
        }
    }
    flat
}

/// A key as GitLab says it: `start_in` is "start in".
pub(super) fn spoken(key: &str) -> String {
    key.replace('_', " ")
}

/// A duration in words: `1h 30m`, `3 hours`, `90 minutes`, `1 week`, `2 days and 4 hrs`, `3600`.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let text = text.trim().to_lowercase().replace([','], " ").replace(" and ", " ");
    if let Ok(plain) = text.parse::<u64>() {
        return (plain > 0).then_some(plain);
    }
    let mut total = 0.0_f64;
    let mut rest = text.trim();
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|letter| letter.is_ascii_digit() || *letter == b'.').count();
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        total += number * unit(&rest[..letters])?;
        rest = rest[letters..].trim_start();
        any = true;
    }
    // Ten years are more than any job waits.
    let whole = std::time::Duration::try_from_secs_f64(total).ok()?.as_secs();
    (any && whole > 0 && whole < 315_360_000).then_some(whole)
}

fn unit(word: &str) -> Option<f64> {
    Some(match word {
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "wk" | "wks" | "week" | "weeks" => 604_800.0,
        "mo" | "mos" | "month" | "months" => 2_592_000.0,
        "y" | "yr" | "yrs" | "year" | "years" => 31_557_600.0,
        _ => return None,
    })
}
