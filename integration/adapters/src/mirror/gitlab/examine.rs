//! What keeps a GitLab from being used as the place, now or one day.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::super::{Finding, MirrorError, Severity};
use super::GitlabMirror;
use super::settings::unsettled;
use super::trouble::of_api;
use crate::gitlab::{GitLab, GitLabError, TokenInfo, plain};

/// From how many days before its end a token is spoken of.
const SOON: i32 = 14;

/// A clock that is further off than this is spoken of.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// How many settings are spoken of.
const MOST: usize = 20;

/// How many pages of the group's projects are looked at. Each has a hundred.
const PAGES: usize = 5;

/// The role Maintainer, as GitLab counts.
const MAINTAINER: u64 = 40;

impl GitlabMirror {
    /// Looks at GitLab, the token, its role and the group.
    pub(super) async fn look_around(&self) -> Result<Vec<Finding>, MirrorError> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return Ok(vec![failed(&error)]),
        };
        let mut findings = Vec::new();
        if let Some(rest) = client.health().rest(self.clock.now()) {
            let hint =
                "Commits are shown there as soon as it answers again. See whether it runs, and the VCS worker's log for how it fails.";
            findings.push(Finding::new(Severity::Warning, format!("{} {rest}.", client.base()), hint));
        }
        match client.version().await {
            Ok(version) => findings.push(Finding::new(Severity::Fine, format!("{} is GitLab {}.", client.base(), version.version), "")),
            Err(error) => {
                // Whatever comes after would say the same.
                findings.push(failed(&of_api(&error, "Asking for its version")));
                return Ok(findings);
            }
        }
        let now = client.clock().await.ok().flatten();
        findings.extend(now.map(|theirs| self.of_clock(theirs)));
        match client.token().await {
            Ok(Some(token)) => findings.extend(of_token(&token, now)),
            Ok(None) => findings.push(Finding::new(
                Severity::Warning,
                "GitLab does not tell what the token may do.",
                "Use a group's or a project's access token, or a personal one, with the scope `api`.",
            )),
            Err(error) => findings.push(failed(&of_api(&error, "Asking what the token may do"))),
        }
        findings.push(self.of_group(&client).await);
        findings.extend(self.of_settings(&client).await);
        Ok(findings)
    }

    fn of_clock(&self, theirs: Timestamp) -> Finding {
        let skew = self.clock.now().duration_since(theirs);
        if skew.abs() <= SKEW {
            return Finding::new(Severity::Fine, "Its clock and the VCS worker's agree.", "");
        }
        let direction = if skew.is_positive() { "behind" } else { "ahead of" };
        let words = format!("Its clock is {} seconds {direction} the VCS worker's.", skew.abs().as_secs());
        Finding::new(Severity::Warning, words, "Have both machines set their clocks by NTP.")
    }

    /// The settings of the group's projects that are not as they should be. A setting is asked for when a run uses the project; what
    /// is still found here, GitLab did not change.
    async fn of_settings(&self, client: &GitLab) -> Vec<Finding> {
        let listed = match client.group_projects(&self.settings.group, PAGES).await {
            Ok(listed) => listed,
            // What is said of the group says why.
            Err(GitLabError::NotFound { .. }) => return Vec::new(),
            Err(error) => return vec![failed(&of_api(&error, "Looking at the group's projects"))],
        };
        let used = listed.items.iter().filter(|project| !project.is_marked_for_deletion() && project.archived != Some(true));
        let mut found = used.flat_map(|project| {
            let path = plain(&project.path_with_namespace);
            unsettled(project, false)
                .into_iter()
                .map(move |unsettled| Finding::new(Severity::Warning, format!("In {path}, {unsettled}."), unsettled.advice))
        });
        let mut findings: Vec<Finding> = found.by_ref().take(MOST).collect();
        let left = found.count();
        if left > 0 {
            findings.push(Finding::new(Severity::Warning, format!("{left} more settings of projects are not as they should be."), ""));
        } else if findings.is_empty() {
            findings.push(Finding::new(Severity::Fine, "The settings of the group's projects are as they should be.", ""));
        }
        findings
    }

    async fn of_group(&self, client: &GitLab) -> Finding {
        let path = &self.settings.group;
        let looked = async {
            let Some(group) = client.group(path).await? else { return Ok(None) };
            let user = client.user().await?;
            Ok(Some((client.role_in_group(group.id, user.id).await?, user.username.unwrap_or_default())))
        };
        match looked.await {
            Err(error) => failed(&of_api(&error, "Looking at the group")),
            Ok(None) => Finding::new(
                Severity::Error,
                format!("There is no group {path}, or the token may not see it."),
                "Make the group, and add the token's user to it as Maintainer.",
            ),
            Ok(Some((Some(role), user))) if role >= MAINTAINER => {
                Finding::new(Severity::Fine, format!("{user} may make and write projects in {path}."), "")
            }
            Ok(Some((Some(role), user))) => Finding::new(
                Severity::Error,
                format!("{user} has the role {role} in {path}: too little to make projects and to change their settings."),
                "Give it the role Maintainer (40) in the group; for naming = \"replace\", Owner (50).",
            ),
            Ok(Some((None, user))) => Finding::new(
                Severity::Warning,
                format!("{user} is no member of {path}: it works only as long as it is an administrator."),
                "Use a token of a user or a bot that is Maintainer in the group and nothing else.",
            ),
        }
    }
}

fn of_token(token: &TokenInfo, now: Option<Timestamp>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if token.active == Some(false) {
        findings.push(Finding::new(Severity::Error, "The token is not active any more.", "Make a new one."));
    }
    if token.scopes.iter().any(|scope| scope == "api") {
        findings.push(Finding::new(Severity::Fine, "The token has the scope api.", ""));
    } else {
        let detail = format!("The token lacks the scope api; it has {}.", token.scopes.join(", "));
        findings.push(Finding::new(Severity::Error, detail, "Make a token with the scope `api`, which includes writing by git."));
    }
    for scope in token.scopes.iter().filter(|scope| matches!(scope.as_str(), "sudo" | "admin_mode")) {
        let detail = format!("The token has the scope {scope}, which is not needed.");
        findings.push(Finding::new(Severity::Warning, detail, "Make a token with the scope `api` alone."));
    }
    let today = now.map(|now| now.to_zoned(jiff::tz::TimeZone::UTC).date());
    if let (Some(today), Some(end)) = (today, token.expires_at.as_deref().and_then(|day| day.parse::<Date>().ok())) {
        let left = today.until(end).map_or(i32::MAX, |span| span.get_days());
        if left < SOON {
            let severity = if left <= 0 { Severity::Error } else { Severity::Warning };
            findings.push(Finding::new(severity, format!("The token ends on {end}."), "Make a new one and put it into the token's file."));
        }
    }
    findings
}

fn failed(error: &MirrorError) -> Finding {
    let failure = error.failure();
    Finding::new(Severity::Error, failure.detail.clone(), failure.hint.clone())
}
