//! What is looked at.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use signalbox_adapters::executor::Executor;
use signalbox_adapters::forge::{Finding, Forge, Severity};
use signalbox_contract::api::deploy::EnvironmentInfo;
use signalbox_contract::api::doctor::DoctorFinding;
use signalbox_contract::api::vcs::{MAX_SOURCES, NamedSource};
use signalbox_contract::{ExecutorName, ForgeName, RepoName, SourceConflict};
use signalbox_service::http::Readiness;
use signalbox_service::telemetry::causes;

use super::service::{Place, Role, complaint, outdated};
use super::{Doctor, of};
use crate::engine::Workers;
use crate::store::Store;

/// How many repositories, projects or environments are looked at; each costs calls.
const MOST: usize = 20;

/// One thing that is looked at, which may find several.
pub(super) struct Look {
    /// What it is.
    pub(super) about: String,
    /// What is found.
    pub(super) findings: BoxFuture<'static, Vec<DoctorFinding>>,
}

impl Look {
    fn new(about: impl Into<String>, findings: impl Future<Output = Vec<Finding>> + Send + 'static) -> Self {
        let about = about.into();
        let name = about.clone();
        let findings = async move { findings.await.into_iter().map(|finding| of(&name, finding)).collect() };
        Self { about, findings: findings.boxed() }
    }
}

impl Doctor {
    /// Everything that is looked at, in the order in which it is told: what others build upon comes first.
    pub(super) fn looks(&self) -> Vec<Look> {
        let mut looks = vec![Look::new("controller", std::future::ready(own(&self.readiness)))];
        for place in Place::workers(&self.workers) {
            let clock = Arc::clone(&self.clock);
            looks.push(Look::new(place.name.clone(), async move { place.health(&clock).await }));
        }
        looks.push(Look { about: "mirrors".to_owned(), findings: mirrors(self.workers.clone()).boxed() });
        let sources =
            self.config.repositories.iter().map(|(name, repository)| NamedSource { name: name.clone(), source: repository.source.clone() });
        let sources = sources.collect();
        let looked = repositories(self.workers.clone(), self.store.clone(), sources);
        looks.push(Look { about: "repositories".to_owned(), findings: looked.boxed() });
        looks.extend(self.executors.iter().map(|(name, executor)| self.executor(name, executor)));
        looks.extend(self.forges.iter().map(|(name, forge)| self.forge(name, forge)));
        looks.push(Look { about: "environments".to_owned(), findings: environments(self.workers.clone()).boxed() });
        looks
    }

    fn executor(&self, name: &ExecutorName, executor: &Arc<dyn Executor>) -> Look {
        let builds_there = |executor: &Option<ExecutorName>| executor.as_ref() == Some(name);
        let repositories = self.config.repositories.iter().filter(|(_, repository)| builds_there(&repository.executor));
        let repos: Vec<RepoName> = repositories.map(|(name, _)| name.clone()).collect();
        let (executor, clock) = (Arc::clone(executor), Arc::clone(&self.clock));
        let place = Place::executor(&self.config, name);
        let looked = async move {
            let mut found = match &place {
                Some(place) => place.health(&clock).await,
                None => Vec::new(),
            };
            // Of one that does not answer, nothing more is learned by asking further.
            if found.iter().any(|finding| finding.severity == Severity::Error) {
                return found;
            }
            found.extend(executor.examine(&repos[..repos.len().min(MOST)]).await);
            found.extend(left_out(repos.len(), "repositories"));
            found
        };
        Look::new(format!("executor {name}"), looked)
    }

    fn forge(&self, name: &ForgeName, forge: &Arc<dyn Forge>) -> Look {
        let (forge, projects) = (Arc::clone(forge), self.config.projects(name));
        let hears_builds = self.config.executors_at(name).next().is_some();
        let looked = async move {
            let mut found = forge.examine(&projects[..projects.len().min(MOST)]).await;
            if projects.is_empty() && !hears_builds {
                let hint = "Give a repository `forge` and `project`, or remove the forge.";
                found.push(Finding::new(Severity::Warning, "No repository's changes come from it.", hint));
            }
            found.extend(left_out(projects.len(), "projects"));
            found
        };
        Look::new(format!("forge {name}"), looked)
    }
}

/// What is said where there is more than is looked at.
fn left_out(count: usize, what: &str) -> Option<Finding> {
    let words = format!("{MOST} of {count} {what} were looked at; the others are like them, as far as can be told.");
    (count > MOST).then(|| Finding::new(Severity::Fine, words, ""))
}

