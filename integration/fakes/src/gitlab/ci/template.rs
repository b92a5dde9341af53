//! A job as it is written: what is the same for every pipeline, and what is decided when one is made.

use std::collections::BTreeMap;

use super::job::{AllowFailure, Job, When};
use super::multiply::{self, Copies};
use super::needs;
use super::parts;
use super::policy::Policy;
use super::reading::{Faults, Place, bool_at, check_keys, refuse_keys, script, seconds, text_at, texts_at};
use super::rule::{self, Rule};
use super::value::{Map, Value};
use super::variable::{Described, Variables, read as read_variables};

/// A job as it is written.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// The job where no rule changes it. Its variables are not in it yet.
    pub(super) job: Job,
    pub(super) variables: Variables,
    pub(super) inherit_variables: Inherit,
    pub(super) rules: Option<Vec<Rule>>,
    pub(super) only: Option<Policy>,
    pub(super) except: Option<Policy>,
    pub(super) copies: Copies,
}

/// Which of the global settings a job takes over.
#[derive(Clone, Debug)]
pub(super) enum Inherit {
    All,
    None,
    These(Vec<String>),
}

impl Inherit {
    pub(super) fn takes(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::These(keys) => keys.iter().any(|taken| taken == key),
        }
    }
}

/// The keys that `default:` may set.
pub(super) const DEFAULT_KEYS: [&str; 13] = [
    "before_script",
    "after_script",
    "artifacts",
    "cache",
    "hooks",
    "id_tokens",
    "identity",
    "image",
    "interruptible",
    "retry",
    "services",
    "tags",
    "timeout",
];
const BUILD_KEYS: [&str; 40] = [
    "tags",
    "script",
    "image",
    "services",
    "start_in",
    "artifacts",
    "cache",
    "dependencies",
    "before_script",
    "after_script",
    "environment",
    "coverage",
    "retry",
    "parallel",
    "interruptible",
    "timeout",
    "id_tokens",
    "extends",
    "stage",
    "only",
    "except",
    "rules",
    "variables",
    "inherit",
    "allow_failure",
    "when",
    "needs",
    "resource_group",
    "manual_confirmation",
    "type",
    "hooks",
    "release",
    "secrets",
    "publish",
    "pages",
    "run",
    "identity",
    "dast_configuration",
    "inputs",
    "trigger",
];
const UNMODELLED: [&str; 10] =
    ["type", "hooks", "release", "secrets", "publish", "pages", "run", "identity", "dast_configuration", "inputs"];
const BRIDGE_KEYS: [&str; 14] = [
    "trigger",
    "parallel",
    "environment",
    "extends",
    "stage",
    "only",
    "except",
    "rules",
    "variables",
    "inherit",
    "allow_failure",
    "when",
    "needs",
    "resource_group",
];

/// Reads one job. `defaults` are put in where it says nothing itself.
pub(super) fn read(name: &str, written: &Map, defaults: &Map, has_workflow_rules: bool, faults: &mut Faults) -> Option<Template> {
    let place = Place::new("jobs").inside(name);
    let given = |key: &str| written.get(key).is_some_and(|value| !value.is_null());
    if !given("script") && !given("trigger") && !given("run") {
        faults.add(&place, "config should implement a script: or a trigger: keyword");
        return None;
    }
    if name.len() > 255 {
        faults.add(&place, "name is too long (maximum is 255 characters)");
    }
    if given("trigger") {
        check_keys(&place, written, &BRIDGE_KEYS, faults);
    } else {
        check_keys(&place, written, &BUILD_KEYS, faults);
    }
    refuse_keys(&place, written, &UNMODELLED, faults);
    let inherit = inherit(&place, written, faults);
    let mut map = written.clone();
    if !given("trigger") {
        for (key, value) in defaults {
            if inherit.0.takes(key) && !written.contains_key(key) {
                map.insert(key.clone(), value.clone());
            }
        }
    }
    let job = job(name, &place, &map, faults);
    let rules = map.get("rules").filter(|value| !value.is_null()).map(|value| rule::read(&place.inside("rules"), value, false, faults));
    let (only, except) = policies(&place, &map, rules.is_some(), has_workflow_rules, faults);
    Some(Template {
        job,
        variables: map
            .get("variables")
            .map(|value| read_variables(&place.inside("variables"), value, Described::Briefly, faults))
            .unwrap_or_default(),
        inherit_variables: inherit.1,
        rules,
        only,
        except,
        copies: map
            .get("parallel")
            .filter(|value| !value.is_null())
            .map_or(Copies::One, |value| multiply::read(&place.inside("parallel"), value, faults)),
    })
}

