//! Bodies of JSON: parsed, or refused with every field that is at fault.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use signalbox_contract::problem::FieldError;
use signalbox_contract::{Code, Problem};

use super::problem::Refusal;
use super::words;

/// How many faults of a body are told.
pub(super) const TOLD: usize = 20;

/// How often a body is looked at again for further faults.
pub(super) const LOOKS: usize = 40;

/// The longest body that is looked at again, in bytes.
pub(super) const SEARCHED: usize = 64 * 1024;

/// Parses JSON, and names the fields at fault if it has not the expected shape.
///
/// # Errors
/// 400 `invalid-body`. Its words are about the first fault, its `errors` about all.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // What is documented is an object, or nothing; a derived parser would also take its fields in a list, in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(Code::InvalidBody).detail("The body must be an object, and not a list.").into());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| refused::<T>(body, error))?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// What is wrong with a body that is not what was expected.
fn refused<T: DeserializeOwned>(body: &[u8], error: serde_path_to_error::Error<serde_json::Error>) -> Problem {
    if std::str::from_utf8(body).is_err() {
        return Problem::new(Code::InvalidBody).detail("The body is not UTF-8, as JSON must be.");
    }
    let parsed = match serde_json::from_slice::<Value>(body) {
        Ok(parsed) => parsed,
        Err(error) => return not_json(&error),
    };
    if !parsed.is_object() {
        return Problem::new(Code::InvalidBody).detail("The body must be an object.");
    }
    let first = {
        let path = error.path().to_string();
        words::fault(&path, &strip_position(&error.into_inner().to_string()))
    };
    let mut faults = if body.len() > SEARCHED { Vec::new() } else { Search::<T>::of(parsed) };
    // The first is the first in the body, whatever order what was parsed has; and a field that stands there twice cannot be seen
    // in that any more.
    match faults.iter().position(|fault| fault.field == first.field && first.detail != words::TWICE) {
        Some(place) => faults[..=place].rotate_right(1),
        None if faults.is_empty() || first.detail == words::TWICE => faults.insert(0, first),
        None => {}
    }
    words::problem_of(Code::InvalidBody, faults)
}

fn not_json(error: &serde_json::Error) -> Problem {
    let what = if error.is_eof() { "ends too early" } else { "is not JSON" };
    Problem::new(Code::InvalidBody).detail(format!("The body {what}: line {}, column {}.", error.line(), error.column()))
}

/// The message without the position that `serde_json` appends: the field says more.
fn strip_position(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(head, _)| head).to_owned()
}

/// Looks for all faults of a body. A parser stops at the first one; so what is at fault is taken out, what is missing is put
/// there, and it is asked again.
struct Search<T> {
    body: Value,
    faults: Vec<FieldError>,
    shape: std::marker::PhantomData<T>,
}

/// Where a parser stopped, and why.
struct Stop {
    path: Path,
    message: String,
}

impl<T: DeserializeOwned> Search<T> {
    fn of(body: Value) -> Vec<FieldError> {
        let mut search = Self { body, faults: Vec::new(), shape: std::marker::PhantomData };
        for _ in 0..LOOKS {
            let Some(stop) = search.stop() else { break };
            if search.faults.len() == TOLD || !search.pass(&stop) {
                break;
            }
        }
        search.faults
    }

    fn stop(&self) -> Option<Stop> {
        let error = serde_path_to_error::deserialize::<_, T>(&self.body).err()?;
        Some(Stop { path: error.path().clone(), message: error.into_inner().to_string() })
    }

    /// Notes a fault, and changes the body so that what is behind it comes to light. `false` if that cannot be done.
    fn pass(&mut self, stop: &Stop) -> bool {
        if let Some(name) = words::missing(&stop.message) {
            let fault = words::fault(&stop.path.to_string(), &stop.message);
            // What was taken out because it was at fault is not missing.
            if !self.faults.iter().any(|known| within(&known.field, &fault.field) || within(&fault.field, &known.field)) {
                self.faults.push(fault.clone());
            }
            return self.put(&stop.path, name, &fault.field);
        }
        let message = self.with_words(stop);
        self.faults.push(words::fault(&stop.path.to_string(), &message));
        self.take_out(&stop.path)
    }

