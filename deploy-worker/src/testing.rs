//! Hosts for tests and for trying out: real `sshd`s on loopback.
//!
//! The server runs in mount and process namespaces of its own, so that the root folder has the same path on every host and
//! other files in it, and whatever runs on the host ends with it. Started by root, a host also has an account of its own
//! with a plain shell, which exists only inside the host. Started by anybody else, the account is the one that starts it.
//! Nothing of the machine is changed.
//!
//! A host ends when its value is dropped, and at the latest when the thread that started it ends: start it from the
//! runtime's main task, not from a blocking thread.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use signalbox_service::process::{Bounds, ProcessError, Program, Running};
use signalbox_service::testing::free_port;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// The account on a host that root starts.
const ACCOUNT: &str = "signalbox-host";

/// Its number, unless the machine has one like it.
const ACCOUNT_ID: u32 = 61_500;

const SSHD: &str = "/usr/sbin/sshd";

/// Prepares the namespaces and becomes the server. Its arguments are the host's folder, the server's program, the folder
/// in which all hosts publish, whether root starts it, the size of its disk if it has a small one, and the account's number.
const ENTER: &str = r#"set -e
mount --bind "$1/root" "$3"
[ -z "$5" ] || mount -t tmpfs -o "size=$5,mode=0755,uid=$6,gid=$6" none "$3"
if [ "$4" = yes ]; then
    mount -t tmpfs none /run
    mkdir -m 0755 /run/sshd /run/etc /run/etc/upper /run/etc/work
    install -m 0644 "$1/passwd" "$1/group" /run/etc/upper
    # A mount over a single file is dropped once another file is renamed into its place outside, as is done whenever the
    # machine gets an account; the host would forget its own. A folder's mount stays.
    mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work none /etc || {
        mount --bind "$1/passwd" /etc/passwd
        mount --bind "$1/group" /etc/group
    }
    exec "$2" -D -e -f "$1/sshd_config"
fi
# What made the namespaces possible must not help what runs on the host.
exec setpriv --ambient-caps -all --inh-caps -all "$2" -D -e -f "$1/sshd_config""#;

/// Why a host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A program that it needs is not there.
    #[error("there is no {0}; install openssh-server, openssh-client and util-linux")]
    Missing(&'static str),
    /// A file of its folder cannot be made.
    #[error("{path} cannot be made")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProcessError),
    /// The server did not start.
    #[error("sshd did not start: {0}")]
    NotStarted(String),
}

/// What is special about a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostOptions {
    /// The root folder lies on a disk in memory with this many bytes. Only root can start such a host.
    pub disk: Option<u64>,
    /// Every command that is run on the host is given to this program instead, in `SSH_ORIGINAL_COMMAND`.
    pub force_command: Option<PathBuf>,
}

/// A host that can be deployed to.
#[derive(Debug)]
pub struct Host {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The account.
    pub user: String,
    /// The private key that it takes. Hosts that were started in one folder take the same.
    pub key: PathBuf,
    /// The hosts' public keys; of all hosts that were started in the folder.
    pub known_hosts: PathBuf,
    /// The folder to publish in, as the host sees it: the same on all hosts that were started in one folder.
    pub root: PathBuf,
    /// The same folder, as it is seen from outside.
    pub files: PathBuf,
    /// The account's number.
    pub uid: u32,
    folder: PathBuf,
    options: HostOptions,
    logins: Arc<AtomicUsize>,
    running: Option<Running>,
}

impl Host {
    /// Starts a host of this name in a folder, which may hold several. The folder is made passable for everybody, since
    /// the account must reach what lies in it.
    ///
    /// # Errors
    /// When something is missing, or the server does not start.
    pub async fn start(folder: &Path, name: &str) -> Result<Self, HostError> {
        Self::start_with(folder, name, HostOptions::default()).await
    }

