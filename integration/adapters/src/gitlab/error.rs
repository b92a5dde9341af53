//! What can go wrong with a call to GitLab, told apart by what may be done next.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::words::plain;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// How many messages of one answer are kept.
const MESSAGES: usize = 10;

/// Why a call to GitLab did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum GitLabError {
    /// It surely never reached GitLab. It may be sent again as it is.
    #[error("the call did not reach GitLab")]
    NotSent(#[source] Source),
    /// Nobody knows whether GitLab did it.
    #[error("it is not known whether GitLab did what was asked")]
    Unknown(#[source] Source),
    /// The token is missing, wrong, expired or revoked.
    #[error("GitLab does not accept the token: {remote}")]
    Unauthorized {
        /// What GitLab said.
        remote: String,
    },
    /// The token's user or role may not do this.
    #[error("GitLab does not allow it: {remote}")]
    Forbidden {
        /// The scope that the token would need, where that is what it lacks.
        scope: Option<String>,
        /// What GitLab said.
        remote: String,
    },
    /// It is not there; or the token may not see it, which GitLab does not tell apart.
    #[error("GitLab has no such thing, or does not show it: {remote}")]
    NotFound {
        /// What GitLab said.
        remote: String,
    },
    /// It clashes with what is there.
    #[error("GitLab says that it clashes with what is there: {remote}")]
    Conflict {
        /// What GitLab said.
        remote: String,
    },
    /// GitLab refuses what was sent.
    #[error("GitLab refuses it: {}", Messages(.messages))]
    Invalid {
        /// What is wrong with it.
        messages: Vec<Message>,
    },
    /// Too many calls. Nothing was done.
    #[error("too many calls to GitLab for now")]
    RateLimited {
        /// How long to wait.
        after: Option<Duration>,
    },
    /// It cannot do it now, and did nothing.
    #[error("GitLab is unavailable for now{}", Because(.remote))]
    Unavailable {
        /// How long to wait, where that is known.
        after: Option<Duration>,
        /// What GitLab said.
        remote: String,
    },
    /// It lives elsewhere now. A changing call does not follow.
    #[error("what was asked for has moved")]
    Moved,
    /// The answer is not one of the API: HTML, another type, too large, cut, a redirect to elsewhere.
    #[error("GitLab's answer cannot be used: {what}")]
    Unreadable {
        /// What is wrong with it.
        what: String,
    },
    /// Another refusal.
    #[error("GitLab refused with {status}: {remote}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What GitLab said.
        remote: String,
    },
}

/// A sentence about what is wrong with what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The field, where it is about one; `base` is the whole.
    pub field: Option<String>,
    /// The sentence.
    pub text: String,
}

struct Messages<'m>(&'m [Message]);

/// What was said, where something was.
struct Because<'m>(&'m str);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

impl fmt::Display for Messages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, message) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "; " })?;
            match message.field.as_deref() {
                Some(field) if field != "base" => write!(f, "{field} {}", message.text)?,
                _ => f.write_str(&message.text)?,
            }
        }
        Ok(())
    }
}

impl GitLabError {
    pub(super) fn not_sent(source: impl Into<Source>) -> Self {
        Self::NotSent(source.into())
    }

    pub(super) fn unreadable(what: impl Into<String>) -> Self {
        Self::Unreadable { what: what.into() }
    }

    /// Whether GitLab has no such thing, or does not show it to us.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the call surely changed nothing there.
    pub const fn changed_nothing(&self) -> bool {
        !matches!(self, Self::Unknown(_) | Self::Unreadable { .. })
    }

    /// Whether one of the messages holds these words, whatever their case.
    pub fn says(&self, words: &str) -> bool {
        let words = words.to_ascii_lowercase();
        let holds = |text: &str| text.to_ascii_lowercase().contains(&words);
        match self {
            Self::Invalid { messages } => messages.iter().any(|message| holds(&message.text)),
            Self::Unauthorized { remote }
            | Self::Forbidden { remote, .. }
            | Self::NotFound { remote }
            | Self::Conflict { remote }
            | Self::Unavailable { remote, .. }
            | Self::Refused { remote, .. } => holds(remote),
            _ => false,
        }
    }

