//! A real sshd on loopback, with keys of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Bounds, Program, Running};
use crate::testing::{eventually, free_port};

/// An sshd that lets in the user who runs the test, by one key. It ends when it is dropped.
#[derive(Debug)]
pub struct SshServer {
    address: SocketAddr,
    folder: PathBuf,
    user: String,
    _running: Running,
}

impl SshServer {
    /// Starts one, with everything that it needs in `folder`. `forced` is run whatever the client asks for.
    ///
    /// # Panics
    /// When OpenSSH's server is not installed or does not start.
    pub async fn start(folder: &Path, forced: Option<&str>) -> Self {
        let forced = forced.map(|command| format!("ForceCommand {command}\n")).unwrap_or_default();
        Self::start_with(folder, &format!("PasswordAuthentication no\nKbdInteractiveAuthentication no\n{forced}")).await
    }

    /// Starts one that takes no key, and wants a password.
    ///
    /// # Panics
    /// When OpenSSH's server is not installed or does not start.
    pub async fn start_for_passwords(folder: &Path) -> Self {
        Self::start_with(folder, "PubkeyAuthentication no\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes\n").await
    }

    #[expect(clippy::expect_used, reason = "a test without its server cannot go on")]
    async fn start_with(folder: &Path, settings: &str) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        // sshd insists on this folder, and only root can make it; without root it is not needed.
        let _ = std::fs::create_dir_all("/run/sshd");
        for key in ["host", "client", "stranger"] {
            let path = folder.join(key);
            run(Program::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"]).arg(&path)).await;
        }
        let user = run(Program::new("id").arg("-un")).await.trim().to_owned();
        let address = free_port();
        // Root may have a password asked for where there is nothing else.
        let root = if settings.contains("PubkeyAuthentication no") { "yes" } else { "prohibit-password" };
        let config = format!(
            "ListenAddress {address}\nHostKey \"{0}/host\"\nAuthorizedKeysFile \"{0}/client.pub\"\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin {root}\nLogLevel ERROR\n{settings}",
            folder.display()
        );
        std::fs::write(folder.join("sshd_config"), config).expect("a configuration");
        let known = std::fs::read_to_string(folder.join("host.pub")).expect("a host key");
        std::fs::write(folder.join("known_hosts"), format!("[127.0.0.1]:{0} {known}[git.invalid]:{0} {known}", address.port()))
            .expect("written");
        let stranger = std::fs::read_to_string(folder.join("stranger.pub")).expect("a key");
        std::fs::write(folder.join("wrong_hosts"), format!("[127.0.0.1]:{} {stranger}", address.port())).expect("written");
        let running =
            program("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(folder.join("sshd_config")).start().expect("sshd is installed");
        eventually("sshd listens", Duration::from_secs(20), || async { tokio::net::TcpStream::connect(address).await.ok() }).await;
        Self { address, folder: folder.to_owned(), user, _running: running }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The user who is let in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// One of the files: `client` (the key that is let in), `stranger` (one that is not), `known_hosts` (the right host
    /// key, also under the name `git.invalid`), `wrong_hosts` (another one).
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The URL of a repository by its path on this machine.
    ///
    /// # Panics
    /// When the path does not fit into a URL.
    #[expect(clippy::expect_used, reason = "a test names its own repositories")]
    pub fn url(&self, path: &Path) -> url::Url {
        url::Url::parse(&format!("ssh://{}@{}{}", self.user, self.address, path.display())).expect("a URL")
    }
}

fn program(path: &str) -> Program {
    Program::new(path).env("PATH", "/usr/bin:/bin")
}

#[expect(clippy::expect_used, reason = "a test that cannot make its keys cannot go on")]
async fn run(program: Program) -> String {
    let output = program.env("PATH", "/usr/bin:/bin").run(Bounds::new(Duration::from_mins(1))).await.expect("the program is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
