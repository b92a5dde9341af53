//! Kills at random moments.

use std::time::Duration;

use signalbox_campaigns::crash::{Orders, run};
use signalbox_campaigns::{Progress, Report, Verdict};

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_lose_double_and_leave_nothing() {
    let report = Report::of("crash", Duration::ZERO, run(&Orders::new(12, 1), &Progress::silent()).await);
    assert_eq!(report.verdict(), Verdict::Held, "{report}");
}
