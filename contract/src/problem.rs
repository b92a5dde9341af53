//! Problems: what every service answers when it does not do what was asked (RFC 9457).

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::text::sentence;

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong, as a stable word that a program can act on. One for each thing that a caller can do
        /// something about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$meta])* #[serde(rename = $text)] $name,)*
            /// A code that this version does not know, from a newer service.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl utoipa::PartialSchema for Code {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                crate::schema::words("What went wrong, as a stable word that a program can act on.", [$($text),*, "unknown"])
            }
        }

        impl utoipa::ToSchema for Code {}

        impl Code {
            /// Every code there is, for documentation and tests.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as it stands at the end of the problem's `type`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Unknown => "unknown" }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* Self::Unknown => 500 }
            }

            /// A short sentence that says what it means, the same each time.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* Self::Unknown => "Something went wrong." }
            }
        }
    };
}

codes! {
    /// A parameter, a header or a path is not valid.
    InvalidRequest = "invalid-request", 400, "The request is not valid.";
    /// The body is not JSON of the shape that is documented, or a value in it is not valid.
    InvalidBody = "invalid-body", 400, "The body is not valid.";
    /// No token, or one that cannot be verified.
    Unauthenticated = "unauthenticated", 401, "A valid token is needed.";
    /// The token is good, but not for this.
    Forbidden = "forbidden", 403, "The token does not allow this.";
    /// There is no such thing, or the reader may not know of it.
    NotFound = "not-found", 404, "There is no such thing here.";
    /// The path exists, the method does not.
    MethodNotAllowed = "method-not-allowed", 405, "This method is not allowed here.";
    /// The request took longer to arrive or to answer than is allowed.
    Timeout = "timeout", 408, "The request took too long.";
    /// The thing is not in a state in which this can be done.
    NotAllowedNow = "not-allowed-now", 409, "This cannot be done now.";
    /// The repository's name is bound to another source URL.
    SourceConflict = "source-conflict", 409, "The repository's name belongs to another source.";
    /// `If-Match`, `If-None-Match` or the like did not hold.
    PreconditionFailed = "precondition-failed", 412, "A precondition does not hold.";
    /// The body is larger than is allowed here.
    TooLarge = "too-large", 413, "The body is too large.";
    /// The path or query is longer than is allowed.
    UriTooLong = "uri-too-long", 414, "The address is too long.";
    /// The body's content type is not one that is taken here.
    UnsupportedMediaType = "unsupported-media-type", 415, "The content type is not supported.";
    /// The range lies outside of what there is.
    RangeNotSatisfiable = "range-not-satisfiable", 416, "The range cannot be satisfied.";
    /// The same key came before with another body.
    KeyReused = "key-reused", 422, "The key was used with another body.";
    /// The bytes that came are not the bytes that were announced.
    DigestMismatch = "digest-mismatch", 422, "The bytes do not have the digest that was given.";
    /// The request names a commit where a branch, a tag or another ref is needed.
    NotARef = "not-a-ref", 422, "A commit is not a ref.";
    /// The request names something that is not configured on the server.
    NotConfigured = "not-configured", 422, "The server's configuration does not have this.";
    /// More requests than one caller may have at a time.
    TooManyRequests = "too-many-requests", 429, "Too many requests.";
    /// A fault of the service. What it was stands in its log under the request's id, never in the answer.
    Internal = "internal", 500, "The service failed.";
    /// What is kept of the thing cannot be read: it is damaged, or from another version.
    Unreadable = "unreadable", 500, "What is kept of it cannot be read.";
    /// Another service, which this one needs, failed or gave an answer that makes no sense.
    Upstream = "upstream", 502, "Another service failed.";
    /// The service is starting, stopping, overloaded, or cannot reach what it needs.
    Unavailable = "unavailable", 503, "The service cannot do this now.";
    /// The queue is full; nothing was accepted.
    QueueFull = "queue-full", 503, "The queue is full.";
    /// There is no room on the disk, or a quota is used up.
    InsufficientStorage = "insufficient-storage", 507, "There is no room for this.";
}

/// What every problem's `type` begins with; the code follows.
pub const TYPE_PREFIX: &str = "urn:signalbox:problem:";

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem as RFC 9457 defines it. Its text is written for the caller: never an internal error's words, never a
/// secret, never the offending value itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:signalbox:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code alone, so that nobody needs to cut the type apart.
    pub code: Code,
    /// The code's own sentence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong in this case, and what to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The request's id, under which the service's log has more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The fields at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// After how many seconds trying again makes sense; also in the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// What was tried in vain and can be tried again: services tell it to each other, so that its code and its hint reach the
    /// person who asked. What people read is in the detail as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub failure: Option<Box<Failure>>,
}

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field's name in the body, or the name of the parameter or header.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Problem {
    /// A problem with this code and nothing to add.
    pub fn new(code: Code) -> Self {
        Self {
            kind: format!("{TYPE_PREFIX}{}", code.as_str()),
            code,
            title: code.title().to_owned(),
            status: code.status(),
            detail: String::new(),
            instance: None,
            errors: Vec::new(),
            retry_after: None,
            failure: None,
        }
    }

    /// The same, saying what is wrong in this case.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = sentence(detail.into());
        self
    }

    /// The same, naming a field at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), detail: detail.into() });
        self
    }

    /// The same, saying when to try again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same, of something that was tried in vain and can be tried again.
    #[must_use]
    pub fn failure(self, failure: &Failure) -> Self {
        Self { failure: Some(Box::new(failure.clone())), ..self.detail(failure.to_string()) }
    }

    /// `not-found`, for what is not there and for what the reader may not know of alike.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.title } else { &self.detail })?;
        // What the detail says of its first field is not said twice.
        let said = |error: &&FieldError| self.detail.contains(&error.field) && self.detail.contains(&error.detail);
        for error in self.errors.iter().filter(|error| !said(error)) {
            write!(f, " [{}: {}]", error.field, error.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
