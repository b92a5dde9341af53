//! Configuration: one TOML file a service.
//!
//! A [`Reader`] takes a table's keys one by one and goes on after an error, so that all errors of a file come at once,
//! each with its line and its key. A key that nobody asked for is an error too. Secrets stand in files of their own;
//! the configuration only names them.

mod common;
mod error;
mod file;
mod reader;
mod value;

#[cfg(test)]
mod tests;

pub use common::{Common, TlsFiles};
pub use error::{ConfigError, ConfigErrors};
pub use file::{ConfigFile, Inspected, inspect};
pub use reader::{KnownKey, Reader};
pub use value::{Bytes, FromValue, Origin, Value};
