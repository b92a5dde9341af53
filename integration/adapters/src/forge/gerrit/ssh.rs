//! The one way in which ssh is started to Gerrit.
//!
//! No file of configuration, no agent, no key but the one that is named, no host key but the ones that are pinned.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use signalbox_service::process::Program;

use super::GerritSsh;

/// What is the same for every connection. A server that is silent for a minute and a half is gone.
const OPTIONS: &[&str] = &[
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=none",
    "UpdateHostKeys=no",
    "VerifyHostKeyDNS=no",
    "CheckHostIP=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "GSSAPIAuthentication=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "ControlMaster=no",
    "ControlPath=none",
    "ProxyCommand=none",
    "EscapeChar=none",
    "RequestTTY=no",
    "ConnectTimeout=15",
    "ServerAliveInterval=30",
    "ServerAliveCountMax=3",
    "TCPKeepAlive=yes",
];

/// A command for Gerrit, over ssh. What it is made of is checked before: nothing in it can be read as an option.
pub(super) fn command(ssh: &GerritSsh, user: &str, loquacity: &str, command: &[&str]) -> Program {
    client(ssh, user, loquacity).args(["--", &ssh.host]).args(command)
}

/// The client, with everything that stands before the host.
fn client(ssh: &GerritSsh, user: &str, loquacity: &str) -> Program {
    let mut program =
        Program::new("ssh").env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").args(["-F", "none", "-a", "-x", "-T"]);
    for option in OPTIONS {
        program = program.arg("-o").arg(option);
    }
    program
        .arg("-o")
        .arg(format!("LogLevel={loquacity}"))
        .arg("-o")
        .arg(with_path("IdentityFile=", &ssh.key))
        .arg("-o")
        .arg(with_path("UserKnownHostsFile=", &ssh.known_hosts))
        .args(["-p", &ssh.port.to_string(), "-l", user])
}

/// Whether a host's or user's name is plain enough for a command line.
pub(super) fn is_plain(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    !name.is_empty() && name.len() <= 253 && !name.starts_with('-') && name.bytes().all(fits)
}

/// A path as ssh's options take it: its own quotes around, and its percent signs doubled.
fn with_path(option: &str, path: &Path) -> OsString {
    let mut text = option.as_bytes().to_vec();
    text.push(b'"');
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' => text.extend_from_slice(b"%%"),
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', *byte]),
            _ => text.push(*byte),
        }
    }
    text.push(b'"');
    OsString::from_vec(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use signalbox_service::process::Bounds;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_says_nothing_is_asked_whether_it_lives_and_is_given_up_in_a_minute_and_a_half() {
        let ssh = GerritSsh { host: "gerrit.example".to_owned(), port: 29418, key: "/k%ey".into(), known_hosts: "/hosts".into() };
        // What ssh itself makes of the options, instead of connecting.
        let program = client(&ssh, "ci", "ERROR").args(["-G", "--", &ssh.host]);
        let told = program.run(Bounds::new(Duration::from_secs(20))).await.expect("ssh runs");
        let told = String::from_utf8_lossy(&told.stdout).to_lowercase();
        for line in ["serveraliveinterval 30", "serveralivecountmax 3", "tcpkeepalive yes", "stricthostkeychecking true"] {
            assert!(told.lines().any(|told| told == line), "{line}: {told}");
        }
    }
}
