//! A request by a person or a script, with grants.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use signalbox_contract::grant::{Action, Target, allows};
use signalbox_contract::token::OperatorClaims;
use signalbox_contract::{Code, Problem};

use super::Verifier;
use super::bearer::bearer_or_session;
use crate::http::Refusal;
use crate::secret::ExposeSecret as _;

/// Whoever asks, as the verified token says. The token comes in the `Authorization` header, or in the pages' session
/// cookie if there is no such header.
#[derive(Debug, Clone)]
pub struct Operator(pub Arc<OperatorClaims>);

impl Operator {
    /// Who this is, for the audit.
    pub fn principal(&self) -> &str {
        &self.0.sub
    }

    /// Whether one of the token's grants allows `action` on all of `target`.
    pub fn may(&self, action: Action, target: &Target<'_>) -> bool {
        allows(&self.0.grants, action, target)
    }

    /// Whether the token may know of `target` at all. What it may not know of is answered like what is not there.
    pub fn sees(&self, target: &Target<'_>) -> bool {
        self.may(Action::Read, target)
    }

    /// Goes on only if `action` is allowed on all of `target`.
    ///
    /// # Errors
    /// 403, saying what is missing.
    pub fn require(&self, action: Action, target: &Target<'_>) -> crate::http::Result<()> {
        if self.may(action, target) {
            return Ok(());
        }
        let mut missing = format!("No grant of this token allows `{action}`");
        let parts: [(&str, Option<&str>); 4] = [
            ("repository", target.repo.map(AsRef::as_ref)),
            ("artifact", target.artifact.map(AsRef::as_ref)),
            ("environment", target.environment.map(AsRef::as_ref)),
            ("published name", target.name.map(AsRef::as_ref)),
        ];
        let named: Vec<String> = parts.into_iter().filter_map(|(what, name)| name.map(|name| format!("{what} `{name}`"))).collect();
        if !named.is_empty() {
            missing.push_str(" on ");
            missing.push_str(&named.join(", "));
        }
        missing.push('.');
        Err(Problem::new(Code::Forbidden).detail(missing).into())
    }
}

impl<S> FromRequestParts<S> for Operator
where
    Arc<Verifier>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let token = bearer_or_session(parts)?;
        let verifier = Arc::<Verifier>::from_ref(state);
        Ok(Self(verifier.operator(token.expose_secret())?))
    }
}
