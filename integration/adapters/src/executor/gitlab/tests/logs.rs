//! Traces, read on as they grow.

use serde_json::json;

use super::world::World;
use crate::executor::{Executor as _, ExecutorError, LogChunk, LogCursor, PartRef};
use crate::gitlab::tests::server::answer;

const TRACE: &str = "GET projects/7/jobs/5/trace";

async fn read(world: &World, from: &LogCursor) -> Result<LogChunk, ExecutorError> {
    let part = PartRef { tracked: world.tracked("7/70"), part: "5".to_owned() };
    world.executor.log(&part, from).await
}

#[tokio::test]
async fn a_trace_is_read_on_and_complete_when_the_job_is_over_and_nothing_more_comes() {
    let world = World::new().await;
    world.put("GET projects/7/jobs/5", &json!({ "id": 5, "name": "compile", "status": "running" }));
    world.put_raw(TRACE, answer("200 OK", "", "one\n"));
    let first = read(&world, &LogCursor::default()).await.expect("read");
    assert_eq!((&first.bytes[..], first.complete), (&b"one\n"[..], false));
    let nothing = read(&world, &first.next).await.expect("read");
    assert_eq!((nothing.bytes.len(), nothing.complete), (0, false), "the job runs on");
    world.put_raw(TRACE, answer("200 OK", "", "one\ntwo\n"));
    let second = read(&world, &nothing.next).await.expect("read");
    assert_eq!(&second.bytes[..], b"two\n");
    world.put("GET projects/7/jobs/5", &json!({ "id": 5, "name": "compile", "status": "success" }));
    let over = read(&world, &second.next).await.expect("read");
    assert!(!over.complete, "the last of it may still come");
    world.put_raw(TRACE, answer("200 OK", "", "one\ntwo\nthree\n"));
    let late = read(&world, &over.next).await.expect("read");
    assert_eq!((&late.bytes[..], late.complete), (&b"three\n"[..], false));
    let end = read(&world, &late.next).await.expect("read");
    assert_eq!((end.bytes.len(), end.complete), (0, true));
    assert_eq!(&read(&world, &first.next).await.expect("read").bytes[..], b"two\nthree\n", "a cursor leads back to its place");
}

#[tokio::test]
async fn a_gitlab_that_knows_ranges_is_asked_for_the_rest_alone() {
    let world = World::new().await;
    world.put_raw(TRACE, answer("206 Partial Content", "content-range: bytes 4-7/8\r\n", "two\n"));
    let chunk = read(&world, &"4".parse().expect("a cursor")).await.expect("read");
    assert_eq!((&chunk.bytes[..], chunk.next.as_str()), (&b"two\n"[..], "8"));
    // One that begins behind what was asked for would lose bytes.
    world.put_raw(TRACE, answer("206 Partial Content", "content-range: bytes 6-7/8\r\n", "o\n"));
    assert!(read(&world, &"4".parse().expect("a cursor")).await.is_err());
    world.put_raw(TRACE, answer("416 Range Not Satisfiable", "", ""));
    world.put("GET projects/7/jobs/5", &json!({ "id": 5, "name": "compile", "status": "success" }));
    let over = read(&world, &"8".parse().expect("a cursor")).await.expect("read");
    assert!(read(&world, &over.next).await.expect("read").complete);
}

#[tokio::test]
async fn a_large_trace_comes_in_pieces_and_a_cut_one_as_far_as_it_came() {
    let world = World::new().await;
    world.put_raw(TRACE, answer("200 OK", "", vec![b'x'; 3 << 20]));
    let (mut cursor, mut length) = (LogCursor::default(), 0);
    for _ in 0..3 {
        let chunk = read(&world, &cursor).await.expect("read");
        assert!(chunk.bytes.len() <= 1 << 20);
        length += chunk.bytes.len();
        cursor = chunk.next;
    }
    assert_eq!(length, 3 << 20);
    world.put_raw(TRACE, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome".to_vec());
    let chunk = read(&world, &LogCursor::default()).await.expect("read");
    assert_eq!((&chunk.bytes[..], chunk.next.as_str()), (&b"some"[..], "4"));
}

#[tokio::test]
async fn a_trace_that_was_thrown_away_ends_and_strange_names_are_refused() {
    let world = World::new().await;
    let gone = read(&world, &"10".parse().expect("a cursor")).await.expect("read");
    assert!(read(&world, &gone.next).await.expect("read").complete);
    for (part, cursor) in [("5", "x"), ("5", "-1"), ("../6", ""), ("", ""), ("a-b", "")] {
        let part = PartRef { tracked: world.tracked("7/70"), part: part.to_owned() };
        let answer = world.executor.log(&part, &cursor.parse().expect("a word")).await;
        assert!(matches!(answer, Err(ExecutorError::Refused(_))), "{part:?} {cursor}");
    }
}
