//! Deliveries: what forges said, what was done about it, and having it done again.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::delivery::{DeliveryState, DeliverySummary, DeliveryView};
use signalbox_contract::grant::{Action, Target};
use signalbox_contract::{Code, ForgeName, Problem, RepoName};
use signalbox_service::auth::Operator;
use signalbox_service::http::{self as service_http, Json, NoBody, Path, Query};
use utoipa::IntoParams;

use super::cd::of;
use super::{Api, PageSize, page_size, refused};
use crate::store::DeliveryFilter;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveriesQuery {
    /// From this forge.
    #[param(value_type = Option<String>)]
    pub(crate) source: Option<ForgeName>,
    /// In this state.
    pub(crate) state: Option<DeliveryState>,
    /// Older than this one: the `next` of the page before.
    pub(crate) cursor: Option<u64>,
    /// How many; 50 unless given, 200 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(crate) limit: Option<PageSize>,
}

/// Deliveries, newest first: those about repositories that the reader may see, and with the action `deliveries` all.
#[utoipa::path(get, path = "/deliveries", tag = "deliveries", params(DeliveriesQuery), responses(
    (status = 200, description = "A page of deliveries.", body = Page<DeliverySummary>),
    (status = 400, description = "A parameter is not valid.", body = Problem),
    (status = 401, description = "No valid token.", body = Problem),
))]
pub(super) async fn list(
    State(api): State<Api>,
    operator: Operator,
    Query(query): Query<DeliveriesQuery>,
) -> service_http::Result<Json<Page<DeliverySummary>>> {
    Ok(Json(api.deliveries(&operator, query).await?))
}

/// One delivery, with what is kept of it.
#[utoipa::path(get, path = "/deliveries/{id}", tag = "deliveries", params(("id" = u64, Path, description = "The delivery.")), responses(
    (status = 200, description = "The delivery.", body = DeliveryView),
    (status = 404, description = "There is no such delivery, or the token's grants do not cover it.", body = Problem),
))]
pub(super) async fn get(State(api): State<Api>, operator: Operator, Path(id): Path<u64>) -> service_http::Result<Json<DeliveryView>> {
    Ok(Json(api.delivery(&operator, id).await?))
}

/// Have a delivery acted on again. What was started for it is not started twice. It takes no body.
#[utoipa::path(post, path = "/deliveries/{id}/replay", tag = "deliveries", params(("id" = u64, Path, description = "The delivery.")), responses(
    (status = 202, description = "It is acted on again."),
    (status = 403, description = "The token's grants do not cover it.", body = Problem),
    (status = 404, description = "There is no such delivery, or it may not be seen.", body = Problem),
    (status = 409, description = "It waits to be acted on already, or was not kept.", body = Problem),
))]
pub(super) async fn replay(State(api): State<Api>, operator: Operator, Path(id): Path<u64>, _: NoBody) -> service_http::Result<StatusCode> {
    api.replay_delivery(&operator, id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Whether somebody may see every delivery, whatever it is about.
fn sees_all(operator: &Operator) -> bool {
    operator.may(Action::Deliveries, &Target::default())
}

/// What a delivery is about.
fn about(delivery: &DeliverySummary) -> Target<'_> {
    delivery.repo.as_ref().map(of).unwrap_or_default()
}

/// Whether somebody who sees a delivery may have it acted on again, and it is one with which that can be done.
pub(crate) fn may_replay(operator: &Operator, view: &DeliveryView) -> bool {
    let allowed = sees_all(operator) || operator.may(Action::Start, &about(&view.summary));
    allowed && view.body.is_some() && view.summary.state != DeliveryState::Received
}

impl Api {
    /// A page of the deliveries that somebody may see.
    pub(crate) async fn deliveries(&self, operator: &Operator, query: DeliveriesQuery) -> service_http::Result<Page<DeliverySummary>> {
        let limit = page_size(query.limit);
        if query.cursor.is_some_and(|cursor| i64::try_from(cursor).is_err()) {
            return Err(Problem::new(Code::InvalidRequest).field("cursor", "is not one that was given by a page").into());
        }
        let seen = || self.config.repositories.keys().filter(|repo| operator.sees(&of(repo))).cloned().collect::<Vec<RepoName>>();
        let repos = (!sees_all(operator)).then(seen);
        let filter = DeliveryFilter { source: query.source, state: query.state, before: query.cursor, repos };
        self.store.deliveries(&filter, limit).await.map_err(refused)
    }

    /// A delivery, if somebody may see it.
    pub(crate) async fn delivery(&self, operator: &Operator, id: u64) -> service_http::Result<DeliveryView> {
        let found = self.store.delivery(id).await.map_err(refused)?;
        let sees = |view: &DeliveryView| sees_all(operator) || view.summary.repo.as_ref().is_some_and(|repo| operator.sees(&of(repo)));
        found.filter(sees).ok_or_else(|| Problem::not_found().into())
    }

    /// Has a delivery acted on again on behalf of somebody, who must be allowed to start runs of its repository.
    pub(crate) async fn replay_delivery(&self, operator: &Operator, id: u64) -> service_http::Result<()> {
        let seen = self.delivery(operator, id).await?;
        if !sees_all(operator) {
            operator.require(Action::Start, &about(&seen.summary))?;
        }
        if !self.store.replay(id).await.map_err(refused)? {
            return Err(Problem::new(Code::NotAllowedNow).detail("It waits to be acted on already, or was not kept.").into());
        }
        tracing::info!(by = operator.principal(), delivery = id, "a delivery is replayed");
        Ok(())
    }
}
