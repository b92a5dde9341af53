//! What every executor must pass, whoever made it.
//!
//! A test of an executor writes a [`Harness`] and has [`executor_conforms`](crate::executor_conforms) make a test of each case
//! of it. They panic with a sentence when the executor does not do what the rest of Signalbox builds upon. The cases are independent of each other and may run at
//! the same time.

mod ends;
mod harness;
mod logs;
mod starts;

pub use ends::{
    a_build_that_passes_its_deadline_is_timed_out, a_cancelled_build_ends_aborted, a_declared_artifact_that_is_missing_fails_the_build,
    a_failing_script_fails_and_says_so, a_passing_script_passes, artifacts_arrive_as_they_were_made,
    cancelling_what_has_ended_changes_nothing, what_was_cancelled_before_it_began_never_passes,
};
pub use harness::{Harness, Script};
pub use logs::{a_log_can_be_read_from_any_cursor, a_log_is_data_byte_for_byte, a_log_streams_while_the_build_runs};
pub use starts::{
    a_fence_after_the_start_says_so, a_fenced_attempt_never_starts, a_start_whose_answer_was_lost_is_found, an_unknown_attempt_is_gone,
    forgetting_twice_is_as_good_as_once, two_starts_make_one_build,
};

/// Makes a test of each case there is, of the executor that `$open` opens; it is closed at the end.
#[macro_export]
macro_rules! executor_conforms {
    ($open:expr) => {
        $crate::executor_conforms! { $open;
            a_passing_script_passes,
            a_failing_script_fails_and_says_so,
            artifacts_arrive_as_they_were_made,
            a_declared_artifact_that_is_missing_fails_the_build,
            a_cancelled_build_ends_aborted,
            what_was_cancelled_before_it_began_never_passes,
            cancelling_what_has_ended_changes_nothing,
            a_build_that_passes_its_deadline_is_timed_out,
            two_starts_make_one_build,
            a_start_whose_answer_was_lost_is_found,
            a_fenced_attempt_never_starts,
            a_fence_after_the_start_says_so,
            an_unknown_attempt_is_gone,
            forgetting_twice_is_as_good_as_once,
            a_log_streams_while_the_build_runs,
            a_log_is_data_byte_for_byte,
            a_log_can_be_read_from_any_cursor,
        }
    };
    ($open:expr; $($name:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let harness = $open;
            $crate::executor::conformance::$name(&harness).await;
            harness.close().await;
        })*
    };
}
