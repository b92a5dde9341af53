//! The plan's own way: a clean project with nothing but `master`, in the place of the one there was.
//!
//! Deleting is asynchronous in every version. From 18.0 on it marks and renames the project, so that its path is free at
//! once; before, the path stays taken until a job has destroyed it. Which project is to go is written down before it is
//! deleted: a try after a crash deletes no other, and never its own.

use std::time::{Duration, Instant};

use signalbox_contract::{Failure, FailureCode, RefName};

use super::super::note::Before;
use super::super::push::not_noted;
use super::super::{MirrorError, Order};
use super::trouble::of_api;
use super::{GitlabMirror, Project};
use crate::gitlab::{GitLab, ProjectRef};

/// What the note says where there was nothing to replace.
const NOTHING: &str = "none";

/// How long between two looks whether a project is gone.
const PAUSE: Duration = Duration::from_millis(500);

impl GitlabMirror {
    /// The clean project; made by this call, or by an earlier one of the same attempt.
    pub(super) async fn replace(&self, order: &Order<'_>, ref_name: &RefName) -> Result<Project, MirrorError> {
        let client = self.client()?;
        let path = self.path(order.target.name);
        let noted = order.note.read().map_err(|error| not_noted(&error))?.and_then(|before| before.replaced);
        let found = self.find(&client, &path).await?;
        let old = match (found, noted) {
            // What is there is no longer what was to go: it is the new one already.
            (Some(found), Some(noted)) if noted != found.id.to_string() => return Ok(Project { id: found.id, path }),
            (Some(found), _) => Some(found.id),
            (None, Some(noted)) => noted.parse().ok(),
            (None, None) => None,
        };
        let replaced = old.map_or_else(|| NOTHING.to_owned(), |id: u64| id.to_string());
        let before = Before { ref_name: ref_name.clone(), object: None, replaced: Some(replaced) };
        order.note.write(&before).map_err(|error| not_noted(&error))?;
        if let Some(old) = old {
            self.remove_project(&client, old, &path).await?;
        }
        let made = self.make(&client, &path, false).await?;
        if Some(made.id) == old {
            // The deletion was taken back between two looks.
            return Err(MirrorError::Passing(still_there(&path)));
        }
        self.settle(&client, &made, true).await?;
        Ok(Project { id: made.id, path })
    }

    /// Stops what runs in a project, deletes it, and waits until its path is free.
    async fn remove_project(&self, client: &GitLab, id: u64, path: &str) -> Result<(), MirrorError> {
        let project = ProjectRef::Id(id);
        let gone = |found: Option<crate::gitlab::Project>| found.is_none_or(|found| found.path_with_namespace != path);
        let trouble = |error| of_api(&error, "Looking at the project that is replaced");
        if gone(client.project(&project).await.map_err(trouble)?) {
            return Ok(());
        }
        for pipeline in client.unfinished_pipelines(&project).await.map_err(|error| of_api(&error, "Looking for running pipelines"))? {
            client.cancel_pipeline(&project, pipeline.id).await.map_err(|error| of_api(&error, "Stopping a pipeline"))?;
        }
        client.delete_project(&project).await.map_err(|error| of_api(&error, "Deleting the project"))?;
        tracing::info!(project = path, id, "mirror.project_deleted");
        let begun = Instant::now();
        while begun.elapsed() < self.settings.deadline {
            if gone(client.project(&project).await.map_err(trouble)?) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(MirrorError::Passing(still_there(path)))
    }
}

fn still_there(path: &str) -> Failure {
    Failure::new(FailureCode::MirrorTaken, format!("The project {path} was deleted, and its path is not free yet."))
        .hint("GitLab deletes in the background; see that its background jobs run.")
}
