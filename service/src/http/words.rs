//! What serde says of a value, in words for the caller.

use signalbox_contract::problem::FieldError;
use signalbox_contract::{Code, Problem};

/// The longest message about a field, in characters.
const MAX: usize = 300;

/// What is said of a field that stands in an object more than once.
pub(super) const TWICE: &str = "stands there twice";

/// How `serde_json` ends what it says of a value that stands in the place of a word.
pub(super) const NO_WORD: &str = ", expected string or map";

/// A problem at a field, from serde's message about it. The words of the value itself are left out where serde repeats
/// them: a value in the wrong place may be a secret.
pub(super) fn at_field(code: Code, path: &str, message: &str) -> Problem {
    problem_of(code, vec![fault(path, message)])
}

/// A problem at these fields, whose words are about the first.
pub(super) fn problem_of(code: Code, faults: Vec<FieldError>) -> Problem {
    let problem = faults.first().map_or_else(|| Problem::new(code), |first| Problem::new(code).detail(told(code, first)));
    faults.into_iter().filter(|fault| !fault.field.is_empty()).fold(problem, |problem, fault| problem.field(fault.field, fault.detail))
}

/// What is told of a fault.
fn told(code: Code, FieldError { field, detail }: &FieldError) -> String {
    let end = if detail.ends_with(['.', '?', '!']) { "" } else { "." };
    let what = match code {
        Code::InvalidBody => "The body",
        Code::InvalidRequest => "A parameter",
        // The code says what is wrong, the fault where.
        _ => return format!("{}: `{field}` {detail}{end}", code.title().trim_end_matches('.')),
    };
    let place = if field.is_empty() { String::new() } else { format!(" at `{field}`") };
    format!("{what} is not valid{place}: {detail}{end}")
}

/// The problem with words about its first fault, if it has none.
pub(super) fn in_words(problem: Problem) -> Problem {
    match problem.errors.first() {
        Some(first) if problem.detail.is_empty() => {
            let detail = told(problem.code, first);
            problem.detail(detail)
        }
        _ => problem,
    }
}

/// The field at fault and what is wrong with it, from serde's message about it.
pub(super) fn fault(path: &str, message: &str) -> FieldError {
    let parent = if path == "." { "" } else { path };
    let within =
        |name: &str| if parent.is_empty() || parent.ends_with(name) { join_last(parent, name) } else { format!("{parent}.{name}") };
    let (field, detail) = if let Some(name) = missing(message) {
        (if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }, "is missing".to_owned())
    } else if let Some(name) = quoted(message, "unknown field ") {
        (within(name), unknown(message, "is not known here"))
    } else if let Some(name) = quoted(message, "duplicate field ") {
        (within(name), TWICE.to_owned())
    } else if quoted(message, "unknown variant ").is_some() {
        (parent.to_owned(), unknown(message, "is none of the words that are allowed"))
    } else if let (true, Some((_, expected))) = (message.starts_with("invalid "), message.rsplit_once(", expected ")) {
        (parent.to_owned(), format!("must be {}", plainly(expected)))
    } else {
        (parent.to_owned(), ours(message).to_owned())
    };
    FieldError { field: plain(&field), detail: plain(&detail) }
}

/// The name of the field that is missing, if that is what the message says.
pub(super) fn missing(message: &str) -> Option<&str> {
    quoted(message, "missing field ")
}

/// The first of the words that are allowed, if the message lists them.
pub(super) fn first_word(message: &str) -> Option<&str> {
    message.starts_with("unknown variant ").then_some(())?;
    message.rsplit_once(", expected ")?.1.split('`').nth(1)
}

/// What was expected, in words for somebody who does not know our types.
pub(super) fn plainly(expected: &str) -> String {
    let whole = |most: u64| format!("a whole number from 0 to {most}");
    match expected {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" | "usize" => whole(u64::MAX),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "bool" | "a boolean" => "true or false".to_owned(),
        "string" | "a borrowed string" => "a string".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        "string or map" => "one of the words that are documented".to_owned(),
        "unit" => "nothing".to_owned(),
        "a UUID string" => UUID.to_owned(),
        expected if expected.starts_with("struct ") => "an object".to_owned(),
        expected => expected.to_owned(),
    }
}

/// What an id of a token looks like.
const UUID: &str = "a UUID: 32 hexadecimal digits, in groups of 8, 4, 4, 4 and 12";

/// What parsers of the standard library and of others say, in our words. What our own types say stays.
fn ours(message: &str) -> &str {
    match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => "must be a whole number, and not negative",
        "number too large to fit in target type" => "must be a whole number, and not as large",
        "number too small to fit in target type" => "must be a whole number, and not as small",
        "provided string was not `true` or `false`" => "must be true or false",
        message if message.starts_with("UUID parsing failed") => "must be a UUID: 32 hexadecimal digits, in groups of 8, 4, 4, 4 and 12",
        // What a syntax error in the place of a word is to serde_json.
        message if message.starts_with("expected value") => "must be one of the words that are documented",
        message => message,
    }
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
        #[serde(default, deserialize_with = "signalbox_contract::job::distinct")]
        env: signalbox_contract::job::Variables,
    }

    #[test]
    fn every_fault_names_its_field_and_never_repeats_the_value() {
        for (body, field, words) in [
            ("{}", "repo", "is missing"),
            (r#"{"repo":"x","inner":{}}"#, "inner.count", "is missing"),
            (r#"{"repo":"x","inner":{"count":"hunter2"}}"#, "inner.count", "must be a whole number from 0 to 4294967295"),
            (r#"{"repo":"x","inner":{"count":-1}}"#, "inner.count", "must be a whole number from 0 to 4294967295"),
            (r#"{"repo":"x","inner":{"count":1,"verdict":"hunter2"}}"#, "inner.verdict", "expected one of"),
            (r#"{"repo":"x","inner":{"count":1,"verdict":7}}"#, "inner.verdict", "expected one of `success`"),
            (r#"{"repo":"x","inner":{"count":1,"commit":"hunter2"}}"#, "inner.commit", "hexadecimal"),
            (r#"{"repo":"x","inner":{"count":1,"nope":1}}"#, "inner.nope", "is not known here"),
            (r#"{"repo":"x","nope":1}"#, "nope", "is not known here"),
            (r#"{"repo":"x","repo":"y"}"#, "repo", "twice"),
            (r#"{"repo":"x","inner":{"count":1,"env":{"A":"1","B":"2","A":"3"}}}"#, "inner.env.A", "twice"),
            (r#"{"repo":null}"#, "repo", "must be a string"),
            (r#"{"repo":"x","inner":"hunter2"}"#, "inner", "must be an object"),
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

    #[test]
    fn what_is_no_object_or_no_text_is_called_that() {
        for body in ["null", "7", "true", "\"repo\""] {
            let problem = parse_json::<Outer>(body.as_bytes()).expect_err(body).0;
            assert_eq!(problem.detail, "The body must be an object.", "{body}");
        }
        for (body, words) in [(b"{\"repo\":\"\xff\"}".as_slice(), "is not UTF-8"), (br#"{"repo":"\ud800"}"#, "is not JSON")] {
            let problem = parse_json::<Outer>(body).expect_err("it is refused").0;
            assert!(problem.detail.contains(words), "{problem:?}");
        }
    }
}
