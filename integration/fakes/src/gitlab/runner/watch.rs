//! Jobs whose runner says nothing any more: after a while they have failed.

use std::sync::Arc;

use tokio::time::Instant;

use crate::gitlab::fake::Fake;
use crate::gitlab::state::status::Status;

/// Watches a job that was handed out, until it ends.
pub(super) fn watch(fake: &Arc<Fake>, id: u64) {
    fake.queue.heard(id);
    let shared = Arc::clone(fake);
    fake.shutdown.spawn("runner.watch", async move {
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = shared.shutdown.requested() => return,
                () = tokio::time::sleep_until(last + shared.options.runner_patience) => {}
            }
            let running = shared.change(|state| state.jobs.get(&id).is_some_and(|job| !job.status.complete()));
            match shared.queue.last_heard(id).filter(|_| running) {
                Some(heard) if heard > last => last = heard,
                silent => {
                    shared.queue.forget(id);
                    if silent.is_some() {
                        shared.change(|state| super::end::fail(state, id, "stuck_or_timeout_failure"));
                    }
                    return;
                }
            }
        }
    });
}

/// Whether a state is one in which a runner has the job.
pub(super) const fn is_out(status: Status) -> bool {
    matches!(status, Status::Running | Status::Canceling)
}
