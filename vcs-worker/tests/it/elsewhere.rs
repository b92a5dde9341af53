//! Mirrors on other servers: commits are shown there by pushing.

use serde_json::json;
use signalbox_contract::FailureCode;
use signalbox_contract::api::Answer;
use signalbox_contract::api::vcs::RefsResult;
use signalbox_service::git::testing::{Misbehaviour, SshServer};
use signalbox_service::testing::eventually;
use tokio_util::sync::CancellationToken;

use crate::house::{House, SOON, config_errors, key};
use crate::restart::{kill_alone, worker};

const MIRROR: &str = "[mirrors.far]\nkind = \"remote\"\nurl = \"http://{server}/m\"\nprivate = true\n";

#[tokio::test]
async fn an_attempts_ref_is_shown_at_another_server_and_taken_away() {
    let house = House::with(MIRROR, "").await;
    let mirror = house.mirror_at("m/team/hello.git").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    let attempt = key();
    let shown = house.publish_at("far", attempt, &sha, json!({})).await;
    assert_eq!(shown.url, house.server.url("m/team/hello.git"));
    assert_eq!(shown.ref_name.as_str(), format!("refs/heads/cd/{attempt}"));
    assert_eq!((&shown.sha, shown.moved), (&sha, true));
    assert_eq!(mirror.read(shown.ref_name.as_str()).await, sha);
    // Nothing else went there: not even the branch that the commit came from.
    assert_eq!(mirror.git(&["for-each-ref", "--format=%(refname)"], "").await.trim(), shown.ref_name.as_str());
    for _ in 0..2 {
        house.publish_at("far", attempt, &sha, json!({ "action": "remove" })).await;
    }
    assert_eq!(mirror.git(&["for-each-ref"], "").await, "");
}

#[tokio::test]
async fn a_branch_is_shown_under_its_own_name_and_only_a_push_counts_as_moved() {
    let house = House::with(MIRROR, "").await;
    let mirror = house.mirror_at("m/team/hello.git").await;
    let same = json!({ "naming": "same", "original": "refs/heads/main" });
    let first = house.mirror(&house.order("main")).await.sha;
    let shown = house.publish_at("far", key(), &first, same.clone()).await;
    assert_eq!((shown.ref_name.as_str(), shown.moved), ("refs/heads/main", true));
    let attempt = key();
    assert!(!house.publish_at("far", attempt, &first, same.clone()).await.moved, "it was there already");
    // What somebody else pushed there is overtaken, and so is a history that its source threw away.
    mirror.commit("refs/heads/main", &[("stray", "")]).await;
    house.source.git(&["update-ref", "-d", "refs/heads/main"], "").await;
    let second = house.source.commit("refs/heads/main", &[("other", "history")]).await;
    house.mirror(&house.order("main")).await;
    assert!(house.publish_at("far", key(), &second, same.clone()).await.moved);
    assert_eq!(mirror.read("refs/heads/main").await, second);
    // A branch stays when the attempt ends.
    let mut gone = same.clone();
    gone["action"] = json!("remove");
    house.publish_at("far", attempt, &first, gone).await;
    assert_eq!(mirror.read("refs/heads/main").await, second);
}

#[tokio::test]
async fn an_annotated_tag_at_the_mirror_is_overtaken_by_its_own_lease() {
    let house = House::with(MIRROR, "").await;
    let mirror = house.mirror_at("m/team/hello.git").await;
    mirror.commit("refs/heads/x", &[("x", "")]).await;
    mirror.git(&["tag", "-a", "-m", "x", "v1", "refs/heads/x"], "").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    let same = json!({ "naming": "same", "original": "refs/tags/v1" });
    assert!(house.publish_at("far", key(), &sha, same).await.moved);
    assert_eq!(mirror.read("refs/tags/v1^{commit}").await, sha);
}