    /// What an answer without success means. `reads` says whether the call changed nothing.
    pub(super) fn of(status: StatusCode, body: &[u8], after: Option<Duration>, reads: bool) -> Self {
        let said = Said::read(body);
        let remote = said.text();
        match status.as_u16() {
            401 => Self::Unauthorized { remote },
            403 => Self::Forbidden { scope: said.scope, remote },
            404 | 410 => Self::NotFound { remote },
            409 => Self::Conflict { remote },
            400 | 422 => Self::Invalid { messages: said.messages },
            429 => Self::RateLimited { after },
            503 => Self::Unavailable { after, remote },
            301..=303 | 307 | 308 => Self::Moved,
            // A proxy that waited in vain, or a fault in the middle of the work: a reader may simply ask again.
            500.. if reads => Self::Unavailable { after, remote },
            500.. => Self::Unknown(format!("it answered {} {remote}", status.as_u16()).into()),
            status => Self::Refused { status, remote },
        }
    }
}

/// What an answer without success says, in either of GitLab's two shapes.
struct Said {
    messages: Vec<Message>,
    scope: Option<String>,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let mut messages = Vec::new();
        let mut scope = None;
        match &value {
            Value::Object(fields) => {
                if fields.get("error").and_then(Value::as_str) == Some("insufficient_scope") {
                    scope = Some(plain(fields.get("scope").and_then(Value::as_str).unwrap_or("api")));
                }
                for name in ["message", "error", "error_description"] {
                    collect(None, fields.get(name).unwrap_or(&Value::Null), 0, &mut messages);
                }
            }
            other => collect(None, other, 0, &mut messages),
        }
        Self { messages, scope }
    }

    fn text(&self) -> String {
        plain(&Messages(&self.messages).to_string())
    }
}

/// `"text"`, `["text", …]`, `{"field": ["text", …]}`, and what nests these.
fn collect(field: Option<&str>, value: &Value, depth: usize, into: &mut Vec<Message>) {
    if into.len() >= MESSAGES || depth > 3 {
        return;
    }
    match value {
        Value::String(text) => {
            let text = plain(text);
            if !text.is_empty() && into.iter().all(|message| message.text != text) {
                into.push(Message { field: field.map(plain), text });
            }
        }
        Value::Array(items) => items.iter().take(MESSAGES).for_each(|item| collect(field, item, depth + 1, into)),
        Value::Object(fields) => fields.iter().take(MESSAGES).for_each(|(name, item)| collect(Some(name), item, depth + 1, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(status: u16, body: &str) -> String {
        GitLabError::of(StatusCode::from_u16(status).expect("a status"), body.as_bytes(), None, false).to_string()
    }

    #[test]
    fn both_shapes_of_a_refusal_are_read() {
        let taken = words(400, r#"{"message":{"name":["has already been taken"],"path":["has already been taken"]}}"#);
        assert_eq!(taken, "GitLab refuses it: name has already been taken");
        assert_eq!(words(400, r#"{"error":"ref is missing"}"#), "GitLab refuses it: ref is missing");
        assert_eq!(words(400, r#"{"message":{"base":["Reference not found"]}}"#), "GitLab refuses it: Reference not found");
        assert_eq!(words(422, r#"{"message":["a","b"]}"#), "GitLab refuses it: a; b");
    }

    #[test]
    fn a_missing_scope_is_told_from_a_missing_right() {
        let scope = GitLabError::of(StatusCode::FORBIDDEN, br#"{"error":"insufficient_scope","scope":"api"}"#, None, true);
        assert!(matches!(scope, GitLabError::Forbidden { scope: Some(scope), .. } if scope == "api"));
        let right = GitLabError::of(StatusCode::FORBIDDEN, br#"{"message":"403 Forbidden"}"#, None, true);
        assert!(matches!(right, GitLabError::Forbidden { scope: None, .. }));
    }

    #[test]
    fn whatever_is_said_is_bounded_and_plain() {
        for body in ["<html>\u{1b}[2J</html>", "", "null", "[[[[[\"x\"]]]]]", "{\"message\":7}"] {
            assert!(words(400, body).len() < 100, "{body}");
        }
        let long = format!("{{\"message\":\"{}\\u001b\\u202e\"}}", "x".repeat(100_000));
        assert!(words(403, &long).len() < 700);
        assert!(!words(403, &long).contains('\u{1b}'));
    }

    #[test]
    fn a_fault_in_the_middle_is_unknown_only_where_something_was_changed() {
        assert!(matches!(GitLabError::of(StatusCode::BAD_GATEWAY, b"", None, false), GitLabError::Unknown(_)));
        assert!(matches!(GitLabError::of(StatusCode::BAD_GATEWAY, b"", None, true), GitLabError::Unavailable { .. }));
        assert!(matches!(GitLabError::of(StatusCode::SERVICE_UNAVAILABLE, b"", None, false), GitLabError::Unavailable { .. }));
    }
}
