//! The files that it takes to log in on a host, as far as can be told without asking one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use signalbox_service::secret::{ExposeSecret as _, SecretString};

use crate::ssh::Destination;

/// The largest file of known hosts that is read, in bytes: some ten thousand hosts.
const MAX_KNOWN_HOSTS: u64 = 16 * 1024 * 1024;

/// Whether a file's text is a private key in one of the forms that `ssh` reads. All begin with such a line.
pub(crate) fn is_private_key(text: &SecretString) -> bool {
    let first = text.expose_secret().lines().next().unwrap_or_default().trim_end();
    first.starts_with("-----BEGIN ") && first.ends_with("PRIVATE KEY-----")
}

/// Reads a file of known hosts.
pub(crate) fn read_known_hosts(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_KNOWN_HOSTS + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_KNOWN_HOSTS {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a file of known hosts may have a key for this destination. Names that are hashed there may be anybody's.
pub(crate) fn may_know(known_hosts: &str, to: &Destination) -> bool {
    let plain = to.address.as_str();
    let with_port = written(to);
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

/// The name under which a destination's key is looked for.
pub(crate) fn written(to: &Destination) -> String {
    if to.port == 22 { to.address.to_string() } else { format!("[{}]:{}", to.address, to.port) }
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

    fn to(address: &str, port: u16) -> Destination {
        let address = address.parse().expect("a name");
        Destination { address, port, user: "deploy".to_owned(), key: "/k".into(), known_hosts: "/h".into() }
    }

    #[test]
    fn a_host_is_known_as_ssh_would_know_it() {
        let key = "ssh-ed25519 AAAA";
        for names in ["a.example.org", "b,a.example.org", "*.example.org", "a.exampl?.org", "@cert-authority *", "|1|c2FsdA==|aGFzaA=="] {
            assert!(may_know(&format!("# ours\n\n{names} {key}\n"), &to("a.example.org", 22)), "{names}");
        }
        for names in ["[a.example.org]:2222", "[a.example.org]:*", "a.example.org"] {
            assert!(may_know(&format!("{names} {key}"), &to("a.example.org", 2222)), "{names}");
        }
        for line in [
            "",
            "# a.example.org ssh-ed25519 AAAA",
            "a.example.org",
            "a.example.org ssh-ed25519",
            "@revoked a.example.org ssh-ed25519 AAAA",
        ] {
            assert!(!may_know(line, &to("a.example.org", 22)), "{line}");
        }
        for names in ["[a.example.org]:2222", "b.example.org", "*.example.org,!a.example.org", "a.example.or"] {
            assert!(!may_know(&format!("{names} {key}"), &to("a.example.org", 22)), "{names}");
        }
    }
}
