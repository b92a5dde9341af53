//! `docs/api/*.json`: the services' interfaces and the schema of `.signalbox.yaml`, written from the code and kept in the tree, so that a change of an
//! interface is seen in its review.

use anyhow::{Context as _, Result};

use crate::cargo;

/// The services that have an interface.
const SERVICES: [&str; 5] = ["controller", "vcs-worker", "artifact-store", "deploy-worker", "local-executor"];

/// The schema of `.signalbox.yaml`.
const SCHEMA: &str = "signalbox.schema.json";

/// Writes the files, or compares them.
pub(crate) fn run(check: bool) -> Result<Vec<String>> {
    let folder = cargo::root()?.join("docs/api");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut faults = Vec::new();
    let interfaces = SERVICES.iter().map(|service| (format!("{service}.json"), vec!["openapi", service]));
    for (file, asked) in interfaces.chain([(SCHEMA.to_owned(), vec!["schema"])]) {
        let path = folder.join(&file);
        let text = cargo::run(&[&["run", "--quiet", "--package", "signalbox", "--"], asked.as_slice()].concat())?;
        if !check {
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            faults.push(format!("docs/api/{file} is not what the code says; run `cargo xtask openapi`"));
        }
    }
    Ok(faults)
}
