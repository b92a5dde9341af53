//! Bringing bytes to hosts.

use std::time::Instant;

use futures_util::FutureExt as _;
use signalbox_contract::Failure;
use signalbox_contract::api::deploy::{DeployRequest, DeployResult, HostOutcome, HostResult};
use signalbox_service::ledger::WorkError;
use signalbox_service::secret::SecretString;

use super::{Deployer, judged, result, words};
use crate::environment::{Environment, Host};
use crate::release::{End, Fault, Order, Task};
use crate::ssh::Input;

/// What became of a host, and whether it only lacks bytes that may come later.
struct Ended {
    result: HostResult,
    wants_bytes: Option<Failure>,
}

impl Deployer {
    /// Brings the bytes to each host of the environment and switches to them. Hosts that have them already cost one round
    /// trip and no byte; the bytes are fetched from the store only if a host needs them, and once.
    ///
    /// # Errors
    /// When the environment does not allow it, and, to be tried again, when the store cannot give the bytes now. What
    /// fails on a host is in the result.
    pub async fn deploy(&self, request: &DeployRequest, capability: &SecretString) -> Result<DeployResult, WorkError> {
        let environment = self.environment(&request.environment, &request.published_name)?;
        let until = Instant::now() + self.limits.deploy;
        let mut each = Vec::with_capacity(environment.hosts.len());
        for host in &environment.hosts {
            each.push(self.deploy_within(environment, host, request, capability, until).boxed());
        }
        let ended = self.side_by_side(each).await;
        if let Some(failure) = ended.iter().find_map(|ended| ended.wants_bytes.clone()) {
            // Those that were switched stay so; asking again finds them done.
            return Err(WorkError::Again(failure));
        }
        let hosts: Vec<HostResult> = ended.into_iter().map(|ended| ended.result).collect();
        self.note(environment, &request.published_name, request.sequence, &hosts);
        Ok(DeployResult { hosts })
    }

    async fn deploy_within(
        &self,
        environment: &Environment,
        host: &Host,
        request: &DeployRequest,
        capability: &SecretString,
        until: Instant,
    ) -> Ended {
        let begun = Instant::now();
        let deployed = self.deploy_to(environment, host, request, capability, begun, until);
        tokio::time::timeout_at(until.into(), deployed).await.unwrap_or_else(|_| {
            let outcome = HostOutcome::Failed { failure: words::too_late(host) };
            Ended { result: result(host, begun, outcome, None, None, 0), wants_bytes: None }
        })
    }

    async fn deploy_to(
        &self,
        environment: &Environment,
        host: &Host,
        request: &DeployRequest,
        capability: &SecretString,
        begun: Instant,
        until: Instant,
    ) -> Ended {
        let order = Order {
            root: &environment.root,
            name: Some(&request.published_name),
            sequence: request.sequence,
            digest: Some(request.digest),
            run: Some(request.run),
            now: self.clock.now(),
            artifact: request.artifact_id.as_str(),
            keep: environment.keep,
            file_mode: environment.file_mode,
            nonce: self.nonce(),
            patience: self.patience(),
        };
        let stands = |result| Ended { result, wants_bytes: None };
        let failed = |failure| stands(result(host, begun, HostOutcome::Failed { failure }, None, None, 0));
        let said = match self.tell(host, &order, Task::Deploy, Input::Nothing, self.limits.step).await {
            Ok(said) => said,
            Err(failure) => return failed(failure),
        };
        if said.report.end != End::Missing {
            return stands(judged(host, begun, &said.report, &said.complaint, request.digest, 0));
        }
        let before = said.report.shows.map(|release| release.digest);
        let blob = match self.cache.fetch(&request.digest, capability).await {
            Ok(blob) => blob,
            Err(error) => {
                let failure = words::no_bytes(&error);
                let wants_bytes = error.may_pass().then(|| failure.clone());
                let result = result(host, begun, HostOutcome::Failed { failure }, before, before, 0);
                return Ended { result, wants_bytes };
            }
        };
        let left = until.saturating_duration_since(Instant::now());
        let said = match self.tell(host, &order, Task::Upload, Input::File(blob.path.clone()), left).await {
            Ok(said) => said,
            Err(failure) => return stands(result(host, begun, HostOutcome::Failed { failure }, None, before, 0)),
        };
        if let End::Failed(Fault::Digest(_)) = said.report.end {
            // Either the way or what is kept here is bad; the next attempt gets the bytes anew.
            self.cache.forget(&request.digest).await;
        }
        stands(judged(host, begun, &said.report, &said.complaint, request.digest, blob.size))
    }
}
