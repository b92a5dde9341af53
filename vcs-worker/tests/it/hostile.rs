//! Sources that lie, hang, flood and point elsewhere.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::json;
use signalbox_contract::FailureCode;
use signalbox_contract::api::Answer;
use signalbox_contract::api::vcs::RepoResult;
use signalbox_service::git::testing::{Fixture, GitServer, Misbehaviour, SshServer};
use signalbox_service::testing::SmallDisk;

use crate::house::{House, config_errors, key};

const CANARY: &str = "c4nary-token";

/// A worker whose source wants a token that is the canary.
async fn with_canary(settings: &str) -> (House, tempfile::TempDir) {
    let secrets = tempfile::tempdir().expect("a folder");
    let token = secrets.path().join("token");
    std::fs::write(&token, CANARY).expect("written");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).expect("private");
    let house = House::with(settings, &format!("credential = \"{}\"", token.display())).await;
    house.server.require(&format!("Bearer {CANARY}"));
    (house, secrets)
}

// Threats 25 and 65.
#[tokio::test]
async fn a_redirect_is_not_followed_and_the_credential_stays_here() {
    let (house, _secrets) = with_canary("").await;
    let other = GitServer::start(&house.folder.path().join("server")).await;
    house.server.misbehave(Misbehaviour::Redirect(302, other.url("").to_string().trim_end_matches('/').to_owned()));
    let failure = house.mirror_fails(&house.order("main"), FailureCode::SourceRedirects).await;
    assert!(!failure.to_string().contains(CANARY));
    assert!(other.seen().is_empty(), "the other host saw nothing");

    house.server.misbehave(Misbehaviour::None);
    house.mirror(&house.order("main")).await;
    // The canary lies in none of the worker's files.
    let mut folders = vec![house.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = std::fs::read(entry.path()).expect("readable");
                assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "{}", entry.path().display());
            }
        }
    }
}

// Threat 30.
#[tokio::test]
async fn what_a_source_says_is_escaped_and_scrubbed_in_the_answer() {
    let (house, _secrets) = with_canary("").await;
    house.server.misbehave(Misbehaviour::Complaint(format!("\u{1b}[31mgive me {CANARY}\u{7}").into_bytes()));
    let failure = house.mirror_fails(&house.order("main"), FailureCode::SourceBroken).await;
    let text = failure.to_string();
    assert!(!text.contains(CANARY) && text.chars().all(|character| !character.is_control()), "{text}");
}

#[tokio::test]
async fn each_way_of_not_answering_has_its_own_code_and_what_may_pass_is_asked_for_again() {
    let house = House::with("fetch_timeout = \"2s\"", "").await;
    for (how, code) in [
        (Misbehaviour::Status(401), FailureCode::SourceDenied),
        (Misbehaviour::Status(403), FailureCode::SourceDenied),
        (Misbehaviour::Status(404), FailureCode::SourceNotFound),
        (Misbehaviour::Garbage, FailureCode::SourceBroken),
    ] {
        house.server.misbehave(how);
        house.mirror_fails(&house.order("main"), code).await;
    }
    let attempt = key();
    for (how, said) in [
        (Misbehaviour::Status(500), "the server failed"),
        (Misbehaviour::Hang, "it took too long"),
        (Misbehaviour::HangAtObjects, "it took too long"),
    ] {
        let words = format!("{how:?}");
        house.server.misbehave(how);
        let begun = Instant::now();
        let problem = house.post::<RepoResult>("/repo", attempt, &house.order("main")).await.expect_err("not now");
        assert!(problem.status == 503 && problem.retry_after.is_some() && problem.detail.contains(said), "{words}: {problem:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{words}");
    }
    house.server.misbehave(Misbehaviour::None);
    // The very same attempt succeeds once the source is back.
    assert!(matches!(house.post::<RepoResult>("/repo", attempt, &house.order("main")).await, Ok(Answer::Done { .. })));
}

