//! What a mirror's project has to be set to: asked for when the project is found or made, and read back.

use serde_json::{Map, Value, json};
use signalbox_contract::{Failure, FailureCode};
use signalbox_service::telemetry::causes;

use super::super::MirrorError;
use super::GitlabMirror;
use super::trouble::of_api;
use crate::gitlab::{GitLab, GitLabError, Project, plain};

/// A setting of a project that is not as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unsettled {
    /// Its name in GitLab's API.
    pub(super) setting: &'static str,
    /// What it is, as GitLab shows it.
    pub(super) is: String,
    /// What it should be.
    pub(super) should: Value,
    /// What it does as it is, and where a person changes it.
    pub(super) advice: &'static str,
}

impl std::fmt::Display for Unsettled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let should = self.should.as_str().map_or_else(|| self.should.to_string(), str::to_owned);
        write!(f, "{} is {}, and should be {should}", self.setting, self.is)
    }
}

impl GitlabMirror {
    /// Sets what is needed, and reads back whether it is so. What is not, and is no obstacle, the log and the doctor tell.
    /// `made` says that the project is just made by us: only then nobody else can have chosen what it is set to.
    pub(super) async fn settle(&self, client: &GitLab, project: &Project, made: bool) -> Result<(), MirrorError> {
        let path = &project.path_with_namespace;
        let wanted = wanted(project, made);
        if wanted.is_empty() {
            return Ok(());
        }
        let now = match client.edit_project(&project.reference(), &wanted).await {
            Ok(now) => now,
            Err(error) if is_off(project) => return Err(of_api(&error, "Turning on the project's pipelines")),
            Err(error @ (GitLabError::Forbidden { .. } | GitLabError::Invalid { .. })) => {
                // It works without; the doctor tells of it.
                let settings: Vec<&str> = wanted.keys().map(String::as_str).collect();
                tracing::warn!(error = %causes(&error), project = path, settings = settings.join(", "), "mirror.settings_not_changed");
                return Ok(());
            }
            Err(error) => return Err(of_api(&error, "Changing the project's settings")),
        };
        if is_off(&now) {
            let detail = format!("Pipelines are turned off in {path}, and stay so.");
            let hint = "Turn them on: Settings, General, Visibility, CI/CD.";
            return Err(MirrorError::Final(Failure::new(FailureCode::MirrorSettings, detail).hint(hint)));
        }
        // What somebody above decides, GitLab takes without a word and leaves as it was. What it does not show is not known.
        let refused: Vec<String> = unsettled(&now, made).iter().map(ToString::to_string).collect();
        if !refused.is_empty() {
            tracing::warn!(project = path, settings = refused.join("; "), "mirror.settings_refused");
        }
        Ok(())
    }
}

fn is_off(project: &Project) -> bool {
    project.builds_access_level.as_deref() == Some("disabled")
}

/// The settings that are to be asked for: those that are not as they should be, and those that GitLab does not show.
fn wanted(project: &Project, made: bool) -> Map<String, Value> {
    let mut wanted: Map<String, Value> =
        unsettled(project, made).into_iter().map(|unsettled| (unsettled.setting.to_owned(), unsettled.should)).collect();
    for (name, shown) in [("auto_devops_enabled", project.auto_devops_enabled), ("public_builds", project.public_jobs)] {
        if shown.is_none() {
            wanted.insert(name.to_owned(), json!(false));
        }
    }
    wanted
}

/// The settings that are shown not to be as they should be.
pub(super) fn unsettled(project: &Project, made: bool) -> Vec<Unsettled> {
    let mut found = Vec::new();
    let mut add = |setting, is: &str, should, advice| found.push(Unsettled { setting, is: plain(is), should, advice });
    if is_off(project) {
        add("builds_access_level", "disabled", json!("enabled"), "Nothing is built. Turn it on: Settings, General, Visibility, CI/CD.");
    }
    if project.auto_devops_enabled == Some(true) {
        let advice = "It builds what has no `.gitlab-ci.yml`. Turn it off: Settings, CI/CD, Auto DevOps; or in the group, or the instance.";
        add("auto_devops_enabled", "true", json!(false), advice);
    }
    // In a private project only its members see what is public.
    if project.public_jobs == Some(true) {
        let advice = "Whoever may see the project sees the logs of its jobs. Turn it off: Settings, CI/CD, General pipelines.";
        add("public_builds", "true", json!(false), advice);
    }
    if project.auto_cancel_pending_pipelines.as_deref() == Some("enabled") {
        let advice = "GitLab ends builds that runs wait for; which run is stopped is for Signalbox to say. Turn it off: Settings, CI/CD, \
                      General pipelines, Auto-cancel redundant pipelines.";
        add("auto_cancel_pending_pipelines", "enabled", json!("disabled"), advice);
    }
    if let Some(role) = project.ci_pipeline_variables_minimum_override_role.as_deref().filter(|role| made && *role != "developer") {
        let advice = "Builds do not see CICD_* and SIGNALBOX_*, and runs with inputs fail. Let developers: Settings, CI/CD, Variables.";
        add("ci_pipeline_variables_minimum_override_role", role, json!("developer"), advice);
    }
    found
}
