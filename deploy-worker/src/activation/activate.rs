//! Going back to a release that the hosts still have.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Instant;

use futures_util::FutureExt as _;
use signalbox_contract::api::deploy::{ActivateRequest, DeployResult, HostOutcome, HostResult};
use signalbox_contract::{Digest, Failure, FailureCode};
use signalbox_service::ledger::WorkError;

use super::host::Said;
use super::{Deployer, judged, result, words};
use crate::environment::{Environment, Host};
use crate::release::{End, Fault, Order, Soundness, Task};
use crate::ssh::Input;

impl Deployer {
    /// Switches each host back to a release that it keeps. All hosts are looked at first: if one does not have it, or it
    /// has rotted there, or the hosts do not agree which one was shown before, nothing is switched anywhere. A host that
    /// cannot be asked does not hold up the others; it is told as failed.
    ///
    /// # Errors
    /// When the environment does not allow it, or the release is not to be had.
    pub async fn activate(&self, request: &ActivateRequest) -> Result<DeployResult, WorkError> {
        let environment = self.environment(&request.environment, &request.published_name)?;
        let until = Instant::now() + self.limits.deploy;
        let looked = self.on_each(environment, environment.hosts.iter().collect(), request, request.digest, Task::Check, until).await;
        let mut ended: Vec<(usize, HostResult)> = Vec::new();
        let mut ready: Vec<usize> = Vec::new();
        let mut wanted = BTreeSet::new();
        for (index, (host, begun, said)) in looked.iter().enumerate() {
            match said {
                Err(failure) => {
                    let outcome = HostOutcome::Failed { failure: failure.clone() };
                    ended.push((index, result(host, *begun, outcome, None, None, 0)));
                }
                Ok(said) => match look(host, said, request)? {
                    Some(digest) => {
                        wanted.insert(digest);
                        ready.push(index);
                    }
                    None => ended.push((index, judged(host, *begun, &said.report, &said.complaint, Digest::from_bytes([0; 32]), 0))),
                },
            }
        }
        let digest = agreed(&looked, &ready, &wanted)?;
        if let Some(digest) = digest {
            let hosts = ready.iter().filter_map(|index| environment.hosts.get(*index)).collect();
            let switched = self.on_each(environment, hosts, request, Some(digest), Task::Activate, until).await;
            for (index, (host, begun, said)) in ready.into_iter().zip(switched) {
                let ended_so = match said {
                    Ok(said) => judged(host, begun, &said.report, &said.complaint, digest, 0),
                    Err(failure) => result(host, begun, HostOutcome::Failed { failure }, None, None, 0),
                };
                ended.push((index, ended_so));
            }
        }
        ended.sort_by_key(|(index, _)| *index);
        let hosts: Vec<HostResult> = ended.into_iter().map(|(_, result)| result).collect();
        self.note(environment, &request.published_name, request.sequence, &hosts);
        Ok(DeployResult { hosts })
    }

    async fn on_each<'h>(
        &self,
        environment: &Environment,
        hosts: Vec<&'h Host>,
        request: &ActivateRequest,
        digest: Option<Digest>,
        task: Task,
        until: Instant,
    ) -> Vec<(&'h Host, Instant, Result<Said, Failure>)> {
        let mut each = Vec::with_capacity(hosts.len());
        for host in hosts {
            let asked = async move {
                let begun = Instant::now();
                let order = Order {
                    root: &environment.root,
                    name: Some(&request.published_name),
                    sequence: request.sequence,
                    digest,
                    run: Some(request.run),
                    now: self.clock.now(),
                    artifact: "-",
                    keep: environment.keep,
                    file_mode: environment.file_mode,
                    nonce: self.nonce(),
                    patience: self.patience(),
                };
                let asked = self.tell(host, &order, task, Input::Nothing, self.limits.step);
                let said = tokio::time::timeout_at(until.into(), asked).await.unwrap_or_else(|_| Err(words::too_late(host)));
                (host, begun, said)
            };
            each.push(asked.boxed());
        }
        self.side_by_side(each).await
    }
}

/// What a host would switch to; none if there is nothing to do for it.
fn look(host: &Host, said: &Said, request: &ActivateRequest) -> Result<Option<Digest>, WorkError> {
    let refused = |failure| Err(WorkError::Failed(failure));
    match (&said.report.end, said.report.candidate) {
        (End::Checked, Some(candidate)) => match candidate.soundness {
            Soundness::Sound => Ok(Some(candidate.digest)),
            Soundness::Absent => refused(words::not_kept(host).hint(format!(
                "Nothing was switched on any host. `signalbox environments {} --json` lists what the hosts keep; what they do not, deploy again.",
                request.environment
            ))),
            Soundness::Rotten => {
                let failure = words::of_fault(host, &Fault::Rotten, &said.complaint);
                refused(
                    Failure::new(FailureCode::ReleaseNotFound, failure.detail)
                        .hint("Nothing was switched on any host. Deploy the artifact again."),
                )
            }
        },
        (End::Nothing, _) => refused(words::nothing_before(host, request, said.report.high.is_some_and(|high| high > 0))),
        // A later activation, or something that keeps this host alone from being asked.
        _ => Ok(None),
    }
}

/// The release that all hosts mean.
fn agreed(
    looked: &[(&Host, Instant, Result<Said, Failure>)],
    ready: &[usize],
    wanted: &BTreeSet<Digest>,
) -> Result<Option<Digest>, WorkError> {
    if wanted.len() < 2 {
        return Ok(wanted.first().copied());
    }
    let mut detail = String::from("The hosts do not agree which release was shown before:");
    for digest in wanted {
        let means = |index: &&usize| {
            let (_, _, said) = &looked[**index];
            said.as_ref().is_ok_and(|said| said.report.candidate.is_some_and(|candidate| candidate.digest == *digest))
        };
        let hosts: Vec<&str> = ready.iter().filter(means).take(5).map(|index| looked[*index].0.name.as_str()).collect();
        let more = if hosts.len() == 5 { " and perhaps more" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(detail, " {digest} on {}{more}.", hosts.join(", "));
    }
    Err(WorkError::Failed(Failure::new(FailureCode::ReleaseNotFound, detail).hint("Nothing was switched. Say which one by its digest.")))
}
