//! The real GitLab Runner, at work for the fake GitLab.

use std::path::PathBuf;
use std::time::Duration;

use signalbox_service::process::{Bounds, Program};
use signalbox_service::secret::ExposeSecret as _;
use signalbox_service::testing::not_run;

use crate::gitlab::Gitlab;
use crate::missing::real;

impl Gitlab {
    /// Starts the real GitLab Runner, registered here. False where it cannot be had, which is said.
    ///
    /// # Panics
    /// When it does not start.
    #[expect(clippy::expect_used, reason = "a test whose runner does not start cannot go on")]
    pub async fn add_runner(&mut self) -> bool {
        let built = surroundings(Program::new(real("gitlab-runner-build"))).run(Bounds::new(Duration::from_mins(10))).await;
        let program = match built {
            Ok(output) if output.status.success() => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                PathBuf::from(said.lines().last().unwrap_or_default().trim())
            }
            other => {
                not_run(&format!("go, and Go's module proxy once ({other:?})"));
                return false;
            }
        };
        let config = self.folder.path().join("runner.toml");
        let token = self.fake.registration_token();
        let registered = surroundings(Program::new(&program))
            .env("HOME", self.folder.path())
            .args(["register", "--non-interactive", "--executor", "shell", "--name", "real", "--registration-token", token.expose_secret()])
            .args(["--url", &format!("{}/", self.fake.url())])
            .arg("--config")
            .arg(&config)
            .run(Bounds::new(Duration::from_mins(1)))
            .await
            .expect("it ends");
        assert!(registered.status.success(), "{}", String::from_utf8_lossy(&registered.stderr));
        let text = std::fs::read_to_string(&config).expect("its configuration");
        // It asks for jobs every second, and does four at a time.
        let text = text.replace("check_interval = 0", "check_interval = 1").replace("concurrent = 1", "concurrent = 4");
        std::fs::write(&config, text).expect("written");
        std::fs::create_dir_all(self.folder.path().join("work")).expect("a folder");
        std::fs::write(self.folder.path().join("runner"), program.as_os_str().as_encoded_bytes()).expect("written");
        self.runner_up();
        true
    }

    /// Starts the runner again after [`Self::kill_runner`].
    ///
    /// # Panics
    /// When there was none before.
    #[expect(clippy::expect_used, reason = "a test whose runner does not start cannot go on")]
    pub fn runner_up(&mut self) {
        let program = std::fs::read_to_string(self.folder.path().join("runner")).expect("it was there before");
        let log = self.folder.path().join("runner.log");
        let running = surroundings(Program::new("/bin/sh"))
            .env("HOME", self.folder.path())
            .args(["-c", "exec \"$0\" run --config \"$1\" --working-directory \"$2\" >>\"$3\" 2>&1", &program])
            .args([self.folder.path().join("runner.toml"), self.folder.path().join("work"), log])
            .start()
            .expect("it is started");
        self.runner = Some(running);
    }
}

/// What programs need of our environment: where programs and caches are, and how Go's module proxy is reached.
fn surroundings(mut program: Program) -> Program {
    const NAMES: [&str; 10] =
        ["PATH", "HOME", "XDG_CACHE_HOME", "GOPROXY", "GOFLAGS", "GOCACHE", "GOMODCACHE", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy"];
    for name in NAMES {
        if let Ok(value) = std::env::var(name) {
            program = program.env(name, value);
        }
    }
    program
}
