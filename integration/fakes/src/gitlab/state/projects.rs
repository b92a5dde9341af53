//! How groups and projects come, are found, are renamed, and go.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::group::Group;
use super::project::{Deletion, Project, PushRules, Visibility, usual_settings};
use super::status::Status;
use super::user::level;
use super::{Chore, State};

/// That a name or path is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameTaken;

/// Why a project is not deleted. What is displayed is what GitLab says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRefused {
    /// It is marked already.
    #[error("Project has been already marked for deletion")]
    AlreadyMarked,
    /// It is not marked yet.
    #[error("Project must be marked for deletion first.")]
    NotMarked,
    /// The path that was given is not its path.
    #[error("`full_path` is incorrect. You must enter the complete path for the project.")]
    WrongPath,
}

/// What a new project is to be.
#[derive(Debug, Clone)]
pub struct NewProject {
    /// The group or user whose it is to be.
    pub namespace: u64,
    /// What it is to be called.
    pub name: String,
    /// The last part of its path.
    pub path: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// Who makes it.
    pub creator: u64,
    /// Settings that differ from the usual.
    pub settings: BTreeMap<String, Value>,
}

impl State {
    /// The group with this whole path.
    pub fn group_at(&self, full_path: &str) -> Option<&Group> {
        self.groups.values().find(|group| group.full_path.eq_ignore_ascii_case(full_path))
    }

    /// The project with this whole path, one that is being destroyed included: its path is still taken.
    pub fn project_at(&self, full_path: &str) -> Option<&Project> {
        let (namespace, path) = full_path.rsplit_once('/')?;
        let namespace = self.group_at(namespace)?.id;
        self.projects.values().find(|project| project.namespace == namespace && project.path.eq_ignore_ascii_case(path))
    }

    /// A project's whole path.
    pub fn path_of(&self, project: &Project) -> String {
        let namespace = self.groups.get(&project.namespace).map_or("", |group| group.full_path.as_str());
        format!("{namespace}/{}", project.path)
    }

    /// A project's whole name, as people are shown it.
    pub fn name_of(&self, project: &Project) -> String {
        let mut name = project.name.clone();
        let mut at = self.groups.get(&project.namespace);
        while let Some(group) = at {
            name = format!("{} / {name}", group.name);
            at = group.parent.and_then(|parent| self.groups.get(&parent));
        }
        name
    }

    /// Adds a group.
    ///
    /// # Errors
    /// When the path is in use.
    pub fn add_group(&mut self, parent: Option<u64>, name: &str, path: &str, visibility: Visibility, owner: u64) -> Result<u64, NameTaken> {
        let full_path = match parent.and_then(|parent| self.groups.get(&parent)) {
            Some(parent) => format!("{}/{path}", parent.full_path),
            None => path.to_owned(),
        };
        if self.group_at(&full_path).is_some() || self.project_at(&full_path).is_some() {
            return Err(NameTaken);
        }
        let id = self.id();
        let group = Group {
            id,
            parent,
            name: name.to_owned(),
            path: path.to_owned(),
            full_path,
            visibility,
            user: None,
            members: BTreeMap::from([(owner, level::OWNER)]),
            created_at: self.now(),
            marked_for_deletion_at: None,
        };
        self.groups.insert(id, group);
        Ok(id)
    }

    /// Adds a project.
    ///
    /// # Errors
    /// When its path or name is in use in that group.
    pub fn add_project(&mut self, new: NewProject) -> Result<u64, NameTaken> {
        let taken = |other: &Project| {
            other.namespace == new.namespace && (other.path.eq_ignore_ascii_case(&new.path) || other.name.eq_ignore_ascii_case(&new.name))
        };
        if self.projects.values().any(taken) {
            return Err(NameTaken);
        }
        let id = self.id();
        let now = self.now();
        let mut settings = usual_settings();
        settings.extend(self.new_settings.clone());
        settings.extend(new.settings);
        let project = Project {
            id,
            namespace: new.namespace,
            name: new.name,
            path: new.path,
            description: String::new(),
            visibility: new.visibility,
            default_branch: None,
            creator: new.creator,
            created_at: now,
            last_activity_at: now,
            archived: false,
            deletion: None,
            members: BTreeMap::from([(new.creator, level::OWNER)]),
            settings,
            protected_branches: Vec::new(),
            protected_tags: BTreeMap::new(),
            variables: Vec::new(),
            hooks: Vec::new(),
            push_rules: PushRules::default(),
            pipelines: Vec::new(),
            merge_requests: Vec::new(),
            next_pipeline: 1,
            plan: None,
        };
        // A path that is used anew does not lead to the project that had it before.
        let path = self.path_of(&project);
        self.former_paths.remove(&path);
        self.projects.insert(id, project);
        Ok(id)
    }

    /// Gives a project another name or path; the old path leads to it from then on.
    ///
    /// # Errors
    /// When the new one is in use.
    pub fn rename_project(&mut self, id: u64, namespace: u64, name: &str, path: &str) -> Result<(), NameTaken> {
        let taken = |other: &Project| {
            other.id != id
                && other.namespace == namespace
                && (other.path.eq_ignore_ascii_case(path) || other.name.eq_ignore_ascii_case(name))
        };
        if self.projects.values().any(taken) {
            return Err(NameTaken);
        }
        let Some(project) = self.projects.get(&id) else {
            return Ok(());
        };
        let before = self.path_of(project);
        if let Some(project) = self.projects.get_mut(&id) {
            project.namespace = namespace;
            name.clone_into(&mut project.name);
            path.clone_into(&mut project.path);
        }
        let after = self.projects.get(&id).map(|project| self.path_of(project));
        if after.as_ref() != Some(&before) {
            self.former_paths.insert(before, id);
        }
        Ok(())
    }

