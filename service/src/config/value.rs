//! Values of a configuration, and how they become types.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;
use url::Url;

/// A value as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i128),
    /// `true` or `false`.
    Bool(bool),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(BTreeMap<String, Node>),
    /// Something that no key takes: a date, a number with a fraction, or one that is too large.
    Other(&'static str),
}

/// A value and its line.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

impl Value {
    /// What it is, for people.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }

    /// The value that the parser found; `line` tells a position's line.
    pub(super) fn from_toml(value: &DeValue<'_>, line: &impl Fn(usize) -> usize) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Self::Integer(number),
                Err(_) => Self::Other("a number that is too large"),
            },
            DeValue::Boolean(value) => Self::Bool(*value),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Array(items) => Self::List(
                items.iter().map(|item| Node { line: line(item.span().start), value: Self::from_toml(item.get_ref(), line) }).collect(),
            ),
            DeValue::Table(table) => Self::Table(
                table
                    .iter()
                    .map(|(key, item)| {
                        let node = Node { line: line(key.span().start), value: Self::from_toml(item.get_ref(), line) };
                        (key.get_ref().to_string(), node)
                    })
                    .collect(),
            ),
        }
    }
}

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, as it was named.
    pub file: String,
    /// The folder from which relative paths count: the file's own.
    pub folder: PathBuf,
}

/// A type that can be a value of a configuration.
pub trait FromValue: Sized {
    /// Reads the value, or says what is wrong with it, as the rest of a sentence that begins with the key. The words
    /// must not repeat the value.
    fn from_value(value: &Value, origin: &Origin) -> Result<Self, String>;

    /// The value as one would write it, for lists of defaults.
    fn written(&self) -> String;

    /// Whether the value is of the right kind and only too large or too small for the type. Where bounds are known, they say
    /// more than the type's do.
    fn exceeds(_value: &Value) -> bool {
        false
    }
}

fn expected<T>(what: &str, value: &Value) -> Result<T, String> {
    Err(format!("must be {what}, not {}", value.kind()))
}

/// The text of a value that must be one.
fn text<'v>(what: &str, value: &'v Value) -> Result<&'v str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => expected(&format!("{what} in quotes"), other),
    }
}

impl FromValue for String {
    fn from_value(value: &Value, _origin: &Origin) -> Result<Self, String> {
        text("a text", value).map(str::to_owned)
    }

    fn written(&self) -> String {
        format!("{self:?}")
    }
}

impl FromValue for bool {
    fn from_value(value: &Value, _origin: &Origin) -> Result<Self, String> {
        match value {
            Value::Bool(value) => Ok(*value),
            other => expected("true or false", other),
        }
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl FromValue for $type {
            fn from_value(value: &Value, _origin: &Origin) -> Result<Self, String> {
                match value {
                    Value::Integer(number) => {
                        Self::try_from(*number).map_err(|_| format!("must be between {} and {}", Self::MIN, Self::MAX))
                    }
                    other => expected("a whole number", other),
                }
            }

            fn exceeds(value: &Value) -> bool {
                matches!(value, Value::Integer(number) if Self::try_from(*number).is_err())
            }

            fn written(&self) -> String {
                self.to_string()
            }
        })*
    };
}

numbers!(i8, u8, u16, u32, u64, usize, i64);

impl FromValue for PathBuf {
    fn from_value(value: &Value, origin: &Origin) -> Result<Self, String> {
        let text = text("a path", value)?;
        if text.is_empty() || text.contains('\0') {
            return Err("must be a path".to_owned());
        }
        Ok(origin.folder.join(text))
    }

    fn written(&self) -> String {
        format!("{:?}", self.display().to_string())
    }
}

impl FromValue for SocketAddr {
    fn from_value(value: &Value, _origin: &Origin) -> Result<Self, String> {
        const WORDS: &str = "must be an address and a port, such as \"127.0.0.1:7480\" or \"[::1]:7480\"";
        text("an address and a port", value)?.parse().map_err(|_| WORDS.to_owned())
    }

    fn written(&self) -> String {
        format!("\"{self}\"")
    }
}

impl FromValue for IpAddr {
    fn from_value(value: &Value, _origin: &Origin) -> Result<Self, String> {
        text("an address", value)?.parse().map_err(|_| "must be an IP address".to_owned())
    }

    fn written(&self) -> String {
        format!("\"{self}\"")
    }
}

