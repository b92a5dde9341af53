//! A forge's JSON, looked at without trust: whatever may be missing may be missing, and nothing is taken unbounded.
//!
//! It is a tree of values rather than structures of ours, since no two versions of a forge agree on what is a string, a
//! number or an object.

use serde_json::{Map, Value};
use signalbox_contract::CommitSha;
use signalbox_service::auth::sha256;
use url::Url;

use super::Untranslated;

/// The largest text that is kept of one field, in bytes. Nothing that is used is that long.
const LONGEST: usize = 16 * 1024;

/// How many members of one list or object are kept.
const MEMBERS: usize = 500;

/// The longest text that is taken over: a project, a topic, a name.
const WORDS: usize = 512;

/// What stands in place of what is not kept.
const REDACTED: &str = "[redacted]";

/// What a name of a field says when its value is a secret, whatever the forge's version.
const SECRETS: &[&str] = &["password", "passwd", "secret", "token", "private_token", "access_token", "runners_token", "signing_token"];

/// Reads a body, which must be one JSON object. How deeply it may be nested is bounded by the parser.
pub(super) fn object(body: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Value>(body).ok().filter(Value::is_object)
}

/// The same, where an answer is owed.
pub(super) fn parsed(body: &[u8]) -> Result<Value, Untranslated> {
    object(body).ok_or_else(|| malformed("the body", "is no JSON object"))
}

/// What stands at the end of a path of names.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// A text that is not empty, not longer than anything that people write, and free of control characters.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    plain(at(value, path)?.as_str()?)
}

/// The text itself, if it may be taken over.
pub(super) fn plain(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= WORDS && !text.chars().any(char::is_control)).then_some(text)
}

/// A text of people's own: any length that was kept, with its line ends.
pub(super) fn prose<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.as_str()
}

/// A number that was written as one, or as a string.
pub(super) fn number(value: &Value, path: &[&str]) -> Option<u64> {
    match at(value, path)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.len() <= 20 => text.trim().parse().ok(),
        _ => None,
    }
}

/// Whether something is said to be so. What is not said is not so.
pub(super) fn flag(value: &Value, path: &[&str]) -> bool {
    match at(value, path) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// A commit's id.
pub(super) fn commit(value: &Value, path: &[&str]) -> Option<CommitSha> {
    text(value, path).filter(|text| text.len() <= 64)?.to_ascii_lowercase().parse().ok()
}

/// Whether it is the id that git gives to nothing: a ref was created or deleted.
pub(super) fn is_nothing(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte == b'0')
}

/// An address that people may be sent to.
pub(super) fn page(value: &Value, path: &[&str]) -> Option<Url> {
    text(value, path)?.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// What is used and has to be there.
pub(super) fn needed<T>(value: Option<T>, field: &str) -> Result<T, Untranslated> {
    value.ok_or_else(|| malformed(field, "is missing, or not what it should be"))
}

/// A fault of one field. The value itself is never repeated.
pub(super) fn malformed(field: &str, what: &str) -> Untranslated {
    Untranslated::Malformed { field: field.to_owned(), what: what.to_owned() }
}

/// A word of the forge's that is safe to show and to keep.
pub(super) fn word(text: &str) -> Option<&str> {
    let text = text.trim();
    let fits = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_. /:".contains(&byte));
    (!text.is_empty() && text.len() <= 64 && fits(text)).then_some(text)
}

/// What identifies content: the same values give the same id, whatever the order and the spaces in which they came.
pub(super) fn content_id(value: &Value) -> String {
    sha256(value.to_string().as_bytes()).hex()
}

/// What is kept of a body: what could be a secret, and what nobody will read, is left out.
pub(super) fn kept(value: Value) -> Vec<u8> {
    lean(value).to_string().into_bytes()
}

fn lean(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST => Value::String(format!("{}…", cut(&text, LONGEST))),
        Value::Array(members) => Value::Array(members.into_iter().take(MEMBERS).map(lean).collect()),
        Value::Object(fields) => Value::Object(fields.into_iter().take(MEMBERS).map(without_secrets).collect::<Map<_, _>>()),
        other => other,
    }
}

