//! A configuration whose keys are not there.

use super::{home, say};

#[tokio::test]
async fn check_config_says_that_keys_are_missing_beside_all_other_errors() {
    let home = home();
    say(home.path(), &["init", "site"]).await;
    std::fs::remove_dir_all(home.path().join("site/keys")).expect("removed");
    let path = home.path().join("site/controller.toml");
    let text = std::fs::read_to_string(&path).expect("readable");
    std::fs::write(&path, format!("queu = 5\n{text}")).expect("writable");
    let checked = say(home.path(), &["check-config", "site"]).await;
    assert_eq!(checked.code, Some(6), "{checked:?}");
    for expected in
        ["site/controller.toml:1: queu", ": keys: ", ": public_keys: the keys in ", "public.json cannot be read", "site/vcs-worker.toml"]
    {
        assert!(checked.out.contains(expected), "{expected} in {}", checked.out);
    }
}
