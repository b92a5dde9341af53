//! The mirrors that executors read.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use signalbox_contract::CommitSha;
use signalbox_contract::api::vcs::RefsAction;
use signalbox_service::git::{Access, Fault, Remote};
use signalbox_service::process::{Bounds, Program};

use crate::house::{House, SOON, key};

/// A clone by an untouched git, as a user's script would do it.
async fn clone(house: &House, url: &str, args: &[&str]) -> (bool, String) {
    let into = house.folder.path().join(format!("clone-{}", key()));
    let program = Program::new("git")
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", house.folder.path())
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(args)
        .args(["clone", "--quiet", "--mirror", url])
        .arg(&into);
    let output = program.run(Bounds::new(SOON)).await.expect("git runs");
    let refs = Program::new("git").env("PATH", "/usr/bin:/bin").args(["for-each-ref", "--format=%(refname)"]).env("GIT_DIR", &into);
    let refs = refs.run(Bounds::new(SOON)).await.expect("git runs");
    let said = if output.status.success() { refs.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

async fn published(house: &House) -> (CommitSha, String) {
    let sha = house.mirror(&house.order("main")).await.sha;
    let shown = house.publish(key(), &sha).await;
    (sha, shown.ref_name.to_string())
}

#[tokio::test]
async fn an_untouched_git_reads_with_the_capability_as_bearer_or_as_password() {
    let house = House::open().await;
    let (sha, ref_name) = published(&house).await;
    let url = format!("http://{}/mirrors/team/hello.git", house.address);
    let capability = house.capability("team/hello", &sha);
    let header = format!("http.extraHeader=Authorization: Bearer {capability}");
    for protocol in ["2", "0", "1"] {
        let version = format!("protocol.version={protocol}");
        let (cloned, said) = clone(&house, &url, &["-c", &header, "-c", &version]).await;
        assert!(cloned, "{protocol}: {said}");
        // Nothing else is shown: neither the source's refs nor what was proven.
        assert_eq!(said.trim(), ref_name, "protocol {protocol}");
    }
    let with_password = format!("http://signalbox:{capability}@{}/mirrors/team/hello.git", house.address);
    let (cloned, said) = clone(&house, &with_password, &[]).await;
    assert!(cloned, "{said}");
}

#[tokio::test]
async fn without_the_right_capability_nothing_is_read() {
    let house = House::open().await;
    let (sha, _) = published(&house).await;
    let url = format!("http://{}/mirrors/team/hello.git/info/refs?service=git-upload-pack", house.address);
    let get = |url: String, token: Option<String>| {
        let request = house.http().get(url);
        token.map_or_else(|| request.try_clone().expect("no body"), |token| request.try_clone().expect("no body").bearer_auth(token)).send()
    };
    let answer = get(url.clone(), None).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.headers().get_all("www-authenticate").iter().any(|value| value.to_str().is_ok_and(|text| text.starts_with("Basic"))));
    let other = house.capability("team/other", &sha);
    assert_eq!(get(url.clone(), Some(other)).await.expect("an answer").status(), StatusCode::FORBIDDEN);
    let act = signalbox_service::auth::sha256(b"");
    let act = house
        .signer
        .act(signalbox_contract::token::Service::VcsWorker, "GET /mirrors/team/hello.git/info/refs", None, act)
        .expect("a token");
    let act = signalbox_service::secret::ExposeSecret::expose_secret(&act).to_owned();
    let status = get(url.clone(), Some(act)).await.expect("an answer").status();
    assert!(matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), "{status}");
    assert_eq!(get(url, Some("nonsense".to_owned())).await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn mirrors_are_read_only_and_only_git_is_spoken() {
    let house = House::open().await;
    let (sha, _) = published(&house).await;
    let capability = house.capability("team/hello", &sha);
    let base = format!("http://{}/mirrors/team/hello.git", house.address);
    let client = house.http();
    for (path, wanted) in [
        ("/info/refs?service=git-receive-pack", StatusCode::FORBIDDEN),
        ("/info/refs", StatusCode::FORBIDDEN),
        ("/HEAD", StatusCode::NOT_FOUND),
        ("/objects/info/packs", StatusCode::NOT_FOUND),
        ("/config", StatusCode::NOT_FOUND),
        ("/../hello.git/config", StatusCode::NOT_FOUND),
        ("/%2e%2e/%2e%2e/names.git/info/refs", StatusCode::FORBIDDEN),
    ] {
        let answer = client.get(format!("{base}{path}")).bearer_auth(&capability).send().await.expect("an answer");
        assert_eq!(answer.status(), wanted, "{path}");
    }
    for path in ["/git-receive-pack", "/git-upload-archive"] {
        let answer = client.post(format!("{base}{path}")).bearer_auth(&capability).body("0000").send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let post = || client.post(format!("{base}/git-upload-pack")).bearer_auth(&capability);
    assert_eq!(post().body("0000").send().await.expect("an answer").status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let kind = "application/x-git-upload-pack-request";
    let answer = post().header("content-type", kind).header("content-encoding", "br").body("0000").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(answer.headers()["accept-encoding"], "gzip, identity");
    // A push is refused by the same rule, whatever the client thinks.
    let git = house.git();
    let remote = Remote::new(&base.parse().expect("a URL")).expect("plain").access(Access::Bearer(capability.into()));
    let copy = &house.copies()[0];
    let update = signalbox_service::git::Update { ref_name: "refs/heads/evil", sha: Some(&sha), lease: None };
    let push = signalbox_service::git::Push { remote: &remote, updates: &[update], options: &[], deadline: SOON };
    assert_eq!(git.push(copy, push).await.expect_err("refused").fault, Fault::Denied);
}

#[tokio::test]
async fn a_packed_request_is_unpacked_and_a_bomb_is_not() {
    use std::io::Write as _;
    let house = House::open().await;
    let (sha, ref_name) = published(&house).await;
    let capability = house.capability("team/hello", &sha);
    let url = format!("http://{}/mirrors/team/hello.git/git-upload-pack", house.address);
    let post = |body: Vec<u8>| {
        let request =
            house.http().post(&url).bearer_auth(&capability).header("content-encoding", "gzip").header("git-protocol", "version=2");
        request.header("content-type", "application/x-git-upload-pack-request").body(body).send()
    };
    let pack = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).expect("packed");
        encoder.finish().expect("packed")
    };
    let answer = post(pack(b"0014command=ls-refs\n00010009peel\n0000")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.text().await.expect("text").contains(&ref_name));
    // A hundred megabytes in a hundred kilobytes: cut off before git has read it all.
    let begun = std::time::Instant::now();
    let bomb = pack(&b"0014command=ls-refs\n".repeat(6_000_000));
    assert!(bomb.len() < 1_000_000);
    let cut = post(bomb).await.expect("an answer").bytes().await;
    assert!(cut.is_err() || cut.is_ok_and(|bytes| bytes.len() < 10_000));
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(post(b"not gzip at all".to_vec()).await.expect("an answer").bytes().await.is_err());
}

#[tokio::test]
async fn what_was_not_proven_is_not_shown() {
    let house = House::open().await;
    let (sha, _) = published(&house).await;
    let mut body = json!({ "name": "team/hello", "sha": "f".repeat(40), "action": "publish" });
    for name in ["team/hello", "team/unknown"] {
        body["name"] = json!(name);
        let answer = house.post::<()>("/refs", key(), &body).await.expect("an answer");
        assert!(
            matches!(&answer, signalbox_contract::api::Answer::Failed { failure } if failure.code == signalbox_contract::FailureCode::CommitNotFound)
        );
    }
    // A tree or a blob is no commit.
    let tree = house.source.git(&["rev-parse", "refs/heads/main^{tree}"], "").await;
    let answer = house.refs(key(), &tree.trim().parse().expect("an id"), RefsAction::Publish).await.expect("an answer");
    assert!(matches!(answer, signalbox_contract::api::Answer::Failed { .. }));
    house.publish(key(), &sha).await;
}

#[tokio::test]
async fn whatever_a_mirror_answers_is_described() {
    let house = House::open().await;
    let (sha, _) = published(&house).await;
    let description = serde_json::to_value(signalbox_vcs_worker::openapi()).expect("JSON");
    let (good, strange) = (house.capability("team/hello", &sha), house.capability("team/none", &sha));
    let kind = ("content-type", "application/x-git-upload-pack-request");
    let (asked, sent) = ("info/refs?service=git-upload-pack", "git-upload-pack");
    let get = |repo: &str, rest: &str| house.http().get(format!("http://{}/mirrors/{repo}.git/{rest}", house.address));
    let post = |repo: &str| house.http().post(format!("http://{}/mirrors/{repo}.git/{sent}", house.address)).body("0000");
    let too_large = vec![b'0'; 17 * 1024 * 1024];
    let cases = [
        ("get", get("team/hello", asked).bearer_auth(&good), 200),
        ("get", get("team/hello", "info/refs?service=x&service=y").bearer_auth(&good), 400),
        ("get", get("team/hello", asked), 401),
        ("get", get("team/hello", "info/refs?service=git-receive-pack").bearer_auth(&good), 403),
        ("get", get("team/other", asked).bearer_auth(&good), 403),
        ("get", get("team/none", asked).bearer_auth(&strange), 404),
        ("post", post("team/hello").header(kind.0, kind.1).bearer_auth(&good), 200),
        ("post", post("team/hello").header(kind.0, kind.1), 401),
        ("post", post("team/other").header(kind.0, kind.1).bearer_auth(&good), 403),
        ("post", post("team/none").header(kind.0, kind.1).bearer_auth(&strange), 404),
        ("post", post("team/hello").header(kind.0, kind.1).bearer_auth(&good).body(too_large), 413),
        ("post", post("team/hello").bearer_auth(&good), 415),
    ];
    for (method, request, status) in cases {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{method} {}", answer.url());
        let path = if method == "get" { "/mirrors/{name}.git/info/refs" } else { "/mirrors/{name}.git/git-upload-pack" };
        let described = &description["paths"][path][method]["responses"][status.to_string()];
        let answered = answer.headers()["content-type"].to_str().expect("text");
        assert!(described["content"].get(answered).is_some(), "{method} {status} {answered}: {described}");
    }
}