fn without_secrets((name, value): (String, Value)) -> (String, Value) {
    let lower = name.to_ascii_lowercase();
    let value = match value {
        value if SECRETS.contains(&lower.as_str()) && !value.is_null() => Value::from(REDACTED),
        // A pipeline's variables, in clear text: their names may be kept.
        Value::Array(members) if lower == "variables" => Value::Array(members.into_iter().take(MEMBERS).map(nameless).collect()),
        Value::Object(members) if lower == "variables" => {
            members.into_iter().take(MEMBERS).map(|(name, _)| (name, Value::from(REDACTED))).collect()
        }
        // `git push -o ci.variable="NAME=VALUE"`, and whatever else was said with a push.
        value if lower == "push_options" && !value.is_null() => Value::from(REDACTED),
        value => lean(value),
    };
    (name, value)
}

/// One variable without its value. What has another form is left out whole.
fn nameless(variable: Value) -> Value {
    match variable {
        Value::Object(fields) => fields
            .into_iter()
            .take(MEMBERS)
            .map(|(name, value)| if name == "key" && value.is_string() { (name, lean(value)) } else { (name, Value::from(REDACTED)) })
            .collect(),
        _ => Value::from(REDACTED),
    }
}

/// The beginning of a text, never in the middle of a character.
pub(super) fn cut(text: &str, longest: usize) -> &str {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_not_kept_wherever_they_stand() {
        let body = json!({
            "object_attributes": {"variables": [{"key": "PASSWORD", "value": "s3cret-1"}, "s3cret-2", ["s3cret-3"]]},
            "variables": {"A": "s3cret-4"},
            "push_options": {"ci": {"variable": {"TOKEN=s3cret-5": 1}}},
            "project": {"Runners_Token": "s3cret-6", "name": "kept"},
        });
        let kept = String::from_utf8(kept(body)).expect("text");
        assert!(!kept.contains("s3cret"), "{kept}");
        assert!(kept.contains("PASSWORD") && kept.contains("kept"), "{kept}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let body = json!({"message": "ä".repeat(100_000), "commits": vec![json!({"id": 1}); 10_000]});
        assert!(kept(body).len() < 30_000);
    }

    #[test]
    fn the_same_content_has_one_id_in_whatever_order_it_comes() {
        let one = object(br#"{"a": 1, "b": [true]}"#).expect("an object");
        let other = object(br#"{"b":[true],"a":1}"#).expect("an object");
        assert_eq!(content_id(&one), content_id(&other));
        assert_ne!(content_id(&one), content_id(&json!({"a": 2, "b": [true]})));
    }

    // Threat 18.
    #[test]
    fn a_body_that_is_nested_without_end_is_no_object() {
        let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
        assert_eq!(object(deep.as_bytes()), None);
        assert_eq!(object(b"[]"), None);
        assert_eq!(object(b""), None);
    }

    // Threat 18.
    #[test]
    fn odd_json_has_one_meaning_or_none() {
        // Of a name that stands twice, one value counts, for what identifies a body and for what it means alike.
        let twice = object(br#"{"a": 1, "a": 2}"#).expect("an object");
        assert_eq!(kept(twice.clone()), kept(object(&kept(twice.clone())).expect("what is kept can be read")));
        assert_eq!(number(&twice, &["a"]), Some(2));
        for odd in [r#"{"a": "\ud800"}"#, r#"{"a": NaN}"#, r#"{"a": Infinity}"#, r#"{"a": 1e400}"#, r#"{"a": 01}"#, "{\"a\": \"\u{0}\"}"] {
            assert_eq!(object(odd.as_bytes()), None, "{odd}");
        }
        let digits = format!("{{\"a\": {}}}", "9".repeat(300));
        assert_eq!(object(digits.as_bytes()).and_then(|huge| number(&huge, &["a"])), None);
    }
}
