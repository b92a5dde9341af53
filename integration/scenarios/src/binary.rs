//! The program under test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use signalbox_service::process::{Bounds, Program};
use tokio::sync::OnceCell;

/// The `signalbox` program, built from this workspace as it is now; or the one that `SIGNALBOX_PROGRAM` names.
///
/// # Panics
/// When it cannot be built.
#[expect(clippy::expect_used, reason = "without the program there is nothing to test")]
pub async fn program() -> &'static Path {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT
        .get_or_init(|| async {
            if let Some(program) = std::env::var_os("SIGNALBOX_PROGRAM") {
                return program.into();
            }
            let test = std::env::current_exe().expect("the test's own program");
            // .../target/PROFILE/deps/TEST, or .../target/PROFILE/PROGRAM
            let folder = test.parent().expect("a folder");
            let folder = if folder.ends_with("deps") { folder.parent().expect("the profile's folder") } else { folder }.to_owned();
            let target = folder.parent().expect("the target folder").to_owned();
            let mut cargo = Program::new(env!("CARGO"))
                .args(["build", "--quiet", "--package", "signalbox", "--bin", "signalbox", "--target-dir"])
                .arg(&target)
                .dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
            if folder.ends_with("release") {
                cargo = cargo.arg("--release");
            }
            for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "RUSTUP_AUTO_INSTALL", "RUSTFLAGS"] {
                if let Ok(value) = std::env::var(name) {
                    cargo = cargo.env(name, value);
                }
            }
            let built = cargo.run(Bounds::new(Duration::from_mins(20))).await.expect("cargo ends");
            assert!(built.status.success(), "signalbox is not built: {}", String::from_utf8_lossy(&built.stderr));
            folder.join("signalbox")
        })
        .await
}
