//! The environment that git runs in, made from nothing.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::remote::{Access, Remote};

/// Where git, ssh and what they start are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Configuration that every command gets, above whatever a repository's own file says.
const CONFIG: &[(&str, &str)] = &[
    // Nothing is run because a repository says so.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", "/bin/false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("credential.helper", ""),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("maintenance.auto", "false"),
    ("gc.auto", "0"),
    ("advice.detachedHead", "false"),
    // What comes in is checked. The three exceptions are old clients' harmless mistakes, found in most long histories.
    ("transfer.fsckObjects", "true"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("transfer.credentialsInUrl", "die"),
    ("transfer.bundleURI", "false"),
    ("protocol.version", "2"),
    // Every fetch is one pack, so that one limit on the size of a file bounds what a server can send.
    ("transfer.unpackLimit", "1"),
    // What git was asked for, and said is done, survives a power cut. Folders are synced by whoever asked.
    ("core.fsync", "objects,derived-metadata,reference"),
    // Memory: big blobs are streamed, and the caches for deltas stay small.
    ("core.bigFileThreshold", "16m"),
    ("core.deltaBaseCacheLimit", "48m"),
    ("pack.windowMemory", "64m"),
    ("pack.deltaCacheSize", "32m"),
    ("pack.threads", "2"),
];

/// Configuration for speaking HTTP.
const HTTP_CONFIG: &[(&str, &str)] = &[
    // A credential is not carried to where a server points.
    ("http.followRedirects", "false"),
    ("http.sslVersion", "tlsv1.2"),
    ("http.emptyAuth", "false"),
    ("http.proxy", ""),
    // A server that sends next to nothing for a minute is given up before the deadline.
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
];

/// Options of ssh that leave nothing to the machine's or a user's configuration.
const SSH_OPTIONS: &[&str] = &[
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
    "GSSAPIAuthentication=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "ProxyCommand=none",
    "ProxyJump=none",
    "ControlMaster=no",
    "ControlPath=none",
    "CanonicalizeHostname=no",
    "Tunnel=no",
    "ConnectTimeout=20",
    "ServerAliveInterval=20",
    "ServerAliveCountMax=3",
    "LogLevel=ERROR",
];

/// What is left of an environment for git.
pub(super) type Environment = Vec<(String, OsString)>;

/// What all commands share.
pub(super) fn base(home: &Path) -> Environment {
    let fixed = [
        ("PATH", PATH),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "/bin/false"),
        ("SSH_ASKPASS", "/bin/false"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TEMPLATE_DIR", ""),
    ];
    let mut environment: Environment = fixed.iter().map(|(key, value)| ((*key).to_owned(), OsString::from(value))).collect();
    environment.push(("HOME".to_owned(), home.into()));
    environment
}

/// For work that speaks with nobody: no protocol is allowed.
pub(super) fn local() -> Environment {
    // An empty list would mean that nothing was said; a name that no protocol has allows none.
    let mut environment = vec![("GIT_ALLOW_PROTOCOL".to_owned(), OsString::from("none"))];
    configure(&mut environment, CONFIG.iter().map(|(key, value)| ((*key).to_owned(), OsString::from(value))));
    environment
}

/// For work with `remote`: its protocol, its credential, its addresses.
pub(super) fn toward(remote: &Remote) -> Environment {
    let mut environment = vec![("GIT_ALLOW_PROTOCOL".to_owned(), OsString::from(remote.url().scheme()))];
    let mut config: Environment = CONFIG.iter().map(|(key, value)| ((*key).to_owned(), OsString::from(value))).collect();
    if remote.url().scheme() == "ssh" {
        environment.push(("GIT_SSH_COMMAND".to_owned(), ssh_command(remote)));
        environment.push(("GIT_SSH_VARIANT".to_owned(), "ssh".into()));
    } else {
        config.extend(HTTP_CONFIG.iter().map(|(key, value)| ((*key).to_owned(), OsString::from(value))));
        let (host, port) = (remote.url().host_str().unwrap_or_default(), remote.port());
        if let Some(header) = remote.authorization() {
            let key = format!("http.{}://{host}:{port}/.extraHeader", remote.url().scheme());
            config.push((key, header.expose_secret().into()));
        }
        if let Some(resolve) = curl_resolve(remote, host, port) {
            config.push(("http.curloptResolve".to_owned(), resolve.into()));
        }
        if let Some(ca) = remote.ca_file() {
            config.push(("http.sslCAInfo".to_owned(), ca.into()));
        }
    }
    configure(&mut environment, config);
    environment
}

/// `HOST:PORT:ADDRESS,ADDRESS`, as curl wants it: the name is not looked up again.
fn curl_resolve(remote: &Remote, host: &str, port: u16) -> Option<String> {
    // An address needs no looking up, and curl takes none for it.
    if !matches!(remote.url().host(), Some(url::Host::Domain(_))) || remote.addresses().is_empty() {
        return None;
    }
    let addresses: Vec<String> =
        remote.addresses().iter().map(|address| if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }).collect();
    Some(format!("{host}:{port}:{}", addresses.join(",")))
}