    /// The same, with something special.
    ///
    /// # Errors
    /// When something is missing, or the server does not start.
    pub async fn start_with(folder: &Path, name: &str, options: HostOptions) -> Result<Self, HostError> {
        if !Path::new(SSHD).exists() {
            return Err(HostError::Missing(SSHD));
        }
        let place = folder.join(name);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| HostError::Folder { path, source }
        };
        fs::create_dir_all(&place).map_err(failed(&place))?;
        for passable in [folder, &place] {
            fs::set_permissions(passable, Permissions::from_mode(0o711)).map_err(failed(passable))?;
        }
        let key = folder.join("key");
        if !key.exists() {
            generate_key(&key).await?;
        }
        let host_key = place.join("host_key");
        if !host_key.exists() {
            generate_key(&host_key).await?;
        }
        let me = rustix::process::geteuid();
        let (user, uid) = if me.is_root() { (ACCOUNT.to_owned(), free_id()) } else { (own_name().await?, me.as_raw()) };
        let (files, home) = (place.join("root"), place.join("home"));
        let root = folder.join("www");
        fs::create_dir_all(&root).map_err(failed(&root))?;
        for owned in [&files, &home] {
            fs::create_dir_all(owned).map_err(failed(owned))?;
            fs::set_permissions(owned, Permissions::from_mode(0o755)).map_err(failed(owned))?;
            if me.is_root() {
                chown(owned, Some(uid), Some(uid)).map_err(failed(owned))?;
            }
        }
        let port = free_port().port();
        let known_hosts = folder.join("known_hosts");
        let public = fs::read_to_string(host_key.with_extension("pub")).map_err(failed(&host_key))?;
        let words: Vec<&str> = public.split_whitespace().take(2).collect();
        let known = fs::read_to_string(&known_hosts).unwrap_or_default();
        write(&known_hosts, &format!("{known}[127.0.0.1]:{port} {}\n", words.join(" ")))?;
        let authorized = place.join("authorized_keys");
        fs::copy(key.with_extension("pub"), &authorized).map_err(failed(&authorized))?;
        write(&place.join("sshd_config"), &server_config(port, &host_key, &authorized, &options))?;
        if me.is_root() {
            let passwd = fs::read_to_string("/etc/passwd").map_err(failed(Path::new("/etc/passwd")))?;
            let entry = format!("{user}:x:{uid}:{uid}::{}:{}\n", home.display(), plain_shell());
            write(&place.join("passwd"), &format!("{passwd}{entry}"))?;
            let group = fs::read_to_string("/etc/group").map_err(failed(Path::new("/etc/group")))?;
            write(&place.join("group"), &format!("{group}{user}:x:{uid}:\n"))?;
        }
        let mut host =
            Self { port, user, key, known_hosts, root, files, uid, folder: place, options, logins: Arc::default(), running: None };
        host.up().await?;
        Ok(host)
    }

    /// Starts the server again after [`Host::down`], on the same port and with the same key.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn up(&mut self) -> Result<(), HostError> {
        let is_root = rustix::process::geteuid().is_root();
        let own_users: &[&str] = if is_root { &[] } else { &["--user", "--map-current-user", "--keep-caps"] };
        let program = Program::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare"])
            .args(own_users)
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "host"])
            .args([self.folder.as_os_str(), SSHD.as_ref(), self.root.as_os_str(), if is_root { "yes" } else { "no" }.as_ref()])
            .args([self.options.disk.map(|bytes| bytes.to_string()).unwrap_or_default(), self.uid.to_string()]);
        let mut running = program.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").start()?;
        let mut log = BufReader::new(running.stderr.take().ok_or_else(|| HostError::NotStarted("it has no log".to_owned()))?);
        let mut said = String::new();
        let listening = async {
            let mut line = String::new();
            while said.len() < 16 * 1024 && log.read_line(&mut line).await.is_ok_and(|count| count > 0) {
                said.push_str(&line);
                if line.contains("Server listening") {
                    return true;
                }
                line.clear();
            }
            false
        };
        let listening = tokio::time::timeout(Duration::from_secs(20), listening).await;
        if listening != Ok(true) {
            running.kill().await;
            return Err(HostError::NotStarted(said.trim().to_owned()));
        }
        let logins = Arc::clone(&self.logins);
        tokio::spawn(async move {
            // A server whose log is full would stop.
            let mut line = Vec::new();
            while log.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
                if line.starts_with(b"Accepted ") {
                    logins.fetch_add(1, Ordering::SeqCst);
                }
                line.clear();
            }
        });
        if self.options.disk.is_some() {
            self.files = PathBuf::from(format!("/proc/{}/root{}", running.id(), self.root.display()));
        }
        self.running = Some(running);
        Ok(())
    }

    /// How often somebody logged in so far.
    pub fn logins(&self) -> usize {
        self.logins.load(Ordering::SeqCst)
    }

    /// The processes of the sessions that stand now, as they are numbered outside of the host: those of the server for each, and what
    /// they run.
    pub fn session_processes(&self) -> Vec<u32> {
        let Some(running) = &self.running else { return Vec::new() };
        let parents: BTreeMap<u32, u32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let id = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                // The name stands in brackets and may hold anything; then come the state and the parent.
                let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
                Some((id, parent))
            })
            .collect();
        // The program that was started made the namespaces; its child is the server; all below that are sessions.
        let depth = |process: u32| {
            let ancestors = std::iter::successors(Some(process), |id| parents.get(id).copied());
            ancestors.take(64).position(|id| id == running.id())
        };
        parents.keys().copied().filter(|id| depth(*id).is_some_and(|depth| depth > 1)).collect()
    }

    /// Ends the server, and with it all that runs on the host.
    pub async fn down(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().await;
        }
    }

    /// The lines of the deployment worker's configuration that make an environment of hosts in one folder.
    pub fn environment(name: &str, hosts: &[(&str, &Self)], names: &[&str]) -> String {
        use std::fmt::Write as _;
        let mut text = format!("[environments.{name}]\n");
        let table = format!("[[environments.{name}.hosts]]");
        if let Some((_, first)) = hosts.first() {
            let root = first.root.display();
            let (key, known_hosts) = (first.key.display(), first.known_hosts.display());
            // Writing to a string cannot fail.
            let _ = writeln!(text, "root = \"{root}\"\nuser = \"{}\"\nkey = \"{key}\"\nknown_hosts = \"{known_hosts}\"", first.user);
        }
        let _ = writeln!(text, "names = {names:?}");
        for (name, host) in hosts {
            let _ = writeln!(text, "{table}\nname = \"{name}\"\naddress = \"127.0.0.1\"\nport = {}", host.port);
        }
        text
    }
}