    /// What is said of a word that is none of those that are allowed lists them; of a number in its place it does not.
    fn with_words(&mut self, stop: &Stop) -> String {
        if !stop.message.ends_with(words::NO_WORD) {
            return stop.message.clone();
        }
        let Some(place) = at(&mut self.body, &steps(&stop.path)) else { return stop.message.clone() };
        let before = std::mem::replace(place, Value::String(String::new()));
        let said = self.stop().filter(|said| said.path.to_string() == stop.path.to_string());
        if let Some(place) = at(&mut self.body, &steps(&stop.path)) {
            *place = before;
        }
        said.map_or_else(|| stop.message.clone(), |said| said.message)
    }

    /// Takes out the innermost member of an object that the fault is in.
    fn take_out(&mut self, path: &Path) -> bool {
        let mut steps = steps(path);
        while let Some(step) = steps.pop() {
            if let Segment::Map { key } = step {
                return at(&mut self.body, &steps).and_then(Value::as_object_mut).is_some_and(|object| object.remove(key).is_some());
            }
        }
        false
    }

    /// Puts something in the place of what is missing, with which the parser goes on.
    fn put(&mut self, parent: &Path, name: &str, field: &str) -> bool {
        let steps = steps(parent);
        let mut candidates = vec![Value::Bool(true), Value::Object(serde_json::Map::new()), Value::Array(Vec::new()), 1.into(), "x".into()];
        while let Some(candidate) = candidates.pop() {
            let Some(object) = at(&mut self.body, &steps).and_then(Value::as_object_mut) else { return false };
            object.insert(name.to_owned(), candidate);
            let Some(stop) = self.stop() else { return true };
            let reached = words::fault(&stop.path.to_string(), &stop.message).field;
            if !within(field, &reached) {
                return true;
            }
            candidates.extend(words::first_word(&stop.message).map(Value::from));
        }
        false
    }
}

/// Whether a field is another one, or lies in it.
fn within(outer: &str, field: &str) -> bool {
    field.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The steps of a path as far as a body can be gone down.
fn steps(path: &Path) -> Vec<&Segment> {
    path.iter().take_while(|step| matches!(step, Segment::Map { .. } | Segment::Seq { .. })).collect()
}

fn at<'v>(body: &'v mut Value, steps: &[&Segment]) -> Option<&'v mut Value> {
    steps.iter().try_fold(body, |value, step| match step {
        Segment::Map { key } => value.as_object_mut()?.get_mut(key),
        Segment::Seq { index } => value.as_array_mut()?.get_mut(*index),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use signalbox_contract::{CommitSha, Verdict};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only how it is refused matters")]
    struct Order {
        name: String,
        count: u32,
        verdict: Verdict,
        #[serde(default)]
        rows: Vec<Row>,
        commit: Option<CommitSha>,
        list: Vec<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only how it is refused matters")]
    struct Row {
        id: u32,
        flag: bool,
    }

    /// The fields at fault: the first, and all in their order.
    fn told(body: &str) -> (String, Vec<String>) {
        let problem = parse_json::<Order>(body.as_bytes()).expect_err(body).0;
        let mut fields: Vec<String> = problem.errors.into_iter().map(|error| error.field).collect();
        let first = fields[0].clone();
        assert!(problem.detail.contains(&first), "{}", problem.detail);
        fields.sort();
        (first, fields)
    }

    #[test]
    fn every_field_at_fault_is_told_at_once() {
        for (body, first, fields) in [
            ("{}", "name", "count list name verdict"),
            (
                r#"{"name": 1, "count": "x", "verdict": "x", "commit": "x", "list": 1, "more": 1}"#,
                "name",
                "commit count list more name verdict",
            ),
            (r#"{"verdict": 7, "count": -1, "name": "x", "list": []}"#, "verdict", "count verdict"),
            (
                r#"{"name": 7, "list": ["a", 1], "rows": [{"id": "x", "flag": 1}]}"#,
                "name",
                "count list[1] name rows[0].flag rows[0].id verdict",
            ),
            (r#"{"name": "x", "name": "y", "list": []}"#, "name", "count name verdict"),
        ] {
            let fields: Vec<String> = fields.split(' ').map(str::to_owned).collect();
            assert_eq!(told(body), (first.to_owned(), fields), "{body}");
        }
    }

    #[test]
    fn a_body_with_very_many_faults_is_refused_all_the_same() {
        let many: Vec<String> = (0..3000).map(|n| format!("\"field{n}\":{n}")).collect();
        assert_eq!(told(&format!("{{{}}}", many.join(","))).1.len(), TOLD);
        let long = format!("{{\"name\":{},\"x\":\"{}\"}}", 1, "x".repeat(SEARCHED));
        assert_eq!(told(&long).1, ["name"], "of a long one, the first is told");
    }
}
