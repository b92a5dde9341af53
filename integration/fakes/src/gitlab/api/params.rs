//! Parameters: wherever they stand, in the address, a form or a document, they are the same to GitLab.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// The most parameters of a request.
const MOST: usize = 5_000;

/// The parameters of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(pub(crate) Map<String, Value>);

impl Params {
    /// Reads them.
    pub(crate) fn read(query: &str, headers: &HeaderMap, body: &Bytes) -> Result<Self, Refusal> {
        let mut all = Self::default();
        all.read_form(query.as_bytes());
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/json") && !body.is_empty() {
            match serde_json::from_slice(body) {
                Ok(Value::Object(document)) => all.0.extend(document),
                Ok(_) => {}
                Err(_) => return Err(Refusal::error(http::StatusCode::BAD_REQUEST, "The request body could not be parsed as JSON")),
            }
        } else if kind.starts_with("application/x-www-form-urlencoded") {
            all.read_form(body);
        }
        Ok(all)
    }

    fn read_form(&mut self, form: &[u8]) {
        for (key, value) in url::form_urlencoded::parse(form).take(MOST) {
            let parts: Vec<&str> = key.split('[').map(|part| part.trim_end_matches(']')).collect();
            insert(&mut self.0, &parts, &value);
        }
    }

    /// A value, if it is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    /// A text that must be there.
    pub(crate) fn require(&self, name: &str) -> Result<String, Refusal> {
        match self.text(name) {
            Some(text) if text.is_empty() => Err(Refusal::error(http::StatusCode::BAD_REQUEST, format!("{name} is empty"))),
            Some(text) => Ok(text),
            None => Err(Refusal::missing(name)),
        }
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Yes or no; what is there and null is no.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name)? {
            Value::Null => Some(false),
            Value::Bool(flag) => Some(*flag),
            other => Some(matches!(text(other)?.as_str(), "true" | "1" | "t" | "yes" | "on")),
        }
    }

    /// Texts: a list, or one text with commas.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
            Some(Value::Object(items)) => items.values().filter_map(text).collect(),
            Some(other) => text(other)
                .map(|text| text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect())
                .unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Documents in a list.
    pub(crate) fn documents(&self, name: &str) -> Vec<Map<String, Value>> {
        match self.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(|item| item.as_object().cloned()).collect(),
            _ => Vec::new(),
        }
    }
}

/// A value as text.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Puts `a[b][]` where it belongs.
fn insert(map: &mut Map<String, Value>, parts: &[&str], value: &str) {
    let Some((first, rest)) = parts.split_first() else {
        return;
    };
    match rest {
        [] => {
            let given = Value::from(value);
            match map.get_mut(*first) {
                // The same name twice without brackets is a list to most clients.
                Some(Value::Array(list)) => list.push(given),
                Some(before @ Value::String(_)) => *before = Value::Array(vec![before.take(), given]),
                _ => drop(map.insert((*first).to_owned(), given)),
            }
        }
        [""] => push(map, first, Value::from(value)),
        ["", inner @ ..] => {
            let list = map.entry(*first).or_insert_with(|| Value::Array(Vec::new()));
            let Some(list) = list.as_array_mut() else {
                return;
            };
            let fits = list.last().and_then(Value::as_object).is_some_and(|last| !last.contains_key(inner[0]));
            if !fits {
                list.push(Value::Object(Map::new()));
            }
            if let Some(last) = list.last_mut().and_then(Value::as_object_mut) {
                insert(last, inner, value);
            }
        }
        inner => {
            let entry = map.entry(*first).or_insert_with(|| Value::Object(Map::new()));
            if let Some(entry) = entry.as_object_mut() {
                insert(entry, inner, value);
            }
        }
    }
}

fn push(map: &mut Map<String, Value>, name: &str, value: Value) {
    if let Some(list) = map.entry(name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut() {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn brackets_mean_lists_and_documents() {
        let query = "scope[]=failed&scope[]=success&variables[][key]=A&variables[][value]=1&variables[][key]=B&variables[][value]=2\
            &filter[environment_scope]=prod&plain=x";
        let params = Params::read(query, &HeaderMap::new(), &Bytes::new()).expect("they are read");
        assert_eq!(
            Value::Object(params.0),
            json!({
                "scope": ["failed", "success"], "variables": [{ "key": "A", "value": "1" }, { "key": "B", "value": "2" }],
                "filter": { "environment_scope": "prod" }, "plain": "x",
            })
        );
    }
}
