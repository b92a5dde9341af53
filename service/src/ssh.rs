//! The files that `ssh` takes to log in somewhere, as far as can be told of them without asking anybody: a configuration
//! that cannot work is refused when it is read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::config::Reader;
use crate::secret::{ExposeSecret as _, SecretString, read_secret};

/// The port of ssh where none is named.
pub const PORT: u16 = 22;

/// How many servers without a key are named.
const NAMED: usize = 5;

/// The largest file of known hosts that is read, in bytes: some ten thousand hosts.
const MAX_KNOWN_HOSTS: u64 = 16 * 1024 * 1024;

/// Refuses a key of the configuration whose file is no private key, cannot be read, or can be read by others.
pub fn check_key(reader: &mut Reader, name: &'static str, file: &Path) {
    match read_secret(file) {
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            reader.refuse(name, format!("names a private key that cannot be used: {error}{cause}"));
        }
        Ok(text) if !is_private_key(&text) => {
            reader.refuse(name, "names a file that holds no private key; the one that ends in .pub is the public half");
        }
        Ok(_) => {}
    }
}

/// Refuses a key of the configuration whose file has no key for one of these servers, or cannot be read. Nobody is spoken to
/// whose key is not known.
pub fn check_known_hosts<'a>(reader: &mut Reader, name: &'static str, file: &Path, servers: impl IntoIterator<Item = (&'a str, u16)>) {
    let known = match read_known_hosts(file) {
        Ok(known) => known,
        Err(error) => return reader.refuse(name, format!("names a file that cannot be read: {error}")),
    };
    let servers = servers.into_iter().filter(|(host, port)| !may_know(&known, host, *port));
    let unknown: Vec<String> = servers.map(|(host, port)| written(host, port)).collect();
    if unknown.is_empty() {
        return;
    }
    let named = unknown.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = unknown.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    reader.refuse(name, format!("names a file that has no key for {named}{more}; `ssh-keyscan -p PORT HOST` prints one"));
}

/// Why `ssh` does not believe that a server is who it should be, in words of ours: its own are a banner of many lines, and
/// advice for a person's own files. None where it complains of something else. What it repeats is foreign text.
pub fn distrust(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let between =
        |start: &str, end: &str| lines.iter().find_map(|line| line.strip_prefix(start)?.split_once(end)).map(|(between, _)| between);
    if let Some(server) = between("Host key for ", " has changed") {
        let file = between("Add correct host key in ", " to get rid of this message").unwrap_or("the file of known hosts");
        let kind = between("The fingerprint for the ", " key sent by").unwrap_or("unknown kind");
        let shown = lines.iter().find(|line| line.starts_with("SHA256:")).map_or("another key", |line| line.trim_end_matches('.'));
        return Some(format!("{server} showed the key {shown} ({kind}), and {file} holds another for it"));
    }
    if let Some(server) = between("No ", " and you have requested strict checking")
        && let Some((kind, server)) = server.split_once(" host key is known for ")
    {
        return Some(format!("no {kind} key of {server} is in the file of known hosts"));
    }
    said.contains("Host key verification failed").then(|| "its host key is not to be believed".to_owned())
}

/// Whether a file's text is a private key in one of the forms that `ssh` reads. All begin with such a line.
fn is_private_key(text: &SecretString) -> bool {
    let first = text.expose_secret().lines().next().unwrap_or_default().trim_end();
    first.starts_with("-----BEGIN ") && first.ends_with("PRIVATE KEY-----")
}

/// Reads a file of known hosts.
fn read_known_hosts(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_KNOWN_HOSTS + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_KNOWN_HOSTS {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a file of known hosts may have a key for this server. Names that are hashed there may be anybody's.
fn may_know(known_hosts: &str, host: &str, port: u16) -> bool {
    let plain = bare(host);
    let with_port = written(host, port);
    known_hosts.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).any(|line| {
        let mut words = line.split_ascii_whitespace();
        let names = match words.next() {
            Some("@cert-authority") => words.next(),
            // A key that is not to be believed any more, or a mark that ssh does not know either.
            Some(mark) if mark.starts_with('@') => None,
            first => first,
        };
        // A name without its kind of key and the key is no entry.
        let Some(names) = names.filter(|_| words.nth(1).is_some()) else { return false };
        if names.starts_with("|1|") {
            return true;
        }
        // ssh asks for the name with the port first, and then for the name alone.
        let is_named = |pattern: &str| matches(pattern.as_bytes(), with_port.as_bytes()) || matches(pattern.as_bytes(), plain.as_bytes());
        let (denied, named): (Vec<&str>, Vec<&str>) = names.split(',').partition(|name| name.starts_with('!'));
        named.into_iter().any(is_named) && !denied.into_iter().any(|name| is_named(&name[1..]))
    })
}

/// The name under which a server's key is looked for.
fn written(host: &str, port: u16) -> String {
    let host = bare(host);
    if port == PORT { host.to_owned() } else { format!("[{host}]:{port}") }
}

/// An address of IPv6 without the brackets that URLs put around it.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether a pattern of ssh's, with `*` and `?`, fits a name. Its time is bounded by the product of both lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&name[seen]) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (at, seen) = (after, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_as_ssh_would_know_it() {
        let key = "ssh-ed25519 AAAA";
        for names in ["a.example.org", "b,a.example.org", "*.example.org", "a.exampl?.org", "@cert-authority *", "|1|c2FsdA==|aGFzaA=="] {
            assert!(may_know(&format!("# ours\n\n{names} {key}\n"), "a.example.org", 22), "{names}");
        }
        for names in ["[a.example.org]:2222", "[a.example.org]:*", "a.example.org"] {
            assert!(may_know(&format!("{names} {key}"), "a.example.org", 2222), "{names}");
        }
        for line in [
            "",
            "# a.example.org ssh-ed25519 AAAA",
            "a.example.org",
            "a.example.org ssh-ed25519",
            "@revoked a.example.org ssh-ed25519 AAAA",
        ] {
            assert!(!may_know(line, "a.example.org", 22), "{line}");
        }
        for names in ["[a.example.org]:2222", "b.example.org", "*.example.org,!a.example.org", "a.example.or"] {
            assert!(!may_know(&format!("{names} {key}"), "a.example.org", 22), "{names}");
        }
    }
}