/// `GIT_SSH_COMMAND` goes through a shell: everything in it is quoted.
fn ssh_command(remote: &Remote) -> OsString {
    let mut command = OsString::from("ssh -F none -a -x");
    for option in SSH_OPTIONS {
        command.push(" -o");
        command.push(option);
    }
    let mut option = |name: &str, value: &std::ffi::OsStr| {
        command.push(" -o");
        command.push(quote(&[std::ffi::OsStr::new(&format!("{name}=")), value]));
    };
    match remote.access_kind() {
        Access::SshKey { key, known_hosts } => {
            option("IdentityFile", ssh_path(key).as_ref());
            option("UserKnownHostsFile", ssh_path(known_hosts).as_ref());
        }
        // No key, and nobody is believed: the connection is refused with words that say so.
        Access::Anonymous | Access::Bearer(_) | Access::Basic { .. } => {
            option("IdentityFile", "none".as_ref());
            option("UserKnownHostsFile", "/dev/null".as_ref());
        }
    }
    if let Some(address) = remote.addresses().first() {
        // The checked address is used, and the host key is still looked up under the name.
        let host = remote.url().host_str().unwrap_or_default().trim_matches(['[', ']']);
        let mut alias = host.to_owned();
        if remote.port() != 22 {
            alias.clear();
            let _ = write!(alias, "[{host}]:{}", remote.port());
        }
        option("HostName", address.to_string().as_ref());
        option("HostKeyAlias", alias.as_ref());
    }
    command
}

/// A path as ssh's options take it: its own quotes around, and its percent signs doubled.
fn ssh_path(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut quoted = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' => quoted.extend_from_slice(b"%%"),
            b'"' | b'\\' => quoted.extend_from_slice(&[b'\\', *byte]),
            _ => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    OsString::from_vec(quoted)
}

/// The parts as one word of a POSIX shell.
fn quote(parts: &[&std::ffi::OsStr]) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut word = vec![b'\''];
    for byte in parts.iter().flat_map(|part| part.as_bytes()) {
        if *byte == b'\'' {
            word.extend_from_slice(b"'\\''");
        } else {
            word.push(*byte);
        }
    }
    word.push(b'\'');
    OsString::from_vec(word)
}

/// Configuration by the environment: above all files, and invisible to other users, as arguments are not.
fn configure(environment: &mut Environment, config: impl IntoIterator<Item = (String, OsString)>) {
    let mut count = 0;
    for (key, value) in config {
        environment.push((format!("GIT_CONFIG_KEY_{count}"), key.into()));
        environment.push((format!("GIT_CONFIG_VALUE_{count}"), value));
        count += 1;
    }
    environment.push(("GIT_CONFIG_COUNT".to_owned(), count.to_string().into()));
}
