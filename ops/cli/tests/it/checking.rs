//! Files that are checked together are compared with each other.

use std::path::Path;

use super::{home, say};

fn append(home: &Path, name: &str, lines: &str) {
    let path = home.join("site").join(name);
    let text = std::fs::read_to_string(&path).expect("readable");
    std::fs::write(&path, format!("{text}\n{lines}")).expect("writable");
}

fn replace(home: &Path, name: &str, from: &str, to: &str) {
    let path = home.join("site").join(name);
    let text = std::fs::read_to_string(&path).expect("readable");
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).expect("writable");
}

const GITLAB: &str = "[executors.lab]\nkind = \"gitlab\"\nurl = \"https://gitlab.example.org\"\ntoken_file = \"tokens/admin\"\n\
                      group = \"mirrors\"\nmirror = \"lab\"\n";

#[tokio::test]
async fn what_one_file_names_and_another_does_not_have_is_told_with_its_line() {
    let home = home();
    say(home.path(), &["init", "site"]).await;
    append(home.path(), "controller.toml", GITLAB);
    let repository =
        "[repositories.hello]\nsource = \"https://git.example.org/team/hello\"\nexecutor = \"local\"\nenvironment = \"test\"\n";
    append(home.path(), "controller.toml", repository);
    append(home.path(), "vcs-worker.toml", "[[sources]]\nurl = \"https://git.example.org/teams\"\n");
    replace(home.path(), "deploy-worker.toml", "store = \"http://127.0.0.1:7482\"", "store = \"http://127.0.0.1:7499\"");
    replace(home.path(), "controller.toml", "url = \"http://127.0.0.1:7484\"", "url = \"http://127.0.0.1:7483\"");
    say(home.path(), &["keys", "init", "other"]).await;
    replace(home.path(), "local-executor.toml", "keys/public.json", "../other/public.json");
    let checked = say(home.path(), &["check-config", "site"]).await;
    assert_eq!(checked.code, Some(6), "{checked:?}");
    let controller = std::fs::read_to_string(home.path().join("site/controller.toml")).expect("readable");
    let line = |key: &str| controller.lines().position(|line| line.starts_with(key)).expect("its line") + 1;
    for expected in [
        format!(
            "site/controller.toml:{}: repositories.hello.source: is https://git.example.org/team/hello: no [[sources]] entry",
            line("source")
        ),
        format!("site/controller.toml:{}: repositories.hello.environment: names test: no [environments.test]", line("environment")),
        format!("site/controller.toml:{}: executors.lab.mirror: names lab: no [mirrors.lab]", line("mirror")),
        format!("site/controller.toml:{}: executors.local.url: leads to http://127.0.0.1:7483, and", line("url")),
        "deploy-worker.toml".to_owned(),
        "store: leads to http://127.0.0.1:7499, and site/artifact-store.toml has the artifact-store listen on 127.0.0.1:7482".to_owned(),
        "site/../other/public.json, which lacks the key with which the controller signs: copy public.json from".to_owned(),
        "6 errors in 5 files".to_owned(),
    ] {
        assert!(checked.out.contains(&expected), "{expected} in\n{}", checked.out);
    }
    // A file alone is compared with nothing.
    let alone = say(home.path(), &["check-config", "site/controller.toml"]).await;
    assert_eq!((alone.code, alone.out.trim()), (Some(0), "1 file checked, nothing wrong"), "{alone:?}");
}

#[tokio::test]
async fn files_with_errors_of_their_own_are_compared_as_far_as_they_can_be_read() {
    let home = home();
    say(home.path(), &["init", "site"]).await;
    let repository =
        "[repositories.hello]\nsource = \"https://git.example.org/team/hello\"\nexecutor = \"local\"\nenvironment = \"test\"\n";
    append(
        home.path(),
        "controller.toml",
        &format!("{repository}[repositories.other]\nsource = \"https://git.example.org/x\"\nenvironment = \"prod\"\n"),
    );
    // It is there, and something is wrong with it: that is one mistake and not two.
    append(home.path(), "deploy-worker.toml", "[environments.test]\nroot = \"not absolute\"\n");
    append(home.path(), "vcs-worker.toml", "[[sources]]\nurl = \"https://git.example.org/team\"\ncredential = \"nowhere\"\n");
    replace(home.path(), "artifact-store.toml", "\nlisten = ", "\nlistn = 1\nlisten = ");
    let checked = say(home.path(), &["check-config", "site"]).await;
    assert_eq!(checked.code, Some(6), "{checked:?}");
    for expected in [
        "sources[1].credential: the secret in",
        "environments.test.root: must be an absolute path",
        "listn: is not known; did you mean `listen`?",
        "repositories.other.source: is https://git.example.org/x: no [[sources]] entry",
        "repositories.other.environment: names prod: no [environments.prod] is in the deployment worker's configuration, which has test",
    ] {
        assert_eq!(checked.out.matches(expected).count(), 1, "{expected} in\n{}", checked.out);
    }
    assert!(!checked.out.contains("repositories.hello"), "{}", checked.out);
    // What cannot be read at all says nothing of what it has.
    append(home.path(), "vcs-worker.toml", "=\n");
    append(home.path(), "controller.toml", "queue = \"many\"\n");
    let checked = say(home.path(), &["check-config", "site"]).await;
    assert!(!checked.out.contains("no [[sources]] entry") && checked.out.contains("names prod"), "{}", checked.out);
}

#[tokio::test]
async fn files_that_go_together_are_right() {
    let home = home();
    say(home.path(), &["init", "site"]).await;
    append(home.path(), "controller.toml", "[repositories.hello]\nsource = \"https://git.example.org/team/hello\"\nexecutor = \"local\"\n");
    append(home.path(), "vcs-worker.toml", "[[sources]]\nurl = \"https://git.example.org/team\"\n");
    // Addresses of other machines, and keys that are being changed, are no mistakes.
    replace(home.path(), "deploy-worker.toml", "store = \"http://127.0.0.1:7482\"", "store = \"https://store.example.org\"");
    std::fs::copy(home.path().join("site/keys/public.json"), home.path().join("site/copy.json")).expect("copied");
    replace(home.path(), "vcs-worker.toml", "keys/public.json", "copy.json");
    let checked = say(home.path(), &["check-config", "site"]).await;
    assert_eq!((checked.code, checked.out.trim()), (Some(0), "5 files checked, nothing wrong"), "{checked:?}");
    say(home.path(), &["keys", "next", "site/keys"]).await;
    let checked = say(home.path(), &["check-config", "site"]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
}
