//! Changes that are told of badly.

use std::time::Duration;

use signalbox_campaigns::lossy::{Orders, run};
use signalbox_campaigns::{Progress, Report, Verdict};

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_which_events_and_answers_are_lost_get_one_right_vote_each() {
    let report = Report::of("lossy", Duration::ZERO, run(&Orders::new(3, 1), &Progress::silent()).await);
    // Where no Gerrit can be had, nothing can be tried.
    assert_ne!(report.verdict(), Verdict::Broken, "{report}");
}
