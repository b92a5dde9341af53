//! Parts that a machine may lack.

use std::path::Path;

use signalbox_service::testing::not_run;

/// Whether these programs are on the path. Where one is missing, that is said, and the scenario is not run; where `CI` is set
/// that is a failure.
///
/// # Panics
/// When one is missing although `CI` is set.
pub fn has(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !there(program)).collect();
    missing.is_empty() || {
        not_run(&missing.join(", "));
        false
    }
}

/// The programs in `integration/scenarios/real`.
pub(crate) fn real(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("real").join(name)
}
