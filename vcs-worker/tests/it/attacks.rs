//! A server that speaks git's protocol and means harm: packs that are not what they say, refs by the million or with names
//! that no git would make, and commits that carry settings along.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};
use signalbox_contract::FailureCode;
use signalbox_service::git::testing::{GitServer, Misbehaviour};
use signalbox_service::process::{Bounds, Program};

use crate::house::{House, SOON};

/// What the server shows and gives out, whatever it is asked for.
#[derive(Clone)]
struct Evil {
    refs: Bytes,
    pack: Bytes,
}

fn line(text: &[u8]) -> Vec<u8> {
    [format!("{:04x}", text.len() + 4).as_bytes(), text].concat()
}

fn advertisement() -> Vec<u8> {
    let lines: [&[u8]; 4] = [b"version 2\n", b"ls-refs\n", b"fetch\n", b"object-format=sha1\n"];
    [b"001e# service=git-upload-pack\n0000".to_vec(), lines.map(line).concat(), b"0000".to_vec()].concat()
}

fn answer(State(evil): State<Evil>, body: &Bytes) -> Vec<u8> {
    if body.windows(15).any(|window| window == b"command=ls-refs") {
        return evil.refs.to_vec();
    }
    let pieces = evil.pack.chunks(60_000).flat_map(|piece| line(&[b"\x01", piece].concat()));
    [line(b"packfile\n"), pieces.collect(), b"0000".to_vec()].concat()
}

impl Evil {
    fn new(refs: &[(&str, &str)], pack: Vec<u8>) -> Self {
        let shown = refs.iter().flat_map(|(sha, name)| line(format!("{sha} {name}\n").as_bytes()));
        let shown: Vec<u8> = shown.chain(*b"0000").collect();
        Self { refs: shown.into(), pack: pack.into() }
    }

