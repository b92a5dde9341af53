//! What Cargo knows of the workspace.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// The workspace's members and what they declare. The crates of the index are not looked at, so nothing is downloaded.
pub(crate) fn workspace() -> Result<Metadata> {
    MetadataCommand::new().no_deps().exec().context("asking cargo for the workspace")
}

/// The workspace's folder.
pub(crate) fn root() -> Result<PathBuf> {
    Ok(workspace()?.workspace_root.into_std_path_buf())
}

/// Runs the cargo that runs us, and answers what it printed.
pub(crate) fn run(arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    #[expect(clippy::disallowed_methods, reason = "a tool of the build runs the build's own program and links no service")]
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root()?)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("starting cargo")?;
    if !output.status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    String::from_utf8(output.stdout).context("cargo printed something that is not text")
}
