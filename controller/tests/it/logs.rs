//! Logs: read while they are written, masked, bounded, kept.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use base64::Engine as _;
use reqwest::StatusCode;
use serde_json::json;
use signalbox_contract::api::run::{AttemptView, Outcome};
use signalbox_contract::{RunId, Verdict};

use crate::house::{House, Setup, answer, phase, refused};
use crate::stand_ins::{At, Mood};

fn path(run: RunId) -> String {
    format!("/runs/{run}/steps/build/log")
}

async fn text(house: &House, run: RunId) -> Vec<u8> {
    answer(house.get(&path(run)), StatusCode::OK).await.bytes().await.expect("a log").to_vec()
}

async fn build(house: &House, script: &str) -> RunId {
    house.world.sources().script(script, script);
    house.cd(&json!({ "repo": "hello", "ref": script })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_be_read_while_it_is_written() {
    let house = House::open().await;
    let run = build(&house, "wait").await;
    house.builds(run).await;
    house.world.builds().write(run, b"one\n");
    house.sees("the first line", async || text(&house, run).await == b"one\n").await;
    let response = answer(house.get(&path(run)), StatusCode::OK).await;
    assert_eq!(
        (&response.headers()["signalbox-log-next"], &response.headers()["signalbox-log-complete"]),
        (&"4".parse().expect("a header"), &"false".parse().expect("a header"))
    );
    assert_eq!(response.headers()["cache-control"], "private, no-cache");
    assert!(refused(house.get(&path(run)).header("range", "bytes=4-"), 416).await.detail.contains('4'));
    let beyond = answer(house.get(&path(run)).header("range", "bytes=9-"), StatusCode::RANGE_NOT_SATISFIABLE).await;
    let said = ["content-range", "signalbox-log-next", "signalbox-log-complete"].map(|name| beyond.headers()[name].to_str().expect("text"));
    assert_eq!(said, ["bytes */4", "4", "false"]);
    house.world.builds().write(run, b"two\n");
    house.sees("the second line", async || text(&house, run).await == b"one\ntwo\n").await;
    let part = answer(house.get(&path(run)).header("range", "bytes=4-"), StatusCode::PARTIAL_CONTENT).await;
    assert_eq!(part.headers()["content-range"], "bytes 4-7/*", "how long it will be is not known yet");
    assert_eq!(part.bytes().await.expect("bytes"), "two\n");
    house.world.build_ends(run, Verdict::Success);
    house.ends(run, Outcome::Passed).await;
    let response = answer(house.get(&path(run)), StatusCode::OK).await;
    assert_eq!(response.headers()["cache-control"], "private, no-cache", "a rerun would make this the log of another attempt");
    assert_eq!(response.headers()["signalbox-log-complete"], "true");
    let beyond = answer(house.get(&path(run)).header("range", "bytes=8-"), StatusCode::RANGE_NOT_SATISFIABLE).await;
    assert_eq!(
        (&beyond.headers()["content-range"], &beyond.headers()["signalbox-log-complete"]),
        (&"bytes */8".parse().expect("a header"), &"true".parse().expect("a header"))
    );
    house.close().await;
}

/// The same again, by somebody who has what `response` said.
async fn again(house: &House, path: &str, response: &reqwest::Response) -> reqwest::Response {
    house.get(path).header("if-none-match", &response.headers()["etag"]).send().await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_an_ended_attempt_is_immutable_and_nothing_else() {
    const FOR_EVER: &str = "private, max-age=31536000, immutable";
    let house = House::open().await;
    let run = build(&house, "wait").await;
    house.builds(run).await;
    let (first, log) = (format!("/runs/{run}/steps/1/attempts/1"), format!("{}?attempt=1", path(run)));
    for goes_on in [&first, &log] {
        let response = answer(house.get(goes_on), StatusCode::OK).await;
        assert_eq!(response.headers()["cache-control"], "private, no-cache", "{goes_on}");
    }
    let latest = answer(house.get(&path(run)), StatusCode::OK).await;
    assert_eq!(again(&house, &path(run), &latest).await.status(), StatusCode::NOT_MODIFIED);
    house.world.builds().write(run, b"one\n");
    house.sees("what was written", async || again(&house, &path(run), &latest).await.status() == StatusCode::OK).await;
    house.world.build_ends(run, Verdict::Failed);
    let view = house.ends(run, Outcome::Failed).await;
    assert_eq!(view.steps[1].attempts[0].attempt_url, first);

    let response = answer(house.get(&first), StatusCode::OK).await;
    assert_eq!(response.headers()["cache-control"], FOR_EVER);
    let shown: AttemptView = response.json().await.expect("an attempt");
    assert_eq!(shown, view.steps[1].attempts[0], "it is what the run shows of it");
    let of_first = answer(house.get(&log), StatusCode::OK).await;
    assert_eq!(of_first.headers()["cache-control"], FOR_EVER);
    let latest = answer(house.get(&path(run)), StatusCode::OK).await;
    assert_eq!(latest.headers()["cache-control"], "private, no-cache");
    for (path, response) in [(&path(run), &latest), (&log, &of_first)] {
        assert_eq!(again(&house, path, response).await.status(), StatusCode::NOT_MODIFIED, "{path}");
    }

    answer(house.post(&format!("/runs/{run}/rerun"), &json!({})), StatusCode::ACCEPTED).await;
    let view = house.until("it is built again", run, |view| view.steps[1].attempts.len() == 2 && phase(view) == "running").await;
    assert_eq!(view.steps[1].attempts[0], shown, "nothing of the first has changed");
    assert_eq!(again(&house, &path(run), &latest).await.status(), StatusCode::OK, "it is the log of another attempt now");
    let resumed = house.get(&path(run)).header("range", "bytes=2-").header("if-range", &latest.headers()["etag"]);
    assert_eq!(answer(resumed, StatusCode::OK).await.text().await.expect("text"), "", "the rest of one log is not that of another");
    let response = answer(house.get(&log), StatusCode::OK).await;
    assert_eq!(
        (&response.headers()["cache-control"], &response.headers()["etag"]),
        (&FOR_EVER.parse().expect("a header"), &of_first.headers()["etag"])
    );
    for missing in ["1/attempts/0", "1/attempts/3", "x/attempts/1", "9/attempts/1"] {
        refused(house.get(&format!("/runs/{run}/steps/{missing}")), 404).await;
    }
    answer(house.get(&format!("/runs/{run}/steps/mirror/attempts/1")), StatusCode::OK).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_log_are_given_as_they_are_asked_for() {
    let house = House::open().await;
    house.world.builds().says = b"0123456789".to_vec();
    let run = build(&house, "pass").await;
    house.ends(run, Outcome::Passed).await;
    let path = path(run);
    for (range, part, said) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=2-999", "23456789", "bytes 2-9/10"),
    ] {
        let response = answer(house.get(&path).header("range", range), StatusCode::PARTIAL_CONTENT).await;
        assert_eq!(response.headers()["content-range"], said);
        assert_eq!(response.text().await.expect("text"), part, "{range}");
    }
    for range in ["bytes=4-2", "lines=1-2", "bytes=0-1,3-4", "bytes=x-y", "nonsense"] {
        let response = answer(house.get(&path).header("range", range), StatusCode::OK).await;
        assert_eq!(response.text().await.expect("text"), "0123456789", "what is no range is not heard: {range}");
    }
    for range in ["bytes=10-", "bytes=-0", "bytes=99-100", "bytes=99999999999999999999999-"] {
        refused(house.get(&path).header("range", range), 416).await;
    }
    for (tail, part, first) in [("3", "789", "7"), ("10", "0123456789", "0"), ("18446744073709551615", "0123456789", "0"), ("0", "", "10")]
    {
        let response = answer(house.get(&format!("{path}?tail={tail}")), StatusCode::OK).await;
        assert_eq!(response.headers()["signalbox-log-first"], first, "tail={tail}");
        assert_eq!(response.headers()["signalbox-log-next"], "10", "tail={tail}");
        assert!(!response.headers().contains_key("content-range"));
        assert_eq!(response.text().await.expect("text"), part, "tail={tail}");
    }
    let both = refused(house.get(&format!("{path}?tail=3")).header("range", "bytes=0-1"), 400).await;
    assert_eq!(both.errors[0].field, "tail");
    for other in ["/steps/1/log", "/steps/build/log?attempt=1"] {
        answer(house.get(&format!("/runs/{run}{other}")), StatusCode::OK).await;
    }
    for other in ["/steps/mirror/log", "/steps/9/log", "/steps/x/log", "/steps/build/log?attempt=0", "/steps/build/log?attempt=2"] {
        refused(house.get(&format!("/runs/{run}{other}")), 404).await;
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_build_writes_is_data() {
    let house = House::open().await;
    let mut wild = b"\x00\x1b[2J\x1b]0;title\x07\xff\xfe\r\n\xe2\x80\xae".to_vec();
    wild.extend(std::iter::repeat_n(b'x', 600_000));
    house.world.builds().says.clone_from(&wild);
    let run = build(&house, "pass").await;
    house.ends(run, Outcome::Passed).await;
    assert!(text(&house, run).await == wild, "not a byte is lost or changed");
    let response = answer(house.get(&path(run)), StatusCode::OK).await;
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert!(response.headers()["content-type"].to_str().expect("text").starts_with("text/plain"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_masked_also_where_pieces_meet() {
    let secret = "correct-horse/battery+staple";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    let mut written = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&file).expect("a file");
    writeln!(written, "{secret}").expect("written");
    futures_util::future::join_all([1, 3, 7, 16, 64].map(async |piece| {
        let house = House::with(Setup::default().table(&format!("[[mask]]\nfile = \"{}\"", file.display()))).await;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("user:{secret}"));
        let says = format!("a {secret} b\n{encoded}\ncorrect-horse is not all of it\n{secret}{secret}");
        house.world.builds().says = says.clone().into_bytes();
        house.world.builds().piece = Some(piece);
        let run = build(&house, "pass").await;
        house.ends(run, Outcome::Passed).await;
        let shown = String::from_utf8(text(&house, run).await).expect("text");
        assert!(!shown.contains(secret) && !shown.contains("staple"), "{piece}: {shown}");
        assert!(!shown.contains(&encoded[8..]), "{piece}: {shown}");
        assert!(shown.contains("correct-horse is not all of it"), "{piece}: {shown}");
        assert_eq!(shown.len(), says.len());
        let page = answer(house.get(&format!("/view/runs/{run}")), StatusCode::OK).await.text().await.expect("a page");
        assert!(!page.contains("staple"));
        house.close().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_end_is_cut() {
    let house = House::with(Setup::default().table("[limits]\nlog = \"4KiB\"")).await;
    house.world.builds().says = vec![b'y'; 300_000];
    house.world.builds().piece = Some(1000);
    let run = build(&house, "pass").await;
    house.ends(run, Outcome::Passed).await;
    let text = text(&house, run).await;
    assert!(text.starts_with(&[b'y'; 4096]) && text[4096..].starts_with(b"\n["), "{}", text.len());
    assert!(String::from_utf8_lossy(&text[4096..]).contains("longer than is kept"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_outlives_its_executors_memory() {
    let mut house = House::open().await;
    let run = build(&house, "wait").await;
    house.builds(run).await;
    house.world.builds().write(run, b"before the end of the world\n");
    house.sees("it is read", async || !text(&house, run).await.is_empty()).await;
    house.world.builds().forget(run);
    house.until("it is tried again", run, |view| view.steps[1].attempts.len() == 2).await;
    house.builds(run).await;
    house.world.build_ends(run, Verdict::Success);
    house.ends(run, Outcome::Passed).await;
    house.world.goes_away(At::Executor).await;
    house.dies();
    house.comes_back().await;
    let first = answer(house.get(&format!("{}?attempt=1", path(run))), StatusCode::OK).await;
    assert_eq!(first.headers()["signalbox-log-complete"], "true");
    assert_eq!(first.text().await.expect("text"), "before the end of the world\n");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_on_where_it_was_when_the_controller_died() {
    let mut house = House::open().await;
    house.world.builds().piece = Some(100);
    let run = build(&house, "wait").await;
    house.builds(run).await;
    let mut all = Vec::new();
    for round in 0..4_u8 {
        let piece: Vec<u8> = (0..1111_u32).map(|n| b'a' + round + u8::try_from(n % 7).expect("small")).collect();
        house.world.builds().write(run, &piece);
        all.extend_from_slice(&piece);
        house.sees("something is read", async || text(&house, run).await.len() > all.len() - 1111).await;
        house.dies();
        house.comes_back().await;
    }
    house.world.is(At::Executor, Mood::Broken);
    house.world.builds().write(run, b"the end");
    all.extend_from_slice(b"the end");
    house.world.build_ends(run, Verdict::Success);
    house.world.is(At::Executor, Mood::Well);
    house.ends(run, Outcome::Passed).await;
    assert!(text(&house, run).await == all);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_build_that_never_began_is_empty_for_ever() {
    let house = House::with(Setup::default().capacity(1)).await;
    let first = build(&house, "wait").await;
    house.builds(first).await;
    let run = build(&house, "wait").await;
    house.until("it waits for its place", run, |view| phase(view) == "waiting").await;
    answer(house.post(&format!("/runs/{run}/stop"), &json!({})), StatusCode::ACCEPTED).await;
    house.ends(run, Outcome::Stopped).await;
    for _ in 0..2 {
        let response = answer(house.get(&format!("{}?attempt=1", path(run))), StatusCode::OK).await;
        assert_eq!(response.headers()["signalbox-log-complete"], "true");
        assert!(response.headers()["cache-control"].to_str().expect("text").contains("immutable"), "nothing will ever stand there");
        assert!(response.bytes().await.expect("bytes").is_empty());
    }
    house.close().await;
}