#[tokio::test]
async fn a_web_page_where_a_repository_should_be_is_no_repository_without_the_ref() {
    let house = House::open().await;
    house.server.misbehave(Misbehaviour::Page);
    for ref_name in ["main", "refs/changes/45/12345/2"] {
        let failure = house.mirror_fails(&house.order(ref_name), FailureCode::SourceBroken).await.to_string();
        assert!(failure.contains("the URL answers a web page") && failure.contains("sign-in"), "{failure}");
    }
    let mut told = house.order("main");
    told["sha"] = json!("1".repeat(40));
    house.mirror_fails(&told, FailureCode::SourceBroken).await;
    // A server of git's that has nothing to show yet is another matter.
    house.server.misbehave(Misbehaviour::None);
    house.source.git(&["update-ref", "-d", "refs/heads/main"], "").await;
    house.mirror_fails(&house.order("main"), FailureCode::RefNotFound).await;
}

// Threat 29.
#[tokio::test]
async fn a_source_without_end_is_cut_off_and_leaves_nothing() {
    let house = House::with("max_repository = \"2MiB\"", "").await;
    house.mirror(&house.order("main")).await;
    house.source.commit("refs/heads/main", &[("x", "y")]).await;
    house.server.misbehave(Misbehaviour::Endless(1_000_000));
    house.mirror_fails(&house.order("main"), FailureCode::SourceTooLarge).await;
    let left = std::fs::read_dir(house.copies()[0].join("objects/pack")).expect("a folder");
    let left: Vec<String> = left.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(left.iter().all(|name| !name.contains("tmp")), "{left:?}");
    house.server.misbehave(Misbehaviour::None);
    house.mirror(&house.order("main")).await;
}

// Threats 22, 24 and 26.
#[tokio::test]
async fn only_allowed_sources_are_fetched_and_never_from_forbidden_addresses() {
    let house =
        House::with("[[sources]]\nurl = \"http://169.254.169.254/\"\nprivate = true\n[[sources]]\nurl = \"http://localhost/\"\n", "").await;
    let order = |git: String| json!({ "git": git, "ref": "main", "name": "x" });
    let port = house.server.address().port();
    for url in [
        format!("http://127.0.0.1:{port}/other/hello"),
        format!("http://127.0.0.1:{port}/rr/hello"),
        "https://127.0.0.1/r/hello".to_owned(),
    ] {
        house.mirror_fails(&order(url), FailureCode::SourceNotAllowed).await;
    }
    house.mirror_fails(&order("http://169.254.169.254/latest".to_owned()), FailureCode::SourceAddress).await;
    // A name that resolves to a private address is no better than the address.
    house.mirror_fails(&order("http://localhost/x".to_owned()), FailureCode::SourceAddress).await;
    assert!(house.server.seen().is_empty());
}

#[tokio::test]
async fn ssh_is_fetched_with_the_pinned_host_key_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let ssh = SshServer::start(&folder.path().join("ssh"), None).await;
    let repo = Fixture::new(folder.path(), "repo").await;
    let sha = repo.commit("refs/heads/main", &[("x", "y")]).await;
    let entry = |known_hosts: &str| {
        let (key, known_hosts) = (ssh.file("client"), ssh.file(known_hosts));
        format!(
            "[[sources]]\nurl = \"ssh://{}@{}{}\"\nprivate = true\nkey = \"{}\"\nknown_hosts = \"{}\"\n",
            ssh.user(),
            ssh.address(),
            folder.path().display(),
            key.display(),
            known_hosts.display()
        )
    };
    let order = json!({ "git": ssh.url(repo.path()), "ref": "main", "name": "x" });
    let house = House::with(&entry("known_hosts"), "").await;
    assert_eq!(house.mirror(&order).await.sha, sha);
    let house = House::with(&entry("wrong_hosts"), "").await;
    let failure = house.mirror_fails(&order, FailureCode::SourceUnreachable).await;
    let file = ssh.file("wrong_hosts").display().to_string();
    for words in ["host key", "showed the key SHA256:", &file, "ssh-keyscan"] {
        assert!(failure.to_string().contains(words), "{words} in {failure}");
    }
    assert!(!failure.to_string().contains("WARNING") && !failure.to_string().contains("ssh-keygen"), "{failure}");
}

