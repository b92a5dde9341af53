//! The variables that GitLab defines by itself, for rules and for jobs.

use std::collections::BTreeMap;

use super::state::State;
use super::state::commit::Commit;
use super::state::pipeline::{Pipeline, PipelineVariable};
use super::state::project::{Project, Variable, matches};

/// What a pipeline is about, whether it is there already or only wished for.
pub(crate) struct Subject<'a> {
    pub(crate) ref_name: &'a str,
    pub(crate) tag: bool,
    pub(crate) before: &'a str,
    pub(crate) source: &'a str,
    pub(crate) commit: &'a Commit,
    pub(crate) merge_request: Option<u64>,
    pub(crate) user: u64,
}

impl<'a> From<&'a Pipeline> for Subject<'a> {
    fn from(pipeline: &'a Pipeline) -> Self {
        Self {
            ref_name: &pipeline.ref_name,
            tag: pipeline.tag,
            before: &pipeline.before_sha,
            source: &pipeline.source,
            commit: &pipeline.commit,
            merge_request: pipeline.merge_request,
            user: pipeline.user,
        }
    }
}

/// The predefined variables of a pipeline, as far as they are known before it has an id.
pub(crate) fn predefined(state: &State, project: &Project, subject: &Subject<'_>) -> Vec<(&'static str, String)> {
    let path = state.path_of(project);
    let namespace = path.rsplit_once('/').map_or("", |(namespace, _)| namespace).to_owned();
    let url = &state.url;
    let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, if url.starts_with("https") { "443" } else { "80" }));
    let commit = subject.commit;
    let protected = project.protects(subject.ref_name, subject.tag);
    let mut all = vec![
        ("CI", "true".to_owned()),
        ("GITLAB_CI", "true".to_owned()),
        ("CI_SERVER", "yes".to_owned()),
        ("CI_SERVER_NAME", "GitLab".to_owned()),
        ("CI_SERVER_URL", url.clone()),
        ("CI_SERVER_HOST", host.to_owned()),
        ("CI_SERVER_PORT", port.to_owned()),
        ("CI_SERVER_PROTOCOL", url.split_once("://").map_or("http", |(scheme, _)| scheme).to_owned()),
        ("CI_SERVER_VERSION", state.version.to_string()),
        ("CI_SERVER_VERSION_MAJOR", state.version.0.to_string()),
        ("CI_SERVER_VERSION_MINOR", state.version.1.to_string()),
        ("CI_API_V4_URL", format!("{url}/api/v4")),
        ("CI_PROJECT_ID", project.id.to_string()),
        ("CI_PROJECT_NAME", project.path.clone()),
        ("CI_PROJECT_TITLE", project.name.clone()),
        ("CI_PROJECT_PATH", path.clone()),
        ("CI_PROJECT_PATH_SLUG", slug(&path)),
        ("CI_PROJECT_NAMESPACE", namespace.clone()),
        ("CI_PROJECT_ROOT_NAMESPACE", namespace.split('/').next().unwrap_or_default().to_owned()),
        ("CI_PROJECT_URL", format!("{url}/{path}")),
        ("CI_PROJECT_VISIBILITY", project.visibility.word().to_owned()),
        ("CI_CONFIG_PATH", project.word("ci_config_path").unwrap_or(".gitlab-ci.yml").to_owned()),
        ("CI_PIPELINE_SOURCE", subject.source.to_owned()),
        ("CI_COMMIT_SHA", commit.id.clone()),
        ("CI_COMMIT_SHORT_SHA", commit.short().to_owned()),
        ("CI_COMMIT_BEFORE_SHA", subject.before.to_owned()),
        ("CI_COMMIT_REF_NAME", subject.ref_name.to_owned()),
        ("CI_COMMIT_REF_SLUG", slug(subject.ref_name)),
        ("CI_COMMIT_REF_PROTECTED", protected.to_string()),
        ("CI_COMMIT_MESSAGE", commit.message.clone()),
        ("CI_COMMIT_TITLE", commit.title().to_owned()),
        ("CI_COMMIT_AUTHOR", format!("{} <{}>", commit.author_name, commit.author_email)),
        ("CI_COMMIT_TIMESTAMP", commit.authored.clone()),
    ];
    all.extend(project.default_branch.clone().map(|branch| ("CI_DEFAULT_BRANCH", branch)));
    if let Some(user) = state.users.get(&subject.user) {
        all.push(("GITLAB_USER_ID", user.id.to_string()));
        all.push(("GITLAB_USER_LOGIN", user.username.clone()));
        all.push(("GITLAB_USER_NAME", user.name.clone()));
        all.push(("GITLAB_USER_EMAIL", user.email.clone()));
    }
    match subject.merge_request.and_then(|id| state.merge_requests.get(&id)) {
        Some(request) => {
            all.push(("CI_MERGE_REQUEST_ID", request.id.to_string()));
            all.push(("CI_MERGE_REQUEST_IID", request.iid.to_string()));
            all.push(("CI_MERGE_REQUEST_TITLE", request.title.clone()));
            all.push(("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", request.source_branch.clone()));
            all.push(("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", request.target_branch.clone()));
        }
        None if subject.tag => all.push(("CI_COMMIT_TAG", subject.ref_name.to_owned())),
        None => all.push(("CI_COMMIT_BRANCH", subject.ref_name.to_owned())),
    }
    all
}

/// A project's variables that a ref and an environment get.
pub(crate) fn of_project<'a>(project: &'a Project, subject: &Subject<'_>, environment: Option<&str>) -> Vec<&'a Variable> {
    let protected = project.protects(subject.ref_name, subject.tag);
    let fits = |variable: &&Variable| {
        (protected || !variable.protected) && (variable.scope == "*" || environment.is_some_and(|name| matches(&variable.scope, name)))
    };
    project.variables.iter().filter(fits).collect()
}

/// What rules are judged by.
pub(crate) fn for_rules(state: &State, project: &Project, subject: &Subject<'_>, given: &[PipelineVariable]) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        predefined(state, project, subject).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    all.extend(of_project(project, subject, None).into_iter().map(|variable| (variable.key.clone(), variable.value.clone())));
    all.extend(given.iter().map(|variable| (variable.key.clone(), variable.value.clone())));
    all
}

/// A name in lower case, with a dash for everything that is neither letter nor digit, 63 bytes at most.
pub(crate) fn slug(name: &str) -> String {
    let plain: String =
        name.to_lowercase().chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).take(63).collect();
    plain.trim_matches('-').to_owned()
}
