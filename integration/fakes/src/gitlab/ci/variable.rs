//! Variables: how they are written, which one wins, and how `$NAME` is put in.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::reading::{Faults, Place};
use super::value::Value;

/// A variable that the definition gives a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, before other variables are put into it.
    pub value: String,
    /// Whether `$OTHER` in it is put in (`expand: false` says no).
    pub expand: bool,
}

/// Several, in order.
pub(super) type Variables = IndexMap<String, Variable>;

/// What may stand beside a variable's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Described {
    /// `value`, `expand`, `description` and `options`: at the top of the definition.
    Fully,
    /// `value` and `expand`: in a job.
    Briefly,
    /// Plain values only: in a rule.
    Not,
}

/// Reads `variables:`.
pub(super) fn read(place: &Place, value: &Value, described: Described, faults: &mut Faults) -> Variables {
    let Some(map) = value.as_map() else {
        if !value.is_null() {
            faults.add(place, "config should be a hash");
        }
        return Variables::new();
    };
    let mut variables = Variables::new();
    for (name, value) in map {
        let place = place.inside(name);
        if let Some(variable) = read_one(&place, name, value, described, faults) {
            variables.insert(name.clone(), variable);
        }
    }
    variables
}

fn read_one(place: &Place, name: &str, value: &Value, described: Described, faults: &mut Faults) -> Option<Variable> {
    match value {
        Value::Map(map) if described != Described::Not => {
            let allowed: &[&str] =
                if described == Described::Fully { &["value", "description", "expand", "options"] } else { &["value", "expand"] };
            let extra: Vec<&str> = map.keys().map(String::as_str).filter(|key| !allowed.contains(key)).collect();
            if !extra.is_empty() {
                faults.add(place, &format!("config uses invalid data keys: {}", extra.join(", ")));
            }
            let value = match map.get("value") {
                None | Some(Value::Null) => String::new(),
                Some(value @ (Value::Text(_) | Value::Integer(_))) => value.to_string(),
                Some(_) => {
                    faults.add(place, "config value must be an alphanumeric string");
                    return None;
                }
            };
            let expand = match map.get("expand") {
                None | Some(Value::Null) => true,
                Some(Value::Bool(is)) => *is,
                Some(_) => {
                    faults.add(place, "config expand should be a boolean value");
                    true
                }
            };
            let options = map.get("options").and_then(Value::as_list).unwrap_or_default();
            if !options.is_empty() && !options.iter().any(|option| option.to_string() == value) {
                faults.add(place, "config value must be present in options");
            }
            Some(Variable { name: name.to_owned(), value, expand })
        }
        Value::Map(_) => {
            faults.add(place, "config must be a string");
            None
        }
        Value::Text(_) | Value::Integer(_) | Value::Null => {
            Some(Variable { name: name.to_owned(), value: value.to_string(), expand: true })
        }
        _ => {
            faults.add(place, "config variable definition must be either a string or a hash");
            None
        }
    }
}

/// The variables by which rules are judged: those of the definition under those of the project and of whoever started
/// the pipeline; only GitLab's own predefined ones give way to the definition.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope(BTreeMap<String, String>);

impl Scope {
    pub(super) fn new<'a>(given: &BTreeMap<String, String>, written: impl IntoIterator<Item = &'a Variable>) -> Self {
        let mut all = given.clone();
        for variable in written {
            if is_predefined(&variable.name) || !given.contains_key(&variable.name) {
                all.insert(variable.name.clone(), variable.value.clone());
            }
        }
        // Values that name other variables are put in, a few levels deep: a circle stays as it is written.
        let mut scope = Self(all);
        for _ in 0..3 {
            let next = Self(scope.0.iter().map(|(name, value)| (name.clone(), scope.expand_except(value, name))).collect());
            if next.0 == scope.0 {
                break;
            }
            scope = next;
        }
        scope
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Puts the variables that exist into a text; others stay as they are written.
    pub(super) fn expand(&self, text: &str) -> String {
        self.expand_except(text, "")
    }

    fn expand_except(&self, text: &str, except: &str) -> String {
        expand(text, |name| if name == except { None } else { self.value(name).map(str::to_owned) })
    }
}

/// No expansion may grow a text beyond this.
const LONGEST: usize = 1 << 16;

/// Replaces `$NAME`, `${NAME}` and `%NAME%` by what `find` knows; `$$` stays. What it does not know is left as it is written.
pub fn expand(text: &str, find: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '%']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("$$") {
            out.push_str("$$");
            rest = &rest[2..];
            continue;
        }
        let (found, used) = named(rest).map_or((None, 1), |(name, used)| (find(name), used));
        match found {
            Some(value) if out.len() + value.len() <= LONGEST => out.push_str(&value),
            _ => out.push_str(&rest[..used]),
        }
        rest = &rest[used..];
    }
    out.push_str(rest);
    out
}

fn named(rest: &str) -> Option<(&str, usize)> {
    let (open, close) = if rest.starts_with("${") {
        (2, Some('}'))
    } else if rest.starts_with('%') {
        (1, Some('%'))
    } else {
        (1, None)
    };
    let length = rest[open..].bytes().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == b'_').count();
    if length == 0 || rest.as_bytes()[open].is_ascii_digit() {
        return None;
    }
    let name = &rest[open..open + length];
    match close {
        None => Some((name, open + length)),
        Some(close) => rest[open + length..].starts_with(close).then_some((name, open + length + 1)),
    }
}

fn is_predefined(name: &str) -> bool {
    name == "CI" || name.starts_with("CI_") || name.starts_with("GITLAB_")
}
