//! `signalbox check-config`.

mod accord;

use std::path::{Path, PathBuf};

use anyhow::Result;
use signalbox_contract::token::Service;
use signalbox_service::config::{ConfigError, ConfigErrors, Inspected};
use signalbox_service::folder::DataFolder;

use accord::Checked;

use crate::install::config_file;
use crate::mistake::{Mistake, code};
use crate::output::Output;
use crate::services::{ALL, Configured};

/// Checks files, and folders of files, and reports everything that is wrong with all of them.
pub(crate) fn check_config(paths: &[PathBuf], service: Option<Service>, output: Output) -> Result<u8> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(files_of(path, service)?);
    }
    let mut errors = Vec::new();
    let mut checked = Vec::new();
    for (service, path) in &files {
        let Inspected { config, errors: ConfigErrors(mut found) } = Configured::inspect(*service, path);
        found.extend(config.as_ref().and_then(|configured| data_error(path, configured)));
        errors.extend(found.iter().cloned());
        checked.push(Checked { service: *service, path: path.clone(), config, errors: found });
    }
    errors.extend(accord::discords(&checked));
    let lines: Vec<serde_json::Value> = errors
        .iter()
        .map(|error| serde_json::json!({ "file": error.file, "line": error.line, "key": error.key, "message": error.message }))
        .collect();
    let document = serde_json::json!({ "files": files.iter().map(|(_, path)| path).collect::<Vec<_>>(), "errors": lines });
    output.show(&document, |_| {
        if errors.is_empty() {
            return format!("{} checked, nothing wrong", count(files.len(), "file"));
        }
        let found = errors.len();
        format!("{}\n{} in {}", ConfigErrors(errors), count(found, "error"), count(files.len(), "file"))
    })?;
    Ok(if lines.is_empty() { 0 } else { code::SETUP })
}

/// What is wrong with the data folder that a file names.
fn data_error(path: &Path, configured: &Configured) -> Option<ConfigError> {
    let error = DataFolder::check(&configured.common().data, configured.service().as_str()).err()?;
    let message = match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}. The service's own user must be able to; check as that user"),
        None => error.to_string(),
    };
    Some(ConfigError { file: path.display().to_string(), line: None, key: "data".to_owned(), message })
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The files that a path stands for, and the services that they are for.
fn files_of(path: &Path, service: Option<Service>) -> Result<Vec<(Service, PathBuf)>> {
    if path.is_dir() {
        let found: Vec<_> = ALL.iter().map(|service| (*service, config_file(path, *service))).filter(|(_, file)| file.is_file()).collect();
        if found.is_empty() {
            let words = format!("{} holds no configuration of a service; `signalbox init FOLDER` makes one", path.display());
            return Err(Mistake::setup(words).into());
        }
        return Ok(found);
    }
    if !path.exists() {
        let words = format!("{} is not there; give a configuration file, or a folder that `signalbox init` made", path.display());
        return Err(Mistake::setup(words).into());
    }
    let by_name = ALL.into_iter().find(|known| path.file_stem().is_some_and(|stem| stem == known.as_str()));
    let Some(service) = service.or(by_name) else {
        let words = format!("{} does not say by its name which service it is for; give --service", path.display());
        return Err(Mistake::usage(words).into());
    };
    Ok(vec![(service, path.to_owned())])
}
