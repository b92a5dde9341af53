//! What the tests of all crates share.

mod disk;
mod documentation;
mod ports;

use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

pub use disk::SmallDisk;
pub use documentation::undocumented_keys;
pub use ports::free_port;

/// Says that a test is not run here, for want of something that not every machine has. Where `CI` is set that is a failure:
/// what runs there brings everything, and a test that is silently left out proves nothing.
///
/// Where `SIGNALBOX_NOT_RUN` names a file, a line there tells of it, so that whoever runs all tests can be told at the end.
///
/// # Panics
/// Where `CI` is set, to anything but `false`; and where that file cannot be written.
#[expect(clippy::expect_used, reason = "a test that nobody is told of proves nothing")]
pub fn not_run(needs: &str) {
    let all_must_run = std::env::var("CI").is_ok_and(|set| !matches!(set.as_str(), "" | "0" | "false"));
    assert!(!all_must_run, "not run: needs {needs}; and with CI set, everything must be run");
    println!("not run: needs {needs}");
    if let Some(file) = std::env::var_os("SIGNALBOX_NOT_RUN") {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        tell(Path::new(&file), &test, needs).expect("the file that SIGNALBOX_NOT_RUN names can be written to");
    }
}

/// Appends a line, in one write: many tests of many processes do so at the same time.
fn tell(file: &Path, test: &str, needs: &str) -> std::io::Result<()> {
    let needs = needs.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(format!("{test}: needs {needs}\n").as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_passed_over_is_one_line_beside_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("not-run");
        tell(&file, "one::story", "a program\n  that is not there").expect("written");
        tell(&file, "another", "root").expect("written");
        let told = std::fs::read_to_string(&file).expect("readable");
        assert_eq!(told, "one::story: needs a program that is not there\nanother: needs root\n");
    }
}
