//! Reads a table key by key, and collects what is wrong.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

use super::error::{ConfigError, ConfigErrors};
use super::file::{self, ConfigFile};
use super::value::{FromValue, Node, Origin, Value, folder_of};
use crate::near::nearest;
use crate::secret::{SecretString, read_secret};

/// A key that was asked for, with its default, so that the documentation can be compared with the code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownKey {
    /// The key with the tables around it; `NAME` stands for a name that the operator chooses, `[]` for a list of tables.
    pub path: String,
    /// The default as one would write it; none where there is none.
    pub default: Option<String>,
    /// Whether it must be given.
    pub required: bool,
}

/// What the readers of one file share.
#[derive(Debug)]
struct Shared {
    origin: Origin,
    file: ConfigFile,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    errors: Vec<ConfigError>,
    known: BTreeMap<String, KnownKey>,
}

/// Reads one table.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    table: BTreeMap<String, Node>,
    /// The table's own line; none for the file.
    line: Option<usize>,
    path: String,
    /// The path with chosen names replaced.
    pattern: String,
    asked: Vec<String>,
}

impl Reader {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is larger than a mebibyte, or is not TOML.
    pub fn open(path: &Path) -> Result<Self, ConfigErrors> {
        let text = file::text(path)?;
        Self::parse_at(Origin { file: path.display().to_string(), folder: folder_of(path) }, &text)
    }

