//! What an environment is: its hosts, the account there, the root folder, and what may be published under it. Only the
//! worker's own configuration says so; no request can widen it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use signalbox_contract::grant::Glob;
use signalbox_contract::{EnvironmentName, HostName, PublishedName};
use signalbox_service::config::{FromValue, Origin, Reader, Value};
use signalbox_service::ssh;

use crate::ssh::{Destination, check_path, escape};

/// The most hosts that an environment may have.
pub const MAX_HOSTS: usize = 2000;

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// Its hosts, in the order of the configuration.
    pub hosts: Vec<Host>,
    /// The folder on each host under which artifacts are published.
    pub root: RootFolder,
    /// The names under which something may be published.
    pub names: Vec<Glob>,
    /// How many releases of a name are kept on a host, the one that is shown included.
    pub keep: u32,
    /// The permissions of a published file.
    pub file_mode: FileMode,
}

impl Environment {
    /// Whether something may be published under this name.
    pub fn allows(&self, name: &PublishedName) -> bool {
        self.names.iter().any(|glob| glob.matches(name.as_str()))
    }
}

/// A host of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name in the environment.
    pub name: HostName,
    /// The account on it and the way there. Hosts of several environments with the same one share a connection.
    pub destination: Arc<Destination>,
}

/// A folder on a host: an absolute path of plain parts that is no folder of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFolder(String);

