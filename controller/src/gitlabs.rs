//! The instances of GitLab that are used: who uses the same one in the same way shares a client, and what nobody waits for there,
//! the webhooks and how it is doing, is seen to in the background.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use signalbox_adapters::executor::gitlab::{GitLabExecutor, Keyring, Tally};
use signalbox_adapters::gitlab::{Connection, GitLab, GitLabSetUpError, Health};
use signalbox_contract::{ExecutorName, RepoName};
use signalbox_service::clock::SharedClock;
use signalbox_service::secret::is_same_secret;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::{Config, ExecutorKind, ForgeKind, GitLabConfig, same_place};

/// How often it is looked at how a GitLab is doing. Nothing is asked for that.
const LOOK: Duration = Duration::from_secs(5);

/// A client, how it connects, and the keys of its GitLab.
struct Shared {
    connection: Connection,
    gitlab: GitLab,
    keyring: Keyring,
}

/// The instances of GitLab that the configuration names, and the executors in them.
pub(crate) struct GitLabs {
    clients: Vec<Shared>,
    executors: BTreeMap<ExecutorName, Arc<GitLabExecutor>>,
}

impl GitLabs {
    pub(crate) fn open(config: &Config, clock: &SharedClock, shutdown: &Shutdown) -> Result<Self, GitLabSetUpError> {
        let client = |connection| {
            let gitlab = GitLab::new(&connection)?;
            let keyring = Keyring::new(gitlab.clone(), Arc::clone(clock), shutdown.clone());
            Ok(Shared { connection, gitlab, keyring })
        };
        let clients = shared(connections(config)).into_iter().map(client).collect::<Result<Vec<_>, GitLabSetUpError>>()?;
        let mut gitlabs = Self { clients, executors: BTreeMap::new() };
        for (name, executor) in &config.executors {
            let ExecutorKind::GitLab(settings) = &executor.kind else { continue };
            let Some(at) = gitlabs.at(&settings.connection()) else { continue };
            let made = executor_in(at, config, settings, clock);
            gitlabs.executors.insert(name.clone(), Arc::new(made));
        }
        Ok(gitlabs)
    }

    /// The client that connects so.
    pub(crate) fn client(&self, connection: &Connection) -> Option<&GitLab> {
        self.at(connection).map(|shared| &shared.gitlab)
    }

    fn at(&self, connection: &Connection) -> Option<&Shared> {
        self.clients.iter().find(|shared| is_same(&shared.connection, connection))
    }

    /// The executors.
    pub(crate) const fn executors(&self) -> &BTreeMap<ExecutorName, Arc<GitLabExecutor>> {
        &self.executors
    }

    /// Sees to webhooks, and shows how each GitLab is doing, until the end.
    pub(crate) fn follow(self, config: &Config, telemetry: &Telemetry, shutdown: &Shutdown) {
        if self.executors.is_empty() {
            return;
        }
        let gauges = Gauges::register(telemetry);
        for (name, executor) in &self.executors {
            let Some(ExecutorKind::GitLab(settings)) = config.executors.get(name).map(|one| &one.kind) else { continue };
            let Some(hook) = &settings.hook else { continue };
            let tending = Tending {
                name: name.clone(),
                executor: Arc::clone(executor),
                repos: built_at(config, name),
                every: hook.check,
                gauges: gauges.clone(),
            };
            shutdown.spawn("webhooks", tending.run(shutdown.clone()));
        }
        shutdown.spawn("gitlabs", look_after(self.executors, gauges, shutdown.clone()));
    }
}

fn executor_in(shared: &Shared, config: &Config, settings: &GitLabConfig, clock: &SharedClock) -> GitLabExecutor {
    let executor = GitLabExecutor::new(shared.gitlab.clone(), &settings.group, Arc::clone(clock)).with_typed_inputs(settings.typed_inputs);
    let executor = match &settings.identity {
        Some(identity) => executor.identifying(&identity.audience, &shared.keyring),
        None => executor,
    };
    match config.hook_of(settings) {
        Some(terms) => executor.with_hook(terms),
        None => executor,
    }
}

fn connections(config: &Config) -> Vec<Connection> {
    let of_executors = config.executors.values().filter_map(|executor| match &executor.kind {
        ExecutorKind::GitLab(gitlab) => Some(gitlab.connection()),
        ExecutorKind::Local { .. } => None,
    });
    let of_forges = config.forges.values().filter_map(|forge| match &forge.kind {
        ForgeKind::Gitlab(settings) => settings.connection(),
        ForgeKind::Gerrit(_) => None,
    });
    of_executors.chain(of_forges).collect()
}

/// The connections, with those that one client can serve as one.
fn shared(connections: Vec<Connection>) -> Vec<Connection> {
    let mut wanted: Vec<Connection> = Vec::new();
    for connection in connections {
        match wanted.iter_mut().find(|known| is_same(known, &connection)) {
            Some(known) => {
                // It is one GitLab's patience with one token: the least that was said counts.
                known.calls_per_minute = known.calls_per_minute.min(connection.calls_per_minute);
                known.storage.extend(connection.storage);
            }
            None => wanted.push(connection),
        }
    }
    wanted
}

