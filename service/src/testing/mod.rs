//! What the tests of all crates share.

mod disk;
mod documentation;
mod ports;

use std::future::Future;
use std::time::{Duration, Instant};

pub use disk::SmallDisk;
pub use documentation::undocumented_keys;
pub use ports::free_port;

/// Says that a test is not run here, for want of something that not every machine has. Where `CI` is set that is a failure:
/// what runs there brings everything, and a test that is silently left out proves nothing.
///
/// # Panics
/// Where `CI` is set, to anything but `false`.
pub fn not_run(needs: &str) {
    let all_must_run = std::env::var("CI").is_ok_and(|set| !matches!(set.as_str(), "" | "0" | "false"));
    assert!(!all_must_run, "not run: needs {needs}; and with CI set, everything must be run");
    println!("not run: needs {needs}");
}

/// Asks again and again until there is an answer, and fails with `what` when there is none within `limit`. It waits for a
/// state, so that a slow machine only makes a test slower.
///
/// # Panics
/// When the time is over.
pub async fn eventually<T, F, Fut>(what: &str, limit: Duration, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < limit, "still waiting after {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
