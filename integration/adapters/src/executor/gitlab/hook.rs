//! The webhook by which GitLab tells us at once what we would see a little later anyway.

use crate::gitlab::{AlertStatus, GitLab, GitLabError, Hook, HookWish, ProjectRef};

/// Makes a project's webhook what it should be: there once, with our events and secrets, and not disabled.
///
/// A secret cannot be read back: whether it is the right one, GitLab does not say. So it is written anew where the wish
/// says so, and else where something about the hook is wrong.
///
/// One that somebody else made is left as it is, even where it leads to us: what it sends, and to whom, is not ours to change.
///
/// What is still wrong with it then is told in words: GitLab could not reach us, or cannot show that it is GitLab.
///
/// # Errors
/// As [`GitLabError`] tells.
pub(super) async fn ensure(gitlab: &GitLab, project: &ProjectRef, wish: &HookWish) -> Result<Option<String>, GitLabError> {
    let mut ours: Vec<Hook> = gitlab.hooks(project).await?.into_iter().filter(|hook| hook.is_of(wish)).collect();
    ours.sort_by_key(|hook| hook.id);
    let mut ours = ours.into_iter();
    let (hook, changed) = match ours.next() {
        None => (gitlab.create_hook(project, wish).await?, true),
        Some(hook) if !wish.rewrite && is_as_wished(&hook, wish) => (hook, false),
        Some(hook) => (gitlab.edit_hook(project, hook.id, wish).await?, true),
    };
    // Two that were made at once would tell everything twice.
    for surplus in ours {
        gitlab.delete_hook(project, surplus.id).await?;
    }
    let disabled = matches!(hook.alert_status, Some(AlertStatus::TemporarilyDisabled | AlertStatus::Disabled));
    let mut trouble = None;
    if changed || disabled {
        // A sample that we answer well makes a disabled hook work again, and shows whether GitLab reaches us.
        let trigger = if wish.events.pipeline_events { "pipeline_events" } else { "push_events" };
        trouble = match gitlab.test_hook(project, hook.id, trigger).await {
            Ok(()) => None,
            // It may be tested five times a minute only; or there is no pipeline yet to make a sample of.
            Err(GitLabError::RateLimited { .. } | GitLabError::NotFound { .. }) if !disabled => None,
            Err(error) if error.says("ensure the project has") && !disabled => None,
            Err(error @ (GitLabError::NotSent(_) | GitLabError::Unknown(_) | GitLabError::Unavailable { .. })) => return Err(error),
            Err(error) => Some(format!("GitLab cannot deliver to {}: {}.", wish.url, error.to_string().trim_end_matches('.'))),
        };
    }
    // Older versions of GitLab cannot sign, and send a secret in the clear.
    if wish.secret.is_none() && hook.signing_token_present != Some(true) {
        let words = "This GitLab cannot sign what it sends, and there is no secret that it could send along: what it delivers is refused.";
        trouble = Some(words.to_owned());
    }
    Ok(trouble)
}

fn is_as_wished(hook: &Hook, wish: &HookWish) -> bool {
    let verifies = hook.enable_ssl_verification.is_none_or(|verifies| verifies || wish.url.scheme() != "https");
    // Where GitLab says that a key is missing, it can sign; where it says nothing, it cannot.
    let signs = wish.signing.is_none() || hook.signing_token_present != Some(false);
    let carries = wish.secret.is_none() || hook.token_present != Some(false);
    hook.events.cover(wish.events) && verifies && signs && carries
}