    /// Deletes a project as this version does: marks and renames it, or destroys it after `delay`.
    ///
    /// # Errors
    /// When it is marked already.
    pub fn delete_project(&mut self, id: u64, delay: Duration) -> Result<(), DeleteRefused> {
        let now = self.now();
        let marks = self.version.marks_deleted();
        let Some(project) = self.projects.get(&id) else {
            return Ok(());
        };
        if matches!(project.deletion, Some(Deletion::Marked(_))) {
            return Err(DeleteRefused::AlreadyMarked);
        }
        if self.group_is_marked(project.namespace) {
            return Ok(());
        }
        if !marks {
            self.destroy_project(id, delay);
            return Ok(());
        }
        let suffix = format!("-deletion_scheduled-{id}");
        if let Some(project) = self.projects.get_mut(&id) {
            project.deletion = Some(Deletion::Marked(now));
            // Its old path is free at once, and does not lead here.
            project.name.push_str(&suffix);
            project.path.push_str(&suffix);
        }
        Ok(())
    }

    fn group_is_marked(&self, group: u64) -> bool {
        let mut at = self.groups.get(&group);
        while let Some(group) = at {
            if group.marked_for_deletion_at.is_some() {
                return true;
            }
            at = group.parent.and_then(|parent| self.groups.get(&parent));
        }
        false
    }

    /// Deletes a marked project for good.
    ///
    /// # Errors
    /// When it is not marked, or its path was not given exactly.
    pub fn delete_project_for_good(&mut self, id: u64, full_path: &str, delay: Duration) -> Result<(), DeleteRefused> {
        let Some(project) = self.projects.get(&id) else {
            return Ok(());
        };
        if !matches!(project.deletion, Some(Deletion::Marked(_))) {
            return Err(DeleteRefused::NotMarked);
        }
        if self.path_of(project) != full_path {
            return Err(DeleteRefused::WrongPath);
        }
        self.destroy_project(id, delay);
        Ok(())
    }

    fn destroy_project(&mut self, id: u64, delay: Duration) {
        self.cancel_project(id);
        if let Some(project) = self.projects.get_mut(&id) {
            project.deletion = Some(Deletion::Destroying);
        }
        self.later(delay, Chore::Destroy(id));
    }

    /// Takes a deletion back.
    pub fn restore_project(&mut self, id: u64) {
        let suffix = format!("-deletion_scheduled-{id}");
        if let Some(project) = self.projects.get_mut(&id)
            && matches!(project.deletion, Some(Deletion::Marked(_)))
        {
            project.deletion = None;
            project.name = project.name.trim_end_matches(&suffix).to_owned();
            project.path = project.path.trim_end_matches(&suffix).to_owned();
        }
    }

    /// Cancels all that goes on in a project.
    fn cancel_project(&mut self, id: u64) {
        let live: Vec<u64> = self.projects.get(&id).map(|project| project.pipelines.clone()).unwrap_or_default();
        for pipeline in live {
            if self.pipelines.get(&pipeline).is_some_and(|pipeline| !pipeline.status.complete()) {
                self.cancel_pipeline(pipeline);
            }
        }
    }

    /// Forgets a project, and all that was in it.
    pub(in crate::gitlab) fn forget_project(&mut self, id: u64) {
        let Some(project) = self.projects.remove(&id) else {
            return;
        };
        for pipeline in project.pipelines {
            self.forget_pipeline(pipeline);
        }
        self.merge_requests.retain(|_, request| request.project != id);
        self.environments.retain(|_, environment| environment.project != id);
        self.deployments.retain(|_, deployment| deployment.project != id);
        self.former_paths.retain(|_, project| *project != id);
        for key in self.deploy_keys.values_mut() {
            key.projects.remove(&id);
        }
        self.deploy_keys.retain(|_, key| !key.projects.is_empty());
    }

    /// Forgets a pipeline with its jobs and its children.
    pub fn forget_pipeline(&mut self, id: u64) {
        let Some(pipeline) = self.pipelines.remove(&id) else {
            return;
        };
        for job in &pipeline.jobs {
            self.jobs.remove(job);
        }
        if let Some(project) = self.projects.get_mut(&pipeline.project) {
            project.pipelines.retain(|other| *other != id);
        }
        let children: Vec<u64> = self
            .pipelines
            .values()
            .filter(|child| child.is_child() && child.upstream.is_some_and(|upstream| upstream.pipeline == id))
            .map(|child| child.id)
            .collect();
        for child in children {
            self.forget_pipeline(child);
        }
    }

    /// Makes room for one more pipeline by forgetting the oldest that ended.
    pub(super) fn make_room(&mut self, project: u64) {
        let Some(project) = self.projects.get(&project) else {
            return;
        };
        if project.pipelines.len() < self.kept_pipelines {
            return;
        }
        let ended = |id: &&u64| self.pipelines.get(id).is_none_or(|pipeline| pipeline.status.complete());
        if let Some(oldest) = project.pipelines.iter().find(ended).copied() {
            self.forget_pipeline(oldest);
        }
    }

    /// Notes that something happened in a project.
    pub fn touch(&mut self, project: u64) -> Timestamp {
        let now = self.now();
        if let Some(project) = self.projects.get_mut(&project) {
            project.last_activity_at = now;
        }
        now
    }

    /// How many pipelines of a project have not ended.
    pub fn live_pipelines(&self, project: u64) -> usize {
        let live = |id: &&u64| {
            self.pipelines.get(id).is_some_and(|pipeline| !matches!(pipeline.status, Status::Manual) && !pipeline.status.complete())
        };
        self.projects.get(&project).map_or(0, |project| project.pipelines.iter().filter(live).count())
    }
}
