//! Running one thing on a host and hearing what it says.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use openssh::{Error, Stdio};
use signalbox_service::process::Tail;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::SshError;
use super::connection::Connection;

/// How much of what a host complains of is kept.
const COMPLAINT: usize = 16 * 1024;

/// How much it may complain at all before it is cut off.
const COMPLAINTS: usize = 1024 * 1024;

/// How often a host may refuse a session before the connection is given up, and how long is waited in between.
const REFUSALS: u32 = 40;
const REST: Duration = Duration::from_millis(25);

/// What a command on the host reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// Nothing.
    Nothing,
    /// A file. The connection's process reads it by itself; its bytes do not pass through this one.
    File(PathBuf),
}

/// A script for the host's POSIX shell.
#[derive(Debug)]
pub struct Remote<'a> {
    /// The script.
    pub script: &'a str,
    /// Its arguments. Each arrives as it is, whatever is in it.
    pub args: &'a [String],
    /// What it reads.
    pub input: Input,
    /// How many bytes it may print.
    pub stdout: usize,
    /// How long it may take.
    pub limit: Duration,
    /// What it does, for the message when it takes longer: `switching`.
    pub doing: &'static str,
}

/// What a host said.
#[derive(Debug)]
pub struct Heard {
    /// What it printed.
    pub stdout: Vec<u8>,
    /// The end of what it printed on standard error.
    pub stderr: Vec<u8>,
    /// Whether the script ended well.
    pub success: bool,
}

/// What became of an exchange.
pub(super) enum Exchange {
    /// There is an answer or an error that stands.
    Settled(Result<Heard, SshError>),
    /// The script, or a program that it ran, was killed by a signal: this is what it had said until then. The connection stands.
    Killed(Heard),
    /// The connection is dead. Nothing is known of the script.
    Dead,
}

/// Runs a script over a connection. Dropping the future closes the script's streams on the host.
pub(super) async fn exchange(connection: &Connection, remote: &Remote<'_>) -> Exchange {
    let late = || SshError::Late { doing: remote.doing, after: remote.limit };
    match tokio::time::timeout(remote.limit, hear(connection, remote)).await {
        Ok(exchange) => exchange,
        Err(_) => Exchange::Settled(Err(late())),
    }
}

async fn hear(connection: &Connection, remote: &Remote<'_>) -> Exchange {
    let _permit = match connection.permit().await {
        Ok(permit) => permit,
        Err(error) => return Exchange::Settled(Err(error)),
    };
    connection.touch();
    let stdin = match &remote.input {
        Input::Nothing => Stdio::null(),
        Input::File(path) => match File::open(path) {
            Ok(file) => Stdio::from(file),
            Err(source) => return Exchange::Settled(Err(SshError::Local { path: path.clone(), source })),
        },
    };
    let mut command = connection.session().arc_command("sh");
    // The first argument after the script is its `$0`.
    command.arg("-c").arg(remote.script).arg("signalbox").args(remote.args);
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut refused = 0;
    let mut child = loop {
        match command.spawn().await {
            Ok(child) => break child,
            // The host counts a session that has just ended for a moment longer than we do.
            Err(Error::SshMux(_)) if refused < REFUSALS && connection.session().check().await.is_ok() => {
                refused += 1;
                tokio::time::sleep(REST).await;
            }
            Err(error) => return failed(&error),
        }
    };
    // The command holds our copy of the input's descriptor.
    drop(command);
    let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
    let (stdout, stderr) = match tokio::try_join!(collect(stdout, remote.stdout), complain(stderr)) {
        Ok(both) => both,
        Err(error) => return Exchange::Settled(Err(error)),
    };
    let status = child.wait().await;
    connection.touch();
    match status {
        // 255 is what ssh itself answers when it failed, so it says nothing of the script.
        Ok(status) if status.code() == Some(255) && stdout.is_empty() => Exchange::Dead,
        // A shell says 128 and the signal's number of what was killed under it, be that all of the script or a program in it.
        Ok(status) if status.code().is_some_and(|code| (129..=128 + 64).contains(&code)) => {
            Exchange::Killed(Heard { stdout, stderr, success: false })
        }
        Ok(status) => Exchange::Settled(Ok(Heard { stdout, stderr, success: status.success() })),
        // A script that was killed by a signal looks like a connection that is gone. Asking it tells.
        Err(Error::RemoteProcessTerminated | Error::Disconnected) if connection.session().check().await.is_ok() => {
            Exchange::Killed(Heard { stdout, stderr, success: false })
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Exchange {
    match error {
        Error::Remote(_) => Exchange::Settled(Err(SshError::NoShell)),
        // Everything else is a connection that cannot be used: its process is gone, or refuses more sessions.
        error => {
            tracing::debug!(error = %error, "ssh.connection_dead");
            Exchange::Dead
        }
    }
}

async fn collect(stream: Option<impl AsyncRead + Unpin>, limit: usize) -> Result<Vec<u8>, SshError> {
    let mut all = Vec::new();
    if let Some(stream) = stream {
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        // A stream that breaks ends; the script's end tells why.
        let _ = stream.take(most).read_to_end(&mut all).await;
    }
    if all.len() > limit { Err(SshError::TooMuch { limit }) } else { Ok(all) }
}

async fn complain(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, SshError> {
    let mut tail = Tail::new(COMPLAINT);
    if let Some(mut stream) = stream {
        let (mut total, mut chunk) = (0_usize, [0; 4096]);
        while let Ok(count) = stream.read(&mut chunk).await {
            if count == 0 {
                break;
            }
            total += count;
            if total > COMPLAINTS {
                return Err(SshError::TooMuch { limit: COMPLAINTS });
            }
            tail.push(&chunk[..count]);
        }
    }
    Ok(tail.into_bytes())
}
