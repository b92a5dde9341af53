//! What pipelines made, found and fetched.

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::super::archive::testing::zip;
use super::world::World;
use crate::executor::{Executor as _, ExecutorError, OutputRef, Pick};
use crate::gitlab::tests::server::answer;

fn pick(name: &str, part: Option<&str>, path: Option<&str>) -> Pick {
    Pick { name: name.parse().expect("a name"), part: part.map(str::to_owned), path: path.map(|path| path.parse().expect("a path")) }
}

fn made(id: u64, name: &str) -> Value {
    json!({ "id": id, "name": name, "status": "success", "artifacts": [{ "file_type": "archive", "size": 100 }, { "file_type": "trace" }] })
}

type Files<'f> = &'f [(&'f str, &'f [u8])];

/// A pipeline whose jobs have these archives.
async fn world(archives: &[(u64, &str, Files<'_>)]) -> World {
    let world = World::new().await;
    let jobs: Vec<Value> = archives.iter().map(|(id, name, _)| made(*id, name)).collect();
    world.show(json!({ "status": "success" }), &json!(jobs));
    for (id, _, files) in archives {
        world.put_raw(&format!("GET projects/7/jobs/{id}/artifacts"), answer("200 OK", "", zip(files)));
    }
    world
}

async fn places(world: &World, picks: &[Pick]) -> Vec<String> {
    let outputs = world.executor.outputs(&world.tracked("7/70"), picks).await.expect("searched");
    outputs.into_iter().map(|output| output.place).collect()
}

#[tokio::test]
async fn an_artifact_is_found_by_job_and_path_or_by_its_name_alone() {
    let files: &[(&str, &[u8])] = &[("out/hello", b"hello"), ("out/hello.sig", b"x"), ("othello", b"y")];
    let world = world(&[(1, "compile", files), (2, "docs", &[("book.html", b"<p>")])]).await;
    assert_eq!(places(&world, &[pick("hello", Some("compile"), Some("out/hello"))]).await, ["7/1/out/hello"]);
    assert_eq!(places(&world, &[pick("hello", None, None)]).await, ["7/1/out/hello"]);
    assert_eq!(
        places(&world, &[pick("book", None, Some("book.html")), pick("hello", None, None)]).await,
        ["7/2/book.html", "7/1/out/hello"]
    );
    assert_eq!(places(&world, &[pick("hello", Some("docs"), None)]).await, Vec::<String>::new(), "what is not there is left out");
}

#[tokio::test]
async fn the_same_file_in_several_jobs_is_one_and_different_ones_are_asked_about() {
    let same: &[(&str, &[u8])] = &[("hello", b"hello")];
    let world = world(&[(1, "compile", same), (2, "test", same), (3, "repack", &[("other/hello", b"HELLO")])]).await;
    assert_eq!(places(&world, &[pick("hello", None, Some("hello"))]).await, ["7/1/hello"]);
    let refused = world.executor.outputs(&world.tracked("7/70"), &[pick("hello", None, None)]).await;
    let Err(ExecutorError::Refused(failure)) = refused else { panic!("{refused:?}") };
    assert!(failure.detail.contains("repack") && failure.hint.contains("artifacts.hello"), "{failure:?}");
}

#[tokio::test]
async fn only_the_end_of_an_archive_is_read_where_gitlab_knows_ranges() {
    let world = world(&[(1, "compile", &[])]).await;
    let archive = zip(&[("big", &[7; 5000]), ("hello", b"hello")]);
    let tail = &archive[4000..];
    let range = format!("content-range: bytes 4000-{}/{}\r\n", archive.len() - 1, archive.len());
    world.put_raw("GET projects/7/jobs/1/artifacts", answer("206 Partial Content", &range, tail));
    assert_eq!(places(&world, &[pick("hello", None, None)]).await, ["7/1/hello"]);
    let seen = world.server.seen();
    assert!(seen.iter().any(|head| head.contains("range: bytes=-262144")), "{seen:?}");
}

// Threat 48.
#[tokio::test]
async fn an_archive_that_is_none_or_leads_outside_is_no_source() {
    let world = world(&[(1, "compile", &[("../hello", b"x"), ("/etc/hello", b"x"), ("a/../hello", b"x"), (".git/hello", b"x")])]).await;
    assert_eq!(places(&world, &[pick("hello", None, None)]).await, Vec::<String>::new());
    world.put_raw("GET projects/7/jobs/1/artifacts", answer("200 OK", "", "<html>no archive</html>"));
    assert!(world.executor.outputs(&world.tracked("7/70"), &[pick("hello", None, None)]).await.is_err());
    world.refuse("GET projects/7/jobs/1/artifacts", "404 Not Found", &json!({ "message": "404 Not Found" }));
    assert_eq!(places(&world, &[pick("hello", None, None)]).await, Vec::<String>::new(), "it has expired");
}

#[tokio::test]
async fn an_artifact_is_read_whole_or_not_at_all() {
    let world = world(&[(1, "compile", &[("out/hello world", b"hello")])]).await;
    let outputs = world.executor.outputs(&world.tracked("7/70"), &[pick("hello", None, Some("out/hello world"))]).await.expect("found");
    let read = async |body: &str| {
        world.put_raw("GET projects/7/jobs/1/artifacts/out/hello%20world", answer("200 OK", "", body));
        let stream = world.executor.read(&outputs[0]).await.expect("begun");
        let chunks: Vec<_> = stream.collect().await;
        let whole: Result<Vec<_>, _> = chunks.into_iter().collect();
        whole.map(|chunks| chunks.concat())
    };
    assert_eq!(read("hello").await.expect("whole"), b"hello");
    assert!(read("hell").await.is_err(), "shorter than the archive says");
    assert!(read("hello!").await.is_err(), "longer than the archive says");
}

#[tokio::test]
async fn a_place_that_is_not_ours_is_refused() {
    let world = World::new().await;
    for place in ["", "7", "7/1", "7/1/", "7/1/../../x", "7/x/hello", "x/1/hello", "7/1//etc/passwd"] {
        let output =
            OutputRef { tracked: world.tracked("7/70"), name: "hello".parse().expect("a name"), place: place.to_owned(), size: None };
        assert!(matches!(world.executor.read(&output).await, Err(ExecutorError::Refused(_))), "{place}");
    }
    assert!(world.server.seen().is_empty());
}
