//! What runs where.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Deserialize;
use signalbox_contract::api as contract;
use signalbox_contract::api::deploy::EnvironmentInfo;
use signalbox_contract::api::run::RollbackRequest;
use signalbox_contract::grant::{Action, Target};
use signalbox_contract::{EnvironmentName, PublishedName};
use signalbox_service::auth::Operator;
use signalbox_service::http::{Form, Path, Query};

use super::error::PageError;
use super::words::age;
use super::{Visitor, page};
use crate::api::Api;

/// How many hosts of an environment are shown.
const SHOWN: u32 = 200;

/// How many environments are shown.
const ENVIRONMENTS: usize = 50;

#[derive(Template)]
#[template(path = "environments.html")]
struct Page {
    environments: Vec<Environment>,
    next: Option<String>,
    visitor: Option<Visitor>,
    refresh: bool,
}

struct Environment {
    name: String,
    hosts: String,
    rows: Vec<Row>,
    /// The published names that the reader may roll back.
    rollbacks: Vec<String>,
}

#[derive(Default)]
struct Row {
    host: String,
    failure: Option<String>,
    name: String,
    digest: String,
    short: String,
    run: String,
    at: String,
    age: String,
}

/// Which environments are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvironmentsQuery {
    /// The `next` of the page before.
    cursor: Option<EnvironmentName>,
}

/// `GET /view/environments`: the hosts are asked, each environment for itself; one that does not answer hides no other.
pub(super) async fn get(State(api): State<Api>, operator: Operator, Query(query): Query<EnvironmentsQuery>) -> Result<Response, PageError> {
    let contract::Page { items: listed, next } = api.environments(&operator, query.cursor.as_ref(), ENVIRONMENTS).await?;
    let now = api.clock.now();
    let (api, operator) = (&api, &operator);
    let asked = listed.iter().map(|listed| async move {
        match api.environment(operator, &listed.name, None, SHOWN).await {
            Ok(environment) => shown(&environment, operator, now),
            Err(refusal) => Environment {
                name: listed.name.to_string(),
                hosts: hosts(listed.hosts.len()),
                rows: vec![Row { host: "–".to_owned(), failure: Some(refusal.to_string()), ..Row::default() }],
                rollbacks: Vec::new(),
            },
        }
    });
    let environments = join_all(asked).await;
    page(&Page { environments, next, visitor: Some(Visitor::of(operator)), refresh: false })
}

fn hosts(count: usize) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

fn shown(environment: &EnvironmentInfo, operator: &Operator, now: Timestamp) -> Environment {
    let mut rows = Vec::new();
    for host in &environment.shown {
        if let Some(failure) = &host.failure {
            rows.push(Row { host: host.host.to_string(), failure: Some(failure.to_string()), ..Row::default() });
        }
        rows.extend(host.releases.iter().map(|release| Row {
            host: host.host.to_string(),
            failure: None,
            name: release.name.to_string(),
            digest: release.digest.to_string(),
            short: release.digest.short(),
            run: release.run.to_string(),
            at: release.since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            age: age(release.since, now),
        }));
    }
    if environment.next.is_some() {
        let left = environment.hosts.len().saturating_sub(environment.shown.len());
        let words = format!("{} more: signalbox environments {}", hosts(left), environment.name);
        rows.push(Row { host: "…".to_owned(), failure: Some(words), ..Row::default() });
    }
    Environment {
        name: environment.name.to_string(),
        hosts: hosts(environment.hosts.len()),
        rows,
        rollbacks: rollbacks(environment, operator),
    }
}

/// The names of which a host keeps another release, and which the reader may roll back.
fn rollbacks(environment: &EnvironmentInfo, operator: &Operator) -> Vec<String> {
    let releases = environment.shown.iter().flat_map(|host| &host.releases).filter(|release| !release.kept.is_empty());
    let may = |name: &&PublishedName| {
        operator.may(Action::Rollback, &Target { environment: Some(&environment.name), name: Some(name), ..Target::default() })
    };
    let names: BTreeSet<&PublishedName> = releases.map(|release| &release.name).filter(may).collect();
    names.into_iter().map(ToString::to_string).collect()
}

/// What the button sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackForm {
    published_name: PublishedName,
}

/// `POST /view/environments/{name}/rollback`: back to the release before the present one.
pub(super) async fn rollback(
    State(api): State<Api>,
    operator: Operator,
    Path(environment): Path<EnvironmentName>,
    Form(RollbackForm { published_name }): Form<RollbackForm>,
) -> Result<Response, PageError> {
    let accepted = api.roll_back(&operator, environment, RollbackRequest { published_name, digest: None }, None).await?;
    Ok(Redirect::to(&format!("/view/runs/{}", accepted.run)).into_response())
}