fn server_config(port: u16, host_key: &Path, authorized: &Path, options: &HostOptions) -> String {
    let forced = options.force_command.as_ref().map(|program| format!("ForceCommand {}\n", program.display())).unwrap_or_default();
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey \"{}\"\nAuthorizedKeysFile \"{}\"\nPidFile none\nUsePAM no\nStrictModes no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin no\nPermitUserEnvironment no\nUseDNS no\nPrintMotd no\n\
         PrintLastLog no\nAllowTcpForwarding no\nX11Forwarding no\nMaxStartups 2000\nLogLevel INFO\n{forced}",
        host_key.display(),
        authorized.display()
    )
}

async fn generate_key(path: &Path) -> Result<(), HostError> {
    let program = Program::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "signalbox", "-f"]).arg(path);
    let output = program.env("PATH", "/usr/bin:/bin").run(Bounds::new(Duration::from_secs(20))).await?;
    if output.status.success() { Ok(()) } else { Err(HostError::NotStarted(crate::ssh::escape(&output.stderr))) }
}

/// The name of whoever runs this.
async fn own_name() -> Result<String, HostError> {
    let output = Program::new("id").arg("-un").env("PATH", "/usr/bin:/bin").run(Bounds::new(Duration::from_secs(20))).await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A number that no account of the machine has.
fn free_id() -> u32 {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let taken = |id: u32| passwd.lines().any(|line| line.split(':').nth(2) == Some(id.to_string().as_str()));
    (ACCOUNT_ID..ACCOUNT_ID + 1000).find(|id| !taken(*id)).unwrap_or(ACCOUNT_ID)
}

/// A shell that starts fast.
fn plain_shell() -> &'static str {
    if Path::new("/bin/dash").exists() { "/bin/dash" } else { "/bin/sh" }
}

fn write(path: &Path, text: &str) -> Result<(), HostError> {
    fs::write(path, text).map_err(|source| HostError::Folder { path: path.to_owned(), source })
}
