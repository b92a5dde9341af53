//! What every executor must pass.

use signalbox_adapters::executor::conformance::CASES;

use super::stage::Stage;

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (_, case) = CASES.iter().find(|(name, _)| *name == stringify!($name)).expect("a case of this name");
            let stage = Stage::new().await;
            case(&stage).await;
            stage.close().await;
        })*

        #[test]
        fn every_case_is_run() {
            let run = [$(stringify!($name)),*];
            let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, run);
        }
    };
}

conforms!(
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
);
