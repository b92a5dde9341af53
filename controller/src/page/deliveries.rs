//! What forges delivered, and what was done about it.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use signalbox_contract::ForgeName;
use signalbox_contract::api::delivery::{DeedKind, DeedView, DeliveryState, DeliverySummary, DeliveryView, Via};
use signalbox_service::auth::Operator;
use signalbox_service::http::{Form, Limit, Path, Query};

use super::error::PageError;
use super::words::{Fact, State as StateWord, age, log_text, moment};
use super::{Button, Visitor, page};
use crate::api::{Api, DeliveriesQuery, may_replay};

/// How much of a delivery's body is shown, in bytes.
const SHOWN: usize = 256 * 1024;

#[derive(Template)]
#[template(path = "deliveries.html")]
struct List {
    /// Where to see only those in a state: the address, the word, and whether that is what is shown.
    states: Vec<(String, &'static str, bool)>,
    rows: Vec<Row>,
    next: Option<String>,
    visitor: Option<Visitor>,
    refresh: bool,
}

struct Row {
    id: u64,
    state: StateWord,
    kind: String,
    from: String,
    repo: String,
    outcome: Outcome,
    at: String,
    age: String,
}

/// What came of a delivery.
struct Outcome {
    deeds: Vec<Deed>,
    reason: String,
}

struct Deed {
    what: &'static str,
    run: Option<String>,
    reason: String,
}

/// `GET /view/deliveries`
pub(super) async fn list(State(api): State<Api>, operator: Operator, Query(query): Query<DeliveriesQuery>) -> Result<Response, PageError> {
    let (source, state, limit, first) = (query.source.clone(), query.state, query.limit.map(Limit::get), query.cursor.is_none());
    let found = api.deliveries(&operator, query).await?;
    let now = api.clock.now();
    let chosen = |name: &'static str, wanted: Option<DeliveryState>| (address(source.as_ref(), wanted, limit, None), name, wanted == state);
    let states = std::iter::once(chosen("all", None)).chain(STATES.map(|state| chosen(delivery_state(state).word, Some(state))));
    page(&List {
        states: states.collect(),
        next: found.next.as_deref().map(|next| address(source.as_ref(), state, limit, Some(next))),
        refresh: first && found.items.iter().any(|one| one.state == DeliveryState::Received),
        rows: found.items.iter().map(|one| row(one, now)).collect(),
        visitor: Some(Visitor::of(&operator)),
    })
}

const STATES: [DeliveryState; 4] = [DeliveryState::Received, DeliveryState::Done, DeliveryState::Ignored, DeliveryState::Failed];

/// The list's address with these filters.
fn address(source: Option<&ForgeName>, state: Option<DeliveryState>, limit: Option<u32>, cursor: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let parts = [
        ("source", source.map(ToString::to_string)),
        ("state", state.map(|state| delivery_state(state).word.to_owned())),
        ("limit", limit.map(|limit| limit.to_string())),
        ("cursor", cursor.map(str::to_owned)),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    let query = query.finish();
    if query.is_empty() { "/view/deliveries".to_owned() } else { format!("/view/deliveries?{query}") }
}

const fn delivery_state(state: DeliveryState) -> StateWord {
    let (word, tone) = match state {
        DeliveryState::Received => ("received", "busy"),
        DeliveryState::Done => ("done", "good"),
        DeliveryState::Ignored => ("ignored", "off"),
        DeliveryState::Failed => ("failed", "bad"),
    };
    StateWord { word, tone }
}

fn row(delivery: &DeliverySummary, now: Timestamp) -> Row {
    Row {
        id: delivery.id,
        state: delivery_state(delivery.state),
        from: format!("{} ({})", delivery.source, via(delivery.via)),
        repo: delivery.repo.as_ref().map(ToString::to_string).unwrap_or_default(),
        at: delivery.received_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        age: age(delivery.received_at, now),
        outcome: outcome(delivery),
        kind: log_text(delivery.kind.as_bytes()),
    }
}

const fn via(via: Via) -> &'static str {
    match via {
        Via::Webhook => "webhook",
        Via::Stream => "stream",
    }
}

fn outcome(delivery: &DeliverySummary) -> Outcome {
    Outcome { deeds: delivery.deeds.iter().map(deed).collect(), reason: log_text(delivery.reason.as_bytes()) }
}

fn deed(deed: &DeedView) -> Deed {
    let what = match deed.what {
        DeedKind::Started => "started",
        DeedKind::Known => "there is",
        DeedKind::Stopped => "stopped",
        DeedKind::Refused => "could not start a run",
    };
    Deed { what, run: deed.run.map(|run| run.to_string()), reason: deed.reason.clone() }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct One {
    id: u64,
    state: StateWord,
    outcome: Outcome,
    facts: Vec<Fact>,
    headers: Vec<Fact>,
    body: Option<String>,
    /// Whether there is more of the body than is shown.
    cut: bool,
    can_replay: bool,
    visitor: Option<Visitor>,
    refresh: bool,
}

/// `GET /view/deliveries/{id}`
pub(super) async fn one(State(api): State<Api>, operator: Operator, Path(id): Path<u64>) -> Result<Response, PageError> {
    let view = api.delivery(&operator, id).await?;
    let can_replay = may_replay(&operator, &view);
    let DeliveryView { summary, headers, body } = view;
    let mut body = body.map(|body| log_text(format!("{body:#}").as_bytes()));
    let cut = body.as_mut().is_some_and(|body| {
        let whole = body.len();
        body.truncate(body.floor_char_boundary(SHOWN));
        body.len() < whole
    });
    page(&One {
        id,
        state: delivery_state(summary.state),
        outcome: outcome(&summary),
        facts: facts(&summary),
        headers: headers.into_iter().map(|(name, value)| Fact::mono(name, log_text(value.as_bytes()))).collect(),
        body,
        cut,
        can_replay,
        visitor: Some(Visitor::of(&operator)),
        refresh: summary.state == DeliveryState::Received,
    })
}

fn facts(delivery: &DeliverySummary) -> Vec<Fact> {
    let mut facts = vec![
        Fact::plain("Forge", delivery.source.to_string()),
        Fact::plain("By", via(delivery.via)),
        Fact::plain("Kind", log_text(delivery.kind.as_bytes())),
        Fact::plain("Repository", delivery.repo.as_ref().map(ToString::to_string).unwrap_or_default()),
        Fact::plain("Received", moment(delivery.received_at)),
        Fact::plain("Acted on", delivery.acted_at.map(moment).unwrap_or_default()),
        Fact::plain("Came", if delivery.copies == 1 { "once".to_owned() } else { format!("{} times", delivery.copies) }),
        Fact::plain("Size", format!("{} bytes", delivery.size)),
        Fact::mono("Digest", delivery.digest.to_string()),
    ];
    facts.retain(|fact| !fact.value.is_empty());
    facts
}

/// `POST /view/deliveries/{id}/replay`
pub(super) async fn replay(
    State(api): State<Api>,
    operator: Operator,
    Path(id): Path<u64>,
    Form(Button {}): Form<Button>,
) -> Result<Response, PageError> {
    api.replay_delivery(&operator, id).await?;
    Ok(Redirect::to(&format!("/view/deliveries/{id}")).into_response())
}
