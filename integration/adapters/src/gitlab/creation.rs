//! Making and deleting projects and groups.

use http::Method;
use serde::{Deserialize, Serialize};

use super::client::GitLab;
use super::error::GitLabError;
use super::group::Group;
use super::lenient;
use super::pipeline::Pipeline;
use super::project::{Project, ProjectRef};
use super::request::Request;

/// How many pages of anything of a project are looked at.
const PAGES: usize = 2;

/// GitLab's words for pipelines that have not ended, in the order in which they go through them: one that moves on while
/// they are listed is listed again.
const UNFINISHED: &[&str] =
    &["scheduled", "manual", "created", "waiting_for_resource", "preparing", "waiting_for_callback", "pending", "running"];

/// A project that is to be made.
#[derive(Debug, Clone, Serialize)]
pub struct NewProject<'a> {
    /// The last part of its path.
    pub path: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The group, by its number.
    pub namespace_id: u64,
    /// `private`, `internal` or `public`.
    pub visibility: &'a str,
    /// Whether it gets a first commit, with a README.
    pub initialize_with_readme: bool,
    /// The branch of that commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<&'a str>,
    /// What it is for.
    pub description: &'a str,
}

/// A group below another that is to be made.
#[derive(Debug, Clone, Serialize)]
pub struct NewGroup<'a> {
    /// The last part of its path.
    pub path: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The group that it lies in, by its number.
    pub parent_id: u64,
    /// `private`, `internal` or `public`.
    pub visibility: &'a str,
}

/// A branch, or a pattern of names, that is protected.
#[derive(Debug, Clone, Deserialize)]
pub struct ProtectedBranch {
    /// The name, where `*` stands for anything.
    pub name: String,
    /// Whether its history may be replaced.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub allow_force_push: Option<bool>,
}

impl ProtectedBranch {
    /// Whether a branch's name falls under it.
    pub fn covers(&self, branch: &str) -> bool {
        let Some((first, rest)) = self.name.split_once('*') else { return self.name == branch };
        let Some(mut left) = branch.strip_prefix(first) else { return false };
        let parts: Vec<&str> = rest.split('*').collect();
        let (last, middle) = parts.split_last().unwrap_or((&"", &[]));
        for part in middle {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last)
    }
}

/// What is known of a project's size.
#[derive(Debug, Clone, Default, Deserialize)]
struct Measured {
    #[serde(default, deserialize_with = "lenient::optional")]
    statistics: Option<Statistics>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Statistics {
    #[serde(default, deserialize_with = "lenient::optional")]
    storage_size: Option<u64>,
    #[serde(default, deserialize_with = "lenient::optional")]
    repository_size: Option<u64>,
}

/// Whose token it is.
#[derive(Debug, Clone, Deserialize)]
pub struct User {
    /// The number.
    pub id: u64,
    /// The name under which they are known.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub username: Option<String>,
}

/// A member of a group.
#[derive(Debug, Clone, Deserialize)]
struct Member {
    access_level: u64,
}

impl GitLab {
    /// Makes a project.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn create_project(&self, new: &NewProject<'_>) -> Result<Project, GitLabError> {
        self.call(Request::post(["projects"]).json(new)).await
    }

    /// Asks for a project's end. From 18.0 on that only marks and renames it, before it is destroyed some time later.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn delete_project(&self, project: &ProjectRef) -> Result<(), GitLabError> {
        match self.act(Request::new(Method::DELETE, project.segments([]))).await {
            Err(error) if error.is_not_found() || error.says("already marked") => Ok(()),
            done => done,
        }
    }

    /// Makes a group below another.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn create_group(&self, new: &NewGroup<'_>) -> Result<Group, GitLabError> {
        self.call(Request::post(["groups"]).json(new)).await
    }

    /// How much room a project takes, in bytes; `None` where GitLab does not tell.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn project_size(&self, project: &ProjectRef) -> Result<Option<u64>, GitLabError> {
        let measured: Measured = self.call(Request::get(project.segments([])).with("statistics", "true")).await?;
        Ok(measured.statistics.and_then(|statistics| statistics.storage_size.or(statistics.repository_size)))
    }

    /// The pipelines of a project that have not ended, as many as are read: those that run, those that may yet run by
    /// themselves, and those that wait for somebody.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn unfinished_pipelines(&self, project: &ProjectRef) -> Result<Vec<Pipeline>, GitLabError> {
        let mut unfinished = Vec::new();
        for status in UNFINISHED {
            let listed = self.list(Request::get(project.segments(["pipelines"])).with("status", *status), PAGES).await;
            match listed {
                Ok(listed) => unfinished.extend(listed.items),
                // A version that does not know the word has no pipeline of that state.
                Err(GitLabError::Invalid { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(unfinished)
    }

    /// The protected branches of a project.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn protected_branches(&self, project: &ProjectRef) -> Result<Vec<ProtectedBranch>, GitLabError> {
        Ok(self.list(Request::get(project.segments(["protected_branches"])), PAGES).await?.items)
    }

    /// Lets the history of a protected branch be replaced.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn allow_force_push(&self, project: &ProjectRef, name: &str) -> Result<(), GitLabError> {
        let change = serde_json::json!({ "allow_force_push": true });
        self.act(Request::new(Method::PATCH, project.segments(["protected_branches", name])).json(&change)).await
    }

    /// Writes a first file, which makes the branch in a project that has none.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn write_file(&self, project: &ProjectRef, branch: &str, path: &str, content: &str) -> Result<(), GitLabError> {
        let file = serde_json::json!({ "branch": branch, "content": content, "commit_message": "Where the mirror begins [skip ci]" });
        self.act(Request::post(project.segments(["repository", "files", path])).json(&file)).await
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn user(&self) -> Result<User, GitLabError> {
        self.call(Request::get(["user"])).await
    }

    /// The role of a user in a group, inherited ones included; `None` if there is none.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn role_in_group(&self, group: u64, user: u64) -> Result<Option<u64>, GitLabError> {
        let segments = ["groups".to_owned(), group.to_string(), "members".to_owned(), "all".to_owned(), user.to_string()];
        match self.call::<Member>(Request::get(segments)).await {
            Ok(member) => Ok(Some(member.access_level)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_says() {
        let covers = |pattern: &str, branch: &str| ProtectedBranch { name: pattern.to_owned(), allow_force_push: None }.covers(branch);
        assert!(covers("main", "main") && !covers("main", "main2"));
        assert!(covers("*", "main") && covers("release/*", "release/1") && covers("*-stable", "1-2-stable"));
        assert!(covers("a*b*c", "a-b-c") && !covers("a*b*c", "a-c") && !covers("release/*", "main"));
    }
}
