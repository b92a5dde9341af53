//! The scripts of `ops/` on a machine that has nothing yet.

#![expect(clippy::expect_used, reason = "what a test needs and does not get ends it")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

/// Runs a script with these programs alone on its path.
#[expect(clippy::disallowed_methods, reason = "a tool of the build runs the build's own scripts and links no service")]
fn run(script: &str, programs: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    for program in programs {
        let place = ["/usr/bin", "/bin"].iter().map(|place| Path::new(place).join(program)).find(|path| path.exists());
        symlink(place.expect("every machine has it"), folder.path().join(program)).expect("linked");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(script);
    Command::new("/bin/bash").arg(script).env_clear().env("PATH", folder.path()).env("HOME", folder.path()).output().expect("it runs")
}

#[test]
fn all_packages_that_are_missing_are_named_at_once() {
    // There is no apt-get among them, so that nothing is installed.
    let given = ["dirname", "readlink", "id", "sort"];
    for (script, packages) in [
        ("ops/try", ["gcc", "git", "bubblewrap", "openssh-client", "curl"].as_slice()),
        ("ops/test", &["gcc", "make", "git", "bubblewrap", "openssh-client", "curl", "chromium", "chromium-driver"]),
    ] {
        let output = run(script, &given);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{script}: {said}");
        let named =
            said.lines().find_map(|line| line.strip_prefix("These Debian packages are missing: ")).unwrap_or_else(|| panic!("{said}"));
        let named: Vec<&str> = named.split('.').next().unwrap_or_default().split(' ').collect();
        for package in packages {
            assert!(named.contains(package), "{script} names {package}: {said}");
        }
        assert!(said.contains("sudo apt-get install gcc") || said.contains("sudo apt-get install bubblewrap"), "{script}: {said}");
    }
}

#[test]
fn a_machine_without_rust_is_told_where_to_get_it() {
    let given = ["dirname", "readlink", "id", "sort", "git", "curl", "ssh"];
    let stand_in = "set -e; cd \"$1\"; . ops/set-up.sh; require_cargo";
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("script");
    std::fs::write(&script, stand_in.replace("\"$1\"", &format!("'{}/../..'", env!("CARGO_MANIFEST_DIR")))).expect("written");
    let output = run(script.to_str().expect("a path"), &given);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("There is no Rust toolchain") && said.contains("rustup.rs"), "{said}");
}