impl FromValue for Url {
    fn from_value(value: &Value, _origin: &Origin) -> Result<Self, String> {
        let url = Self::parse(text("a URL", value)?).map_err(|_| "must be a URL".to_owned())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("must be a URL that begins with http:// or https:// and names a host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold credentials: they belong into a file of their own".to_owned());
        }
        Ok(url)
    }

    fn written(&self) -> String {
        format!("\"{self}\"")
    }
}

/// The units of time, largest first, in milliseconds.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl FromValue for Duration {
    fn from_value(value: &Value, _origin: &Origin) -> Result<Self, String> {
        const WORDS: &str = "must be a time with its unit, such as \"500ms\", \"30s\", \"15m\", \"2h\" or \"7d\"";
        let Value::Text(text) = value else {
            return Err(format!("{WORDS}, not {}", value.kind()));
        };
        with_unit(text, &TIMES).map(Self::from_millis).ok_or_else(|| WORDS.to_owned())
    }

    fn written(&self) -> String {
        write_unit(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), &TIMES)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// The units of size, largest first.
const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromValue for Bytes {
    fn from_value(value: &Value, origin: &Origin) -> Result<Self, String> {
        const WORDS: &str = "must be a size with its unit, such as \"64KiB\", \"10MiB\" or \"2GiB\"";
        match value {
            Value::Text(text) => with_unit(text, &SIZES).map(Self).ok_or_else(|| WORDS.to_owned()),
            Value::Integer(_) => u64::from_value(value, origin).map(Self),
            other => Err(format!("{WORDS}, not {}", other.kind())),
        }
    }

    fn written(&self) -> String {
        write_unit(self.0, &SIZES)
    }
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn write_unit(number: u64, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().find(|(_, factor)| number != 0 && number.is_multiple_of(*factor)).or(units.last());
    fitting.map_or_else(String::new, |(unit, factor)| format!("\"{}{unit}\"", number / factor))
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: &Value, origin: &Origin) -> Result<Self, String> {
        let Value::List(items) = value else {
            return expected("a list in brackets", value);
        };
        let mut wrong = Vec::new();
        let mut values = Self::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match T::from_value(&item.value, origin) {
                Ok(value) => values.push(value),
                Err(words) => wrong.push(format!("item {} (line {}) {words}", index + 1, item.line)),
            }
        }
        if wrong.is_empty() { Ok(values) } else { Err(wrong.join("; ")) }
    }

    fn written(&self) -> String {
        format!("[{}]", self.iter().map(FromValue::written).collect::<Vec<_>>().join(", "))
    }
}

impl<T: FromValue> FromValue for BTreeMap<String, T> {
    fn from_value(value: &Value, origin: &Origin) -> Result<Self, String> {
        let Value::Table(entries) = value else {
            return expected("a table", value);
        };
        let mut wrong = Vec::new();
        let mut values = Self::new();
        for (key, node) in entries {
            match T::from_value(&node.value, origin) {
                Ok(value) => drop(values.insert(key.clone(), value)),
                Err(words) => wrong.push(format!("`{key}` (line {}) {words}", node.line)),
            }
        }
        if wrong.is_empty() { Ok(values) } else { Err(wrong.join("; ")) }
    }

    fn written(&self) -> String {
        let entries = self.iter().map(|(key, value)| format!("{key} = {}", value.written()));
        format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
    }
}

/// Types that parse themselves and say what rule a text breaks.
macro_rules! names {
    ($($type:ty),* $(,)?) => {
        $(impl FromValue for $type {
            fn from_value(value: &Value, _origin: &Origin) -> Result<Self, String> {
                text("a name", value)?.parse().map_err(|invalid: signalbox_contract::Invalid| invalid.rule.to_owned())
            }

            fn written(&self) -> String {
                format!("\"{self}\"")
            }
        })*
    };
}

names!(
    signalbox_contract::ArtifactName,
    signalbox_contract::CommitSha,
    signalbox_contract::Digest,
    signalbox_contract::EnvironmentName,
    signalbox_contract::ExecutorName,
    signalbox_contract::ForgeName,
    signalbox_contract::HostName,
    signalbox_contract::JobName,
    signalbox_contract::git::RepoPath,
    signalbox_contract::MirrorName,
    signalbox_contract::PublishedName,
    signalbox_contract::RefName,
    signalbox_contract::RepoName,
    signalbox_contract::SourceUrl,
    signalbox_contract::grant::Glob,
);

/// The folder from which a file's relative paths count.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // A service may change its folder later; a path that was meant relative to the file must not follow.
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}
