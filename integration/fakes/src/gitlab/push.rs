//! What follows from a push: the default branch, hooks, merge requests, pipelines.

use std::sync::Arc;

use serde_json::json;

use super::agenda::Task;
use super::fake::Fake;
use super::fault::PipelineFault;
use super::git::{Change, NOTHING, Pushed, nested};
use super::hook::{self, MergeRequestChange, RefChange};
use super::pipelines::Wish;
use super::state::hook::Topic;
use super::state::merge_request::MergeRequest;
use super::state::pipeline::PipelineVariable;
use super::state::project::ProtectedBranch;
use super::state::user::level;

impl Fake {
    /// Takes note of a push at once, and sees to the rest a little later.
    pub(crate) async fn pushed(self: &Arc<Self>, pushed: Pushed) {
        let first = self.change(|state| {
            let id = state.id();
            let project = state.projects.get_mut(&pushed.project)?;
            let last =
                pushed.changes.iter().filter(|change| change.new != NOTHING).find_map(|change| change.ref_name.strip_prefix("refs/heads/"));
            if project.default_branch.is_some() {
                return None;
            }
            // The first branch that ever comes becomes the default one, and nobody may push it by force.
            let first = last?.to_owned();
            project.default_branch = Some(first.clone());
            if project.protection(&first).is_none() {
                project.protected_branches.push(ProtectedBranch {
                    id,
                    name: first.clone(),
                    push: level::MAINTAINER,
                    merge: level::MAINTAINER,
                    unprotect: None,
                    allow_force_push: false,
                    users: Vec::new(),
                    deploy_keys: Vec::new(),
                });
            }
            Some(first)
        });
        if let Some(first) = first
            && let Err(error) = self.repository(pushed.project).set_head(&first).await
        {
            tracing::warn!(%error, "fake_gitlab.head_stays");
        }
        self.change(|state| state.touch(pushed.project));
        let (late, hung) = match self.faults.of_pipelines() {
            PipelineFault::Late(late) => (late, false),
            PipelineFault::Hung => (std::time::Duration::ZERO, true),
            PipelineFault::None | PipelineFault::Never => (std::time::Duration::ZERO, false),
        };
        self.unfollowed.send_modify(|count| *count += 1);
        self.agenda.add(self.options.pipeline_delay + late, Task::Push(Box::new(pushed), hung));
    }

    /// Does what follows from a push.
    pub(crate) async fn follow(self: &Arc<Self>, pushed: Pushed, hung: bool) {
        let mut changes = Vec::new();
        for change in &pushed.changes {
            changes.push(self.describe(pushed.project, change).await);
        }
        let options = nested(&pushed.options);
        let count = |prefix: &str| changes.iter().filter(|change| change.ref_name.starts_with(prefix)).count();
        let (branches, tags) = (count("refs/heads/"), count("refs/tags/"));
        self.change(|state| {
            for change in &changes {
                let Some((name, tag)) = change.short() else {
                    continue;
                };
                // A push of many refs is told to nobody.
                if (if tag { tags } else { branches }) > self.options.hooks_per_push {
                    continue;
                }
                let topic = if tag { Topic::TagPush } else { Topic::Push };
                let branch = (!tag).then(|| name.to_owned());
                state.tell(pushed.project, topic, Some(pushed.user), branch, |state| {
                    hook::push(state, state.projects.get(&pushed.project)?, pushed.user, change, &options)
                });
            }
        });
        if self.faults.of_pipelines() != PipelineFault::Never && !pushed.has("ci.skip") {
            self.run_pushed(&pushed, &changes, hung).await;
        }
        self.move_merge_requests(&pushed, &changes).await;
        if pushed.has("merge_request.create") {
            self.open_merge_requests(&pushed, &changes).await;
        }
        self.unfollowed.send_modify(|count| *count = count.saturating_sub(1));
    }

    async fn describe(&self, project: u64, change: &Change) -> RefChange {
        let repository = self.repository(project);
        let gone = change.new == NOTHING;
        let tag = change.ref_name.starts_with("refs/tags/");
        let sha = if gone { None } else { repository.resolve(&change.new).await };
        let commit = match &sha {
            Some(sha) => repository.commit(sha).await,
            None => None,
        };
        let message = if tag && sha.as_deref() != Some(change.new.as_str()) { repository.tag_message(&change.new).await } else { None };
        let default = self.state_of(project, |project| project.default_branch.clone()).flatten();
        let known = match default {
            Some(default) if format!("refs/heads/{default}") != change.ref_name => repository.find(&default).await,
            _ => None,
        };
        let (brought, total) = match &sha {
            Some(sha) if !tag => repository.brought(&change.old, sha, known.as_deref()).await,
            _ => (Vec::new(), 0),
        };
        RefChange {
            ref_name: change.ref_name.clone(),
            before: change.old.clone(),
            after: change.new.clone(),
            commit,
            message,
            brought,
            total,
        }
    }

