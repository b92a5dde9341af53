//! How much memory a large blob takes while it streams.

use std::time::Duration;

use signalbox_contract::api::store::BlobInfo;
use signalbox_service::process::{Bounds, Program};

use crate::house::{House, noise};

/// How large the blob is, in MiB.
const SIZE: u64 = 512;

/// By how much the whole process may grow meanwhile, the client in it included, in MiB.
const GROWTH: u64 = 64;

/// A value of `/proc/self/status` in MiB.
fn measured(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the value");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
}

/// The peak is the process's own, so the test `within` has one to itself.
#[tokio::test]
async fn a_large_blob_takes_no_more_memory_than_a_small_one() {
    let program = Program::new(std::env::current_exe().expect("our own program")).env("PATH", "/usr/bin:/bin");
    let program = program.args(["--ignored", "--exact", "--nocapture", "memory::within"]);
    let output = program.run(Bounds::new(Duration::from_mins(10))).await.expect("it ran");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "is run by the test before, in a process of its own"]
async fn within() {
    let house = House::open().await;
    let part = bytes::Bytes::from(noise(6, 1 << 20));
    // What one small blob takes is not counted: the client, the catalog and the readers are there from then on.
    house.put("small", part.clone()).await;
    house.bytes("small").await.expect("there");
    let before = measured("VmRSS");
    let parts = std::iter::repeat_n(part, usize::try_from(SIZE).expect("small")).map(Ok::<_, std::io::Error>);
    let response = house.put("large", reqwest::Body::wrap_stream(futures_util::stream::iter(parts))).await;
    let info: BlobInfo = response.json().await.expect("a description");
    assert_eq!(info.size, SIZE << 20);
    let mut response = house.get("/blobs/large").await;
    let mut size = 0;
    while let Some(chunk) = response.chunk().await.expect("more") {
        size += chunk.len() as u64;
    }
    assert_eq!(size, info.size);
    let peak = measured("VmHWM");
    assert!(peak <= before + GROWTH, "it grew from {before} MiB to {peak} MiB");
    println!("{SIZE} MiB up and down took {} MiB", peak - before);
    house.close().await;
}
