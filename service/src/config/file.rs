//! The file of a configuration: read as far as it goes, and looked at again.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use signalbox_contract::Digest;

use super::error::{ConfigError, ConfigErrors};
use super::reader::Reader;
use crate::auth::sha256;

/// The largest configuration that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The file that a configuration was read from, and what stood in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    path: PathBuf,
    digest: Digest,
}

impl ConfigFile {
    pub(super) fn new(path: PathBuf, text: &str) -> Self {
        Self { path, digest: sha256(text.as_bytes()) }
    }

    /// The file's name, without where it lies.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(|| "the configuration".to_owned(), |name| name.display().to_string())
    }

    /// Whether something else stands in it by now. One that cannot be read any more says nothing.
    pub fn changed(&self) -> bool {
        read(&self.path).is_ok_and(|bytes| sha256(&bytes) != self.digest)
    }
}

/// What came of reading a configuration.
#[derive(Debug)]
pub struct Inspected<C> {
    /// The configuration, as far as it could be read. Where there are errors, it says nothing of what they are about.
    pub config: Option<C>,
    /// All that is wrong with it.
    pub errors: ConfigErrors,
}

impl<C> Inspected<C> {
    /// The configuration, if nothing is wrong with it.
    ///
    /// # Errors
    /// All that is wrong with it at once.
    pub fn whole(self) -> Result<C, ConfigErrors> {
        // A reader that recorded no error has given every value.
        if self.errors.0.is_empty() { self.config.ok_or(self.errors) } else { Err(self.errors) }
    }
}

/// Reads a file by `read`, to its end, whatever is wrong with it, and then tries by `tried` what the file only names.
pub fn inspect<C>(path: &Path, read: impl FnOnce(&mut Reader) -> Option<C>, tried: impl FnOnce(&mut Reader)) -> Inspected<C> {
    match Reader::open(path) {
        Err(errors) => Inspected { config: None, errors },
        Ok(mut reader) => {
            let config = read(&mut reader);
            tried(&mut reader);
            Inspected { config, errors: reader.finish().err().unwrap_or_else(|| ConfigErrors(Vec::new())) }
        }
    }
}

/// A file's text.
pub(super) fn text(path: &Path) -> Result<String, ConfigErrors> {
    let whole =
        |message: String| ConfigErrors(vec![ConfigError { file: path.display().to_string(), line: None, key: String::new(), message }]);
    let bytes = read(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(whole("is larger than 1 MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| whole("is not UTF-8".to_owned()))
}

/// A file's bytes, of one that is too large as many as show that.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
