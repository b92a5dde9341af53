//! The controller's configuration.

mod executor;
mod forge;
mod repository;
mod rule;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use signalbox_adapters::executor::gitlab::HookTerms;
use signalbox_adapters::forge::Watched;
use signalbox_adapters::forge::gitlab::GitlabForgeSettings;
use signalbox_contract::{ExecutorName, ForgeName, RepoName, SourceUrl};
use signalbox_controller_core::decide::Limits;
use signalbox_service::config::{Bytes, Common, ConfigErrors, Inspected, Reader, inspect};
use signalbox_service::secret::{ExposeSecret as _, SecretString};
use url::Url;

use crate::log::SHORTEST;
use crate::store::{RepoFilter, Retention};

pub use executor::{ExecutorConfig, ExecutorKind, GitLabConfig, HookConfig, IdentityConfig};
pub use forge::{ForgeConfig, ForgeKind, IntakeConfig};
pub use repository::{CiConfig, RepositoryConfig};
pub use rule::{Rule, When};

const SECOND: Duration = Duration::from_secs(1);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// The controller's configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What all services have.
    pub common: Common,
    /// The folder with the key that signs.
    pub keys: PathBuf,
    /// The VCS worker.
    pub vcs_worker: Url,
    /// The artifact store.
    pub artifact_store: Url,
    /// The deployment worker.
    pub deploy_worker: Url,
    /// The executors.
    pub executors: BTreeMap<ExecutorName, ExecutorConfig>,
    /// The forges.
    pub forges: BTreeMap<ForgeName, ForgeConfig>,
    /// How deliveries are taken in.
    pub intake: IntakeConfig,
    /// The repositories.
    pub repositories: BTreeMap<RepoName, RepositoryConfig>,
    /// How many runs may be active at a time.
    pub queue: usize,
    /// How long things may take.
    pub limits: Limits,
    /// How many bytes the artifacts of one attempt may have together.
    pub max_artifacts: u64,
    /// How many bytes of one log are kept.
    pub max_log: u64,
    /// What is masked in logs.
    pub mask: Vec<SecretString>,
    /// How long finished runs are kept.
    pub retention: Retention,
}

