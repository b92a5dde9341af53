//! Whether a GitLab is set up as we need it, and what to do where it is not.

use jiff::SignedDuration;
use signalbox_contract::RepoName;
use url::Url;

use super::{Finding, GitLabExecutor, Severity};
use crate::gitlab::{AlertStatus, GitLabError, Group, Hook, Project};

/// The oldest version whose answers were studied.
const OLDEST: (u32, u32) = (15, 0);

/// A clock that is further off than this makes signatures of deliveries look old.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, what: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding::new(severity, what, advice));
    }

    fn fine(&mut self, what: impl Into<String>) {
        self.add(Severity::Fine, what, "");
    }

    fn fault(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Error, what, advice);
    }

    fn advice(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Warning, what, advice);
    }
}

impl GitLabExecutor {
    /// Looks at everything that builds depend on: address, token, clock, group; and of each repository its project, the token's
    /// role in it, its settings and, where `hook` says where it leads, its webhook. Changes nothing.
    pub async fn doctor(&self, repos: &[RepoName], hook: Option<&Url>) -> Vec<Finding> {
        let mut findings = Findings::default();
        if let Some(rest) = self.gitlab.health().rest(self.clock.now()) {
            let advice =
                "Builds there wait for it, and go on by themselves. See whether it runs, and the controller's log for how it fails.";
            findings.advice(format!("{} {rest}", self.gitlab.base()), advice);
        }
        if !self.ask_version(&mut findings).await {
            return findings.0;
        }
        self.ask_clock(&mut findings).await;
        self.ask_token(&mut findings).await;
        self.ask_group(&mut findings).await;
        for repo in repos {
            self.ask_project(repo, hook, &mut findings).await;
        }
        findings.0
    }

    async fn ask_version(&self, findings: &mut Findings) -> bool {
        let base = self.gitlab.base();
        match self.gitlab.version().await {
            Ok(version) => {
                let words = format!("GitLab {} answers at {base}", crate::gitlab::plain(&version.version));
                if version.numbers().is_some_and(|numbers| numbers < OLDEST) {
                    findings.advice(words, "It is older than any version that was tried; upgrade it.");
                } else {
                    findings.fine(words);
                }
                true
            }
            Err(error) => {
                let advice = match &error {
                    GitLabError::Unauthorized { .. } => "Make a token with the scope `api` and put it into the token file.",
                    GitLabError::Unreadable { .. } => "Check the address: something else than GitLab's API answers there.",
                    GitLabError::Forbidden { .. } => "The token lacks a scope; make one with the scope `api`.",
                    _ => "Check the address, the network and, with an authority of your own, `ca`.",
                };
                findings.fault(format!("{base}: {error}"), advice);
                false
            }
        }
    }

    async fn ask_clock(&self, findings: &mut Findings) {
        let Ok(Some(theirs)) = self.gitlab.clock().await else { return };
        let skew = self.clock.now().duration_since(theirs);
        if skew.abs() > SKEW {
            let direction = if skew.is_positive() { "behind" } else { "ahead of" };
            let words = format!("GitLab's clock is {} seconds {direction} ours", skew.abs().as_secs());
            findings.advice(words, "Run a time service on both machines: deliveries with signatures of another time are refused.");
        } else {
            findings.fine("GitLab's clock and ours agree");
        }
    }

    async fn ask_token(&self, findings: &mut Findings) {
        let token = match self.gitlab.token().await {
            Ok(Some(token)) => token,
            Ok(None) => return findings.advice("GitLab does not say what the token may do", "Use a personal, group or project token."),
            Err(error) => return findings.fault(format!("The token cannot be looked at: {error}"), "Make a token with the scope `api`."),
        };
        let scopes = token.scopes.join(", ");
        if token.active == Some(false) {
            findings.fault("The token is not active any more", "Make a new one and put it into the token file.");
        }
        if token.scopes.iter().any(|scope| scope == "api") {
            findings.fine(format!("The token's scopes: {scopes}"));
        } else {
            findings.fault(format!("The token's scopes are {scopes}, and do not include api"), "Make a token with the scope `api`.");
        }
        if token.scopes.iter().any(|scope| matches!(scope.as_str(), "sudo" | "admin_mode")) {
            findings.advice("The token may act for others", "Use a token of the group with the scope `api` alone.");
        }
        if let Some(Ok(day)) = token.expires_at.as_deref().map(str::parse::<jiff::civil::Date>) {
            let today = self.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
            if (day - today).get_days() < 14 {
                findings.advice(format!("The token ends on {day}"), "Make a new one in time; builds fail without.");
            }
        }
    }

