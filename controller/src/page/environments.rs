//! What runs where.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use futures_util::future::join_all;
use jiff::Timestamp;
use signalbox_contract::api::deploy::EnvironmentInfo;
use signalbox_service::auth::Operator;

use super::error::PageError;
use super::page;
use super::words::age;
use crate::api::Api;

#[derive(Template)]
#[template(path = "environments.html")]
struct Page {
    environments: Vec<Environment>,
    principal: Option<String>,
    refresh: bool,
}

struct Environment {
    name: String,
    hosts: String,
    rows: Vec<Row>,
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

/// `GET /view/environments`: the hosts are asked, each environment for itself; one that does not answer hides no other.
pub(super) async fn get(State(api): State<Api>, operator: Operator) -> Result<Response, PageError> {
    let listed = api.environments(&operator).await?.environments;
    let now = api.clock.now();
    let (api, operator) = (&api, &operator);
    let asked = listed.iter().map(|listed| async move {
        match api.environment(operator, &listed.name).await {
            Ok(environment) => shown(&environment, now),
            Err(refusal) => Environment {
                name: listed.name.to_string(),
                hosts: hosts(listed.hosts.len()),
                rows: vec![Row { host: "–".to_owned(), failure: Some(refusal.to_string()), ..Row::default() }],
            },
        }
    });
    let environments = join_all(asked).await;
    page(&Page { environments, principal: Some(operator.principal().to_owned()), refresh: false })
}

fn hosts(count: usize) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

fn shown(environment: &EnvironmentInfo, now: Timestamp) -> Environment {
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
            short: release.digest.hex().chars().take(12).collect(),
            run: release.run.to_string(),
            at: release.since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            age: age(release.since, now),
        }));
    }
    Environment { name: environment.name.to_string(), hosts: hosts(environment.hosts.len()), rows }
}