fn job(name: &str, place: &Place, map: &Map, faults: &mut Faults) -> Job {
    let when = when(place, map, faults);
    let lines = |key: &str, faults: &mut Faults| map.get(key).map(|value| script(&place.inside(key), value, faults)).unwrap_or_default();
    let part = |key: &str| map.get(key).filter(|value| !value.is_null()).map(|value| (place.inside(key), value));
    let steps = lines("script", faults);
    let blank = match map.get("script") {
        Some(Value::Text(text)) => text.trim().is_empty(),
        Some(Value::List(list)) => list.is_empty(),
        _ => false,
    };
    if blank {
        faults.add(place, "script can't be blank");
    }
    Job {
        name: name.to_owned(),
        stage: text_at(place, map, "stage", faults).unwrap_or_else(|| "test".to_owned()),
        stage_index: 0,
        needs: part("needs").map(|(place, value)| needs::read(&place, value, faults)),
        when,
        allow_failure: allow_failure(place, map, when, faults),
        variables: Vec::new(),
        before_script: lines("before_script", faults),
        script: steps,
        after_script: lines("after_script", faults),
        artifacts: part("artifacts").and_then(|(place, value)| parts::artifacts(&place, value, faults)),
        retry: part("retry").map(|(place, value)| parts::retry(&place, value, faults)).unwrap_or_default(),
        timeout: timeout(place, map, faults),
        tags: texts_at(place, map, "tags", true, faults),
        environment: part("environment").and_then(|(place, value)| parts::environment(&place, value, faults)),
        trigger: part("trigger").and_then(|(place, value)| parts::trigger(&place, value, faults)),
        interruptible: bool_at(place, map, "interruptible", faults).unwrap_or(false),
        id_tokens: part("id_tokens").map(|(place, value)| id_tokens(&place, value, faults)).unwrap_or_default(),
        image: part("image").and_then(|(place, value)| parts::image(&place, value, faults)),
        services: part("services").map(|(place, value)| parts::services(&place, value, faults)).unwrap_or_default(),
        cache: part("cache").map(|(place, value)| parts::caches(&place, value, faults)).unwrap_or_default(),
        coverage: coverage(place, map, faults),
        dependencies: part("dependencies").map(|_| texts_at(place, map, "dependencies", true, faults)),
        resource_group: text_at(place, map, "resource_group", faults),
        parallel: None,
    }
}

fn when(place: &Place, map: &Map, faults: &mut Faults) -> When {
    let word = text_at(place, map, "when", faults);
    let delay = text_at(place, map, "start_in", faults);
    if delay.is_some() && word.as_deref() != Some("delayed") {
        faults.add(place, "start in must be blank");
    }
    match word.as_deref() {
        None | Some("on_success") => When::OnSuccess,
        Some("on_failure") => When::OnFailure,
        Some("always") => When::Always,
        Some("manual") => When::Manual,
        Some("delayed") => When::Delayed(rule::start_in(place, delay.as_deref(), faults)),
        Some(_) => {
            faults.add(place, "when should be one of: on_success, on_failure, always, manual, delayed");
            When::OnSuccess
        }
    }
}

