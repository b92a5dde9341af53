//! Whether the other services are there, ready, and of our time.

use std::time::Duration;

use jiff::SignedDuration;
use signalbox_adapters::forge::{Finding, Severity};
use signalbox_contract::{Code, ExecutorName, Problem};
use signalbox_service::client::{CallError, Client};
use signalbox_service::clock::SharedClock;
use signalbox_service::telemetry::causes;

use crate::config::{Config, ExecutorKind};
use crate::engine::Workers;

/// How long a service may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far two clocks may be apart before it is said, and before calls are refused: they are good for ten minutes, and not
/// before they were made.
const APART: SignedDuration = SignedDuration::from_secs(15);
const TOO_FAR: SignedDuration = SignedDuration::from_secs(60);

/// What a service is to us.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Vcs,
    Store,
    Deploy,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Vcs => "VCS worker",
            Self::Store => "artifact store",
            Self::Deploy => "deployment worker",
        }
    }

    /// The key in the configuration that says where it is.
    const fn key(self) -> &'static str {
        match self {
            Self::Vcs => "vcs_worker",
            Self::Store => "artifact_store",
            Self::Deploy => "deploy_worker",
        }
    }
}

/// A service that can be asked how it is.
pub(super) struct Place {
    pub(super) name: String,
    client: Client,
    key: String,
}

impl Place {
    /// The workers.
    pub(super) fn workers(workers: &Workers) -> [Self; 3] {
        let worker =
            |role: Role, client: &Client| Self { name: role.name().to_owned(), client: client.clone(), key: role.key().to_owned() };
        [worker(Role::Vcs, &workers.vcs), worker(Role::Store, &workers.store), worker(Role::Deploy, &workers.deploy)]
    }

    /// The local executor of this name; none if it is another kind of executor.
    pub(super) fn executor(config: &Config, name: &ExecutorName) -> Option<Self> {
        let ExecutorKind::Local { url } = &config.executors.get(name)?.kind else { return None };
        // One whose address cannot be used would have kept the controller from starting.
        let client = Client::new(url.clone(), config.common.ca.as_deref()).ok()?;
        Some(Self { name: format!("executor {name}"), client, key: format!("executors.{name}.url") })
    }

    /// Whether it is there and ready, and how far its clock is from ours.
    pub(super) async fn health(&self, clock: &SharedClock) -> Vec<Finding> {
        let client = self.client.clone().answering_within(PATIENCE);
        let ready = match client.health().await {
            Ok(ready) => ready,
            Err(error) => return vec![unwell(&self.client, &self.key, &error)],
        };
        let mut found = vec![Finding::new(Severity::Fine, format!("It is ready at {}.", origin(&self.client)), "")];
        found.extend(ready.outdated.as_deref().map(outdated));
        let apart = ready.time.map(|theirs| clock.now().duration_since(theirs));
        if let Some(apart) = apart.filter(|apart| apart.abs() > APART) {
            let direction = if apart.is_positive() { "behind" } else { "ahead of" };
            let severity = if apart.abs() > TOO_FAR { Severity::Error } else { Severity::Warning };
            let words = format!("Its clock is {} seconds {direction} the controller's.", apart.abs().as_secs());
            found.push(Finding::new(severity, words, "Have both machines set their clocks by NTP: calls of another time are refused."));
        }
        found
    }
}

/// What is said of a service that goes by an older configuration than the one in its file.
pub(super) fn outdated(file: &str) -> Finding {
    let words = format!("{file} was changed after it started, and counts from its next start.");
    Finding::new(
        Severity::Warning,
        words,
        "Restart it, or `signalbox up` where that runs it; `signalbox check-config` tells before whether it will start.",
    )
}

fn origin(client: &Client) -> String {
    client.base().origin().ascii_serialization()
}

/// Why a service could not say how it is.
fn unwell(client: &Client, key: &str, error: &CallError) -> Finding {
    let origin = origin(client);
    let (words, hint) = match error {
        CallError::NotSent { .. } => {
            (format!("Nobody answers at {origin}."), format!("Start it, or set `{key}` in the controller's configuration to its address."))
        }
        CallError::Retry { problem, .. } => {
            let needs: Vec<String> = problem.iter().flat_map(needs).collect();
            let needs = if needs.is_empty() { "it is starting, stopping or overloaded".to_owned() } else { needs.join("; ") };
            (format!("It is not ready at {origin}: {needs}."), "Its log says more.".to_owned())
        }
        CallError::Refused(_) | CallError::Unknown { .. } => {
            let words = format!("Something answers at {origin} that is not well, or not this service.");
            (words, format!("Look at its log, at its certificate, and at `{key}` in the controller's configuration."))
        }
    };
    tracing::warn!(error = %causes(error), at = origin, "a service is not well");
    Finding::new(Severity::Error, words, hint)
}

/// What a service says that it lacks.
fn needs(problem: &Problem) -> Vec<String> {
    problem.errors.iter().map(|need| format!("{}: {}", need.field, need.detail)).collect()
}

/// Why a worker did not do what the controller asked with its signature.
pub(super) fn complaint(role: Role, error: &CallError) -> Finding {
    let name = role.name();
    tracing::warn!(error = %causes(error), worker = name, "a worker could not be asked");
    let refused = error.problem().filter(|problem| matches!(problem.code, Code::Unauthenticated | Code::Forbidden));
    if let Some(problem) = refused {
        let words = format!("The {name} does not believe what the controller signs: {}", problem.detail);
        return Finding::new(Severity::Error, words, "Give it a copy of the controller's `public.json`, and look at both clocks.");
    }
    let hint = format!("See what is said of the {name} itself; else its log.");
    Finding::new(Severity::Error, format!("The {name} could not be asked."), hint)
}
