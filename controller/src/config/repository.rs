//! `[repositories.NAME]`

use std::collections::BTreeMap;

use signalbox_contract::api::vcs::Naming;
use signalbox_contract::git::RepoPath;
use signalbox_contract::{ArtifactName, EnvironmentName, ExecutorName, ForgeName, RepoName, SourceUrl};
use signalbox_controller_core::plan::{Native, Pick, Route};
use signalbox_service::config::Reader;

use super::rule::Source;
use super::{ExecutorConfig, ForgeConfig, Rule, checked};

/// The longest name of a part, in bytes.
const LONGEST_PART: usize = 255;

/// A repository, and what is done with it by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// Where its source is.
    pub source: SourceUrl,
    /// Where it is built.
    pub executor: Option<ExecutorName>,
    /// Where it is deployed.
    pub environment: Option<EnvironmentName>,
    /// The forge that its changes come from, and its project there.
    pub forge: Option<(ForgeName, String)>,
    /// What is done when something happens there.
    pub on: Vec<Rule>,
    /// Under which name its commits are shown at a mirror elsewhere.
    pub naming: Option<Naming>,
    /// Where the definition is that an executor reads itself, if not at that executor's usual place.
    pub ci_config: Option<CiConfig>,
    /// Where in what such an executor makes the artifacts are.
    pub artifacts: Vec<Pick>,
}

/// Where the definition is that an executor reads itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CiConfig {
    /// In this file of the repository.
    File(RepoPath),
    /// Not in the repository.
    Elsewhere,
}

impl RepositoryConfig {
    /// How an executor comes by what it builds of this repository.
    pub fn route(&self, executor: &ExecutorConfig) -> Route {
        let kind = &executor.kind;
        let file = || match &self.ci_config {
            None => kind.native_file(),
            Some(CiConfig::File(path)) => Some(path.clone()),
            Some(CiConfig::Elsewhere) => None,
        };
        let native = kind.is_native().then(|| Native { file: file(), picks: self.artifacts.clone() });
        Route { mirror: kind.mirror().cloned(), naming: self.naming, native }
    }
}

pub(super) fn read(
    name: &str,
    reader: &mut Reader,
    executors: &BTreeMap<ExecutorName, ExecutorConfig>,
    forges: &BTreeMap<ForgeName, ForgeConfig>,
) -> Option<(RepoName, RepositoryConfig)> {
    let name = checked(name, reader);
    let source = reader.required("source");
    let executor: Option<ExecutorName> = reader.optional("executor");
    if let Some(executor) = executor.as_ref().filter(|executor| !executors.contains_key(*executor)) {
        reader.refuse("executor", format!("names {executor}, which is not among [executors]"));
    }
    // With one executor there is nothing to choose.
    let only = executors.keys().next().filter(|_| executors.len() == 1);
    let executor = executor.or_else(|| only.cloned());
    let environment: Option<EnvironmentName> = reader.optional("environment");
    let known = executors.keys().collect();
    let Source { forge, on } = super::rule::source(reader, forges, &known, executor.is_some(), environment.is_some());
    let naming = naming(reader);
    if matches!(naming, Some(Naming::Same | Naming::Replace)) && on.iter().any(|rule| !rule.inputs.is_empty()) {
        reader.refuse("on", "has inputs, which a build that a push begins cannot have: leave naming out, or say \"run\"");
    }
    let ci_config = ci_config(reader);
    let artifacts = reader.named_tables("artifacts", pick);
    Some((name?, RepositoryConfig { source: source?, executor, environment, forge, on, naming, ci_config, artifacts }))
}

fn naming(reader: &mut Reader) -> Option<Naming> {
    let word: String = reader.optional("naming")?;
    let known = [("run", Naming::Run), ("same", Naming::Same), ("replace", Naming::Replace)];
    let found = known.into_iter().find(|(known, _)| *known == word).map(|(_, naming)| naming);
    if found.is_none() {
        reader.refuse("naming", "must be \"run\", \"same\" or \"replace\"");
    }
    found
}

fn ci_config(reader: &mut Reader) -> Option<CiConfig> {
    let text: String = reader.optional("ci_config")?;
    if text == "elsewhere" {
        return Some(CiConfig::Elsewhere);
    }
    match text.parse() {
        Ok(path) => Some(CiConfig::File(path)),
        Err(error) => {
            let error: signalbox_contract::Invalid = error;
            reader.refuse("ci_config", format!("must be the path of a file in the repository, or \"elsewhere\": {error}"));
            None
        }
    }
}

fn pick(name: &str, reader: &mut Reader) -> Option<Pick> {
    let name: Option<ArtifactName> = checked(name, reader);
    let part: Option<String> = reader.optional("part");
    if part.as_ref().is_some_and(|part| part.is_empty() || part.len() > LONGEST_PART || part.chars().any(char::is_control)) {
        reader.refuse("part", "must be the name of a part: 1 to 255 bytes without control characters");
    }
    let path = reader.optional("path");
    Some(Pick { name: name?, part, path })
}
