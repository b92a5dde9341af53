//! What cannot be right is said in one sentence, with what would be.

use std::os::unix::fs::PermissionsExt as _;

use super::{free_port, home, installed, say, say_with};

#[tokio::test]
async fn an_address_that_is_none_is_one_line_that_says_what_one_looks_like() {
    let home = home();
    for (address, hint) in
        [("foo", "https://ci.example.org"), ("localhost:7480", "http://localhost:7480"), ("ftp://x", "http:// or https://")]
    {
        for said in
            [say_with(home.path(), &["status"], &[("SIGNALBOX_URL", address)]).await, say(home.path(), &["status", "--url", address]).await]
        {
            assert_eq!(said.code, Some(2), "{said:?}");
            assert!(said.err.contains(hint) && said.err.contains(address) && said.err.lines().count() == 1, "{}", said.err);
        }
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_one_document_of_one_line_for_programs() {
    let home = home();
    for typed in [&["status", "--nonsense"][..], &["cd"], &["cd", "x", "--ref", "a..b"], &["statu"], &["--url", "foo", "status"]] {
        let said = say(home.path(), &[typed, &["--json"]].concat()).await;
        assert_eq!((said.code, said.err.lines().count()), (Some(2), 1), "{said:?}");
        let document: serde_json::Value = serde_json::from_str(&said.err).expect("JSON");
        let words = document["error"].as_str().expect("words");
        assert!(!words.contains('\n') && !words.contains("Usage:"), "{words}");
    }
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_said_so() {
    let home = home();
    let said = say(home.path(), &["check-config", "nonexistent"]).await;
    assert_eq!(said.code, Some(6), "{said:?}");
    assert!(said.err.contains("nonexistent is not there; give a configuration file, or a folder"), "{}", said.err);
}

#[tokio::test]
async fn all_addresses_that_are_taken_are_named_at_once() {
    let home = home();
    let (site, _) = installed(home.path()).await;
    let address = |service: &str| {
        let text = std::fs::read_to_string(site.join(service).with_extension("toml")).expect("readable");
        text.lines().find_map(|line| line.strip_prefix("listen = ")).expect("its address").trim_matches('"').to_owned()
    };
    let taken = ["artifact-store", "local-executor"].map(address);
    let _held = taken.clone().map(|address| std::net::TcpListener::bind(address).expect("free"));
    let metrics = free_port();
    let _metrics = std::net::TcpListener::bind(metrics).expect("free");
    let file = site.join("vcs-worker.toml");
    let text = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, format!("metrics_listen = \"{metrics}\"\n{text}")).expect("written");
    let said = say(home.path(), &["up", "site"]).await;
    assert_eq!(said.code, Some(6), "{said:?}");
    assert!(said.err.contains("3 addresses cannot be listened on"), "{}", said.err);
    for named in [&taken[0], &taken[1], &metrics.to_string()] {
        assert!(said.err.contains(named.as_str()), "{named}: {}", said.err);
    }
    assert!(said.err.contains("vcs-worker.toml: metrics_listen"), "{}", said.err);
}

#[tokio::test]
async fn no_token_is_made_that_could_not_be_kept() {
    let home = home();
    std::fs::write(home.path().join("alice.token"), "older").expect("written");
    for (file, why) in [("alice.token", "is there already"), ("nowhere/alice.token", "nowhere is no folder")] {
        let said = say(home.path(), &["token", "create", "alice", "--allow", "read", "--repos", "*", "-o", file]).await;
        assert_eq!(said.code, Some(6), "{said:?}");
        assert!(said.err.contains(why) && said.err.contains("no token was made"), "{}", said.err);
    }
    assert_eq!(std::fs::read_to_string(home.path().join("alice.token")).expect("readable"), "older");
}

#[tokio::test]
async fn white_space_behind_a_token_is_no_part_of_it_and_within_one_its_file_is_named() {
    let home = home();
    let nowhere = format!("http://{}", free_port());
    let file = home.path().join("mine.token");
    std::fs::write(&file, "").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("changed");
    let cases = [
        ("ey.ey.sig\r\n", "no controller answers"),
        ("ey.ey.sig \n\n", "no controller answers"),
        ("ey.ey.sig\r\ney.ey.sig\r\n", "mine.token holds characters that no token has"),
        ("\u{feff}ey.ey.sig\r\n", "mine.token holds characters that no token has"),
        ("\r\n", "mine.token does not hold a secret"),
    ];
    for (text, words) in cases {
        std::fs::write(&file, text).expect("written");
        let said = say(home.path(), &["status", "--url", &nowhere, "--token-file", "mine.token"]).await;
        assert_eq!(said.code, Some(6), "{text:?}: {said:?}");
        assert!(said.err.contains(words) && !said.err.contains("ey.ey.sig"), "{text:?}: {}", said.err);
        assert_eq!(said.err.contains(&nowhere), words.starts_with("no controller"), "{text:?}: {}", said.err);
        assert_eq!(said.err.contains("characters"), words.contains("characters"), "{text:?}: {}", said.err);
    }
}

#[tokio::test]
async fn what_is_missing_is_named_with_an_example() {
    let home = home();
    let cases = [
        (
            &["cd", "hello"][..],
            "`signalbox cd` needs --ref <REF> (the branch, tag or full ref); for example: signalbox cd hello --ref main",
        ),
        (&["cd"], "needs --ref <REF> (the branch, tag or full ref) and <REPO> (the repository: a name that the server knows"),
        (&["rollback", "test"], "`signalbox rollback` needs <PUBLISHED_NAME> (the published name); for example: signalbox rollback test"),
        (&["token", "create"], "--allow <ACTION,…> (what it may do)"),
        (&["token", "create", "bob", "--allow", "read,start"], "could do nothing, since it names nothing to do it with: add --repos"),
        (&["fake", "gitlab"], "`signalbox fake gitlab` needs --data <FOLDER>"),
        (&["fake", "gitlab", "--data", "x", "--project", "hello"], "given by its whole path, GROUP/PROJECT, as in mirrors/hello"),
        (&["fake", "gitlab", "--data", "x", "--project", "a/../b"], "GROUP/PROJECT"),
    ];
    for (typed, words) in cases {
        let said = say(home.path(), typed).await;
        assert_eq!((said.code, said.err.lines().count()), (Some(2), 1), "{typed:?}: {said:?}");
        assert!(said.err.contains(words), "{typed:?}: {}", said.err);
    }
    // A variable of the environment counts as little as none.
    let said = say_with(home.path(), &["blobs"], &[("SIGNALBOX_URL", "http://localhost:7480")]).await;
    assert_eq!((said.code, said.err.trim()), (Some(2), "error: a command is missing; `signalbox blobs --help` lists them"));
}

#[tokio::test]
async fn short_help_leaves_out_how_to_connect_and_long_help_has_it_under_a_heading_of_its_own() {
    let home = home();
    for command in ["cd", "rollback", "environments", "doctor"] {
        let short = say(home.path(), &[command, "-h"]).await.out;
        assert!(!short.contains("--token-file") && short.contains("see more with '--help'"), "{short}");
        let long = say(home.path(), &[command, "--help"]).await.out;
        let (before, after) = long.split_once("\nConnection (").expect("a heading");
        assert!(!before.contains("--url") && after.contains("--url") && after.contains("--token-file"), "{long}");
        assert!(
            after.split_once("\nOutput:").is_some_and(|(connection, output)| !connection.contains("--json") && output.contains("--json"))
        );
    }
}