fn own(readiness: &Readiness) -> Vec<Finding> {
    let unmet = readiness.unmet();
    if unmet.is_empty() {
        let fine = Finding::new(Severity::Fine, "It is ready.", "");
        return [fine].into_iter().chain(readiness.outdated().as_deref().map(outdated)).collect();
    }
    let told = |(need, why)| Finding::new(Severity::Error, format!("It is not ready: {need}: {why}"), "Its log says more.");
    unmet.into_iter().map(told).collect()
}

/// What the VCS worker finds at its mirrors. That it believes the controller is seen by the way.
async fn mirrors(workers: Workers) -> Vec<DoctorFinding> {
    match workers.examine_mirrors().await {
        Ok(findings) => {
            let about = |mirror: Option<_>| mirror.map_or_else(|| "own mirrors".to_owned(), |name| format!("mirror {name}"));
            let told = |found: signalbox_contract::api::mirrors::MirrorFinding| DoctorFinding {
                about: about(found.mirror),
                severity: found.severity,
                detail: found.detail,
                hint: found.hint,
            };
            findings.into_iter().map(told).collect()
        }
        Err(error) => vec![of("mirrors", complaint(Role::Vcs, &error))],
    }
}

/// Whether each repository's source is one that its name belongs to, and that the VCS worker may read, and can.
async fn repositories(workers: Workers, store: Store, sources: Vec<NamedSource>) -> Vec<DoctorFinding> {
    if sources.is_empty() {
        let words = "There are none, so nothing is built.";
        return vec![of("repositories", Finding::new(Severity::Fine, words, ""))];
    }
    let asked = &sources[..sources.len().min(MAX_SOURCES)];
    let bindings = match store.bindings().await {
        Ok(bindings) => bindings,
        Err(error) => {
            tracing::error!(error = %causes(&error), "what names belong to could not be read");
            return vec![of(
                "repositories",
                Finding::new(Severity::Error, "The controller's database cannot be read.", "Its log says more."),
            )];
        }
    };
    let examined = match workers.examine_sources(asked.to_vec()).await {
        Ok(examined) => examined,
        Err(error) => return vec![of("repositories", complaint(Role::Vcs, &error))],
    };
    let told = |NamedSource { name, source }: &NamedSource| {
        let bound = bindings.iter().find(|(known, bound)| known == name && bound != source).map(|(_, bound)| bound.clone());
        let conflict = bound.map(|bound| SourceConflict { name: name.clone(), bound, wanted: source.clone() }.failure());
        let failure = match conflict {
            Some(failure) => Some(Some(failure)),
            None => examined.iter().find(|found| found.name == *name && found.source == *source).map(|found| found.failure.clone()),
        };
        let finding = match failure {
            Some(None) => Finding::new(Severity::Fine, format!("{source} can be read."), ""),
            Some(Some(failure)) => Finding::new(Severity::Error, failure.detail, failure.hint),
            None => Finding::new(Severity::Error, format!("The VCS worker says nothing of {source}."), "Its log says more."),
        };
        of(&format!("repository {name}"), finding)
    };
    let mut found: Vec<DoctorFinding> = asked.iter().map(told).collect();
    found.extend(left_out(sources.len(), "repositories").map(|finding| of("repositories", finding)));
    found
}

/// Whether every host of every environment answers. That the deployment worker believes the controller is seen by the way.
async fn environments(workers: Workers) -> Vec<DoctorFinding> {
    let all = match workers.environments().await {
        Ok(all) => all,
        Err(error) => return vec![of("environments", complaint(Role::Deploy, &error))],
    };
    if all.is_empty() {
        return vec![of("environments", Finding::new(Severity::Fine, "There are none, so nothing is deployed.", ""))];
    }
    let asked = all.iter().take(MOST).map(|environment| async {
        let about = format!("environment {}", environment.name);
        match workers.whole_environment(&environment.name).await {
            Ok(seen) => hosts(&seen).into_iter().map(|finding| of(&about, finding)).collect(),
            Err(error) => vec![of(&about, complaint(Role::Deploy, &error))],
        }
    });
    let mut found = futures_util::future::join_all(asked).await.concat();
    found.extend(left_out(all.len(), "environments").map(|finding| of("environments", finding)));
    found
}

fn hosts(environment: &EnvironmentInfo) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for host in &environment.shown {
        if let Some(failure) = &host.failure {
            let named = failure.detail.starts_with(host.host.as_str());
            let detail = if named { failure.detail.clone() } else { format!("{}: {}", host.host, failure.detail) };
            found.push(Finding::new(Severity::Error, detail, failure.hint.clone()));
        }
    }
    if found.is_empty() {
        let count = environment.shown.len();
        let words = if count == 1 { "Its host answers.".to_owned() } else { format!("Its {count} hosts answer.") };
        found.push(Finding::new(Severity::Fine, words, ""));
    }
    found
}
