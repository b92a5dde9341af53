//! Words that an executor makes and that nobody else understands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use signalbox_contract::Invalid;

/// The longest such word, in bytes. They are kept in rows and come back with each call.
const LONGEST: usize = 1024;

fn check(what: &'static str, text: &str) -> Result<(), Invalid> {
    if text.len() > LONGEST {
        return Err(Invalid::new(what, "must not have more than 1024 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(what, "must not hold control characters"));
    }
    Ok(())
}

macro_rules! words {
    ($($(#[$meta:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                check($what, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

words! {
    /// What was newest at the executor before a start: only what is newer can be the build that was started. It is
    /// committed before the start. An executor that takes keys needs none and says the empty one.
    Anchor = "an anchor";
    /// The executor's own name for a build.
    BuildRef = "a build's name";
    /// Where at the executor a build runs: a GitLab project, a Jenkins job. Builds of one scope are observed together.
    /// The empty one is the executor itself.
    Scope = "a scope";
    /// How far a log was read. The empty one is its beginning.
    LogCursor = "a log's cursor";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_bounded_and_plain() {
        assert!("x".repeat(LONGEST).parse::<Anchor>().is_ok());
        assert!("x".repeat(LONGEST + 1).parse::<Anchor>().is_err());
        assert!("a\nb".parse::<BuildRef>().is_err());
        assert!(serde_json::from_str::<Scope>("\"a\\u0000\"").is_err());
    }
}