impl Config {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::inspect(path).whole()
    }

    /// The same, as far as the file can be read, with all that is wrong with it.
    pub fn inspect(path: &Path) -> Inspected<Self> {
        inspect(path, Self::read, |reader| {
            Common::try_public_keys(reader);
            Common::try_signing_key(reader);
        })
    }

    /// Reads the configuration; `None` after an error, which is recorded.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let common = Common::read(reader, SocketAddr::from((Ipv4Addr::LOCALHOST, 7480)));
        let folder = reader.folder().to_owned();
        let keys = reader.or("keys", folder.join("keys"));
        let vcs_worker = reader.required_service("vcs_worker");
        let artifact_store = reader.required_service("artifact_store");
        let deploy_worker = reader.required_service("deploy_worker");
        let executors: BTreeMap<ExecutorName, ExecutorConfig> = reader.named_tables("executors", executor::read).into_iter().collect();
        let forges: BTreeMap<ForgeName, ForgeConfig> = reader.named_tables("forges", forge::forge).into_iter().collect();
        let intake = forge::intake(reader);
        let repositories: BTreeMap<RepoName, RepositoryConfig> =
            reader.named_tables("repositories", |name, reader| repository::read(name, reader, &executors, &forges)).into_iter().collect();
        same_source_twice(reader, &repositories);
        unheard_hooks(reader, &executors, &forges);
        let queue = reader.within("queue", 10_000_usize, 1..=1_000_000);
        let defaults = Limits::default();
        let mut limits = defaults;
        let mut sizes = (Bytes(2 << 30), Bytes(64 << 20));
        reader.table("limits", |reader| {
            let time = SECOND..=WEEK;
            limits = Limits {
                fetch: reader.within("fetch", defaults.fetch, time.clone()),
                wait: reader.within("wait", defaults.wait, time.clone()),
                build: reader.within("build", defaults.build, time.clone()),
                build_slack: reader.within("build_slack", defaults.build_slack, time.clone()),
                appear: reader.within("appear", defaults.appear, time.clone()),
                settle: reader.within("settle", defaults.settle, time.clone()),
                deploy: reader.within("deploy", defaults.deploy, time.clone()),
                clean_up: reader.within("clean_up", defaults.clean_up, time.clone()),
                report: reader.within("report", defaults.report, time),
            };
            sizes = (reader.or("artifacts", sizes.0), reader.or("log", sizes.1));
            Some(())
        });
        let mut mask = Vec::new();
        reader.tables("mask", |reader| {
            let secret = reader.required_secret("file")?;
            if secret.expose_secret().len() < SHORTEST {
                reader.refuse("file", format!("holds fewer than {SHORTEST} bytes: masking so short a secret would mask ordinary words"));
            }
            mask.push(secret);
            Some(())
        });
        let mut retention = Retention { age: Duration::from_hours(90 * 24), count: 100_000 };
        reader.table("retention", |reader| {
            retention.age = reader.or("age", retention.age);
            retention.count = reader.or("count", retention.count);
            for (key, nothing) in [("age", retention.age.is_zero()), ("count", retention.count == 0)] {
                if nothing {
                    reader.refuse(key, "must be more than nothing: with it every run would go as soon as it has finished");
                }
            }
            Some(())
        });
        Some(Self {
            common: common?,
            keys,
            vcs_worker: vcs_worker?,
            artifact_store: artifact_store?,
            deploy_worker: deploy_worker?,
            executors,
            forges,
            intake,
            repositories,
            queue,
            limits,
            max_artifacts: sizes.0.0,
            max_log: sizes.1.0,
            mask,
            retention,
        })
    }

    /// The repository of a project at a forge.
    pub fn project(&self, forge: &ForgeName, project: &str) -> Option<(&RepoName, &RepositoryConfig)> {
        let is = |repository: &RepositoryConfig| repository.forge.as_ref().is_some_and(|(name, path)| name == forge && path == project);
        self.repositories.iter().find(|(_, repository)| is(repository))
    }

    /// The projects at a forge that are compared with what is known of them, with their tags where a rule wants those.
    pub fn watched(&self, forge: &ForgeName) -> Vec<Watched> {
        let of = self.repositories.values().filter_map(|one| Some((one.forge.as_ref()?, &one.on)));
        let of = of.filter(|((name, _), _)| name == forge);
        of.map(|((_, project), on)| Watched { project: project.clone(), tags: on.iter().any(|rule| rule.when == When::Tag) }).collect()
    }

    /// The projects at a forge that repositories are configured for.
    pub fn projects(&self, forge: &ForgeName) -> Vec<String> {
        self.repositories
            .values()
            .filter_map(|one| one.forge.as_ref())
            .filter(|(name, _)| name == forge)
            .map(|(_, path)| path.clone())
            .collect()
    }

    /// The executors that are in the same GitLab as a forge.
    pub fn executors_at(&self, forge: &ForgeName) -> impl Iterator<Item = &ExecutorName> {
        let place = self.forges.get(forge).and_then(|forge| match &forge.kind {
            ForgeKind::Gitlab(settings) => Some(&settings.url),
            ForgeKind::Gerrit(_) => None,
        });
        let is = move |executor: &ExecutorConfig| match &executor.kind {
            ExecutorKind::GitLab(gitlab) => place.is_some_and(|place| same_place(place, &gitlab.url)),
            ExecutorKind::Local { .. } => false,
        };
        self.executors.iter().filter(move |(_, executor)| is(executor)).map(|(name, _)| name)
    }

    /// The webhook that the projects of an executor are to have, where they are to have any: to the forge at the same place, with
    /// its secrets, which are those that are good at any time.
    pub fn hook_of(&self, gitlab: &GitLabConfig) -> Option<HookTerms> {
        let hook = gitlab.hook.as_ref()?;
        let (name, forge) = hearing(&self.forges, gitlab).ok()?;
        let mut url = hook.address.clone().or_else(|| self.common.url())?;
        url.set_path(&format!("{}/webhooks/{name}", url.path().trim_end_matches('/')));
        Some(HookTerms { url, secrets: forge.secrets.clone(), signing: forge.signing.clone() })
    }

    /// The repository that is meant, by its name where the source is that of one. What is not configured any more is as it was.
    pub(crate) fn named(&self, repo: RepoFilter) -> RepoFilter {
        match repo {
            RepoFilter::Source(source) => {
                let configured = self.repositories.iter().find(|(_, repository)| repository.source == source);
                configured.map_or(RepoFilter::Source(source), |(name, _)| RepoFilter::Name(name.clone()))
            }
            RepoFilter::Name(_) => repo,
        }
    }

    /// The repository of this name, or of this source.
    pub fn repository(&self, named: &str) -> Option<(&RepoName, &RepositoryConfig)> {
        let by_name = named.parse::<RepoName>().ok().and_then(|name| self.repositories.get_key_value(&name));
        by_name.or_else(|| {
            let source: SourceUrl = named.parse().ok()?;
            self.repositories.iter().find(|(_, repository)| repository.source == source)
        })
    }
}

