//! Values that are nice to have: one of another type counts as missing, so that it hides nothing else.

use jiff::Timestamp;
use jiff::fmt::strtime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value, or nothing where it is missing, null or of another type.
pub(super) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Option::<Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// A list, without those of its items that are of another type.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let items = match Option::<Value>::deserialize(deserializer)? {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    Ok(items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect())
}

/// A time in any of the forms that GitLab's versions write.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = optional(deserializer)?;
    Ok(text.as_deref().and_then(read_time))
}

/// RFC 3339; or Ruby's own form, in the server's zone: `2016-08-12 15:23:28 UTC`, `2022-04-01 13:49:55 +0800`.
pub(super) fn read_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let text = text.strip_suffix("UTC").map_or_else(|| text.to_owned(), |text| format!("{text}+0000"));
    ["%Y-%m-%d %H:%M:%S%.f %z", "%Y-%m-%d %H:%M:%S%.f %:z"]
        .iter()
        .find_map(|format| strtime::parse(format, &text).ok()?.to_timestamp().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_each_form_that_is_written() {
        for (text, seconds) in [
            ("2016-08-12T15:23:28.000Z", 1_471_015_408),
            ("2016-08-12T15:23:28+00:00", 1_471_015_408),
            ("2016-08-12 15:23:28 UTC", 1_471_015_408),
            ("2022-04-01 13:49:55 +0800", 1_648_792_195),
        ] {
            assert_eq!(read_time(text).map(Timestamp::as_second), Some(seconds), "{text}");
        }
        for text in ["", "yesterday", "2016-13-45 99:99:99 UTC", "0"] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }
}
