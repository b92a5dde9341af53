//! Whether a GitLab can be used as it is configured, looked at from here.

use std::time::Duration;

use signalbox_service::clock::SharedClock;
use signalbox_service::telemetry::causes;

use super::GitlabForgeSettings;
use crate::forge::{Finding, Severity};
use crate::gitlab::{AlertStatus, GitLab, GitLabError, ProjectRef};

/// How far its clock may be from ours, where signatures are not in question.
const APART: Duration = Duration::from_mins(1);

/// The role of a developer.
const DEVELOPER: u64 = 30;

/// Looks at everything that is needed, and says of each whether it is so and what to do.
pub(super) async fn examine(
    gitlab: Option<&GitLab>,
    settings: &GitlabForgeSettings,
    clock: &SharedClock,
    projects: &[String],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.secrets.is_empty() && settings.signing.is_empty() {
        findings.push(Finding::new(
            Severity::Warning,
            "There is no secret for webhooks: changes are found by comparing alone, minutes later.",
            "Configure a secret or a signing key, and the same in the project's webhook.",
        ));
    }
    let Some(gitlab) = gitlab else {
        findings.push(Finding::new(
            Severity::Error,
            "There is no token: nothing can be compared, and no status shown.",
            "Make a token with the scope api for a member with the role Developer, and name its file in the configuration.",
        ));
        return findings;
    };
    findings.push(match gitlab.token().await {
        Ok(Some(token)) if token.active == Some(false) => {
            Finding::new(Severity::Error, "The token is not valid any more.", "Make another one with the scope api.")
        }
        Ok(Some(token)) if !token.scopes.is_empty() && !token.scopes.iter().any(|scope| scope == "api") => {
            Finding::new(Severity::Error, "The token lacks the scope api.", "Make another one with the scope api: statuses need it.")
        }
        Ok(_) => Finding::new(Severity::Fine, "The token can be used.", ""),
        Err(error) => {
            Finding::new(Severity::Error, format!("The token cannot be used: {}.", causes(&error)), "Check the address and the token.")
        }
    });
    if let Ok(Some(theirs)) = gitlab.clock().await {
        let apart = clock.now().duration_since(theirs).unsigned_abs();
        let most = if settings.signing.is_empty() { APART } else { settings.tolerance.min(APART) };
        if apart > most {
            findings.push(Finding::new(
                Severity::Warning,
                format!("The clocks of GitLab and of this machine are {} seconds apart.", apart.as_secs()),
                "Have both set their clocks by NTP: signatures of another time are refused.",
            ));
        }
    }
    for project in projects {
        let found = gitlab.project(&ProjectRef::from(&**project)).await;
        if matches!(found, Ok(Some(_))) && !(settings.secrets.is_empty() && settings.signing.is_empty()) {
            findings.push(webhook(gitlab, settings, project).await);
        }
        findings.push(match found {
            Ok(Some(found)) if found.role().is_some_and(|role| role < DEVELOPER) => Finding::new(
                Severity::Error,
                format!("The token's role in {project} is too low to show statuses."),
                "Give its owner the role Developer there.",
            ),
            Ok(Some(found)) if found.path_with_namespace != *project => Finding::new(
                Severity::Error,
                format!("{project} has another path now: {}.", found.path_with_namespace),
                "Configure that one.",
            ),
            Ok(Some(_)) => Finding::new(Severity::Fine, format!("{project} can be used."), ""),
            Ok(None) => Finding::new(
                Severity::Error,
                format!("{project} is not there, or the token may not see it."),
                "Check its path, and give the token's owner the role Developer there.",
            ),
            Err(error) => {
                Finding::new(Severity::Error, format!("{project} cannot be read: {}.", causes(&error)), "Look at what GitLab says.")
            }
        });
    }
    findings
}

/// How a project's webhook to us is. Where we are for GitLab we do not know; what our address ends in we do.
async fn webhook(gitlab: &GitLab, settings: &GitlabForgeSettings, project: &str) -> Finding {
    let ending = format!("/webhooks/{}", settings.name);
    let hooks = match gitlab.hooks(&ProjectRef::from(project)).await {
        Ok(hooks) => hooks,
        Err(GitLabError::Forbidden { .. } | GitLabError::NotFound { .. }) => {
            let words = format!("The token may not see the webhooks of {project}; whether one leads here is not known.");
            return Finding::new(Severity::Fine, words, "");
        }
        Err(error) => {
            let words = format!("The webhooks of {project} cannot be read: {}.", causes(&error));
            return Finding::new(Severity::Warning, words, "Look at what GitLab says.");
        }
    };
    let Some(hook) = hooks.iter().find(|hook| hook.url.trim_end_matches('/').ends_with(&ending)) else {
        return Finding::new(
            Severity::Warning,
            format!("No webhook of {project} leads to {ending}: changes are found by comparing alone, minutes later."),
            "Make one in the project's settings, or in its group's; one of a group is not seen from here.",
        );
    };
    if matches!(hook.alert_status, Some(AlertStatus::Disabled | AlertStatus::TemporarilyDisabled)) {
        return Finding::new(
            Severity::Error,
            format!("GitLab has disabled the webhook of {project}: it could not deliver."),
            "Look whether GitLab reaches the address, then press Test in the webhook's settings, which makes it work again.",
        );
    }
    // An older GitLab takes the key, says nothing, and does not sign: then each delivery would be refused.
    if !settings.signing.is_empty() && settings.secrets.is_empty() && hook.signing_token_present != Some(true) {
        return Finding::new(
            Severity::Error,
            format!("GitLab does not sign what the webhook of {project} delivers: all of it is refused."),
            "Set the webhook's signing token, where this GitLab has them (from 19.0); else set a secret token there and name its file in secret_files.",
        );
    }
    Finding::new(Severity::Fine, format!("The webhook of {project} is there and enabled."), "")
}
