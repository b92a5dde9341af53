//! The documentation names every key of the configuration.

use signalbox_local_executor::Config;
use signalbox_service::config::Reader;
use signalbox_service::testing::undocumented_keys;

/// A configuration in which every table is there; what the keys in it say does not matter.
const EVERYTHING: &str = "
[tls]
[repositories.hello]
";

#[test]
fn every_key_is_documented_and_none_that_is_not_there() {
    let mut reader = Reader::parse("local-executor.toml", EVERYTHING).expect("TOML");
    let _ = Config::read(&mut reader);
    assert_eq!(undocumented_keys(&reader, include_str!("../../../../docs/operating.md"), "local-executor.toml"), [""; 0]);
}
