//! The configuration says what an environment is, and is checked when it is read.

use std::path::Path;

use signalbox_deploy_worker::Config;
use signalbox_service::config::Reader;

fn read(folder: &Path, environment: &str) -> Result<(), String> {
    let text = format!("store = \"http://127.0.0.1:7482/\"\ndata = \"data\"\npublic_keys = \"public.json\"\n{environment}");
    let path = folder.join("worker.toml");
    std::fs::write(&path, text).expect("written");
    let mut reader = Reader::open(&path).expect("TOML");
    let config = Config::read(&mut reader);
    reader.finish().map_err(|errors| errors.to_string())?;
    config.map(drop).ok_or_else(|| "nothing".to_owned())
}

fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("key"), KEY).expect("written");
    std::fs::set_permissions(folder.path().join("key"), std::fs::Permissions::from_mode(0o600)).expect("private");
    std::fs::write(folder.path().join("open_key"), KEY).expect("written");
    std::fs::set_permissions(folder.path().join("open_key"), std::fs::Permissions::from_mode(0o644)).expect("open");
    std::fs::write(folder.path().join("public_half"), "ssh-ed25519 AAAA deploy").expect("written");
    std::fs::set_permissions(folder.path().join("public_half"), std::fs::Permissions::from_mode(0o600)).expect("private");
    std::fs::write(folder.path().join("known_hosts"), "a.example.org ssh-ed25519 AAAA\n192.0.2.7 ssh-ed25519 AAAA\n").expect("written");
    std::fs::write(folder.path().join("nobody"), "").expect("written");
    folder
}

const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";

const GOOD: &str = "[environments.test]\nroot = \"/srv/www\"\nuser = \"deploy\"\nkey = \"key\"\nknown_hosts = \"known_hosts\"\nnames = [\"hello\"]\nhosts = [\"a.example.org\", \"192.0.2.7\"]\n";

#[test]
fn an_environment_is_read() {
    let folder = folder();
    read(folder.path(), GOOD).expect("valid");
    let tables = GOOD.replace(
        "hosts = [\"a.example.org\", \"192.0.2.7\"]",
        "[[environments.test.hosts]]\nname = \"a\"\naddress = \"a.example.org\"\nport = 2222",
    );
    read(folder.path(), &tables).expect("valid");
}

// Threats 45 and 46: what could be read as something else is refused where it stands.
#[test]
fn hostile_values_are_refused_with_their_key() {
    let folder = folder();
    let cases = [
        ("hosts = [\"a.example.org\", \"192.0.2.7\"]", "hosts = [\"-oProxyCommand=id\"]", "environments.test.hosts"),
        ("\"192.0.2.7\"", "\"a;id\"", "environments.test.hosts"),
        ("\"192.0.2.7\"", "\"$(id)\"", "environments.test.hosts"),
        ("\"192.0.2.7\"", "\"`id`\"", "environments.test.hosts"),
        ("\"192.0.2.7\"", "\"a\\nb\"", "environments.test.hosts"),
        ("\"192.0.2.7\"", "\"a b\"", "environments.test.hosts"),
        ("\"192.0.2.7\"", "\"user@host\"", "environments.test.hosts"),
        ("\"192.0.2.7\"", "\"host:22\"", "environments.test.hosts"),
        ("\"192.0.2.7\"", "\"A.example.org\"", "environments.test.hosts"),
        ("hosts = [\"a.example.org\", \"192.0.2.7\"]", "hosts = []", "environments.test.hosts"),
        ("\"192.0.2.7\"", "{ name = \"b\", port = 0 }", "environments.test.hosts"),
        ("\"192.0.2.7\"", "{ name = \"b\", adress = \"c\" }", "environments.test.hosts"),
        ("\"192.0.2.7\"", "{ name = \"b\", address = \"-oX\" }", "environments.test.hosts"),
        ("/srv/www", "/etc", "environments.test.root"),
        ("/srv/www", "/srv/../etc", "environments.test.root"),
        ("/srv/www", "/", "environments.test.root"),
        ("/srv/www", "srv", "environments.test.root"),
        ("\"deploy\"", "\"-oX\"", "environments.test.user"),
        ("\"deploy\"", "\"a b\"", "environments.test.user"),
        ("names = [\"hello\"]", "names = []", "environments.test.names"),
        ("names = [\"hello\"]", "names = [\"a b\"]", "environments.test.names"),
        ("\"key\"", "\"open_key\"", "environments.test.key"),
        ("\"key\"", "\"missing\"", "environments.test.key"),
        ("\"key\"", "\"%h\"", "environments.test.key"),
        ("\"key\"", "\"public_half\"", "environments.test.key: names a file that holds no private key"),
        ("\"known_hosts\"", "\"nobody\"", "environments.test.known_hosts: names a file that has no key for a.example.org, 192.0.2.7;"),
        ("\"192.0.2.7\"", "{ name = \"b\", port = 2222 }", "environments.test.known_hosts: names a file that has no key for [b]:2222;"),
        ("\"known_hosts\"", "\"missing\"", "environments.test.known_hosts"),
        ("names =", "keep = 0\nnames =", "environments.test.keep"),
        ("names =", "file_mode = \"4755\"\nnames =", "environments.test.file_mode"),
        ("names =", "shell = \"x\"\nnames =", "environments.test.shell"),
        ("[environments.test]", "[environments.\"../x\"]", "environments.../x"),
    ];
    for (from, to, key) in cases {
        assert!(GOOD.contains(from), "{from}");
        let refused = read(folder.path(), &GOOD.replace(from, to)).expect_err(to);
        assert!(refused.contains(key), "{to}: {refused}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let folder = folder();
    let text = GOOD.replace("/srv/www", "/etc").replace("deploy", "-").replace("a.example.org", "a;b");
    let refused = read(folder.path(), &text).expect_err("wrong");
    for key in ["root", "user", "hosts"] {
        assert!(refused.contains(&format!("environments.test.{key}")), "{refused}");
    }
}
