//! YAML as GitLab reads it: plain values, with anchors and merge keys already put in, and `!reference` kept apart.
//!
//! A definition comes from the repository under test, so its size, depth, aliases and number of nodes are bounded.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Tagged};

/// How large the text of one definition may be.
pub(super) const LARGEST_TEXT: usize = 1 << 20;
/// How many nodes a definition may have, before and after what it refers to has been put in.
pub(super) const MOST_NODES: usize = 200_000;

/// A mapping keeps its order: jobs are made in the order in which they are written.
pub(super) type Map = IndexMap<String, Value>;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(Map),
    /// `!reference [a, b]`: what is found under `a`, then `b`, of the whole definition.
    Reference(Vec<String>),
}

impl Value {
    pub(super) fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(is) => write!(to, "{is}"),
            Self::Integer(number) => write!(to, "{number}"),
            Self::Float(number) => write!(to, "{number:?}"),
            Self::Text(text) => to.write_str(text),
            Self::List(_) => to.write_str("[…]"),
            Self::Map(_) => to.write_str("{…}"),
            Self::Reference(path) => write!(to, "!reference [{}]", path.join(", ")),
        }
    }
}

/// The documents of a text: one, or a header with `spec:` and then one.
///
/// # Errors
/// In words, with line and column.
pub(super) fn read(text: &str) -> Result<Vec<Value>, String> {
    if text.len() > LARGEST_TEXT {
        return Err(format!("The configuration is larger than {LARGEST_TEXT} bytes"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MOST_NODES, max_depth: 64, max_aliases: 10_000, max_anchors: 1_000, max_documents: 2,
            max_total_scalar_bytes: 8 * LARGEST_TEXT,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_NODES * 2, max_replay_stack_depth: 32 },
        // Ruby's reader lets the last of two equal keys win, and real definitions rely on it.
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
        // Ruby knows `yes` and `on` as booleans, but not `y`. Only `true` and `false` are read as such here, and
        // `yes`, `no`, `on` and `off` where a boolean is wanted: a variable keeps the word that its author wrote.
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| format!("(<unknown>): {error}"))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Tagged(Plain(value), tag) = Tagged::<Plain>::deserialize(deserializer)?;
        match tag.as_deref() {
            None => Ok(value),
            Some("!reference") => reference(value).map_err(D::Error::custom),
            Some(core) if core.starts_with("tag:yaml.org,2002:") => Ok(value),
            Some(unknown) => Err(D::Error::custom(format!("Unknown tag {unknown}"))),
        }
    }
}

fn reference(value: Value) -> Result<Value, String> {
    let Value::List(list) = value else { return Err("!reference is not a list of keys".to_owned()) };
    let path: Option<Vec<String>> = list.into_iter().map(|key| if let Value::Text(key) = key { Some(key) } else { None }).collect();
    match path {
        Some(path) if !path.is_empty() => Ok(Value::Reference(path)),
        _ => Err("!reference is not a list of keys".to_owned()),
    }
}

/// A value without its tag.
struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Plain)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a YAML value")
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or_else(|_| Value::Text(number.to_string()), Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = access.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = access.next_entry::<String, Value>()? {
            map.insert(key, value);
        }
        Ok(Value::Map(map))
    }
}
