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

/// The cargo that runs us, in the workspace's folder.
fn cargo(arguments: &[&str]) -> Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    #[expect(clippy::disallowed_methods, reason = "a tool of the build runs the build's own program and links no service")]
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root()?);
    Ok(command)
}

/// Runs it, and lets it say itself what it has to say.
pub(crate) fn show(arguments: &[&str]) -> Result<()> {
    let status = cargo(arguments)?.status().context("starting cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}

/// Runs it, and answers what it printed.
pub(crate) fn run(arguments: &[&str]) -> Result<String> {
    let output = cargo(arguments)?.stderr(std::process::Stdio::inherit()).output().context("starting cargo")?;
    if !output.status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    String::from_utf8(output.stdout).context("cargo printed something that is not text")
}
