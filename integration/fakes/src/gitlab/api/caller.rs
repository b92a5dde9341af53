//! Who asks.

use http::{HeaderMap, Method};

use super::refusal::Refusal;
use crate::gitlab::fake::Fake;

/// Who asks, and what with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) user: Option<u64>,
    pub(crate) token: Option<u64>,
    pub(crate) job: Option<u64>,
    pub(crate) scopes: Vec<String>,
}

impl Caller {
    /// Finds out who asks. Nobody in particular is an answer too; a token that is no good is not.
    pub(crate) fn find(fake: &Fake, headers: &HeaderMap, query: &str) -> Result<Self, Refusal> {
        let head = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default().to_owned());
        let asked =
            |name: &str| url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        if let Some(secret) = head("job-token").or_else(|| asked("job_token")) {
            return fake.change(|state| {
                let job = state.job_of_token(&secret).ok_or_else(Refusal::unauthorized)?;
                Ok(Self { user: Some(job.user), token: None, job: Some(job.id), scopes: Vec::new() })
            });
        }
        let bearer = head("authorization").and_then(|given| {
            let (scheme, secret) = given.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim().to_owned())
        });
        let Some(secret) = head("private-token").or(bearer).or_else(|| asked("private_token")) else {
            return Ok(Self::default());
        };
        fake.change(|state| {
            let now = state.now();
            let token = state.token(&secret).ok_or_else(Refusal::unauthorized)?;
            if token.revoked {
                return Err(Refusal::spent("Token was revoked. You have to re-authorize from the user."));
            }
            if !token.active(now) {
                return Err(Refusal::spent("Token is expired. You can either do re-authorization or token refresh."));
            }
            let caller = Self { user: Some(token.user), token: Some(token.id), job: None, scopes: token.scopes.clone() };
            if state.users.get(&token.user).is_none_or(|user| user.blocked) {
                return Err(Refusal::message(http::StatusCode::FORBIDDEN, "403 Forbidden - Your account has been blocked."));
            }
            if let Some(token) = caller.token.and_then(|token| state.tokens.get_mut(&token)) {
                token.last_used_at = Some(now);
            }
            Ok(caller)
        })
    }

    /// Whether the token was made for this.
    pub(crate) fn may(&self, method: &Method, path: &str) -> Result<(), Refusal> {
        let has = |scope: &str| self.scopes.iter().any(|held| held == scope);
        // A job's own token is judged where it is taken, and who is nobody by what everybody may.
        if self.token.is_none() || has("api") || path.ends_with("/personal_access_tokens/self") {
            return Ok(());
        }
        let reads = method == Method::GET || method == Method::HEAD;
        if reads && (has("read_api") || (has("read_user") && path.ends_with("/user"))) {
            return Ok(());
        }
        if path.ends_with("/user/runners") && has("create_runner") {
            return Ok(());
        }
        let file = path.contains("/repository/files/") || path.contains("/repository/archive");
        if reads && file && has("read_repository") {
            return Ok(());
        }
        Err(Refusal::insufficient_scope(if reads { "api read_api" } else { "api" }))
    }
}
