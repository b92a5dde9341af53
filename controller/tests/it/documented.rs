//! The documentation names every key of the configuration.

use signalbox_controller::Config;
use signalbox_service::config::Reader;
use signalbox_service::testing::undocumented_keys;

/// A configuration in which every table is there; what the keys in it say does not matter.
const EVERYTHING: &str = r#"
vcs_worker = "http://127.0.0.1:1"
artifact_store = "http://127.0.0.1:2"
deploy_worker = "http://127.0.0.1:3"
[tls]
[intake]
[limits]
[retention]
[[mask]]
[executors.local]
url = "http://127.0.0.1:4"
[executors.lab]
kind = "gitlab"
url = "https://gitlab.example.org"
[executors.lab.identity]
audience = "https://signalbox.example.org"
[forges.review]
kind = "gerrit"
url = "https://review.example.org"
user = "signalbox"
[forges.review.ssh]
key_file = "key"
known_hosts = "known_hosts"
[forges.lab]
kind = "gitlab"
url = "https://gitlab.example.org"
[repositories.hello]
source = "https://git.example.org/hello"
forge = "review"
project = "hello"
[repositories.hello.artifacts.hello]
part = "build"
[[repositories.hello.on]]
event = "review"
"#;

#[test]
fn every_key_is_documented_and_none_that_is_not_there() {
    let mut reader = Reader::parse("controller.toml", EVERYTHING).expect("TOML");
    let _ = Config::read(&mut reader);
    assert_eq!(undocumented_keys(&reader, include_str!("../../../docs/operating.md"), "controller.toml"), [""; 0]);
}
