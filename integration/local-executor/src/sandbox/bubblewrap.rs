//! bubblewrap's arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::workspace::Workspace;

/// Folders of the system that are links to others in most systems, and folders in some.
const SYSTEM: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What of `/etc` programs need to find themselves, their libraries and the authorities they believe. None of it tells who
/// uses the machine.
const ETC: [&str; 17] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "pki",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

/// Of `/etc` as well, for those who may use the network.
const ETC_NETWORK: [&str; 2] = ["resolv.conf", "gai.conf"];

/// The user that a build has inside where it is mapped by a user namespace.
pub(super) const MAPPED_USER: u32 = 1000;

/// Where the workspace is, inside.
pub(super) const BUILD: &str = "/build";
/// Where the control folder is, inside.
pub(super) const CONTROL: &str = "/run/signalbox";
/// Where the socket for a build's own uploads is, inside.
pub(super) const SOCKET: &str = "/run/signalbox.sock";

/// What is wanted of a sandbox.
pub(super) struct Wish<'a> {
    pub(super) workspace: &'a Workspace,
    /// The machine's user that the build becomes; none where the executor has no right to change it.
    pub(super) user: Option<u32>,
    pub(super) network: bool,
    pub(super) read_only: &'a [PathBuf],
    /// Bytes of memory that its temporary files may take.
    pub(super) tmp: u64,
    pub(super) socket: Option<&'a Path>,
    /// The descriptor with the system call filter.
    pub(super) filter: Option<&'a str>,
}

/// The arguments up to and with the `--` before the command, and, for a user of the machine's, what makes the change.
pub(super) fn arguments(wish: &Wish<'_>) -> Vec<OsString> {
    let mut line = Line::default();
    line.say(["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]);
    if !wish.network {
        line.say(["--unshare-net"]);
    }
    line.say(["--new-session", "--die-with-parent", "--hostname", "build", "--clearenv", "--cap-drop", "ALL"]);
    let mapped = MAPPED_USER.to_string();
    match wish.user {
        // What it needs to become another user; that change ends all of them.
        Some(_) => line.say(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]),
        None => line.say(["--unshare-user", "--uid", &mapped, "--gid", &mapped]),
    }
    if let Some(descriptor) = wish.filter {
        line.say(["--seccomp", descriptor]);
    }
    // Left to itself, bubblewrap makes what lies on the way closed to everybody else.
    for folder in ["/etc", "/home", "/run", "/var"] {
        line.say(["--perms", "0755", "--dir", folder]);
    }
    line.system(wish.network);
    for path in wish.read_only {
        line.bind("--ro-bind", path, path);
    }
    let control = wish.workspace.control();
    for name in ["passwd", "group", "hosts"] {
        line.bind("--ro-bind", &control.join(name), &Path::new("/etc").join(name));
    }
    line.say(["--proc", "/proc", "--dev", "/dev"]);
    let size = wish.tmp.to_string();
    for folder in ["/tmp", "/dev/shm"] {
        line.say(["--perms", "1777", "--size", &size, "--tmpfs", folder]);
    }
    line.say(["--symlink", "/tmp", "/var/tmp"]);
    line.bind("--ro-bind", &control, Path::new(CONTROL));
    if let Some(socket) = wish.socket {
        line.bind("--bind", socket, Path::new(SOCKET));
    }
    line.bind("--bind", &wish.workspace.home(), Path::new("/home/build"));
    line.bind("--bind", &wish.workspace.build(), Path::new(BUILD));
    // What holds all this is memory without a bound of its own; nothing is written there.
    line.say(["--remount-ro", "/dev", "--remount-ro", "/"]);
    // Whoever starts the build may not enter the workspace; the build itself does.
    line.say(["--chdir", "/"]);
    for (name, value) in super::launch::environment("/home/build") {
        line.say(["--setenv", name, &value]);
    }
    line.say(["--"]);
    if let Some(user) = wish.user {
        let user = user.to_string();
        line.say(["/usr/bin/setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "--no-new-privs"]);
        line.say(["--inh-caps=-all", "--bounding-set=-all", "--"]);
    }
    line.0
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn say<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        self.0.extend(words.into_iter().map(OsString::from));
    }

    fn bind(&mut self, how: &str, from: &Path, to: &Path) {
        self.0.extend([how.into(), from.into(), to.into()]);
    }

    fn system(&mut self, network: bool) {
        self.say(["--ro-bind", "/usr", "/usr"]);
        for path in SYSTEM {
            let Ok(metadata) = std::fs::symlink_metadata(path) else { continue };
            match std::fs::read_link(path) {
                Ok(target) => self.bind("--symlink", &target, Path::new(path)),
                Err(_) if metadata.is_dir() => self.say(["--ro-bind", path, path]),
                Err(_) => {}
            }
        }
        for name in ETC.iter().chain(ETC_NETWORK.iter().filter(|_| network)) {
            let path = format!("/etc/{name}");
            self.say(["--ro-bind-try", &path, &path]);
        }
    }
}
