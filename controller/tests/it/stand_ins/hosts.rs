//! The deployment worker.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use signalbox_contract::api::Page;
use signalbox_contract::api::deploy::{
    ActivateRequest, DeployRequest, DeployResult, EnvironmentInfo, HostOutcome, HostResult, HostState, ReleaseInfo,
};
use signalbox_contract::grant::Glob;
use signalbox_contract::{Digest, EnvironmentName, Failure, FailureCode, HostName, Problem, PublishedName, RunId};
use signalbox_service::auth::Act;
use signalbox_service::clock::{Clock as _, SystemClock};

use super::Desk;

/// The environments that it has from the beginning.
const ENVIRONMENTS: [&str; 2] = ["production", "test"];

const HOSTS: [&str; 2] = ["web1", "web2"];

/// An activation: bytes, its number, its run.
type Release = (Digest, u64, RunId);

/// What the hosts show.
#[derive(Default)]
pub(crate) struct Hosts {
    /// Per environment and name, oldest first. All hosts of an environment show the same.
    releases: BTreeMap<(EnvironmentName, PublishedName), Vec<Release>>,
    /// Environments that were added since.
    pub(crate) added: Vec<&'static str>,
    /// Patterns of the names that every environment allows, if it says so.
    pub(crate) names: Option<Vec<Glob>>,
    /// A host that cannot be switched, if any.
    pub(crate) stuck: Option<&'static str>,
}

impl Hosts {
    fn environments(&self) -> Vec<EnvironmentName> {
        let mut names: Vec<_> = ENVIRONMENTS.iter().chain(&self.added).map(|name| name.parse().expect("an environment")).collect();
        names.sort();
        names
    }

    /// What an environment shows under a name.
    pub(crate) fn shows(&self, environment: &str, name: &str) -> Option<Digest> {
        Some(self.past(environment, name).last()?.0)
    }

    /// Every activation so far, oldest first.
    pub(crate) fn past(&self, environment: &str, name: &str) -> &[Release] {
        let place = (environment.parse().expect("an environment"), name.parse().expect("a name"));
        self.releases.get(&place).map(Vec::as_slice).unwrap_or_default()
    }

    fn switch(&mut self, environment: EnvironmentName, name: PublishedName, release: Release) -> DeployResult {
        let stuck = self.stuck;
        let past = self.releases.entry((environment, name)).or_default();
        let previous = past.last().copied();
        let outcome = match previous {
            Some((_, sequence, _)) if sequence >= release.1 => HostOutcome::Superseded,
            Some((digest, _, _)) if digest == release.0 => HostOutcome::Unchanged,
            _ => HostOutcome::Switched,
        };
        if outcome != HostOutcome::Superseded {
            past.push(release);
        }
        let host = |name: &&'static str| {
            let failure = Failure::new(FailureCode::HostUnreachable, "The host gave no answer.");
            let outcome = if stuck == Some(*name) { HostOutcome::Failed { failure } } else { outcome.clone() };
            HostResult {
                host: name.parse().expect("a host"),
                outcome,
                digest: Some(release.0),
                previous: previous.map(|(digest, _, _)| digest),
                newer: None,
                bytes: 5,
                took_ms: 1,
            }
        };
        DeployResult { hosts: HOSTS.iter().map(host).collect() }
    }
}

pub(super) fn router() -> Router<Desk> {
    Router::new()
        .route("/deploy", post(deploy))
        .route("/activate", post(activate))
        .route("/environments", get(list))
        .route("/environments/{name}", get(one))
}

async fn deploy(State(desk): State<Desk>, act: Act<DeployRequest>) -> Response {
    if act.capability.is_none() {
        desk.complain("a deployment without a capability to read the bytes");
    }
    desk.once("deploy", act, |world, _, request| {
        known(&world.hosts(), &request.environment)?;
        let release = (request.digest, request.sequence, request.run);
        Ok(world.hosts().switch(request.environment, request.published_name, release))
    })
    .await
}

async fn activate(State(desk): State<Desk>, act: Act<ActivateRequest>) -> Response {
    desk.once("activate", act, |world, _, request| {
        let mut hosts = world.hosts();
        known(&hosts, &request.environment)?;
        let past = hosts.past(request.environment.as_str(), request.published_name.as_str());
        let now = past.last().map(|(digest, _, _)| *digest);
        let kept = match request.digest {
            Some(digest) => past.iter().find(|(kept, _, _)| *kept == digest),
            None => past.iter().rev().find(|(kept, _, _)| Some(*kept) != now),
        };
        let Some((digest, _, _)) = kept.copied() else {
            return Err(Failure::new(FailureCode::ReleaseNotFound, "The hosts keep no such release."));
        };
        Ok(hosts.switch(request.environment, request.published_name, (digest, request.sequence, request.run)))
    })
    .await
}

fn known(hosts: &Hosts, environment: &EnvironmentName) -> Result<(), Failure> {
    if hosts.environments().contains(environment) {
        return Ok(());
    }
    Err(Failure::new(FailureCode::EnvironmentNotFound, format!("There is no environment {environment}.")))
}

fn names() -> Vec<HostName> {
    HOSTS.iter().map(|name| name.parse().expect("a host")).collect()
}

/// How many environments a page has here: few, so that whoever wants all of them has to turn it.
const PAGE: usize = 1;

/// Behind which environment.
#[derive(serde::Deserialize)]
struct ListQuery {
    cursor: Option<EnvironmentName>,
}

async fn list(State(desk): State<Desk>, Query(query): Query<ListQuery>, _: Act<()>) -> Response {
    desk.look_in_passing(|world| {
        let hosts = world.hosts();
        let info = |name| EnvironmentInfo { name, hosts: names(), names: hosts.names.clone(), shown: Vec::new(), next: None };
        let mut behind: Vec<EnvironmentName> = hosts.environments();
        behind.retain(|name| query.cursor.as_ref().is_none_or(|after| name > after));
        behind.sort_unstable();
        let more = behind.len() > PAGE;
        let items: Vec<EnvironmentInfo> = behind.into_iter().take(PAGE).map(info).collect();
        let next = items.last().filter(|_| more).map(|last| last.name.to_string());
        Ok(Page { items, next })
    })
    .await
}

/// Which hosts are wanted.
#[derive(serde::Deserialize)]
struct Wanted {
    cursor: Option<HostName>,
    limit: usize,
}

async fn one(State(desk): State<Desk>, Path(name): Path<EnvironmentName>, Query(wanted): Query<Wanted>, _: Act<()>) -> Response {
    desk.look(|world| {
        let hosts = world.hosts();
        known(&hosts, &name).map_err(|_| Problem::not_found())?;
        let releases: Vec<ReleaseInfo> = hosts
            .releases
            .iter()
            .filter(|((environment, _), _)| *environment == name)
            .filter_map(|((_, published), past)| {
                let (digest, sequence, run) = *past.last()?;
                let kept = past.iter().rev().skip(1).map(|(digest, _, _)| *digest).collect();
                Some(ReleaseInfo { name: published.clone(), digest, sequence, since: SystemClock.now(), run, kept })
            })
            .collect();
        let behind = names().into_iter().filter(|host| wanted.cursor.as_ref().is_none_or(|after| host > after));
        let mut shown: Vec<_> = behind.map(|host| HostState { host, failure: None, releases: releases.clone() }).collect();
        let more = shown.len() > wanted.limit;
        shown.truncate(wanted.limit);
        let next = shown.last().filter(|_| more).map(|last| last.host.clone());
        Ok(EnvironmentInfo { name: name.clone(), hosts: names(), names: hosts.names.clone(), shown, next })
    })
    .await
}
