//! Kills at random moments.

use std::time::Duration;

use signalbox_campaigns::crash::{Orders, run};
use signalbox_campaigns::{Progress, Report, Verdict};

// It takes minutes on a machine that does other work besides; `ops/prove crash` is the same with more kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; sixty kills at set moments are tried by the scenarios"]
async fn sixty_kills_at_random_moments_lose_double_and_leave_nothing() {
    let report = Report::of("crash", Duration::ZERO, run(&Orders::new(60, 1), &Progress::silent()).await);
    assert_eq!(report.verdict(), Verdict::Held, "{report}");
}