#[tokio::test]
async fn a_push_whose_answer_was_lost_counts_as_moved_when_it_is_asked_for_again() {
    let house = House::with(MIRROR, "").await;
    let mirror = house.mirror_at("m/team/hello.git").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    let same = json!({ "naming": "same", "original": "refs/heads/main" });
    let attempt = key();
    house.server.misbehave(Misbehaviour::LoseAnswerToPush);
    let refused = house.refs_at("far", attempt, &sha, same.clone()).await.expect_err("nobody knows");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(mirror.read("refs/heads/main").await, sha, "it was taken");
    house.server.misbehave(Misbehaviour::None);
    assert!(house.publish_at("far", attempt, &sha, same).await.moved);
}

#[tokio::test]
async fn a_worker_that_is_killed_after_its_push_knows_that_it_was_its_own() {
    let house = House::with(MIRROR, "").await;
    let mirror = house.mirror_at("m/team/hello.git").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    let house = house.vacate().await;
    let same = json!({ "naming": "same", "original": "refs/heads/main" });
    let attempt = key();
    let mut running = worker(&house).await;
    house.server.misbehave(Misbehaviour::HangAfterPush);
    let asked = house.refs_at("far", attempt, &sha, same.clone());
    let taken = eventually("the push is taken", SOON, || async { house.server.has_taken_a_push().then_some(()) });
    tokio::select! {
        answer = asked => panic!("{answer:?}"),
        () = taken => {}
    }
    kill_alone(&running);
    running.wait_within(SOON, &CancellationToken::new()).await.expect("ended");
    assert_eq!(mirror.read("refs/heads/main").await, sha);
    house.server.misbehave(Misbehaviour::None);
    let _running = worker(&house).await;
    assert!(house.publish_at("far", attempt, &sha, same.clone()).await.moved);
    assert!(!house.publish_at("far", key(), &sha, same).await.moved, "another attempt pushed nothing");
}

#[tokio::test]
async fn a_ref_that_is_shown_after_its_removal_is_withdrawn() {
    let house = House::with(MIRROR, "").await;
    let mirror = house.mirror_at("m/team/hello.git").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    // The removal was asked for first, as when the order to show it was long on its way.
    for place in [None, Some("far")] {
        let attempt = key();
        let ask = async |action: &str| {
            let body = json!({ "name": "team/hello", "sha": sha, "action": action, "mirror": place });
            house.post::<RefsResult>("/refs", attempt, &body).await.expect("an answer")
        };
        assert!(matches!(ask("remove").await, Answer::Done { .. }));
        let Answer::Failed { failure } = ask("publish").await else { panic!("it is shown, and nobody will take it away") };
        assert_eq!(failure.code, FailureCode::CommitNotFound);
        assert!(!house.copies()[0].join(format!("refs/heads/cd/{attempt}")).exists());
    }
    assert_eq!(mirror.git(&["for-each-ref"], "").await, "");

    // Or while it is being shown: the push is at it when the removal comes.
    let attempt = key();
    house.server.misbehave(Misbehaviour::Hang);
    house.server.forget();
    let order = |action: &str| json!({ "name": "team/hello", "sha": sha, "action": action, "mirror": "far" });
    let (show, remove) = (order("publish"), order("remove"));
    let showing = house.post::<RefsResult>("/refs", attempt, &show);
    let between = async {
        eventually("the mirror is asked", SOON, || async { (!house.server.seen().is_empty()).then_some(()) }).await;
        let removing = house.post_once::<RefsResult>("/refs", attempt, &remove);
        let unhung = async {
            // The ledger has it once a second question finds it at work.
            eventually("the removal is asked for", SOON, || async { house.removal_is_written(attempt).await.then_some(()) }).await;
            house.server.misbehave(Misbehaviour::None);
        };
        tokio::join!(removing, unhung).0
    };
    let (shown, removed) = tokio::join!(showing, between);
    assert!(matches!(removed, Ok(Answer::Done { .. })), "{removed:?}");
    let Ok(Answer::Failed { failure }) = shown else { panic!("{shown:?}") };
    assert_eq!(failure.code, FailureCode::CommitNotFound);
    assert_eq!(mirror.git(&["for-each-ref"], "").await, "");
}