#[tokio::test]
async fn https_is_fetched_with_the_named_authority_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let repo = Fixture::new(folder.path(), "repo").await;
    let sha = repo.commit("refs/heads/main", &[("x", "y")]).await;
    let server = GitServer::start(folder.path()).await;
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, cert.pem()).expect("written");
    let port = server.behind_tls(cert.der().to_vec(), signing_key.serialize_der()).await;
    let entry = format!("[[sources]]\nurl = \"https://127.0.0.1:{port}/\"\nprivate = true\n");
    let order = json!({ "git": format!("https://127.0.0.1:{port}/repo"), "ref": "main", "name": "x" });
    let house = House::with(&format!("{entry}ca = \"{}\"\n", ca.display()), "").await;
    assert_eq!(house.mirror(&order).await.sha, sha);
    server.forget();
    let house = House::with(&entry, "").await;
    let failure = house.mirror_fails(&order, FailureCode::SourceUnreachable).await;
    assert!(failure.hint.contains("certificate authority as `ca`"), "{failure}");
    assert!(server.seen().is_empty(), "nothing was asked before the certificate was believed");
}

// Threat 29.
#[tokio::test]
async fn a_full_disk_is_told_as_such_and_what_fits_is_mirrored_again() {
    let mut disk = None;
    let house = House::open().await.reopen(|data| disk = SmallDisk::mount(&data.join("copies"), "size=1m")).await;
    if disk.is_none() {
        return;
    }
    house.mirror(&house.order("main")).await;
    let noise = (0..200_000_u64).fold(String::new(), |noise, n| noise + &(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8).to_string());
    house.source.commit("refs/heads/large", &[("noise", &noise)]).await;
    let failure = house.mirror_fails(&house.order("large"), FailureCode::DiskFull).await;
    assert!(failure.hint.contains("Make room"), "{failure}");
    let sha = house.source.commit("refs/heads/main", &[("small", "x")]).await;
    assert_eq!(house.mirror(&house.order("main")).await.sha, sha, "nothing of what did not fit is left");
    drop(house.vacate().await);
    drop(disk);
}

// One copy has one writer, whoever asks for what.
#[tokio::test]
async fn refs_of_one_copy_are_fetched_one_after_another() {
    let house = House::with("max_concurrent = 16", "").await;
    house.mirror(&house.order("main")).await;
    let mut shas = Vec::new();
    for n in 0..8 {
        shas.push(house.source.commit(&format!("refs/heads/branch-{n}"), &[("n", &format!("{n}"))]).await);
    }
    let orders: Vec<_> = (0..8).map(|n| house.order(&format!("branch-{n}"))).collect();
    let brought = futures_util::future::join_all(orders.iter().map(|order| house.mirror(order))).await;
    assert_eq!(brought.into_iter().map(|brought| brought.sha).collect::<Vec<_>>(), shas);
    assert_eq!(house.server.most_fetches_at_once(), 1);
}

#[test]
fn a_source_that_cannot_work_is_refused_when_the_configuration_is_read() {
    for (entry, words) in [
        ("url = \"ext::sh\"", "must begin with"),
        ("url = \"https://u:p@example.org/\"", "credentials"),
        ("url = \"ssh://git@example.org/\"", "pinned"),
        ("url = \"https://example.org/\"\ncredential = \"/nonexistent\"", "cannot be read"),
        ("url = \"https://example.org/\"\nusername = \"x\"", "needs a credential"),
        ("url = \"https://example.org/\"\nkey = \"/nonexistent\"", "is for ssh"),
        ("url = \"https://example.org/\"\nca = \"/nonexistent\"", "not there"),
        ("url = \"https://example.org/\"\nprivat = true", "privat"),
        ("url = \"http://example.org/\"\ncredential = \"/nonexistent\"", "clear text"),
        ("private = true", "url"),
    ] {
        let errors = config_errors(&format!("[[sources]]\n{entry}\n"));
        assert!(errors.contains(words), "{entry}: {errors}");
    }
    assert_eq!(config_errors("[[sources]]\nurl = \"https://example.org/r/\"\n"), "");
}
