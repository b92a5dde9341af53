//! What serde says of a value, in words for the caller.

use signalbox_contract::{Code, Problem};

/// The longest message about a field, in characters.
const MAX: usize = 300;

/// A problem at a field, from serde's message about it. The words of the value itself are left out where serde repeats
/// them: a value in the wrong place may be a secret.
pub(super) fn at_field(code: Code, path: &str, message: &str) -> Problem {
    let parent = if path == "." { "" } else { path };
    let within =
        |name: &str| if parent.is_empty() || parent.ends_with(name) { join_last(parent, name) } else { format!("{parent}.{name}") };
    let (field, detail) = if let Some(name) = quoted(message, "missing field ") {
        (within(name), "is missing".to_owned())
    } else if let Some(name) = quoted(message, "unknown field ") {
        (within(name), unknown(message, "is not known here"))
    } else if let Some(name) = quoted(message, "duplicate field ") {
        (within(name), "stands there twice".to_owned())
    } else if quoted(message, "unknown variant ").is_some() {
        (parent.to_owned(), unknown(message, "is none of the words that are allowed"))
    } else if let (true, Some((_, expected))) = (message.starts_with("invalid "), message.rsplit_once(", expected ")) {
        (parent.to_owned(), format!("must be {expected}"))
    } else {
        (parent.to_owned(), message.to_owned())
    };
    let detail = plain(&detail);
    let field = plain(&field);
    let what = match code {
        Code::InvalidBody => "The body",
        _ => "A parameter",
    };
    if field.is_empty() {
        return Problem::new(code).detail(format!("{what} is not valid: {detail}."));
    }
    Problem::new(code).detail(format!("{what} is not valid at `{field}`: {detail}.")).field(field, detail)
}

/// serde names an unknown field both in its message and at the end of the path.
fn join_last(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { parent.to_owned() }
}

/// The name in back quotes that follows `before` at the message's beginning.
fn quoted<'m>(message: &'m str, before: &str) -> Option<&'m str> {
    message.strip_prefix(before)?.strip_prefix('`')?.split('`').next()
}

/// Keeps what serde lists as expected.
fn unknown(message: &str, what: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("{what}; expected {expected}"),
        None => what.to_owned(),
    }
}

/// Bounded, and without what could deceive a terminal or a log.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::http::parse_json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only how it is refused matters")]
    struct Outer {
        repo: String,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only how it is refused matters")]
    struct Inner {
        count: u32,
        verdict: Option<signalbox_contract::Verdict>,
        commit: Option<signalbox_contract::CommitSha>,
    }

    #[test]
    fn every_fault_names_its_field_and_never_repeats_the_value() {
        for (body, field, words) in [
            ("{}", "repo", "is missing"),
            (r#"{"repo":"x","inner":{}}"#, "inner.count", "is missing"),
            (r#"{"repo":"x","inner":{"count":"hunter2"}}"#, "inner.count", "must be u32"),
            (r#"{"repo":"x","inner":{"count":-1}}"#, "inner.count", "must be u32"),
            (r#"{"repo":"x","inner":{"count":1,"verdict":"hunter2"}}"#, "inner.verdict", "expected one of"),
            (r#"{"repo":"x","inner":{"count":1,"verdict":7}}"#, "inner.verdict", "must be one of the words"),
            (r#"{"repo":"x","inner":{"count":1,"commit":"hunter2"}}"#, "inner.commit", "hexadecimal"),
            (r#"{"repo":"x","inner":{"count":1,"nope":1}}"#, "inner.nope", "is not known here"),
            (r#"{"repo":"x","nope":1}"#, "nope", "is not known here"),
            (r#"{"repo":"x","repo":"y"}"#, "repo", "twice"),
        ] {
            let problem = parse_json::<Outer>(body.as_bytes()).expect_err(body).0;
            assert_eq!(problem.errors.first().map(|error| error.field.as_str()), Some(field), "{body}: {problem:?}");
            assert!(problem.errors[0].detail.contains(words), "{body}: {problem:?}");
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }

    #[test]
    fn fields_in_a_list_are_no_object() {
        for body in [r#"["x", null]"#, " \n[\"x\"]", "[]"] {
            let problem = parse_json::<Outer>(body.as_bytes()).expect_err(body).0;
            assert!(problem.detail.contains("must be an object"), "{body}: {problem:?}");
        }
    }

    #[test]
    fn what_is_no_json_says_where() {
        for (body, words) in [("", "ends too early"), ("{", "ends too early"), ("{} x", "line 1, column 4"), ("[1]", "must be an object")] {
            let problem = parse_json::<serde_json::Map<String, serde_json::Value>>(body.as_bytes()).expect_err(body).0;
            assert!(problem.detail.contains(words), "{body}: {problem:?}");
        }
    }
}