    /// Reads a text as if it stood in the file `name`.
    ///
    /// # Errors
    /// When it is not TOML.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        Self::parse_at(Origin { file: name.to_owned(), folder: folder_of(Path::new(name)) }, text)
    }

    fn parse_at(origin: Origin, text: &str) -> Result<Self, ConfigErrors> {
        let line = |position: usize| 1 + text.as_bytes().iter().take(position).filter(|byte| **byte == b'\n').count();
        let (table, errors) = toml::de::DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let errors = errors.iter().map(|error| ConfigError {
                file: origin.file.clone(),
                line: error.span().map(|span| line(span.start)),
                key: String::new(),
                message: error.message().to_owned(),
            });
            let mut errors: Vec<ConfigError> = errors.collect();
            // What else the parser stumbles over in the same line comes of the first mistake there.
            errors.dedup_by_key(|error| error.line);
            return Err(ConfigErrors(errors));
        }
        let Value::Table(table) = Value::from_toml(&toml::de::DeValue::Table(table.into_inner()), &line) else {
            return Err(ConfigErrors(Vec::new()));
        };
        let file = ConfigFile::new(PathBuf::from(&origin.file), text);
        let shared = Arc::new(Shared { origin, file, found: Mutex::default() });
        Ok(Self { shared, table, line: None, path: String::new(), pattern: String::new(), asked: Vec::new() })
    }

    /// The file that is read, as it was named.
    pub fn file(&self) -> &str {
        &self.shared.origin.file
    }

    /// The file and what stands in it, to be looked at again.
    pub fn source(&self) -> ConfigFile {
        self.shared.file.clone()
    }

    /// The folder from which relative paths count.
    pub fn folder(&self) -> &Path {
        &self.shared.origin.folder
    }

    /// A value that must be given. None after an error, which is recorded.
    pub fn required<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        self.know(key, None, true);
        if !self.has(key) {
            self.refuse(key, "is missing");
            return None;
        }
        self.value(key)
    }

    /// A value that may be given. None when it is not, or after an error, which is recorded.
    pub fn optional<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        self.know(key, None, false);
        self.value(key)
    }

    /// A value that may be given. The default stands in after an error, too, which is recorded.
    pub fn or<T: FromValue>(&mut self, key: &'static str, default: T) -> T {
        self.know(key, Some(default.written()), false);
        self.value(key).unwrap_or(default)
    }

    /// The path that an earlier question for this key was answered with; none if that found it wrong, and recorded so.
    pub(super) fn asked_path(&self, key: &str, default: &str) -> Option<PathBuf> {
        match self.table.get(key) {
            Some(node) => PathBuf::from_value(&node.value, &self.shared.origin).ok(),
            None => Some(self.folder().join(default)),
        }
    }

    /// A value with a default, that must lie within these bounds.
    pub fn within<T: FromValue + PartialOrd>(&mut self, key: &'static str, default: T, bounds: RangeInclusive<T>) -> T {
        self.know(key, Some(default.written()), false);
        let exceeds = self.table.get(key).is_some_and(|node| T::exceeds(&node.value));
        let value = if exceeds { None } else { self.value(key) };
        if exceeds || value.as_ref().is_some_and(|value| !bounds.contains(value)) {
            self.refuse(key, format!("must be between {} and {}", bounds.start().written(), bounds.end().written()));
            return default;
        }
        value.unwrap_or(default)
    }

    /// The address of another service, which must be given and must be one that may be called.
    pub fn required_service(&mut self, key: &'static str) -> Option<Url> {
        let url = self.required(key)?;
        self.callable(key, url)
    }

    /// The address of another service, which may be given and then must be one that may be called.
    pub fn optional_service(&mut self, key: &'static str) -> Option<Url> {
        let url = self.optional(key)?;
        self.callable(key, url)
    }

    fn callable(&mut self, key: &'static str, url: Url) -> Option<Url> {
        match crate::client::check_address(&url) {
            Ok(_) => Some(url),
            Err(crate::client::ClientError::Address(rule)) => {
                self.refuse(key, rule);
                None
            }
            Err(error) => {
                self.refuse(key, error.to_string());
                None
            }
        }
    }

    /// A secret that must be given, as the path of a file that only its owner may read.
    pub fn required_secret(&mut self, key: &'static str) -> Option<SecretString> {
        let path = self.required::<PathBuf>(key)?;
        self.secret_at(key, &path)
    }

    /// A secret that may be given, as the path of a file that only its owner may read.
    pub fn optional_secret(&mut self, key: &'static str) -> Option<SecretString> {
        let path = self.optional::<PathBuf>(key)?;
        self.secret_at(key, &path)
    }

    /// The secret in a file that a key names; an error if only its owner may not read it, or it holds none.
    pub fn secret_at(&mut self, key: &str, path: &Path) -> Option<SecretString> {
        match read_secret(path) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.refuse(key, with_causes(&error));
                None
            }
        }
    }

    /// A table, if it is there. Keys that `read` does not ask for are errors.
    pub fn table<R>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> Option<R>) -> Option<R> {
        self.asked.push(key.to_owned());
        let node = self.table.get(key)?.clone();
        self.enter(key, key, node, read)
    }

    /// A list of tables, `[[hosts]]`; empty if it is not there.
    pub fn tables<R>(&mut self, key: &'static str, mut read: impl FnMut(&mut Self) -> Option<R>) -> Vec<R> {
        self.asked.push(key.to_owned());
        let Some(node) = self.table.get(key).cloned() else {
            return Vec::new();
        };
        let Value::List(items) = node.value else {
            self.refuse(key, format!("must be a list of tables, [[{}]]", self.join(key)));
            return Vec::new();
        };
        let pattern = format!("{key}[]");
        let numbered = items.into_iter().enumerate();
        numbered.filter_map(|(index, node)| self.enter(&format!("{key}[{}]", index + 1), &pattern, node, &mut read)).collect()
    }

    /// Tables by name, `[environments.test]`; empty if there is none. In the order of their names.
    pub fn named_tables<R>(&mut self, key: &'static str, mut read: impl FnMut(&str, &mut Self) -> Option<R>) -> Vec<R> {
        self.asked.push(key.to_owned());
        let Some(node) = self.table.get(key).cloned() else {
            return Vec::new();
        };
        let Value::Table(entries) = node.value else {
            self.refuse(key, format!("must be tables by name, [{}.NAME]", self.join(key)));
            return Vec::new();
        };
        let pattern = format!("{key}.NAME");
        let entries = entries.into_iter();
        entries.filter_map(|(name, node)| self.enter(&format!("{key}.{name}"), &pattern, node, |reader| read(&name, reader))).collect()
    }

    /// Records an error at a key of this table, for what only the meaning of the values shows. An empty key is the table.
    pub fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let line = self.table.get(key).map(|node| node.line).or(self.line);
        let key = if key.is_empty() { self.path.clone() } else { self.join(key) };
        let error = ConfigError { file: self.shared.origin.file.clone(), line, key, message: message.into() };
        self.shared.found.lock().unwrap_or_else(PoisonError::into_inner).errors.push(error);
    }

    /// Every key that was asked for so far in the file, sorted. Keys of tables that are not there were not asked for.
    pub fn known_keys(&self) -> Vec<KnownKey> {
        self.shared.found.lock().unwrap_or_else(PoisonError::into_inner).known.values().cloned().collect()
    }

    /// Ends the reading of the file.
    ///
    /// # Errors
    /// All that was wrong, unknown keys included.
    pub fn finish(mut self) -> Result<(), ConfigErrors> {
        self.refuse_unknown();
        let mut errors = std::mem::take(&mut self.shared.found.lock().unwrap_or_else(PoisonError::into_inner).errors);
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by_key(|error| error.line.unwrap_or_default());
        Err(ConfigErrors(errors))
    }

    fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn value<T: FromValue>(&mut self, key: &str) -> Option<T> {
        match T::from_value(&self.table.get(key)?.value, &self.shared.origin) {
            Ok(value) => Some(value),
            Err(words) => {
                self.refuse(key, words);
                None
            }
        }
    }

    fn know(&mut self, key: &str, default: Option<String>, required: bool) {
        self.asked.push(key.to_owned());
        let path = if self.pattern.is_empty() { key.to_owned() } else { format!("{}.{key}", self.pattern) };
        let mut found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.known.entry(path.clone()).or_insert(KnownKey { path, default, required });
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn enter<R>(&mut self, name: &str, pattern: &str, node: Node, read: impl FnOnce(&mut Self) -> Option<R>) -> Option<R> {
        let Node { line, value: Value::Table(table) } = node else {
            let message = format!("must be a table, not {}", node.value.kind());
            let error = ConfigError { file: self.shared.origin.file.clone(), line: Some(node.line), key: self.join(name), message };
            self.shared.found.lock().unwrap_or_else(PoisonError::into_inner).errors.push(error);
            return None;
        };
        let pattern = if self.pattern.is_empty() { pattern.to_owned() } else { format!("{}.{pattern}", self.pattern) };
        let mut inner =
            Self { shared: Arc::clone(&self.shared), table, line: Some(line), path: self.join(name), pattern, asked: Vec::new() };
        let result = read(&mut inner);
        inner.refuse_unknown();
        result
    }

    fn refuse_unknown(&mut self) {
        let unknown: Vec<String> = self.table.keys().filter(|key| !self.asked.contains(key)).cloned().collect();
        for key in unknown {
            let message = match nearest(&key, self.asked.iter().map(String::as_str)) {
                Some(meant) => format!("is not known; did you mean `{meant}`?"),
                None => "is not known".to_owned(),
            };
            self.refuse(&key, message);
        }
    }
}

/// An error and its causes in one line.
pub(super) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(this) = cause {
        text.push_str(": ");
        text.push_str(&this.to_string());
        cause = this.source();
    }
    text
}