/// A manual job may fail when nothing else is said: it does not hold up the pipeline.
fn allow_failure(place: &Place, map: &Map, when: When, faults: &mut Faults) -> AllowFailure {
    match map.get("allow_failure") {
        None | Some(Value::Null) => AllowFailure { always: when == When::Manual, exit_codes: Vec::new() },
        Some(Value::Map(inner)) => {
            let place = place.inside("allow_failure");
            check_keys(&place, inner, &["exit_codes"], faults);
            AllowFailure { always: false, exit_codes: parts::exit_codes(&place, inner, faults) }
        }
        Some(Value::Bool(_) | Value::Text(_)) => {
            AllowFailure { always: bool_at(place, map, "allow_failure", faults).unwrap_or(false), exit_codes: Vec::new() }
        }
        Some(_) => {
            faults.add(place, "allow failure should be a hash or a boolean value");
            AllowFailure::default()
        }
    }
}

fn timeout(place: &Place, map: &Map, faults: &mut Faults) -> Option<u64> {
    let value = map.get("timeout").filter(|value| !value.is_null())?;
    let limit = match value {
        Value::Text(_) | Value::Integer(_) => seconds(&value.to_string()),
        _ => None,
    };
    if limit.is_none() {
        faults.add(place, "timeout should be a duration");
    }
    limit
}

fn coverage(place: &Place, map: &Map, faults: &mut Faults) -> Option<String> {
    let pattern = text_at(place, map, "coverage", faults)?;
    if super::pattern::Pattern::parse(&pattern).is_none() {
        faults.add(&place.inside("coverage"), "config must be a regular expression with re2 syntax");
        return None;
    }
    Some(pattern.trim_matches('/').to_owned())
}

fn id_tokens(place: &Place, value: &Value, faults: &mut Faults) -> BTreeMap<String, Vec<String>> {
    let mut tokens = BTreeMap::new();
    for (name, value) in value.as_map().into_iter().flatten() {
        let place = place.inside(name);
        match value.as_map() {
            Some(map) if map.contains_key("aud") => {
                check_keys(&place, map, &["aud"], faults);
                tokens.insert(name.clone(), texts_at(&place, map, "aud", false, faults));
            }
            _ => faults.add(&place, "config missing required keys: aud"),
        }
    }
    tokens
}

fn inherit(place: &Place, map: &Map, faults: &mut Faults) -> (Inherit, Inherit) {
    let place = place.inside("inherit");
    let Some(Value::Map(inherit)) = map.get("inherit") else { return (Inherit::All, Inherit::All) };
    check_keys(&place, inherit, &["default", "variables"], faults);
    let mut read = |key: &str| match inherit.get(key) {
        None | Some(Value::Null | Value::Bool(true)) => Inherit::All,
        Some(Value::Bool(false)) => Inherit::None,
        Some(_) => Inherit::These(texts_at(&place, inherit, key, true, faults)),
    };
    (read("default"), read("variables"))
}

/// Without rules of its own or of the workflow, a job is made for branches and tags only.
fn policies(place: &Place, map: &Map, rules: bool, workflow_rules: bool, faults: &mut Faults) -> (Option<Policy>, Option<Policy>) {
    let part = |key: &str| map.get(key).filter(|value| !value.is_null()).map(|value| (place.inside(key), value));
    if rules {
        let together: Vec<&str> = ["only", "except", "start_in"].into_iter().filter(|key| part(key).is_some()).collect();
        if !together.is_empty() {
            faults.add(place, &format!("config key may not be used with `rules`: {}", together.join(", ")));
        }
        return (None, None);
    }
    let only = match part("only") {
        Some((place, value)) => Some(Policy::read(&place, value, true, faults)),
        None if workflow_rules => None,
        None => Some(Policy::branches_and_tags()),
    };
    (only, part("except").map(|(place, value)| Policy::read(&place, value, false, faults)))
}
