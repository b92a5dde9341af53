//! What is kept where something was not right, so that it can be found out why.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Keeps the logs, configurations and databases of the services of a site, and says where. Keys and secrets stay where they are, and
/// go with the site.
pub(crate) fn kept(site: &Path) -> String {
    match keep(site) {
        Ok(folder) => format!("the logs and databases of the services are kept in {}", folder.display()),
        Err(error) => format!("the logs and databases of the services could not be kept: {error}"),
    }
}

fn keep(site: &Path) -> io::Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("signalbox-prove-").tempdir()?;
    let mut wanted = files(site, &["log", "toml"])?;
    for service in fs::read_dir(site.join("data"))? {
        wanted.extend(files(&service?.path(), &["db", "db-wal"])?);
    }
    for file in wanted {
        if let Some(name) = file.file_name() {
            fs::copy(&file, folder.path().join(name))?;
        }
    }
    Ok(folder.keep())
}

/// The files of a folder whose names end so.
fn files(folder: &Path, endings: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_file() && endings.contains(&ending) {
            found.push(path);
        }
    }
    Ok(found)
}