impl RootFolder {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Folders that belong to the system with all that is in them.
const SYSTEM_TREES: [&str; 11] = ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys"];

/// Folders that hold other things than what is published, but may hold a folder for it.
const SYSTEM_FOLDERS: [&str; 20] = [
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/root/.ssh",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/spool",
];

impl std::str::FromStr for RootFolder {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let Some(parts) = text.strip_prefix('/') else {
            return Err("must be an absolute path, on the hosts");
        };
        if text.len() > 200 {
            return Err("is longer than 200 characters");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@~".contains(&byte);
        let part_ok = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.starts_with('-') && part.bytes().all(plain);
        if !parts.split('/').all(part_ok) {
            return Err("must be a path of plain parts: letters, digits and . _ - + @ ~, without .. or a slash at its end");
        }
        if SYSTEM_FOLDERS.contains(&text) || SYSTEM_TREES.iter().any(|tree| text == *tree || text.starts_with(&format!("{tree}/"))) {
            return Err("is a folder of the system; give one that is for what is published");
        }
        if parts.split('/').any(|part| part == ".signalbox" || part == ".ssh") {
            return Err("must not lie in a folder .signalbox or .ssh");
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromValue for RootFolder {
    fn from_value(value: &Value, origin: &Origin) -> Result<Self, String> {
        String::from_value(value, origin)?.parse().map_err(str::to_owned)
    }

    fn written(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// The permissions of a published file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// `0644`: everybody may read it.
    Readable,
    /// `0755`: everybody may read it and run it.
    Runnable,
}

impl FileMode {
    /// The digits.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Readable => "0644",
            Self::Runnable => "0755",
        }
    }
}

impl FromValue for FileMode {
    fn from_value(value: &Value, origin: &Origin) -> Result<Self, String> {
        match String::from_value(value, origin)?.as_str() {
            "0644" => Ok(Self::Readable),
            "0755" => Ok(Self::Runnable),
            _ => Err("must be \"0644\" or \"0755\"".to_owned()),
        }
    }

    fn written(&self) -> String {
        format!("\"{}\"", self.as_str())
    }
}

/// The name of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account(String);

impl FromValue for Account {
    fn from_value(value: &Value, origin: &Origin) -> Result<Self, String> {
        let text = String::from_value(value, origin)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if !starts || text.len() > 32 || !text.bytes().all(plain) {
            return Err("must be an account's name: up to 32 lower-case letters, digits and _ - . that begin with a letter".to_owned());
        }
        Ok(Self(text))
    }

    fn written(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// What the hosts of an environment have in common.
struct Login {
    user: String,
    key: PathBuf,
    known_hosts: PathBuf,
    port: u16,
}

impl Environment {
    /// Reads one environment's table.
    pub fn read(name: &str, reader: &mut Reader) -> Option<Self> {
        let environment = match name.parse::<EnvironmentName>() {
            Ok(name) => Some(name),
            Err(invalid) => {
                reader.refuse("", format!("its name {}", invalid.rule));
                None
            }
        };
        let root: Option<RootFolder> = reader.required("root");
        let login = read_login(reader);
        let names: Option<Vec<Glob>> = reader.required("names");
        if names.as_ref().is_some_and(Vec::is_empty) {
            reader.refuse("names", "must have at least one name or pattern");
        }
        let keep = reader.within("keep", 5, 1..=50);
        let file_mode = reader.or("file_mode", FileMode::Readable);
        let hosts = read_hosts(reader, login.as_ref());
        Some(Self { name: environment?, hosts: hosts?, root: root?, names: names?, keep, file_mode })
    }
}

fn read_login(reader: &mut Reader) -> Option<Login> {
    let user: Option<Account> = reader.required("user");
    let key = read_path(reader, "key");
    if let Some(key) = &key {
        ssh::check_key(reader, "key", key);
    }
    let known_hosts = read_path(reader, "known_hosts");
    let port = reader.within("port", 22, 1..=u16::MAX);
    Some(Login { user: user?.0, key: key?, known_hosts: known_hosts?, port })
}

fn read_path(reader: &mut Reader, key: &'static str) -> Option<PathBuf> {
    let path: PathBuf = reader.required(key)?;
    if let Err(invalid) = check_path(&path) {
        reader.refuse(key, invalid.to_string());
        return None;
    }
    Some(path)
}

/// An entry of `hosts`: a name, or a table with `name`, `address` and `port`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostEntry {
    name: HostName,
    address: HostName,
    port: Option<u16>,
}

impl FromValue for HostEntry {
    fn from_value(value: &Value, origin: &Origin) -> Result<Self, String> {
        if matches!(value, Value::Text(_)) {
            let name = HostName::from_value(value, origin)?;
            return Ok(Self { address: name.clone(), name, port: None });
        }
        if !matches!(value, Value::Table(_)) {
            return Err(format!("must be a host's name, or a table with name, address and port, not {}", value.kind()));
        }
        let mut table = BTreeMap::<String, Unread>::from_value(value, origin)?;
        let at = |key: &'static str| move |words: String| format!("has a key `{key}` that {words}");
        let mut host = |key| table.remove(key).map(|value| HostName::from_value(&value.0, origin).map_err(at(key))).transpose();
        let (name, address) = (host("name")?, host("address")?);
        let port = table.remove("port").map(|value| u16::from_value(&value.0, origin).map_err(at("port"))).transpose()?;
        if port == Some(0) {
            return Err("has a key `port` that must not be 0".to_owned());
        }
        if let Some(unknown) = table.keys().next() {
            return Err(format!("has a key `{}`, which is not known", escape(unknown.as_bytes())));
        }
        let name = name.ok_or("has no key `name`")?;
        Ok(Self { address: address.unwrap_or_else(|| name.clone()), name, port })
    }

    fn written(&self) -> String {
        format!("\"{}\"", self.name)
    }
}

/// A value as it stands there, to be read later.
struct Unread(Value);

impl FromValue for Unread {
    fn from_value(value: &Value, _origin: &Origin) -> Result<Self, String> {
        Ok(Self(value.clone()))
    }

    fn written(&self) -> String {
        String::new()
    }
}

fn read_hosts(reader: &mut Reader, login: Option<&Login>) -> Option<Vec<Host>> {
    let entries: Vec<HostEntry> = reader.required("hosts")?;
    if entries.is_empty() || entries.len() > MAX_HOSTS {
        reader.refuse("hosts", format!("must name between 1 and {MAX_HOSTS} hosts"));
        return None;
    }
    let mut seen = std::collections::HashSet::new();
    if let Some(double) = entries.iter().find(|entry| !seen.insert(entry.name.as_str().to_ascii_lowercase())) {
        reader.refuse("hosts", format!("names {} twice", double.name));
        return None;
    }
    let login = login?;
    let host = |entry: HostEntry| Host {
        name: entry.name,
        destination: Arc::new(Destination {
            address: entry.address,
            port: entry.port.unwrap_or(login.port),
            user: login.user.clone(),
            key: login.key.clone(),
            known_hosts: login.known_hosts.clone(),
        }),
    };
    let hosts: Vec<Host> = entries.into_iter().map(host).collect();
    let servers = hosts.iter().map(|host| (host.destination.address.as_str(), host.destination.port));
    ssh::check_known_hosts(reader, "known_hosts", &login.known_hosts, servers);
    Some(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threat 47.
    #[test]
    fn a_root_that_would_harm_the_host_is_refused() {
        for root in
            ["", "/", "srv/www", "/srv/../etc", "/etc", "/etc/nginx", "/usr", "/srv/", "/srv//www", "/srv/www;id", "/a b", "/a'b", "/-x"]
        {
            assert!(root.parse::<RootFolder>().is_err(), "{root:?}");
        }
        for root in ["/home/deploy/.ssh", "/srv/www/.signalbox/x", "/root/.ssh", "/tmp", "/proc/self", "/a\nb", "/é"] {
            assert!(root.parse::<RootFolder>().is_err(), "{root:?}");
        }
        for root in ["/srv/www", "/var/www/html", "/home/deploy/public", "/opt/app-1.0"] {
            assert!(root.parse::<RootFolder>().is_ok(), "{root:?}");
        }
    }
}