    async fn run_pushed(self: &Arc<Self>, pushed: &Pushed, changes: &[RefChange], hung: bool) {
        // Only so many refs of one push get a pipeline.
        for change in changes.iter().filter(|change| !change.deleted()).take(self.options.pipelines_per_push) {
            let (Some((name, tag)), Some(commit)) = (change.short(), &change.commit) else {
                continue;
            };
            if commit.skips_ci() {
                continue;
            }
            let variables = pushed.pairs("ci.variable").map(|(key, value)| PipelineVariable { key, value, file: false });
            let wish = Wish {
                project: pushed.project,
                ref_name: name.to_owned(),
                tag,
                before: change.before.clone(),
                source: "push".to_owned(),
                user: pushed.user,
                variables: variables.collect(),
                inputs: pushed.pairs("ci.input").map(|(key, value)| (key, serde_json::from_str(&value).unwrap_or(value.into()))).collect(),
                commit: commit.clone(),
                merge_request: None,
                upstream: None,
                jobs: None,
                files: None,
                hung,
            };
            let (project, ref_name) = (wish.project, wish.ref_name.clone());
            // That a push makes no pipeline is told to nobody.
            if let Ok(pipeline) = self.make_pipeline(wish).await
                && !tag
            {
                self.change(|state| state.cancel_older(project, &ref_name, pipeline));
            }
        }
    }

    /// Merge requests from branches that moved show their new commit.
    async fn move_merge_requests(&self, pushed: &Pushed, changes: &[RefChange]) {
        for change in changes {
            let (Some((branch, false)), Some(commit)) = (change.short(), &change.commit) else {
                continue;
            };
            let moved = self.change(|state| {
                let now = state.now();
                let mut moved = Vec::new();
                for request in state.merge_requests.values_mut() {
                    if request.source_project == pushed.project && request.source_branch == branch && request.state == "opened" {
                        request.sha.clone_from(&commit.id);
                        request.updated_at = now;
                        moved.push((request.id, request.project, request.iid));
                    }
                }
                for (id, project, _) in &moved {
                    let told =
                        MergeRequestChange { action: "update", oldrev: Some(change.before.clone()), changes: json!({}), user: pushed.user };
                    state.tell(*project, Topic::MergeRequest, Some(pushed.user), None, |state| {
                        hook::merge_request(state, *id, Some(commit), &told)
                    });
                }
                moved
            });
            for (_, project, iid) in moved {
                self.show_merge_request(project, iid, pushed.project, &commit.id).await;
            }
        }
    }

    /// Points a merge request's own ref at its commit.
    pub(crate) async fn show_merge_request(&self, project: u64, iid: u64, source: u64, sha: &str) {
        // The commit of a fork would have to be fetched first; there the ref stays away.
        if project == source
            && let Err(error) = self.repository(project).point(&format!("refs/merge-requests/{iid}/head"), Some(sha), None).await
        {
            tracing::warn!(%error, "fake_gitlab.merge_request_ref_stays");
        }
    }

    async fn open_merge_requests(&self, pushed: &Pushed, changes: &[RefChange]) {
        let default = self.state_of(pushed.project, |project| project.default_branch.clone()).flatten();
        let target = pushed.value("merge_request.target").map(str::to_owned).or(default);
        for change in changes {
            let (Some((branch, false)), Some(commit), Some(target)) = (change.short(), &change.commit, &target) else {
                continue;
            };
            if branch == target {
                continue;
            }
            let title = pushed.value("merge_request.title").unwrap_or(commit.title()).to_owned();
            let opened = self.change(|state| {
                let there = state
                    .merge_requests
                    .values()
                    .any(|request| request.project == pushed.project && request.source_branch == branch && request.state == "opened");
                if there {
                    return None;
                }
                let id = state.open_merge_request(MergeRequest {
                    source_branch: branch.to_owned(),
                    target_branch: target.clone(),
                    title,
                    description: pushed.value("merge_request.description").unwrap_or_default().to_owned(),
                    draft: pushed.has("merge_request.draft"),
                    ..MergeRequest::of(pushed.project, pushed.user, &commit.id, state.now())
                });
                let told = MergeRequestChange { action: "open", oldrev: None, changes: json!({}), user: pushed.user };
                state.tell(pushed.project, Topic::MergeRequest, Some(pushed.user), None, |state| {
                    hook::merge_request(state, id, Some(commit), &told)
                });
                state.merge_requests.get(&id).map(|request| request.iid)
            });
            if let Some(iid) = opened {
                self.show_merge_request(pushed.project, iid, pushed.project, &commit.id).await;
            }
        }
    }
}
