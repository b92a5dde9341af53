//! What ssh is told, and how foreign text is shown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::{KEEPER, arguments};
use super::{Destination, check_path, escape};

fn told() -> Vec<String> {
    let to = Destination {
        address: "a.example.org".parse().expect("a name"),
        port: 2222,
        user: "deploy".to_owned(),
        key: PathBuf::from("/keys/deploy key"),
        known_hosts: PathBuf::from("/keys/known hosts"),
    };
    let arguments = arguments(&to, Path::new("/run/c0"), Duration::from_secs(7));
    arguments.into_iter().map(|argument| argument.into_string().expect("UTF-8")).collect()
}

#[test]
fn ssh_asks_nobody_and_believes_only_the_given_hosts() {
    let told = told();
    assert_eq!(told[..2], ["-F", "none"], "no configuration of the user or the machine");
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "UserKnownHostsFile=\"/keys/known hosts\"",
        "IdentityFile=\"/keys/deploy key\"",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
        "ProxyCommand=none",
        "PermitLocalCommand=no",
        "ConnectTimeout=7",
        "ControlPersist=no",
    ] {
        let at = told.iter().position(|argument| argument == option).unwrap_or_else(|| panic!("{option} is not told"));
        assert_eq!(told[at - 1], "-o");
    }
}

// Threat 45: whatever the destination is, it stands behind the end of the options.
#[test]
fn the_destination_cannot_be_an_option() {
    let told = told();
    assert_eq!(told[told.len() - 3..], ["--", "a.example.org", KEEPER]);
}

// Threat 45.
#[test]
fn paths_that_ssh_would_expand_are_refused() {
    for path in ["", "~/key", "/k/%h", "/k/${HOME}", "/k/\"x", "/k/'x", "/k/\\x", "/k/\nx"] {
        assert!(check_path(Path::new(path)).is_err(), "{path:?}");
    }
    assert!(check_path(Path::new("/etc/signalbox/deploy key")).is_ok());
}

// Threat 51.
#[test]
fn foreign_text_is_shown_short_and_plain() {
    assert_eq!(escape(b"a\x1b[31mb\r\n\tc\0\xff"), "a?[31mb c??");
    let long = escape(&[b'x'; 5000]);
    assert!(long.len() <= 303 && long.starts_with("..."));
}
