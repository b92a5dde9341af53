//! `spec: inputs`: a header that says what may be given, and `$[[ inputs.NAME ]]` where it is put in.

use std::collections::BTreeMap;

use super::pattern::Pattern;
use super::value::{LARGEST_TEXT, Map, Value};

const OPEN: &str = "$[[";
const CLOSE: &str = "]]";

/// Reads the header, settles each input, and puts them into the document behind.
pub(super) fn put_in(header: &Value, content: Value, given: &BTreeMap<String, Value>) -> Result<Value, String> {
    let header = header.as_map().ok_or("Invalid configuration header")?;
    if let Some(key) = header.keys().find(|key| *key != "spec") {
        return Err(format!("header:{key} config contains unknown keys: {key}"));
    }
    let spec = match header.get("spec") {
        Some(Value::Map(spec)) => spec.clone(),
        Some(Value::Null) => Map::new(),
        _ => return Err("header:spec config should be a hash".to_owned()),
    };
    if let Some(key) = spec.keys().find(|key| *key != "inputs") {
        return Err(format!("header:spec config uses `{key}`, which this fake GitLab does not support"));
    }
    let declared = spec.get("inputs").and_then(Value::as_map).cloned().unwrap_or_default();
    let unknown: Vec<&str> = given.keys().map(String::as_str).filter(|name| !declared.contains_key(*name)).collect();
    if !unknown.is_empty() {
        return Err(format!("unknown input arguments: {}", unknown.join(", ")));
    }
    let mut settled = BTreeMap::new();
    for (name, input) in &declared {
        settled.insert(name.clone(), settle(name, input, given.get(name))?);
    }
    replace(content, &settled, &mut (4 * LARGEST_TEXT))
}

/// What a program gave, as a definition would have written it.
pub(super) fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(is) => Value::Bool(*is),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| number.as_f64().map_or(Value::Null, Value::Float), Value::Integer)
        }
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(list) => Value::List(list.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => Value::Map(map.iter().map(|(key, value)| (key.clone(), from_json(value))).collect()),
    }
}

fn settle(name: &str, input: &Value, given: Option<&Value>) -> Result<Value, String> {
    let empty = Map::new();
    let input = match input {
        Value::Map(map) => map,
        Value::Null => &empty,
        _ => return Err(format!("header:spec:inputs:{name} config should be a hash")),
    };
    if let Some(key) = input.keys().find(|key| !matches!(key.as_str(), "default" | "type" | "options" | "regex" | "description")) {
        return Err(format!("header:spec:inputs:{name} config contains unknown keys: {key}"));
    }
    let value = given.or_else(|| input.get("default")).ok_or_else(|| format!("`{name}` input: required value has not been provided"))?;
    let kind = input.get("type").and_then(Value::as_text).unwrap_or("string");
    let fits = match kind {
        "string" => matches!(value, Value::Text(_)),
        "number" => matches!(value, Value::Integer(_) | Value::Float(_)),
        "boolean" => matches!(value, Value::Bool(_)),
        "array" => matches!(value, Value::List(_)),
        other => return Err(format!("header:spec:inputs:{name} type unknown value: {other}")),
    };
    if !fits {
        let whose = if given.is_some() { "provided" } else { "default" };
        return Err(format!("`{name}` input: {whose} value is not a {kind}"));
    }
    if let Some(options) = input.get("options").and_then(Value::as_list)
        && !options.contains(value)
    {
        return Err(format!("`{name}` input: `{value}` cannot be used because it is not in the list of allowed options"));
    }
    if let Some(regex) = input.get("regex").and_then(Value::as_text) {
        // The header writes a pattern without slashes.
        let pattern =
            Pattern::parse(&format!("/{regex}/")).ok_or_else(|| format!("`{name}` input: provided regular expression is invalid"))?;
        if !pattern.matches(&value.to_string()) {
            return Err(format!("`{name}` input: provided value does not match required RegEx pattern"));
        }
    }
    Ok(value.clone())
}

fn replace(value: Value, inputs: &BTreeMap<String, Value>, left: &mut usize) -> Result<Value, String> {
    Ok(match value {
        Value::Text(text) if text.contains(OPEN) => replace_text(&text, inputs, left)?,
        Value::List(list) => Value::List(list.into_iter().map(|value| replace(value, inputs, left)).collect::<Result<_, _>>()?),
        Value::Map(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                let key = if key.contains(OPEN) { replace_text(&key, inputs, left)?.to_string() } else { key };
                out.insert(key, replace(value, inputs, left)?);
            }
            Value::Map(out)
        }
        other => other,
    })
}

/// A text that is one input and nothing else becomes that input's value, of its own type.
fn replace_text(text: &str, inputs: &BTreeMap<String, Value>, left: &mut usize) -> Result<Value, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        let Some(end) = rest[at..].find(CLOSE) else { break };
        let inner = rest[at + OPEN.len()..at + end].trim();
        let value = find(inner, inputs)?;
        *left = left.checked_sub(size(value)).ok_or("The parsed YAML is too big")?;
        if at == 0 && out.is_empty() && end + CLOSE.len() == text.len() {
            return Ok(value.clone());
        }
        out.push_str(&rest[..at]);
        out.push_str(&value.to_string());
        rest = &rest[at + end + CLOSE.len()..];
    }
    out.push_str(rest);
    Ok(Value::Text(out))
}

/// Roughly how many bytes a value takes each time that it is put in.
fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => 16 + text.len(),
        Value::List(list) => 16 + list.iter().map(size).sum::<usize>(),
        Value::Map(map) => 16 + map.values().map(size).sum::<usize>(),
        _ => 16,
    }
}

fn find<'a>(inner: &str, inputs: &'a BTreeMap<String, Value>) -> Result<&'a Value, String> {
    if inner.contains('|') {
        return Err(format!("interpolation function in `{inner}` is not supported by this fake GitLab"));
    }
    inner
        .strip_prefix("inputs.")
        .and_then(|name| inputs.get(name))
        .ok_or_else(|| format!("unknown interpolation key: `{}`", inner.strip_prefix("inputs.").unwrap_or(inner)))
}
