//! What operators get to read when a file is wrong.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use signalbox_contract::RepoName;

use super::*;

const LISTEN: &str = "127.0.0.1:7480";

fn listen() -> SocketAddr {
    LISTEN.parse().expect("an address")
}

/// Everything that is wrong with a file, read by a reader that knows a little of everything.
fn errors(text: &str) -> String {
    let mut reader = match Reader::parse("/etc/signalbox/controller.toml", text) {
        Ok(reader) => reader,
        Err(errors) => return errors.to_string(),
    };
    Common::read(&mut reader, listen());
    reader.within::<u32>("queue", 100, 1..=1000);
    reader.optional::<Duration>("interval");
    reader.optional::<Bytes>("size");
    reader.optional::<Vec<RepoName>>("repos");
    reader.tables("hosts", |host| host.required::<String>("address"));
    reader.named_tables("environments", |_, environment| environment.required::<PathBuf>("root"));
    reader.finish().err().map_or_else(String::new, |errors| errors.to_string())
}

#[test]
fn what_is_no_toml_is_said_once_a_line() {
    for (text, lines) in [("=", 1), ("a = {b = 1\nc = 2", 1), ("[a\n[b.c]]", 2), ("a = \nb = ", 2)] {
        let errors = Reader::parse("vcs-worker.toml", text).expect_err(text);
        assert_eq!(errors.0.len(), lines, "{text}: {errors}");
    }
}

#[test]
fn all_errors_come_at_once_each_with_its_line_and_key() {
    let text = r#"
listen = "localhost"
quue = 3
queue = 0
interval = 30
size = "1 parsec"
repos = ["good", "-bad"]
metrics_listen = "0.0.0.0:9480"

[[hosts]]
address = 7
[[hosts]]

[environments.test]
rooot = "/srv"
"#;
    let errors = errors(text);
    let expected = [
        "controller.toml:2: listen: must be an address and a port",
        "controller.toml:3: quue: is not known; did you mean `queue`?",
        "controller.toml:4: queue: must be between 1 and 1000",
        "controller.toml:5: interval: must be a time with its unit",
        "controller.toml:6: size: must be a size with its unit",
        "controller.toml:7: repos: item 2 (line 7) must",
        "controller.toml:8: metrics_listen: is reachable from other machines",
        "controller.toml:11: hosts[1].address: must be a text in quotes, not a number",
        "controller.toml:12: hosts[2].address: is missing",
        "controller.toml:14: environments.test.root: is missing",
        "controller.toml:15: environments.test.rooot: is not known; did you mean `root`?",
    ];
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{errors}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("/etc/signalbox/{expected}")), "{line}\n{expected}");
    }
}

#[test]
fn a_number_beyond_its_bounds_is_refused_with_the_keys_own_bounds_however_far_beyond_it_is() {
    for number in ["0", "-1", "1001", "4294967296", "9223372036854775807"] {
        let told = errors(&format!("queue = {number}"));
        assert!(told.ends_with("controller.toml:1: queue: must be between 1 and 1000"), "{number}: {told}");
    }
    assert!(errors("queue = 1.5").contains("queue: must be a whole number"), "what is no whole number has no bounds");
    assert_eq!(errors("queue = 1000"), "");
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_lines() {
    let errors = errors("listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\nqueue = \n");
    assert!(errors.contains("controller.toml:2: duplicate key"), "{errors}");
    assert!(errors.contains("controller.toml:3: "), "{errors}");
}

#[test]
fn an_empty_file_means_the_defaults() {
    let mut reader = Reader::parse("/etc/signalbox/controller.toml", "").expect("TOML");
    let common = Common::read(&mut reader, listen()).expect("read");
    reader.finish().expect("nothing is wrong");
    assert_eq!(common.listen, listen());
    assert_eq!(common.data, PathBuf::from("/etc/signalbox/data/controller"));
    assert_eq!(common.public_keys, PathBuf::from("/etc/signalbox/keys/public.json"));
    assert_eq!(common.url().map(String::from), Some("http://127.0.0.1:7480/".to_owned()));
}

#[test]
fn other_machines_are_only_let_in_over_tls() {
    assert!(errors("listen = \"0.0.0.0:7480\"").contains("needs TLS"));
    assert!(errors("listen = \"[::]:7480\"").contains("needs TLS"));
    assert_eq!(errors("listen = \"[::1]:7480\""), "");
    assert_eq!(errors("metrics_listen = \"0.0.0.0:9480\"\nmetrics_in_clear_text = true"), "");
    let missing = errors("listen = \"0.0.0.0:7480\"\n[tls]\ncertificate = \"none.pem\"\nkey = \"none.pem\"");
    assert!(missing.contains("tls: the certificate /etc/signalbox/none.pem cannot be read: No such file"), "{missing}");
}

#[test]
fn values_are_read_in_the_units_in_which_they_are_written() {
    let text = "a = \"500ms\"\nb = \"15m\"\nc = \"7d\"\nd = \"64KiB\"\ne = \"2GiB\"\nf = 1000\ng = 0x10\nh = \"sub/folder\"";
    let mut reader = Reader::parse("x.toml", text).expect("TOML");
    assert_eq!(reader.required::<Duration>("a"), Some(Duration::from_millis(500)));
    assert_eq!(reader.required::<Duration>("b"), Some(Duration::from_mins(15)));
    assert_eq!(reader.required::<Duration>("c"), Some(Duration::from_hours(7 * 24)));
    assert_eq!(reader.required::<Bytes>("d"), Some(Bytes(65_536)));
    assert_eq!(reader.required::<Bytes>("e"), Some(Bytes(2 << 30)));
    assert_eq!(reader.required::<Bytes>("f"), Some(Bytes(1000)));
    assert_eq!(reader.required::<u16>("g"), Some(16));
    assert!(reader.required::<PathBuf>("h").expect("a path").is_absolute(), "relative to the file, wherever the process goes");
    reader.finish().expect("nothing is wrong");
}

#[test]
fn secrets_are_files_that_nobody_else_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), "hunter2\n").expect("written");
    std::fs::write(folder.path().join("x.toml"), "token = \"secret\"").expect("written");
    let read = |mode| {
        std::fs::set_permissions(folder.path().join("secret"), std::fs::Permissions::from_mode(mode)).expect("changed");
        let mut reader = Reader::open(&folder.path().join("x.toml")).expect("TOML");
        let secret = reader.required_secret("token");
        (secret.is_some(), reader.finish().err().map(|errors| errors.to_string()).unwrap_or_default())
    };
    assert_eq!(read(0o600), (true, String::new()));
    let (found, errors) = read(0o644);
    assert!(!found && errors.contains("x.toml:1: token: ") && errors.contains("make it 0600"), "{errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
}

#[test]
fn the_keys_that_are_known_can_be_listed() {
    let mut reader = Reader::parse("x.toml", "[environments.test]\nroot = \"/srv\"").expect("TOML");
    reader.or("interval", Duration::from_secs(90));
    reader.named_tables("environments", |_, environment| environment.required::<PathBuf>("root"));
    let keys: Vec<_> = reader.known_keys().into_iter().map(|key| (key.path, key.default, key.required)).collect();
    let expected = [("environments.NAME.root".to_owned(), None, true), ("interval".to_owned(), Some("\"90s\"".to_owned()), false)];
    assert_eq!(keys, expected);
}

#[test]
fn a_file_that_is_not_there_is_an_error_like_any_other() {
    let error = Reader::open(std::path::Path::new("/nowhere/x.toml")).expect_err("missing").to_string();
    assert_eq!(error, "/nowhere/x.toml: cannot be read: No such file or directory (os error 2)");
}
