//! Operators' tokens.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::token::{Revocations, Revoked, TokenCreated, TokenInfo, TokenRequest};
use signalbox_contract::grant::{Action, Grant, Target};
use signalbox_contract::token::{ISSUER, OperatorClaims, Service};
use signalbox_contract::{Code, Problem};
use signalbox_service::auth::Operator;
use signalbox_service::http::{self as service_http, Json, Limit, NoBody, Path, Query};
use signalbox_service::secret::ExposeSecret as _;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{Api, PageSize, page_size, refused};
use crate::store::{NewToken, UNLISTED};

/// The longest life of a token, in seconds: a year.
const LONGEST: u32 = 366 * 24 * 3600;

/// Make a token. It can do no more than the token that asks for it, and is shown this once.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = TokenRequest, responses(
    (status = 201, description = "The token.", body = TokenCreated),
    (status = 400, description = "The body is not valid; `errors` names the fields.", body = Problem),
    (status = 403, description = "The token's grants do not cover what the new one is to do.", body = Problem),
))]
pub(super) async fn create(
    State(api): State<Api>,
    operator: Operator,
    Json(request): Json<TokenRequest>,
) -> service_http::Result<Response> {
    operator.require(Action::Tokens, &Target::default())?;
    check(&request)?;
    if let Some(beyond) = request.grants.iter().find(|grant| !operator.0.grants.iter().any(|own| own.contains(grant))) {
        tracing::debug!(?beyond, "a token was asked for that can do more than its maker");
        return Err(Problem::new(Code::Forbidden).field("grants", "hold something that this token itself does not allow").into());
    }
    let now = api.clock.now();
    let expires_at = now.saturating_add(Duration::from_secs(request.lifetime.into())).unwrap_or(jiff::Timestamp::MAX);
    // The token's own end is a whole second; what is said of it is the same.
    let expires_at = jiff::Timestamp::from_second(expires_at.as_second()).unwrap_or(expires_at);
    let TokenRequest { principal, audience, grants, .. } = request;
    let jti = api.clock.uuid();
    let claims = OperatorClaims {
        iss: ISSUER.to_owned(),
        sub: principal.clone(),
        aud: audience,
        jti,
        iat: now.as_second(),
        exp: expires_at.as_second(),
        grants: grants.clone(),
    };
    let token = api.workers.signer.operator(&claims).map_err(service_http::internal)?;
    // Recorded before it is shown: there is no token that cannot be revoked.
    let info = api.store.record_token(NewToken { jti, principal, audience, grants, expires_at }).await.map_err(refused)?;
    tracing::info!(by = operator.principal(), %jti, principal = info.principal, "a token was made");
    Ok((StatusCode::CREATED, Json(TokenCreated { token: token.expose_secret().to_owned(), info })).into_response())
}

fn check(request: &TokenRequest) -> Result<(), Problem> {
    let mut problem = Problem::new(Code::InvalidBody);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    if request.principal.is_empty() || request.principal.len() > 100 || !request.principal.bytes().all(plain) {
        problem = problem.field("principal", "must have 1 to 100 letters, digits and . _ @ + -");
    }
    if !matches!(request.audience, Service::Controller | Service::ArtifactStore) {
        problem = problem.field("audience", "must be controller or artifact-store; the workers take the controller's calls alone");
    }
    if request.lifetime == 0 || request.lifetime > LONGEST {
        problem = problem.field("lifetime", format!("must be between 1 and {LONGEST} seconds"));
    }
    let many = |grant: &Grant| {
        [grant.repos.len(), grant.artifacts.len(), grant.environments.len(), grant.names.len()].into_iter().any(|count| count > 50)
    };
    if request.grants.is_empty() || request.grants.len() > 20 || request.grants.iter().any(many) {
        problem = problem.field("grants", "must be 1 to 20, with at most 50 patterns of a kind each");
    }
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokensQuery {
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Uuid>,
    /// How many; 50 unless given, 200 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<PageSize>,
}

/// The tokens that were made: whose, for what, until when. Never the tokens themselves.
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(TokensQuery), responses(
    (status = 200, description = "A page of tokens.", body = Page<TokenInfo>),
    (status = 403, description = "The token does not allow it.", body = Problem),
))]
pub(super) async fn list(
    State(api): State<Api>,
    operator: Operator,
    Query(query): Query<TokensQuery>,
) -> service_http::Result<Json<Page<TokenInfo>>> {
    operator.require(Action::Tokens, &Target::default())?;
    Ok(Json(api.store.tokens(query.cursor, page_size(query.limit)).await.map_err(refused)?))
}

/// Revoke a token. One that was made with the keys at hand, and so is not on the list, is revoked by its id alike, by whoever may do everything. The controller refuses it at once, the artifact store within its next look at the revocations.
#[utoipa::path(delete, path = "/tokens/{jti}", tag = "tokens", params(("jti" = Uuid, Path, description = "The token's id.")), responses(
    (status = 200, description = "It is revoked.", body = Revoked),
    (status = 403, description = "The token does not allow it.", body = Problem),
))]
pub(super) async fn revoke(
    State(api): State<Api>,
    operator: Operator,
    Path(jti): Path<Uuid>,
    _: NoBody,
) -> service_http::Result<Json<Revoked>> {
    operator.require(Action::Tokens, &Target::default())?;
    // Whoever could not have made it cannot take it away either. One that was made with the keys at hand is not known
    // here, so only who may do everything may revoke it.
    let known = api.store.token(jti).await.map_err(refused)?;
    let listed = known.as_ref().is_some_and(|token| token.principal != UNLISTED);
    let grants = match known {
        Some(token) => token.grants,
        None => vec![Grant::everything()],
    };
    if !grants.iter().all(|grant| operator.0.grants.iter().any(|own| own.contains(grant))) {
        return Err(Problem::new(Code::Forbidden).detail("That token can do more than this one.").into());
    }
    api.store.revoke_token(jti, Duration::from_secs(LONGEST.into())).await.map_err(refused)?;
    api.verifier.revoke(jti);
    tracing::info!(by = operator.principal(), %jti, "a token was revoked");
    Ok(Json(Revoked { jti, listed }))
}

/// How many ids of revoked tokens a page has at most, and unless fewer are wanted.
const IDS: u32 = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RevocationsQuery {
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Uuid>,
    /// How many; 1000 unless given, and at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit<IDS>>,
}

/// The ids of revoked tokens that have not ended by themselves, in their order. Needs no token: an id alone is good for nothing.
#[utoipa::path(get, path = "/revocations", tag = "tokens", security(()), params(RevocationsQuery), responses(
    (status = 200, description = "A page of ids.", body = Revocations),
    (status = 400, description = "A parameter is not valid.", body = Problem),
))]
pub(super) async fn revocations(State(api): State<Api>, Query(query): Query<RevocationsQuery>) -> service_http::Result<Json<Revocations>> {
    let limit = query.limit.map_or(IDS, Limit::get);
    Ok(Json(api.store.revocations(query.cursor, limit).await.map_err(refused)?))
}
