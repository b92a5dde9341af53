//! Merge requests, as far as pipelines and reporting need them.

use jiff::Timestamp;

/// A comment.
#[derive(Debug, Clone)]
pub struct Note {
    /// Its id.
    pub id: u64,
    /// Who wrote it.
    pub author: u64,
    /// What it says.
    pub body: String,
    /// When it was written.
    pub created_at: Timestamp,
}

/// A merge request.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    /// Its id.
    pub id: u64,
    /// Its number in the target project.
    pub iid: u64,
    /// Where it is to go, and whose it is.
    pub project: u64,
    /// Where it comes from.
    pub source_project: u64,
    /// The branch there.
    pub source_branch: String,
    /// The branch that it is to be merged into.
    pub target_branch: String,
    /// What it is called.
    pub title: String,
    /// What it says.
    pub description: String,
    /// `opened`, `closed`, `merged` or `locked`.
    pub state: String,
    /// Who made it.
    pub author: u64,
    /// The commit that it would bring.
    pub sha: String,
    /// Whether it is not ready.
    pub draft: bool,
    /// Words that mark it.
    pub labels: Vec<String>,
    /// The commit that merged it.
    pub merge_commit: Option<String>,
    /// Its newest pipeline.
    pub head_pipeline: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What was said about it.
    pub notes: Vec<Note>,
}

impl MergeRequest {
    /// An open one within a project, of which nothing else is said yet.
    pub fn of(project: u64, author: u64, sha: &str, now: Timestamp) -> Self {
        Self {
            id: 0,
            iid: 0,
            project,
            source_project: project,
            source_branch: String::new(),
            target_branch: String::new(),
            title: String::new(),
            description: String::new(),
            state: "opened".to_owned(),
            author,
            sha: sha.to_owned(),
            draft: false,
            labels: Vec::new(),
            merge_commit: None,
            head_pipeline: None,
            created_at: now,
            updated_at: now,
            notes: Vec::new(),
        }
    }
}

impl super::State {
    /// Adds a merge request; its ids are given here.
    pub fn open_merge_request(&mut self, mut request: MergeRequest) -> u64 {
        request.id = self.id();
        request.draft |= request.title.starts_with("Draft:");
        let id = request.id;
        if let Some(project) = self.projects.get_mut(&request.project) {
            project.merge_requests.push(id);
            request.iid = project.merge_requests.len() as u64;
        }
        self.merge_requests.insert(id, request);
        id
    }
}