    async fn ask_group(&self, findings: &mut Findings) {
        if self.group.is_empty() {
            return;
        }
        match self.gitlab.group(&self.group).await {
            Ok(Some(Group { marked_for_deletion_on: Some(_), .. })) => {
                findings.fault(format!("The group {} is marked for deletion", self.group), "Restore it, or name another one.");
            }
            Ok(Some(_)) => findings.fine(format!("The group {} is there", self.group)),
            Ok(None) => findings.fault(
                format!("The token sees no group {}", self.group),
                "Check the name with all of its parents, and make the token's user a member with the role Developer.",
            ),
            Err(error) => findings.fault(format!("The group {} cannot be looked at: {error}", self.group), ""),
        }
    }

    async fn ask_project(&self, repo: &RepoName, hook: Option<&Url>, findings: &mut Findings) {
        let path = self.project_path(repo);
        let project = match self.gitlab.project(&self.project_of(repo)).await {
            Ok(Some(project)) => project,
            Ok(None) => {
                let advice = "The mirror makes it with the first run; if there was one, the token may not see it.";
                return findings.advice(format!("The token sees no project {path}"), advice);
            }
            Err(error) => return findings.fault(format!("The project {path} cannot be looked at: {error}"), ""),
        };
        settings(&project, findings);
        self.ask_variables(&project, findings).await;
        if let Some(hook) = hook {
            self.ask_hook(&project, hook, findings).await;
        }
    }

    /// Protected variables are for protected branches alone, and what we push is not protected.
    async fn ask_variables(&self, project: &Project, findings: &mut Findings) {
        // A developer may not see them; then nothing is known of them.
        let Ok(variables) = self.gitlab.project_variables(&project.reference()).await else { return };
        let count = variables.iter().filter(|variable| variable.protected == Some(true)).count();
        if count > 0 {
            let words = format!(
                "{count} CI/CD variables of {} are protected: builds of branches that are not, as cd/*, do not see them",
                project.path_with_namespace
            );
            let advice = "Protect the branches whose builds are to see them, with force pushes allowed, and build those with `naming = \"same\"`; \
                          changes under review, on cd/*, better never do. The same holds of protected runners.";
            findings.advice(words, advice);
        }
    }

