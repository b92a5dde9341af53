//! `only` and `except`, in the forms that are common.

use super::expression::Expression;
use super::pattern::Pattern;
use super::reading::{Faults, Place, check_keys, refuse_keys, texts_at};
use super::rule::{Seen, any_fits};
use super::value::{Map, Value};
use super::variable::Scope;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    refs: Option<Vec<String>>,
    variables: Option<Vec<Expression>>,
    changes: Option<Vec<String>>,
}

/// Words that name a source of pipelines, and the sources they name.
const SOURCES: [(&str, &str); 12] = [
    ("pushes", "push"),
    ("web", "web"),
    ("triggers", "trigger"),
    ("schedules", "schedule"),
    ("api", "api"),
    ("external", "external"),
    ("pipelines", "pipeline"),
    ("chat", "chat"),
    ("merge_requests", "merge_request_event"),
    ("external_pull_requests", "external_pull_request_event"),
    ("parent_pipeline", "parent_pipeline"),
    ("webide", "webide"),
];

impl Policy {
    /// What `only` is when nobody says: branches and tags, so no merge requests.
    pub(super) fn branches_and_tags() -> Self {
        Self { refs: Some(vec!["branches".to_owned(), "tags".to_owned()]), variables: None, changes: None }
    }

    pub(super) fn read(place: &Place, value: &Value, only: bool, faults: &mut Faults) -> Self {
        let policy = match value {
            Value::Map(map) => Self::read_map(place, map, faults),
            Value::List(_) | Value::Text(_) => {
                let wrapped = Map::from([("refs".to_owned(), value.clone())]);
                Self { refs: Some(refs(place, &wrapped, faults)), variables: None, changes: None }
            }
            _ => {
                faults.add(place, "has to be either an array of conditions or a hash");
                Self::branches_and_tags()
            }
        };
        if only && policy.refs.is_none() { Self { refs: Self::branches_and_tags().refs, ..policy } } else { policy }
    }

    fn read_map(place: &Place, map: &Map, faults: &mut Faults) -> Self {
        check_keys(place, map, &["refs", "variables", "changes", "kubernetes"], faults);
        refuse_keys(place, map, &["kubernetes"], faults);
        let given = |key: &str| map.get(key).is_some_and(|value| !value.is_null());
        Self {
            refs: given("refs").then(|| refs(place, map, faults)),
            variables: given("variables").then(|| {
                let texts = texts_at(place, map, "variables", true, faults);
                let read: Vec<Expression> = texts.iter().filter_map(|text| Expression::parse(text)).collect();
                if read.len() < texts.len() {
                    faults.add(place, "variables invalid expression syntax");
                }
                read
            }),
            changes: given("changes").then(|| texts_at(place, map, "changes", true, faults)),
        }
    }

    /// `only`: all that is said must fit.
    pub(super) fn all_fit(&self, scope: &Scope, seen: Seen<'_>) -> bool {
        self.parts(scope, seen).into_iter().flatten().all(|fits| fits)
    }

    /// `except`: one that fits is enough.
    pub(super) fn any_fits(&self, scope: &Scope, seen: Seen<'_>) -> bool {
        self.parts(scope, seen).into_iter().flatten().any(|fits| fits)
    }

    fn parts(&self, scope: &Scope, seen: Seen<'_>) -> [Option<bool>; 3] {
        [
            self.refs.as_ref().map(|refs| refs.iter().any(|wanted| ref_fits(wanted, scope))),
            self.variables.as_ref().map(|all| all.iter().any(|expression| expression.holds(scope))),
            self.changes.as_ref().map(|globs| seen.changed.is_none_or(|paths| any_fits(globs, paths, scope))),
        ]
    }
}

fn refs(place: &Place, map: &Map, faults: &mut Faults) -> Vec<String> {
    let refs = texts_at(place, map, "refs", false, faults);
    for text in &refs {
        if text.starts_with('/') && Pattern::is_meant(without_path(text).0) && Pattern::parse(without_path(text).0).is_none() {
            faults.add(place, "config should be an array of strings or regular expressions using re2 syntax");
        }
    }
    refs
}

/// `main@group/project`: the ref, and the project it is meant for. A pattern may hold an `@` of its own.
fn without_path(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('/') {
        return match text.rsplit_once("/@") {
            Some((head, path)) => (&text[..=head.len()], Some(path)),
            None => (text, None),
        };
    }
    text.split_once('@').map_or((text, None), |(wanted, path)| (wanted, Some(path)))
}

fn ref_fits(wanted: &str, scope: &Scope) -> bool {
    let (wanted, path) = without_path(wanted);
    if path.is_some_and(|path| scope.value("CI_PROJECT_PATH") != Some(path)) {
        return false;
    }
    let given = |name: &str| scope.value(name).filter(|value| !value.is_empty());
    let source = given("CI_PIPELINE_SOURCE").unwrap_or("push");
    match wanted {
        "branches" => given("CI_COMMIT_BRANCH").is_some(),
        "tags" => given("CI_COMMIT_TAG").is_some(),
        word if SOURCES.iter().any(|(plural, single)| *single == source && (word == *plural || word == source)) => true,
        // A branch pattern does not fit the source branch of a merge request's pipeline.
        _ if source == "merge_request_event" => false,
        pattern if Pattern::is_meant(pattern) => {
            Pattern::parse(pattern).is_some_and(|pattern| pattern.matches(given("CI_COMMIT_REF_NAME").unwrap_or_default()))
        }
        name => given("CI_COMMIT_REF_NAME") == Some(name),
    }
}
