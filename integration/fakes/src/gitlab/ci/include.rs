//! `include`: other files of the same repository, put under the file that names them.

use std::collections::BTreeMap;

use super::inputs;
use super::refusal::Errors;
use super::resolve::merge;
use super::value::{self, MOST_NODES, Map, Value};

/// GitLab's own limit.
const MOST_INCLUDES: usize = 150;

/// Finds the text of a file of the repository, by its path without a leading slash; nothing where there is no such file.
pub type FindFile<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a definition may be read with, beside its own text.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Where included files are found; without it, including one is an error.
    pub file: Option<FindFile<'a>>,
    /// What the pipeline was started with for `spec: inputs`.
    pub inputs: &'a BTreeMap<String, serde_json::Value>,
}

/// Reads one text, and all that it includes, into one map.
pub(super) fn read(text: &str, sources: Sources<'_>) -> Result<Map, Errors> {
    let mut loader = Loader { sources, included: 0, left: MOST_NODES };
    let inputs = sources.inputs.iter().map(|(name, value)| (name.clone(), inputs::from_json(value))).collect();
    loader.load(text, None, &inputs)
}

struct Loader<'a> {
    sources: Sources<'a>,
    included: usize,
    left: usize,
}

impl Loader<'_> {
    fn load(&mut self, text: &str, path: Option<&str>, given: &BTreeMap<String, Value>) -> Result<Map, Errors> {
        let mut documents = value::read(text).map_err(Errors::one)?;
        let content = documents.pop().unwrap_or(Value::Null);
        let content = match documents.pop() {
            Some(header) => inputs::put_in(&header, content, given).map_err(|fault| named(path, &fault))?,
            None if given.is_empty() => content,
            None => return Err(named(path, "Given inputs not defined in the `spec` section of the included configuration file")),
        };
        let Value::Map(mut map) = content else {
            return Err(named(
                path,
                if text.trim().is_empty() { "Please provide content of .gitlab-ci.yml" } else { "Invalid configuration format" },
            ));
        };
        let Some(include) = map.shift_remove("include") else { return Ok(map) };
        let mut merged = Map::new();
        for entry in match &include {
            Value::List(list) => list.iter().collect(),
            Value::Null => Vec::new(),
            one => vec![one],
        } {
            let included = self.include(entry)?;
            merge(&mut merged, &included, &mut self.left)?;
        }
        merge(&mut merged, &map, &mut self.left)?;
        Ok(merged)
    }

    fn include(&mut self, entry: &Value) -> Result<Map, Errors> {
        self.included += 1;
        if self.included > MOST_INCLUDES {
            return Err(Errors::one(format!("Maximum of {MOST_INCLUDES} nested includes are allowed!")));
        }
        let none = Map::new();
        let (path, given) = match entry {
            Value::Text(path) if path.starts_with("http://") || path.starts_with("https://") => return Err(unsupported("remote")),
            Value::Text(path) => (path.as_str(), &none),
            Value::Map(map) => {
                if let Some(key) = map.keys().find(|key| !matches!(key.as_str(), "local" | "inputs")) {
                    return Err(unsupported(key));
                }
                let path = map.get("local").and_then(Value::as_text);
                let given = map.get("inputs").and_then(Value::as_map).unwrap_or(&none);
                (path.ok_or_else(|| Errors::one("Need exactly one of `local`, `file`, `remote`, `template` or `component`"))?, given)
            }
            _ => return Err(Errors::one("include config should be an array of hashes or strings")),
        };
        let Some(file) = self.sources.file else {
            return Err(Errors::one(format!("Local file `{path}` cannot be included: this fake GitLab was given no files to look into")));
        };
        if path.contains('*') {
            return Err(unsupported("local with wildcards"));
        }
        if path.rsplit_once('.').is_none_or(|(_, end)| end != "yml" && end != "yaml") {
            return Err(Errors::one(format!("Included file `{path}` does not have YAML extension!")));
        }
        let text = file(path.trim_start_matches('/')).ok_or_else(|| Errors::one(format!("Local file `{path}` does not exist!")))?;
        let given = given.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        self.load(&text, Some(path), &given)
    }
}

fn unsupported(what: &str) -> Errors {
    Errors::one(format!("include config uses `{what}`, which this fake GitLab does not support: only `local` files of the same repository"))
}

fn named(path: Option<&str>, fault: &str) -> Errors {
    Errors::one(path.map_or_else(|| fault.to_owned(), |path| format!("`{path}`: {fault}")))
}