/// Whether one client can serve both. With one of two files the token that is changed in the other would never be seen, and
/// with one of two authorities a server could be believed that only the other may vouch for.
fn is_same(one: &Connection, other: &Connection) -> bool {
    same_place(&one.url, &other.url) && is_same_secret(&one.token, &other.token) && one.token_file == other.token_file && one.ca == other.ca
}

/// The repositories that are built at an executor.
fn built_at(config: &Config, name: &ExecutorName) -> Vec<RepoName> {
    let is_built = |executor: &Option<ExecutorName>| executor.as_ref() == Some(name);
    config.repositories.iter().filter(|(_, repository)| is_built(&repository.executor)).map(|(name, _)| name.clone()).collect()
}

/// Sees to the webhooks of one executor's projects: of all now and then, and of each that is new at once.
struct Tending {
    name: ExecutorName,
    executor: Arc<GitLabExecutor>,
    repos: Vec<RepoName>,
    every: Duration,
    gauges: Gauges,
}

impl Tending {
    async fn run(self, shutdown: Shutdown) {
        let mut all = Some(&*self.repos);
        let mut next = Instant::now() + self.every;
        loop {
            let tally = tokio::select! {
                tally = self.executor.tend_hooks(all) => tally,
                () = shutdown.requested() => return,
            };
            self.gauges.hooks(&self.name, tally);
            all = tokio::select! {
                () = sleep_until(next) => Some(&*self.repos),
                () = self.executor.hook_wanted() => None,
                () = shutdown.requested() => return,
            };
            if all.is_some() {
                next = Instant::now() + self.every;
            }
        }
    }
}

async fn look_after(executors: BTreeMap<ExecutorName, Arc<GitLabExecutor>>, gauges: Gauges, shutdown: Shutdown) {
    let mut rested: BTreeMap<&ExecutorName, bool> = BTreeMap::new();
    loop {
        for (name, executor) in &executors {
            let health = executor.gitlab().health();
            let rests = matches!(health, Health::Resting { .. } | Health::Limited { .. });
            gauges.health(name, &health);
            if rested.insert(name, rests).unwrap_or_default() != rests {
                let url = executor.gitlab().base();
                if rests {
                    tracing::warn!(executor = %name, %url, "a GitLab is left alone for a while; builds there wait for it");
                } else {
                    tracing::info!(executor = %name, %url, "a GitLab is asked again");
                }
            }
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = shutdown.requested() => return,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfExecutor {
    executor: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHooks {
    executor: String,
    state: &'static str,
}

#[derive(Debug, Clone, Default)]
struct Gauges {
    hooks: Family<OfHooks, Gauge>,
    failing: Family<OfExecutor, Gauge>,
    resting: Family<OfExecutor, Gauge>,
}

impl Gauges {
    fn register(telemetry: &Telemetry) -> Self {
        let gauges = Self::default();
        let mut registry = telemetry.registry();
        registry.register("gitlab_webhooks", "Webhooks of the projects in which an executor builds, by how they are", gauges.hooks.clone());
        registry.register("gitlab_failures", "Calls of an executor's GitLab that failed in a row", gauges.failing.clone());
        registry.register(
            "gitlab_resting",
            "Whether an executor's GitLab fails so often, or has asked, that it is left alone",
            gauges.resting.clone(),
        );
        drop(registry);
        gauges
    }

    fn hooks(&self, executor: &ExecutorName, tally: Tally) {
        for (state, count) in [("well", tally.well), ("troubled", tally.troubled)] {
            let label = OfHooks { executor: executor.to_string(), state };
            self.hooks.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn health(&self, executor: &ExecutorName, health: &Health) {
        let label = OfExecutor { executor: executor.to_string() };
        let (failures, resting) = match health {
            Health::Well => (0, 0),
            Health::Failing { failures } => (*failures, 0),
            Health::Resting { failures, .. } => (*failures, 1),
            Health::Limited { .. } => (0, 1),
        };
        self.failing.get_or_create(&label).set(failures.into());
        self.resting.get_or_create(&label).set(resting);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use url::Url;

    use super::*;

    #[test]
    fn a_client_is_shared_only_by_those_who_want_the_same_token_file_and_authority() {
        let with = |address: &str, file: Option<&str>, ca: Option<&str>, calls_per_minute| Connection {
            token_file: file.map(Into::into),
            ca: ca.map(Into::into),
            calls_per_minute,
            ..Connection::new(Url::parse(address).expect("a URL"), "token".into())
        };
        let place = "https://gitlab.example.org";
        let all = vec![
            with(place, Some("a"), None, 300),
            with("https://gitlab.example.org/", Some("a"), None, 60),
            with(place, Some("b"), None, 300),
            with(place, Some("a"), Some("ca.pem"), 300),
            with(place, None, None, 300),
        ];
        let shared = shared(all);
        let files: Vec<_> = shared.iter().map(|one| (one.token_file.as_deref(), one.ca.as_deref(), one.calls_per_minute)).collect();
        let (a, b, ca) = (Path::new("a"), Path::new("b"), Path::new("ca.pem"));
        assert_eq!(files, [(Some(a), None, 60), (Some(b), None, 300), (Some(a), Some(ca), 300), (None, None, 300)]);
    }
}