    /// Has a project's webhook made what it should be, and says so.
    fn mended(&self, project: &Project) -> &'static str {
        match &self.tending {
            Some(tending) => {
                tending.mend(project.id);
                "It is being made what it should be now; look again in a minute. Meanwhile builds are looked at every few seconds."
            }
            None => "Set `hook` for the executor, or make it by hand.",
        }
    }

    async fn ask_hook(&self, project: &Project, wanted: &Url, findings: &mut Findings) {
        let hooks = match self.gitlab.hooks(&project.reference()).await {
            Ok(hooks) => hooks,
            Err(GitLabError::Forbidden { .. } | GitLabError::NotFound { .. }) => {
                let advice = "Give the token's user the role Maintainer, or make the webhook by hand. Without it builds are looked at every few seconds.";
                return findings.advice("The token may not see to webhooks", advice);
            }
            Err(error) => return findings.advice(format!("The webhooks cannot be looked at: {error}"), ""),
        };
        let path = &project.path_with_namespace;
        if let Some(trouble) = self.tending.as_ref().and_then(|tending| tending.trouble(project.id)) {
            let advice = "Mend that; it is tried again every few minutes. Meanwhile builds are looked at every few seconds.";
            findings.advice(format!("The webhook of {path} is not well: {trouble}"), advice);
        }
        // Which of those that lead to us is ours, only the wish tells; without it all are.
        let wish = self.tending.as_ref().map(|tending| tending.wish().0);
        let (ours, others): (Vec<&Hook>, Vec<&Hook>) =
            hooks.iter().filter(|hook| hook.url == wanted.as_str()).partition(|hook| wish.as_ref().is_none_or(|wish| hook.is_of(wish)));
        if let Some(other) = others.first() {
            let words = format!("{path} has a webhook to {wanted} that we did not make (number {}), and that is left as it is", other.id);
            findings.advice(words, "Delete it if it is for nothing else: everything is told twice, and without our secret it is refused.");
        }
        match ours.first() {
            None => findings.advice(format!("There is no webhook of {path} to {wanted}"), self.mended(project)),
            Some(hook) if matches!(hook.alert_status, Some(AlertStatus::Disabled | AlertStatus::TemporarilyDisabled)) => {
                let words = format!("GitLab has disabled the webhook of {path}: it could not reach {wanted}");
                findings.advice(words, self.mended(project));
            }
            Some(hook) if !hook.events.pipeline_events => {
                findings.advice(format!("The webhook of {path} sends no pipeline events"), self.mended(project));
            }
            Some(hook) if hook.signing_token_present == Some(true) => findings.fine("The webhook is there, and signs"),
            Some(_) => findings.fine("The webhook is there, with a secret in the clear"),
        }
    }
}

fn settings(project: &Project, findings: &mut Findings) {
    let path = &project.path_with_namespace;
    match project.role() {
        Some(role) if role < 30 => findings.fault(
            format!("The token's role in {path} is {role}, less than Developer (30)"),
            "Give it the role Developer, or Maintainer to see to the webhook too.",
        ),
        Some(role) => findings.fine(format!("The token's role in {path} is {role}")),
        None => findings.advice(format!("GitLab does not say which role the token has in {path}"), ""),
    }
    if project.is_marked_for_deletion() {
        findings.fault(format!("{path} is marked for deletion"), "Restore it.");
    }
    if project.archived == Some(true) {
        findings.fault(format!("{path} is archived"), "Unarchive it.");
    }
    if project.builds_access_level.as_deref() == Some("disabled") {
        findings.fault(format!("CI/CD is switched off in {path}"), "Switch it on in the project's settings.");
    }
    if project.auto_devops_enabled == Some(true) {
        findings.advice(format!("Auto DevOps is on in {path}"), "Switch it off: it builds what has no `.gitlab-ci.yml`.");
    }
    if project.public_jobs == Some(true) && project.visibility.as_deref() != Some("private") {
        findings
            .advice(format!("Everybody may see the pipelines of {path}"), "Switch public pipelines off where logs are not for everybody.");
    }
    if project.auto_cancel_pending_pipelines.as_deref() == Some("enabled") {
        let advice = "Switch auto-cancelling off (Settings, CI/CD, General pipelines): it ends builds that runs wait for.";
        findings.advice(format!("A newer pipeline of a branch of {path} cancels older ones"), advice);
    }
    if !may_set_variables(project) {
        let words = format!(
            "{path} does not let the token's role set variables of a pipeline: builds do not see CICD_* and SIGNALBOX_*, and runs with inputs fail"
        );
        let advice = "Settings, CI/CD, Variables: let Developers use pipeline variables; or give the token the role that may.";
        findings.advice(words, advice);
    }
}

/// Whether the token may set variables of pipelines, as far as GitLab tells.
fn may_set_variables(project: &Project) -> bool {
    let needed = match project.ci_pipeline_variables_minimum_override_role.as_deref() {
        Some("developer") => 30,
        Some("maintainer") => 40,
        Some("owner") => 50,
        Some(_) => u64::MAX,
        None if project.restrict_user_defined_variables == Some(true) => 40,
        None => 0,
    };
    project.role().is_none_or(|role| role >= needed) && needed < u64::MAX
}
