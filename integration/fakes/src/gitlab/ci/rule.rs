//! `rules`: the first that fits says whether a job (or the pipeline) is made, and how.

use super::expression::Expression;
use super::job::{Need, When};
use super::needs;
use super::pattern::Glob;
use super::reading::{Faults, Place, bool_at, check_keys, flatten, refuse_keys, seconds, text_at, texts_at};
use super::value::{Map, Value};
use super::variable::{Described, Scope, Variables, read as read_variables};

/// GitLab compares no more than this, and takes a rule as fitting beyond it.
const MOST_COMPARISONS: usize = 50_000;
const MOST_RULES: usize = 1_000;
const LONGEST_DELAY: u64 = 7 * 24 * 3_600;

/// One rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Rule {
    condition: Option<Expression>,
    changes: Option<Vec<String>>,
    exists: Option<Vec<String>>,
    pub(super) when: Option<When>,
    pub(super) allow_failure: Option<bool>,
    pub(super) interruptible: Option<bool>,
    pub(super) variables: Variables,
    pub(super) needs: Option<Vec<Need>>,
}

/// Files that rules look at.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) changed: Option<&'a [String]>,
    pub(super) files: &'a [String],
}

impl Rule {
    /// Whether all that it asks for is so.
    pub(super) fn fits(&self, scope: &Scope, seen: Seen<'_>) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.holds(scope))
            && self.changes.as_ref().is_none_or(|globs| seen.changed.is_none_or(|paths| any_fits(globs, paths, scope)))
            && self.exists.as_ref().is_none_or(|globs| any_fits(globs, seen.files, scope))
    }
}

/// Whether one of the paths fits one of the globs.
pub(super) fn any_fits(globs: &[String], paths: &[String], scope: &Scope) -> bool {
    if globs.len().saturating_mul(paths.len()) > MOST_COMPARISONS {
        return true;
    }
    globs.iter().filter_map(|glob| Glob::parse(&scope.expand(glob))).any(|glob| paths.iter().any(|path| glob.matches(path)))
}

/// Reads `rules:` of a job, or of `workflow`.
pub(super) fn read(place: &Place, value: &Value, workflow: bool, faults: &mut Faults) -> Vec<Rule> {
    let Some(list) = value.as_list() else {
        faults.add(place, "config should be an array containing hashes and arrays of hashes");
        return Vec::new();
    };
    let list = flatten(list, 0);
    if list.len() > MOST_RULES {
        faults.add(place, "config has too many rules");
        return Vec::new();
    }
    let place = place.inside("rule");
    let mut rules = Vec::new();
    for value in list {
        match value {
            Value::Map(map) if map.is_empty() => faults.add(&place, "config can't be blank"),
            Value::Map(map) => rules.push(read_one(&place, map, workflow, faults)),
            _ => faults.add(&place, "config should be a hash"),
        }
    }
    rules
}

fn read_one(place: &Place, map: &Map, workflow: bool, faults: &mut Faults) -> Rule {
    let known: &[&str] = if workflow {
        &["if", "changes", "exists", "when", "variables", "auto_cancel"]
    } else {
        &["if", "changes", "exists", "when", "start_in", "allow_failure", "interruptible", "variables", "needs"]
    };
    check_keys(place, map, known, faults);
    refuse_keys(place, map, &["auto_cancel"], faults);
    Rule {
        condition: condition(place, map, faults),
        changes: globs(place, map, "changes", "compare_to", faults),
        exists: globs(place, map, "exists", "project", faults),
        when: when(place, map, workflow, faults),
        allow_failure: bool_at(place, map, "allow_failure", faults),
        interruptible: bool_at(place, map, "interruptible", faults),
        variables: map
            .get("variables")
            .map(|value| read_variables(&place.inside("variables"), value, Described::Not, faults))
            .unwrap_or_default(),
        needs: map.get("needs").filter(|value| !value.is_null()).map(|value| needs::read(&place.inside("needs"), value, faults)),
    }
}

fn condition(place: &Place, map: &Map, faults: &mut Faults) -> Option<Expression> {
    let value = map.get("if").filter(|value| !value.is_null())?;
    let expression = value.as_text().and_then(Expression::parse);
    if expression.is_none() {
        faults.add(place, "if invalid expression syntax");
    }
    expression
}

fn globs(place: &Place, map: &Map, key: &str, unmodelled: &str, faults: &mut Faults) -> Option<Vec<String>> {
    let value = map.get(key).filter(|value| !value.is_null())?;
    let globs = if let Some(inner) = value.as_map() {
        let place = place.inside(key);
        check_keys(&place, inner, &["paths", unmodelled, "ref"], faults);
        refuse_keys(&place, inner, &[unmodelled, "ref"], faults);
        texts_at(&place, inner, "paths", true, faults)
    } else {
        texts_at(place, map, key, true, faults)
    };
    if globs.len() > 50 {
        faults.add(&place.inside(key), "config is too long (maximum is 50 characters)");
    }
    for glob in &globs {
        if Glob::parse(glob).is_none() {
            faults.add(&place.inside(key), &format!("config has a pattern that cannot be read: {glob}"));
        }
    }
    Some(globs)
}

fn when(place: &Place, map: &Map, workflow: bool, faults: &mut Faults) -> Option<When> {
    let word = text_at(place, map, "when", faults)?;
    let delay = text_at(place, map, "start_in", faults);
    if delay.is_some() && word != "delayed" {
        faults.add(place, "config contains disallowed keys: start_in");
    }
    match word.as_str() {
        "always" => Some(When::Always),
        "never" => Some(When::Never),
        "on_success" if !workflow => Some(When::OnSuccess),
        "on_failure" if !workflow => Some(When::OnFailure),
        "manual" if !workflow => Some(When::Manual),
        "delayed" if !workflow => Some(When::Delayed(start_in(place, delay.as_deref(), faults))),
        other => {
            faults.add(place, &format!("when unknown value: {other}"));
            None
        }
    }
}

/// How long a delayed job waits.
pub(super) fn start_in(place: &Place, text: Option<&str>, faults: &mut Faults) -> u64 {
    match text.and_then(seconds) {
        Some(delay) if delay <= LONGEST_DELAY => delay,
        Some(_) => {
            faults.add(place, "start in should not exceed the limit");
            0
        }
        None => {
            faults.add(place, "start in should be a duration");
            0
        }
    }
}