    #[expect(clippy::disallowed_methods, reason = "a test's server needs no deadlines against clients that stall")]
    async fn serve(self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let kind = |kind: &'static str| [("content-type", kind)];
        let told = move || async move { (kind("application/x-git-upload-pack-advertisement"), advertisement()) };
        let given = move |state, body: Bytes| async move { (kind("application/x-git-upload-pack-result"), answer(state, &body)) };
        let routes = Router::new().route("/evil/info/refs", get(told)).route("/evil/git-upload-pack", post(given)).with_state(self);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    /// A worker that may fetch from it, and the order to fetch `ref_name`.
    async fn house(self, settings: &str, ref_name: &str) -> (House, Value) {
        let address = self.serve().await;
        let house = House::with(&format!("{settings}\n[[sources]]\nurl = \"http://{address}/\"\nprivate = true"), "").await;
        (house, json!({ "git": format!("http://{address}/evil"), "ref": ref_name, "name": "evil" }))
    }
}

/// What begins an object in a pack: its kind, and how large it is said to be.
fn head(kind: u8, mut size: u64) -> Vec<u8> {
    let mut bytes = vec![(kind << 4) | (size & 0x0f) as u8];
    size >>= 4;
    while size > 0 {
        *bytes.last_mut().expect("it has begun") |= 0x80;
        bytes.push((size & 0x7f) as u8);
        size >>= 7;
    }
    bytes
}

/// A number in a delta.
fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
    bytes
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

/// A pack of these objects, with the checksum that it must have.
async fn pack(objects: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(objects.len()).expect("few");
    let mut bytes = [b"PACK\0\0\0\x02".as_slice(), &count.to_be_bytes(), &objects.concat()].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pack");
    std::fs::write(&file, &bytes).expect("written");
    let summed = Program::new("/usr/bin/sha1sum").arg(&file).run(Bounds::new(SOON)).await.expect("summed");
    let sum = String::from_utf8_lossy(&summed.stdout[..40]).into_owned();
    bytes.extend((0..20).map(|at| u8::from_str_radix(&sum[2 * at..2 * at + 2], 16).expect("hex")));
    bytes
}

const SHA: &str = "1111111111111111111111111111111111111111";

// Threat 29.
#[tokio::test]
async fn a_pack_that_is_not_what_it_says_is_refused_soon_and_leaves_nothing() {
    let commit = |size: u64, data: &[u8]| [head(1, size), packed(data)].concat();
    let base = [head(3, 1000), packed(&[0; 1000])].concat();
    // A delta on the object before it that says it makes five gigabytes of it.
    let mut delta = [number(1000), number(5 << 30)].concat();
    for _ in 0..1000 {
        // Copies a thousand bytes from the beginning.
        delta.extend([0x80 | 0x10 | 0x20, 0xe8, 0x03]);
    }
    let back = u8::try_from(base.len()).expect("small");
    let bomb = [head(6, delta.len() as u64), vec![back], packed(&delta)].concat();
    let broken = [FailureCode::SourceBroken, FailureCode::SourceUnreachable].as_slice();
    let large = [FailureCode::SourceTooLarge].as_slice();
    let whole = pack(&[commit(4, b"evil")]).await;
    let mut wrong_sum = whole.clone();
    *wrong_sum.last_mut().expect("a sum") ^= 1;
    let cases: [(&str, Vec<u8>, &[FailureCode]); 8] = [
        ("no pack at all", b"hello".to_vec(), broken),
        ("one that stops in the middle", whole[..20].to_vec(), broken),
        ("one with a wrong checksum", wrong_sum, broken),
        ("one with a commit that is none", whole, broken),
        (
            "fewer objects than it says",
            pack(&[]).await[..12].iter().enumerate().map(|(at, byte)| if at == 11 { 9 } else { *byte }).collect(),
            broken,
        ),
        ("an object that unpacks to far more than it says", pack(&[commit(10, &vec![0; 100 << 20])]).await, broken),
        ("an object that says it has five gigabytes", pack(&[commit(5 << 30, b"x")]).await, large),
        ("a delta that says it makes five gigabytes", pack(&[base, bomb]).await, large),
    ];
    for (what, bytes, codes) in cases {
        let (house, mut order) = Evil::new(&[(SHA, "refs/heads/main")], bytes).house("", "refs/heads/main").await;
        for told in [false, true] {
            if told {
                order["sha"] = json!(SHA);
            }
            let begun = Instant::now();
            let said = match house.post::<Value>("/repo", crate::house::key(), &order).await {
                Ok(signalbox_contract::api::Answer::Failed { failure }) => failure.code,
                // A server that stops in the middle of a word may only have been cut off.
                Err(problem) if problem.status == 503 => FailureCode::SourceUnreachable,
                other => panic!("{what}: {other:?}"),
            };
            assert!(codes.contains(&said), "{what}: {said:?}");
            assert!(begun.elapsed() < SOON, "{what}");
        }
        let packs = house.copies().iter().flat_map(|copy| std::fs::read_dir(copy.join("objects/pack")).into_iter().flatten()).count();
        assert_eq!(packs, 0, "{what}");
    }
}

// Threat 28.
#[tokio::test]
async fn a_million_refs_are_read_past() {
    let mut refs = Vec::with_capacity(80 << 20);
    let mut name = String::new();
    for at in 0..1_000_000 {
        name.clear();
        let _ = writeln!(name, "{SHA} refs/keep-around/{at:07}/main");
        refs.extend(line(name.as_bytes()));
    }
    refs.extend_from_slice(b"0000");
    let (house, order) = Evil { refs: refs.into(), pack: Bytes::new() }.house("fetch_timeout = \"60s\"", "refs/heads/main").await;
    let begun = Instant::now();
    let failure = house.mirror_fails(&order, FailureCode::RefNotFound).await;
    assert!(begun.elapsed() < Duration::from_mins(1), "{failure}");
    assert!(house.copies().is_empty(), "nothing is written for refs that nobody wants");
}

// Threat 28.
#[tokio::test]
async fn names_that_no_git_would_make_stay_at_their_server() {
    let hostile = [
        "refs/heads/..",
        "refs/heads/../../config",
        "refs/heads/x.lock",
        "refs/heads/a@{1}",
        "refs/heads/-h",
        "refs/heads/r\u{202e}x",
        "refs/heads/a",
        "refs/heads/a/b",
        "refs/heads/A",
        "refs/pull/1/head",
        "HEAD",
        "refs/heads/ma\u{1b}[31min",
    ];
    let shown: Vec<(&str, &str)> = hostile.iter().map(|name| (SHA, *name)).collect();
    let (house, order) = Evil::new(&shown, Vec::new()).house("", "refs/heads/main").await;
    let failure = house.mirror_fails(&order, FailureCode::RefNotFound).await.to_string();
    assert!(failure.chars().all(|character| !character.is_control()), "{failure}");
    assert!(house.copies().is_empty());
}

// Threat 28.
#[tokio::test]
async fn refs_that_differ_only_in_case_or_become_folders_of_each_other_never_meet_here() {
    let house = House::open().await;
    let mut shas = Vec::new();
    for name in ["refs/heads/Topic", "refs/heads/topic", "refs/heads/TOPIC"] {
        let sha = house.source.commit(name, &[("name", name)]).await;
        assert_eq!(house.mirror(&house.order(name)).await.sha, sha, "{name}");
        shas.push(sha);
    }
    // A branch that was a file becomes a folder, and one that was a folder becomes a file.
    for (old, new) in [("refs/heads/topic", "refs/heads/topic/a"), ("refs/heads/topic/a", "refs/heads/topic")] {
        house.source.git(&["update-ref", "-d", old], "").await;
        let sha = house.source.commit(new, &[("name", new)]).await;
        assert_eq!(house.mirror(&house.order(new)).await.sha, sha, "{new}");
        shas.push(sha);
    }
    for sha in &shas {
        house.publish(crate::house::key(), sha).await;
    }
}

// Threat 27.
#[tokio::test]
async fn what_a_commit_or_its_repository_carries_along_runs_nothing_and_asks_nobody() {
    let house = House::open().await;
    let trap = GitServer::start(&house.folder.path().join("server")).await;
    trap.misbehave(Misbehaviour::Status(404));
    let proof = house.folder.path().join("proof");
    let touch = format!("touch {}", proof.display());
    let url = trap.url("r/hello");
    let modules = format!("[submodule \"x\"]\n\tpath = x\n\turl = {url}\n\tupdate = !{touch}\n");
    let lfs = format!("[lfs]\n\turl = {url}\n");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    let files = [
        (".gitmodules", modules.as_str()),
        (".lfsconfig", &lfs),
        (".gitattributes", "*.bin filter=lfs\n* filter=evil\n"),
        ("a.bin", pointer),
    ];
    house.source.commit("refs/heads/main", &files).await;
    // Settings of the repository at its server stay there, whatever they say to those who fetch.
    for (key, value) in
        [("core.fsmonitor", touch.as_str()), ("core.sshCommand", &touch), ("filter.evil.smudge", &touch), ("core.hooksPath", "hooks")]
    {
        house.source.git(&["config", key, value], "").await;
    }
    let mut order = house.order("main");
    order["files"] = json!([".gitmodules", "a.bin"]);
    let sent = house.post::<signalbox_contract::api::vcs::RepoResult>("/repo", crate::house::key(), &order).await;
    let refused = matches!(&sent, Ok(signalbox_contract::api::Answer::Failed { failure }) if failure.code == FailureCode::SourceBroken);
    assert!(refused, "an update command in .gitmodules is refused by git's own checks: {sent:?}");

    let modules = format!("[submodule \"x\"]\n\tpath = x\n\turl = {url}\n");
    house.source.git(&["update-ref", "-d", "refs/heads/main"], "").await;
    let sha = house.source.commit("refs/heads/main", &[(".gitmodules", modules.as_str()), files[1], files[2], files[3]]).await;
    let result = house.mirror(&order).await;
    let text = |text: &str| signalbox_contract::api::vcs::FileContent::Text { text: text.to_owned() };
    assert_eq!(result.files.get(&"a.bin".parse().expect("a path")), Some(&text(pointer)), "a pointer is the text that it is");
    house.publish(crate::house::key(), &sha).await;
    let copy = &house.copies()[0];
    assert!(!copy.join("hooks").exists() && !copy.join("objects/info/alternates").exists() && !copy.join("modules").exists());
    assert!(trap.seen().is_empty(), "{:?}", trap.seen());
    assert!(!proof.exists());
}
