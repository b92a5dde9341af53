//! Identifiers that Signalbox makes.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Invalid;

/// Crockford's alphabet in lower case: no `i`, `l`, `o`, `u`, and in ASCII order, so that texts sort as numbers do.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A run. A version 7 UUID, so later runs sort after earlier ones, written as 26 characters of lower-case base32:
/// it can stand in a ref, a host's folder or a URL as it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "01jd8qk4wmfvt9e3v1n0t2m6xz")]
pub struct RunId(u128);

impl RunId {
    /// Before every other.
    pub const FIRST: Self = Self(0);

    /// The id right after this one.
    #[must_use]
    pub const fn successor(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The run id with the bits of `uuid`, which the caller made (ids are inputs to the core, never made by it).
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid.as_u128())
    }

    /// When it was made, as its first 48 bits say; a time in the far past where they say none that there can be.
    pub fn made_at(self) -> Timestamp {
        let millis = i64::try_from(self.0 >> 80).unwrap_or_default();
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MIN)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 26];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

impl FromStr for RunId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WHAT: &str = "a run id";
        if text.len() != 26 || !matches!(text.as_bytes()[0], b'0'..=b'7') {
            return Err(Invalid::new(WHAT, "is 26 characters of lower-case base32"));
        }
        text.bytes()
            .try_fold(0_u128, |sum, byte| {
                let digit = ALPHABET.iter().position(|known| *known == byte)?;
                Some((sum << 5) | digit as u128)
            })
            .map(Self)
            .ok_or(Invalid::new(WHAT, "is 26 characters of lower-case base32"))
    }
}

impl TryFrom<String> for RunId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

/// The key of one attempt of one step of one run, `RUN-STEP-N`. Every act in the outside world carries it, so that an
/// act which is asked for twice is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttemptKey {
    /// The run.
    pub run: RunId,
    /// The step's index in the run's plan, from 0.
    pub step: u16,
    /// The attempt's number in its step, from 1.
    pub attempt: u16,
}

impl utoipa::PartialSchema for AttemptKey {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        crate::schema::text("^[0-9a-hjkmnp-tv-z]{26}-(0|[1-9][0-9]{0,4})-[1-9][0-9]{0,4}$")
    }
}

impl utoipa::ToSchema for AttemptKey {}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.run, self.step, self.attempt)
    }
}

impl FromStr for AttemptKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::new("an attempt key", "is RUN-STEP-ATTEMPT");
        // `u16::from_str` takes a plus sign and leading zeros, which would give one key two spellings.
        fn number(text: &str) -> Option<u16> {
            let value: u16 = text.parse().ok()?;
            (value.to_string() == text).then_some(value)
        }
        let mut parts = text.split('-');
        let (Some(run), Some(step), Some(attempt), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(INVALID);
        };
        Ok(Self {
            run: run.parse().map_err(|_| INVALID)?,
            step: number(step).ok_or(INVALID)?,
            attempt: number(attempt).filter(|n| *n > 0).ok_or(INVALID)?,
        })
    }
}

impl TryFrom<String> for AttemptKey {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<AttemptKey> for String {
    fn from(key: AttemptKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_read_back_as_it_was_written_and_sorts_by_time() {
        let older = RunId::from_uuid(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001));
        let newer = RunId::from_uuid(Uuid::from_u128(0x0193_0000_0001_7000_8000_0000_0000_0000));
        assert_eq!(older.to_string().parse::<RunId>(), Ok(older));
        assert!(older < newer && older.to_string() < newer.to_string());
        assert_eq!(older.made_at().as_millisecond(), 0x0193_0000_0000);
        assert_eq!(RunId::from_uuid(Uuid::max()).to_string(), "7zzzzzzzzzzzzzzzzzzzzzzzzz");
    }

    #[test]
    fn a_key_has_one_spelling() {
        let key = AttemptKey { run: RunId::from_uuid(Uuid::max()), step: 1, attempt: 2 };
        assert_eq!(key.to_string().parse::<AttemptKey>(), Ok(key));
        let run = key.run;
        for text in [format!("{run}-01-2"), format!("{run}-1-+2"), format!("{run}-1-0"), format!("{run}-1"), format!("{run}-1-2-3")] {
            assert!(text.parse::<AttemptKey>().is_err(), "{text}");
        }
    }
}
