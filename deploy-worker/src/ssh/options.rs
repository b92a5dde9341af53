//! Whom to connect to, and with which words `ssh` is told so.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use signalbox_contract::HostName;

/// An account on a host, and what it takes to get there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The host's name or address.
    pub address: HostName,
    /// Its port.
    pub port: u16,
    /// The account.
    pub user: String,
    /// The private key.
    pub key: PathBuf,
    /// The hosts' public keys. No other host is spoken to.
    pub known_hosts: PathBuf,
}

/// A path that ssh would not take as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be UTF-8 without control characters, quotes, backslashes, `%`, `$` or a leading `~`, which ssh reads as something else")]
pub struct PathInvalid;

/// Checks that ssh takes a path as it stands: it expands `%`, `~` and `${}` in most of its options.
///
/// # Errors
/// When it would read it as something else.
pub fn check_path(path: &Path) -> Result<(), PathInvalid> {
    let text = path.to_str().ok_or(PathInvalid)?;
    let bad = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\' | '%' | '$');
    if text.is_empty() || text.starts_with('~') || text.contains(bad) { Err(PathInvalid) } else { Ok(()) }
}

/// What the connection runs on the host for as long as it lives: it says that the way is open all through, and ends with
/// its standard input, that is, with this process.
pub(super) const KEEPER: &str = "echo signalbox-ready; exec cat >/dev/null";

/// The line by which the keeper says that it runs.
pub(super) const READY: &[u8] = b"signalbox-ready\n";

/// The arguments with which `ssh` becomes a connection that others share through the socket.
pub(super) fn arguments(to: &Destination, socket: &Path, connect: Duration) -> Vec<OsString> {
    let quoted = |key: &str, path: &Path| {
        let mut text = OsString::from(key);
        text.push("=\"");
        text.push(path);
        text.push("\"");
        text
    };
    let mut all: Vec<OsString> = ["-F", "none", "-M", "-S"].map(Into::into).into();
    all.push(socket.into());
    for option in [
        // It must not go to the background, nor stay when its first session ends.
        "ControlPersist=no",
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "UpdateHostKeys=no",
        "VerifyHostKeyDNS=no",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey",
        "PasswordAuthentication=no",
        "KbdInteractiveAuthentication=no",
        "ConnectionAttempts=1",
        // A host that has gone is noticed within fifteen seconds, also in the middle of a transfer.
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "Tunnel=no",
        "PermitLocalCommand=no",
        "ProxyCommand=none",
        "ProxyJump=none",
        "CanonicalizeHostname=no",
        "EscapeChar=none",
        "RequestTTY=no",
        "Compression=no",
        "LogLevel=ERROR",
    ] {
        all.push("-o".into());
        all.push(option.into());
    }
    for option in [
        format!("ConnectTimeout={}", connect.as_secs().max(1)).into(),
        quoted("UserKnownHostsFile", &to.known_hosts),
        quoted("IdentityFile", &to.key),
    ] {
        all.push("-o".into());
        all.push(option);
    }
    all.extend(["-p".into(), to.port.to_string().into(), "-l".into(), to.user.clone().into()]);
    all.extend(["--".into(), to.address.as_str().into(), KEEPER.into()]);
    all
}
