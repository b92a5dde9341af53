//! A release that is switched to and fro.

use std::time::Duration;

use signalbox_campaigns::flips::{Orders, run};
use signalbox_campaigns::{Progress, Report, Verdict};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_while_a_release_is_switched_and_switches_are_killed_reads_one_whole() {
    let report = Report::of("flips", Duration::ZERO, run(Orders { flips: 300, seed: 1 }, &Progress::silent()).await);
    assert_eq!(report.verdict(), Verdict::Held, "{report}");
}
