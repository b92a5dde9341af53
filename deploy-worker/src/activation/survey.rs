//! What hosts show, as they say themselves.

use std::collections::HashSet;
use std::ops::Bound;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use signalbox_contract::api::Page;
use signalbox_contract::api::deploy::{EnvironmentInfo, HostState, ReleaseInfo};
use signalbox_contract::{EnvironmentName, Failure, FailureCode, HostName};

use super::{Deployer, words};
use crate::environment::{Environment, Host};
use crate::release::{NameState, Order, Task};
use crate::ssh::Input;

/// How long asking all hosts of an environment may take.
const SURVEY: Duration = Duration::from_secs(25);

impl Deployer {
    /// The environments by their names, without asking any host: a page of them, behind the one named `after`.
    pub fn list(&self, after: Option<&EnvironmentName>, limit: usize) -> Page<EnvironmentInfo> {
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut rest = self.environments.range::<EnvironmentName, _>(behind).map(|(_, environment)| described(environment));
        let items: Vec<EnvironmentInfo> = rest.by_ref().take(limit).collect();
        let next = items.last().filter(|_| rest.next().is_some()).map(|last| last.name.to_string());
        Page { items, next }
    }

    /// An environment, and what its hosts show now: a page of them, behind the one named `after`. None if there is no such
    /// environment.
    pub async fn survey(&self, name: &EnvironmentName, after: Option<&HostName>, limit: usize) -> Option<EnvironmentInfo> {
        let environment = self.environments.get(name)?;
        let until = Instant::now() + SURVEY;
        // In the order of their names, so that a page goes on where the one before ended, whatever was configured in between.
        let mut behind: Vec<&Host> = environment.hosts.iter().filter(|host| after.is_none_or(|after| host.name > *after)).collect();
        behind.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let more = behind.len() > limit;
        behind.truncate(limit);
        let next = behind.last().filter(|_| more).map(|host| host.name.clone());
        let mut each = Vec::with_capacity(behind.len());
        for host in behind {
            let asked = async move {
                let asked = tokio::time::timeout_at(until.into(), self.look_at(environment, host)).await;
                asked.unwrap_or_else(|_| HostState {
                    host: host.name.clone(),
                    failure: Some(Failure::new(FailureCode::DeadlinePassed, format!("{} did not answer in time.", host.name))),
                    releases: Vec::new(),
                })
            };
            each.push(asked.boxed());
        }
        let shown = self.side_by_side(each).await;
        Some(EnvironmentInfo { shown, next, ..described(environment) })
    }

    async fn look_at(&self, environment: &Environment, host: &Host) -> HostState {
        let order = Order {
            root: &environment.root,
            name: None,
            sequence: 0,
            digest: None,
            run: None,
            now: self.clock.now(),
            artifact: "-",
            keep: environment.keep,
            file_mode: environment.file_mode,
            nonce: self.nonce(),
            patience: self.patience(),
        };
        let host_name = host.name.clone();
        let said = match self.tell(host, &order, Task::State, Input::Nothing, self.limits.step.min(SURVEY)).await {
            Ok(said) => said,
            Err(failure) => return HostState { host: host_name, failure: Some(failure), releases: Vec::new() },
        };
        let failure = match said.report.end {
            crate::release::End::Failed(fault) => Some(words::of_fault(host, &fault, &said.complaint)),
            _ => None,
        };
        let shown: Vec<&NameState> = said.report.names.iter().filter(|name| name.shows.is_some()).collect();
        let releases: Vec<ReleaseInfo> = shown.iter().filter_map(|name| told(name)).collect();
        let damaged = || Failure::new(FailureCode::HostsFailed, format!("{host_name}: the record of what was activated is damaged."));
        let failure = failure.or_else(|| (releases.len() < shown.len()).then(damaged));
        HostState { host: host.name.clone(), failure, releases }
    }
}

fn described(environment: &Environment) -> EnvironmentInfo {
    let hosts = environment.hosts.iter().map(|host| host.name.clone()).collect();
    EnvironmentInfo { name: environment.name.clone(), hosts, names: Some(environment.names.clone()), shown: Vec::new(), next: None }
}

/// What a name shows, since when and by whom, from the host's own record.
fn told(state: &NameState) -> Option<ReleaseInfo> {
    let shows = state.shows?;
    let activation = state.activations.iter().rev().find(|line| line.digest == shows.digest)?;
    let mut kept: Vec<_> = state.kept.iter().filter(|release| release.digest != shows.digest).collect();
    // A release that was activated again counts from then.
    let newest = |digest| state.activations.iter().rev().find(|line| line.digest == digest).map(|line| line.sequence);
    kept.sort_by_key(|release| std::cmp::Reverse(newest(release.digest).unwrap_or(release.sequence)));
    let mut seen = HashSet::new();
    let kept = kept.into_iter().map(|release| release.digest).filter(|digest| seen.insert(*digest)).collect();
    Some(ReleaseInfo {
        name: state.name.clone(),
        digest: shows.digest,
        sequence: activation.sequence,
        since: activation.at,
        run: activation.run,
        kept,
    })
}