/// The name of a table, as its type.
pub(super) fn checked<T: std::str::FromStr<Err = signalbox_contract::Invalid>>(name: &str, reader: &mut Reader) -> Option<T> {
    name.parse().map_err(|invalid: signalbox_contract::Invalid| reader.refuse("", invalid.to_string())).ok()
}

/// The forge to which an executor's webhooks lead: one at the same GitLab that believes what is delivered. Where there are several, the
/// executor's entry names it; nothing is guessed. Else what is to be done.
fn hearing<'f>(
    forges: &'f BTreeMap<ForgeName, ForgeConfig>,
    gitlab: &GitLabConfig,
) -> Result<(&'f ForgeName, &'f GitlabForgeSettings), (&'static str, String)> {
    let named = gitlab.hook.as_ref().and_then(|hook| hook.forge.as_ref());
    let fitting: Vec<(&ForgeName, &GitlabForgeSettings)> = forges
        .iter()
        .filter_map(|(name, forge)| match &forge.kind {
            ForgeKind::Gitlab(settings) => Some((name, &**settings)),
            ForgeKind::Gerrit(_) => None,
        })
        .filter(|(name, settings)| named.is_none_or(|named| named == *name) && same_place(&settings.url, &gitlab.url))
        .filter(|(_, settings)| !(settings.secrets.is_empty() && settings.signing.is_empty()))
        .collect();
    match (fitting.as_slice(), named) {
        ([one], _) => Ok(*one),
        ([], Some(named)) => {
            let words = "with kind = \"gitlab\", the executor's url, and secret_files or signing_files";
            Err(("hook_forge", format!("names {named}, and there is no table [forges.{named}] {words}")))
        }
        ([], None) => {
            let words = "needs a table [forges.NAME] with kind = \"gitlab\", the same url, and secret_files or signing_files: \
                         the webhook leads there and carries the first of them";
            Err(("hook", words.to_owned()))
        }
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            Err((
                "hook",
                format!("could lead to several forges at that url ({}): name one of them, hook_forge = \"{}\"", names.join(", "), names[0]),
            ))
        }
    }
}

/// A webhook leads to a forge, whose secrets it carries.
fn unheard_hooks(reader: &mut Reader, executors: &BTreeMap<ExecutorName, ExecutorConfig>, forges: &BTreeMap<ForgeName, ForgeConfig>) {
    for (name, executor) in executors {
        if let ExecutorKind::GitLab(gitlab) = &executor.kind
            && gitlab.hook.is_some()
            && let Err((key, words)) = hearing(forges, gitlab)
        {
            reader.refuse(&format!("executors.{name}.{key}"), words);
        }
    }
}

/// Whether two URLs are of the same server, however their ends are written.
pub(crate) fn same_place(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin() && one.path().trim_end_matches('/') == other.path().trim_end_matches('/')
}

/// A URL must resolve to one repository.
fn same_source_twice(reader: &mut Reader, repositories: &BTreeMap<RepoName, RepositoryConfig>) {
    let mut seen: BTreeMap<&SourceUrl, &RepoName> = BTreeMap::new();
    for (name, repository) in repositories {
        if let Some(other) = seen.insert(&repository.source, name) {
            reader.refuse("repositories", format!("has the same source for {other} and {name}"));
        }
    }
    let mut seen: BTreeMap<&(ForgeName, String), &RepoName> = BTreeMap::new();
    for (name, repository) in repositories {
        if let Some(other) = repository.forge.as_ref().and_then(|project| seen.insert(project, name)) {
            reader.refuse("repositories", format!("has the same project of a forge for {other} and {name}"));
        }
    }
}
