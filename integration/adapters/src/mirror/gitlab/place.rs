//! A repository's project: found, or made with all that it needs.

use std::time::Duration;

use signalbox_contract::{Failure, FailureCode, RepoName};
use signalbox_service::telemetry::causes;

use super::super::MirrorError;
use super::trouble::of_api;
use super::{GitlabMirror, Project};
use crate::gitlab::{self, GitLab, GitLabError, Group, NewGroup, NewProject, ProjectRef};

/// The branch that is the default: our own, below what is ours, with one harmless commit.
pub(crate) const SEED: &str = "cd/default";

/// What stands in that commit.
const README: &str = "This project is a mirror that Signalbox writes. Branches below cd/ come and go with its runs.\n";

/// What is said of a project that is made.
pub(super) const DESCRIPTION: &str = "A mirror that Signalbox writes, so that its pipelines can be run here.";

/// How often a name that is taken, by a project that is not shown, is tried again; and how long in between.
const TAKEN: (u32, Duration) = (5, Duration::from_millis(400));

impl GitlabMirror {
    /// The repository's project, as it should be.
    pub(super) async fn ensure(&self, name: &RepoName) -> Result<Project, MirrorError> {
        let client = self.client()?;
        let path = self.path(name);
        let (found, made) = match self.find(&client, &path).await? {
            Some(found) => (found, false),
            None => (self.make(&client, &path, true).await?, true),
        };
        self.seed(&client, &found).await?;
        self.settle(&client, &found, made).await?;
        Ok(Project { id: found.id, path: found.path_with_namespace })
    }

    /// The project at this path, if it can be used.
    pub(super) async fn find(&self, client: &GitLab, path: &str) -> Result<Option<gitlab::Project>, MirrorError> {
        let found = client.project(&ProjectRef::Path(path.to_owned())).await;
        let Some(found) = found.map_err(|error| of_api(&error, "Looking for the project"))? else { return Ok(None) };
        let there = &found.path_with_namespace;
        if there != path {
            if !there.eq_ignore_ascii_case(path) {
                // GitLab remembers where a project went: the name itself is free.
                return Ok(None);
            }
            let failure = Failure::new(FailureCode::MirrorTaken, format!("GitLab does not tell the project {path} from {there}."));
            return Err(MirrorError::Final(failure.hint("Give one of the two repositories another name than by its case.")));
        }
        if found.is_marked_for_deletion() {
            let failure = Failure::new(FailureCode::MirrorTaken, format!("The project {path} is marked for deletion."));
            return Err(MirrorError::Final(failure.hint("Restore it, or remove it for good.")));
        }
        if found.archived == Some(true) {
            let failure = Failure::new(FailureCode::MirrorDenied, format!("The project {path} is archived."));
            return Err(MirrorError::Final(failure.hint("Unarchive it.")));
        }
        Ok(Some(found))
    }

    /// Makes the project. That somebody else made it meanwhile is as good.
    pub(super) async fn make(&self, client: &GitLab, path: &str, seeded: bool) -> Result<gitlab::Project, MirrorError> {
        let (group, last) = path.rsplit_once('/').unwrap_or(("", path));
        let group = self.group(client, group).await?;
        let new = NewProject {
            path: last,
            name: last,
            namespace_id: group.id,
            visibility: &self.settings.visibility,
            initialize_with_readme: seeded,
            default_branch: seeded.then_some(SEED),
            description: DESCRIPTION,
        };
        let mut said = String::new();
        for _ in 0..TAKEN.0 {
            match client.create_project(&new).await {
                Ok(made) => {
                    tracing::info!(project = path, id = made.id, "mirror.project_made");
                    return Ok(made);
                }
                Err(error) if error.says("already been taken") || error.says("still being deleted") => said = error.to_string(),
                // It may have been made all the same.
                Err(error @ GitLabError::Unknown(_)) => said = causes(&error),
                Err(error) => return Err(of_api(&error, "Making the project")),
            }
            if let Some(found) = self.find(client, path).await? {
                return Ok(found);
            }
            tokio::time::sleep(TAKEN.1).await;
        }
        let detail = format!("The project {path} cannot be made: its name is taken, and the project is not shown to us ({said}).");
        let hint = "If it is just being deleted, this passes; else let the token's user see it, or rename it.";
        Err(MirrorError::Passing(Failure::new(FailureCode::MirrorTaken, detail).hint(hint)))
    }

    /// The group at this path. The configured one must be there; those below it are made.
    async fn group(&self, client: &GitLab, path: &str) -> Result<Group, MirrorError> {
        let trouble = |error: &GitLabError| of_api(error, "Looking for the group");
        let top = client.group(&self.settings.group).await.map_err(|error| trouble(&error))?.ok_or_else(|| {
            let detail = format!("There is no group {}, or the token may not see it.", self.settings.group);
            let hint = "Make the group, and add the token's user to it as Maintainer.";
            MirrorError::Final(Failure::new(FailureCode::MirrorNotFound, detail).hint(hint))
        })?;
        let below = path.strip_prefix(&self.settings.group).unwrap_or_default();
        let (mut group, mut at) = (top, self.settings.group.clone());
        for part in below.split('/').filter(|part| !part.is_empty()) {
            at = format!("{at}/{part}");
            if let Some(found) = client.group(&at).await.map_err(|error| trouble(&error))? {
                group = found;
                continue;
            }
            let new = NewGroup { path: part, name: part, parent_id: group.id, visibility: &self.settings.visibility };
            group = match client.create_group(&new).await {
                Ok(made) => made,
                Err(error) => {
                    // Two may make it at once.
                    let found = client.group(&at).await.map_err(|error| trouble(&error))?;
                    found.ok_or_else(|| of_api(&error, "Making a group"))?
                }
            };
        }
        Ok(group)
    }

    /// Gives a project that has nothing its first commit, on the branch that is our own.
    async fn seed(&self, client: &GitLab, project: &gitlab::Project) -> Result<(), MirrorError> {
        if project.default_branch.is_some() && project.empty_repo != Some(true) {
            return Ok(());
        }
        match client.write_file(&project.reference(), SEED, "README.md", README).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Two may do it at once; then the branch is there.
                let seeded = client.branch(&project.reference(), SEED).await;
                if seeded.is_ok_and(|branch| branch.is_some()) { Ok(()) } else { Err(of_api(&error, "Making the first commit")) }
            }
        }
    }
}