#[tokio::test]
async fn a_mirror_that_is_away_is_asked_again_and_one_that_refuses_is_not() {
    let house = House::with(MIRROR, "").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    let failure = house.publish_fails_at("far", &sha, json!({}), FailureCode::MirrorNotFound).await;
    assert!(failure.detail.contains("/m/team/hello.git"), "{failure}");
    let mirror = house.mirror_at("m/team/hello.git").await;
    let attempt = key();
    house.server.misbehave(Misbehaviour::Status(503));
    assert_eq!(house.refs_at("far", attempt, &sha, json!({})).await.expect_err("not now").status, 503);
    house.server.misbehave(Misbehaviour::None);
    house.publish_at("far", attempt, &sha, json!({})).await;

    // A rule of the server's, a branch that may not be replaced, and one that it hides.
    let same = |name: &str| json!({ "naming": "same", "original": name });
    mirror.commit("refs/heads/kept", &[("x", "")]).await;
    for config in [["receive.denyNonFastForwards", "true"], ["receive.hideRefs", "refs/heads/hidden"]] {
        mirror.git(&[&["config"][..], &config].concat(), "").await;
    }
    house.publish_fails_at("far", &sha, same("refs/heads/kept"), FailureCode::MirrorProtected).await;
    house.publish_fails_at("far", &sha, same("refs/heads/hidden"), FailureCode::MirrorRefused).await;
    std::fs::write(
        mirror.path().join("hooks/pre-receive"),
        "#!/bin/sh\necho 'GitLab: File \"a\" is larger than the allowed size of 5 MiB' >&2\nprintf 'evil\\033[31m' >&2\nexit 1\n",
    )
    .expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(mirror.path().join("hooks/pre-receive"), mode).expect("executable");
    let failure = house.publish_fails_at("far", &sha, json!({}), FailureCode::MirrorFull).await;
    assert!(failure.detail.contains("allowed size of 5 MiB") && !failure.detail.contains('\u{1b}'), "{failure}");
}

#[tokio::test]
async fn orders_that_make_no_sense_at_a_mirror_say_why() {
    let house = House::with(MIRROR, "").await;
    house.mirror_at("m/team/hello.git").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    house.publish_fails_at("near", &sha, json!({}), FailureCode::MirrorUnknown).await;
    for more in [
        json!({ "naming": "replace", "original": "refs/heads/main" }),
        json!({ "naming": "same", "original": "refs/changes/01/1/1" }),
        json!({ "naming": "same", "original": "refs/heads/cd/x" }),
        json!({ "naming": "same", "original": "refs/heads/cd" }),
        json!({ "naming": "same", "original": "main" }),
    ] {
        house.publish_fails_at("far", &sha, more, FailureCode::MirrorRefused).await;
    }
    let Ok(Answer::Failed { failure }) = house.refs_at("far", key(), &sha, json!({ "naming": "same" })).await else { panic!("no name") };
    assert_eq!(failure.code, FailureCode::MirrorRefused);
    let unproven = house.source.commit("refs/heads/other", &[("x", "")]).await;
    house.publish_fails_at("far", &unproven, json!({}), FailureCode::CommitNotFound).await;
}

#[tokio::test]
async fn a_mirror_is_written_over_ssh_with_a_pinned_host_key() {
    let keys = tempfile::tempdir().expect("a folder");
    let server = SshServer::start(&keys.path().join("ssh"), None).await;
    let place = keys.path().join("m");
    let mirror = signalbox_service::git::testing::Fixture::new(&place, "team/hello.git").await;
    let entry = |name: &str, known: &str| {
        format!(
            "[mirrors.{name}]\nkind = \"remote\"\nurl = \"{}\"\nssh_key_file = \"{}\"\nknown_hosts_file = \"{}\"\nprivate = true\n",
            server.url(&place),
            server.file("client").display(),
            server.file(known).display()
        )
    };
    let house = House::with(&[entry("far", "known_hosts"), entry("false", "wrong_hosts")].concat(), "").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    let shown = house.publish_at("far", key(), &sha, json!({})).await;
    assert_eq!(mirror.read(shown.ref_name.as_str()).await, sha);
    house.publish_fails_at("false", &sha, json!({}), FailureCode::MirrorUnreachable).await;
}

