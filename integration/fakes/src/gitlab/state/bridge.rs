//! How a pipeline is bound to the job of another that started it.

use super::State;
use super::job::JobKind;
use super::status::Status;

impl State {
    pub(super) fn attach_to_upstream(&mut self, id: u64) {
        let Some(upstream) = self.pipelines.get(&id).and_then(|pipeline| pipeline.upstream) else {
            return;
        };
        if let Some(bridge) = self.jobs.get_mut(&upstream.job) {
            bridge.kind = JobKind::Bridge(Some(id));
        }
    }

    /// Lets the job that started a pipeline end as that pipeline did, if it waits for that.
    pub(super) fn end_bridge_of(&mut self, pipeline: u64) {
        let Some(pipeline) = self.pipelines.get(&pipeline) else {
            return;
        };
        let (status, upstream) = (pipeline.status, pipeline.upstream);
        let Some(bridge) = upstream.and_then(|upstream| self.jobs.get(&upstream.job)) else {
            return;
        };
        let depends = bridge.plan.trigger.as_ref().is_some_and(|trigger| trigger.depend);
        if !depends || !matches!(bridge.status, Status::Running | Status::Pending) {
            return;
        }
        let status = if status == Status::Skipped { Status::Success } else { status };
        self.end_job(bridge.id, status, (status == Status::Failed).then_some("downstream_pipeline_failed"));
    }
}