#[tokio::test]
async fn a_token_for_a_mirror_is_shown_to_it_alone() {
    let keys = tempfile::tempdir().expect("a folder");
    let token = keys.path().join("token");
    std::fs::write(&token, "c4nary").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&token, mode).expect("changed");
    let house = House::with(&format!("{MIRROR}token_file = \"{}\"\nusername = \"bot\"\n", token.display()), "").await;
    house.mirror_at("m/team/hello.git").await;
    let sha = house.mirror(&house.order("main")).await.sha;
    assert!(house.server.seen().iter().all(|seen| seen.authorization.is_none()), "its source does not see it");
    house.server.require("Basic Ym90OmM0bmFyeQ==");
    house.publish_at("far", key(), &sha, json!({})).await;
    house.server.require("Basic nobody");
    let failure = house.publish_fails_at("far", &sha, json!({}), FailureCode::MirrorDenied).await;
    assert!(!failure.to_string().contains("c4nary"), "{failure}");
}

#[test]
fn a_secret_in_clear_text_is_refused_for_the_reason_that_is_so() {
    let keys = tempfile::tempdir().expect("a folder");
    let token = keys.path().join("token");
    std::fs::write(&token, "c4nary").expect("written");
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
    let both = |url: &str, more: &str| {
        let token = token.display();
        let source = format!("[[sources]]\nurl = \"{url}/r\"\ncredential = \"{token}\"\n{more}");
        let mirror = format!("[mirrors.a]\nkind = \"remote\"\nurl = \"{url}/{{name}}\"\ntoken_file = \"{token}\"\n{more}");
        [config_errors(&source), config_errors(&mirror)]
    };
    for url in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"] {
        assert!(
            both(url, "").iter().all(|said| said.contains("leads to this machine") && !said.contains("networks")),
            "{url}: {:?}",
            both(url, "")
        );
        assert_eq!(both(url, "private = true\n"), ["", ""], "{url}");
    }
    assert!(both("http://git.example.org", "").iter().all(|said| said.contains("would cross public networks in clear text")));
    assert_eq!(both("https://git.example.org", ""), ["", ""]);
}

#[test]
fn everything_that_is_wrong_with_mirrors_is_said_at_once() {
    let errors = config_errors(
        "data = \"d\"\n[mirrors.a]\nkind = \"svn\"\nurl = \"ftp://x\"\n[mirrors.b]\nkind = \"remote\"\nurl = \"ssh://git@x/m\"\n\
         [mirrors.c]\nkind = \"remote\"\nurl = \"https://x/m\"\nusername = \"a:b\"\nssh_key_file = \"k\"\nca = \"/none\"\n\
         [mirrors.e]\nkind = \"gitlab\"\nurl = \"https://x\"\nvisibility = \"all\"\n[mirrors.\"-d\"]\nkind = \"remote\"\nurl = \"git@x:m\"\ntoken_fil = 1\n",
    );
    for words in [
        "must be \"gitlab\" or \"remote\"",
        "mirrors.e.group: is missing",
        "a GitLab is spoken to by its API",
        "must be private, internal or public",
        "must begin with https://",
        "needs ssh_key_file and known_hosts_file",
        "must hold neither a colon",
        "needs a token_file",
        "is for ssh",
        "which is not there",
        "is no name of a mirror",
        "did you mean `token_file`",
    ] {
        assert!(errors.contains(words), "{words} in\n{errors}");
    }
}
