//! What is done about what happens at a forge.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_contract::api::run::{MAX_INPUT, MAX_INPUTS};
use signalbox_contract::grant::Glob;
use signalbox_contract::job::{VariableName, Variables};
use signalbox_contract::{ArtifactName, EnvironmentName, ExecutorName, ForgeName, JobName, PublishedName};
use signalbox_service::config::Reader;

use super::forge::{ForgeConfig, ForgeKind};

/// What happens at a forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// A change is proposed, or has a new patch set.
    Review,
    /// A branch moved because a change was merged.
    Merged,
    /// A branch moved, for whatever reason.
    Branch,
    /// A tag was made or moved.
    Tag,
}

impl When {
    const ALL: [Self; 4] = [Self::Review, Self::Merged, Self::Branch, Self::Tag];

    /// The word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Merged => "merged",
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

/// What is done when something happens at a repository's forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// When.
    pub when: When,
    /// For which branches or tags.
    pub branches: Vec<Glob>,
    /// Which job.
    pub job: Option<JobName>,
    /// Where it is built, if not where the repository's runs are.
    pub executor: Option<ExecutorName>,
    /// What is deployed.
    pub artifact: Option<ArtifactName>,
    /// Where to, if not where the repository's runs go.
    pub environment: Option<EnvironmentName>,
    /// Under which name.
    pub published_name: Option<PublishedName>,
    /// What the build gets.
    pub inputs: Variables,
    /// Whether what the build makes is published under its names.
    pub publish: bool,
    /// Which artifacts may be published.
    pub artifacts: Vec<Glob>,
    /// Whether the forge is told.
    pub vote: bool,
    /// Whether changes that are not ready are built too.
    pub wip: bool,
    /// Whether changes that only some may see are built too.
    pub private: bool,
    /// Of changes with which topics alone; of all where there are none.
    pub topics: Vec<Glob>,
    /// Of changes with one of which hashtags or labels alone; of all where there are none.
    pub hashtags: Vec<Glob>,
}

impl Rule {
    /// What tells its runs from those of other rules.
    pub fn purpose(&self) -> String {
        let Self { when, job, executor, artifact, environment, published_name, inputs, .. } = self;
        let what = format!("{job:?} {executor:?} {artifact:?} {environment:?} {published_name:?} {inputs:?}");
        let digest: String = signalbox_service::auth::sha256(what.as_bytes()).hex().chars().take(16).collect();
        format!("{} {digest}", when.word())
    }

    /// Whether it is about some changes for a branch alone, by what people have written on them.
    pub fn is_choosy(&self) -> bool {
        !self.topics.is_empty() || !self.hashtags.is_empty()
    }

    /// Whether it is about a change with this topic and these hashtags.
    pub fn wants(&self, topic: Option<&str>, hashtags: &[String]) -> bool {
        let one = |globs: &[Glob], word: &str| globs.iter().any(|glob| glob.matches(word));
        (self.topics.is_empty() || topic.is_some_and(|topic| one(&self.topics, topic)))
            && (self.hashtags.is_empty() || hashtags.iter().any(|tag| one(&self.hashtags, tag)))
    }
}

/// The forge, project and rules of a repository.
pub(super) struct Source {
    pub(super) forge: Option<(ForgeName, String)>,
    pub(super) on: Vec<Rule>,
}

/// Reads `forge`, `project` and `[[on]]` of a repository, whose runs are built and deployed by default where it is said.
pub(super) fn source(
    reader: &mut Reader,
    forges: &BTreeMap<ForgeName, ForgeConfig>,
    executors: &BTreeSet<&ExecutorName>,
    built: bool,
    deployed: bool,
) -> Source {
    let forge: Option<ForgeName> = reader.optional("forge");
    let project: Option<String> = reader.optional("project");
    if let Some(forge) = forge.as_ref().filter(|forge| !forges.contains_key(*forge)) {
        reader.refuse("forge", format!("names {forge}, which is not among [forges]"));
    }
    match (&forge, &project) {
        (Some(_), None) => reader.refuse("project", "must be given where there is a forge: the project's path there"),
        (None, Some(_)) => reader.refuse("project", "makes sense only with a forge"),
        _ => {}
    }
    let on = reader.tables("on", |reader| rule(reader, executors, built, deployed));
    if !on.is_empty() && forge.is_none() {
        reader.refuse("on", "makes sense only with a forge");
    }
    let mut seen = BTreeSet::new();
    if !on.iter().all(|rule| seen.insert((rule.purpose(), &rule.topics, &rule.hashtags))) {
        reader.refuse("on", "has two rules for the same event that do the same: put their branches into one");
    }
    let counts_topics = |forge: &ForgeName| !matches!(forges.get(forge), Some(ForgeConfig { kind: ForgeKind::Gitlab(_), .. }));
    if forge.as_ref().is_some_and(|forge| !counts_topics(forge)) && on.iter().any(|rule| !rule.topics.is_empty()) {
        reader.refuse("on", "has topics, which GitLab does not have: name labels in hashtags");
    }
    Source { forge: forge.zip(project), on }
}

fn rule(reader: &mut Reader, executors: &BTreeSet<&ExecutorName>, built: bool, deployed: bool) -> Option<Rule> {
    let word: Option<String> = reader.required("event");
    let when = word.and_then(|word| {
        let when = When::ALL.into_iter().find(|when| when.word() == word);
        if when.is_none() {
            reader.refuse("event", "must be review, merged, branch or tag");
        }
        when
    });
    let all = || "*".parse().map(|glob| vec![glob]).unwrap_or_default();
    let branches: Vec<Glob> = reader.or("branches", all());
    let (job, executor, artifact) = (reader.optional("job"), reader.optional("executor"), reader.optional("artifact"));
    let (environment, published_name) = (reader.optional("environment"), reader.optional("published_name"));
    match &executor {
        Some(executor) if !executors.contains(executor) => {
            reader.refuse("executor", format!("names {executor}, which is not among [executors]"));
        }
        None if !built => reader.refuse("executor", "must be given: the repository has no default"),
        _ => {}
    }
    if artifact.is_some() && environment.is_none() && !deployed {
        reader.refuse("environment", "must be given: the repository has no default");
    }
    if let Some(artifact) = artifact.as_ref().filter(|_| published_name.is_none())
        && Option::<PublishedName>::from(ArtifactName::clone(artifact)).is_none()
    {
        reader.refuse("published_name", "must be given: the artifact's name does not fit a host");
    }
    if artifact.is_none() && (environment.is_some() || published_name.is_some()) {
        reader.refuse("artifact", "must be given where something is deployed");
    }
    let inputs = inputs(reader);
    let review = when == Some(When::Review);
    let publish = reader.or("publish", !review || artifact.is_some());
    let artifacts = reader.or(
        "artifacts",
        artifact.as_ref().filter(|_| review).and_then(|name| name.as_str().parse().ok()).map_or_else(all, |glob| vec![glob]),
    );
    let (vote, wip, private) = (reader.or("vote", true), reader.or("wip", false), reader.or("private", false));
    let (topics, hashtags): (Vec<Glob>, Vec<Glob>) = (reader.or("topics", Vec::new()), reader.or("hashtags", Vec::new()));
    for (key, globs) in [("topics", &topics), ("hashtags", &hashtags)] {
        if !review && !globs.is_empty() {
            reader.refuse(key, "makes sense only for review: what a branch or tag moved for has none");
        }
    }
    Some(Rule {
        when: when?,
        branches,
        job,
        executor,
        artifact,
        environment,
        published_name,
        inputs,
        publish,
        artifacts,
        vote,
        wip,
        private,
        topics,
        hashtags,
    })
}

fn inputs(reader: &mut Reader) -> Variables {
    let given: BTreeMap<String, String> = reader.or("inputs", BTreeMap::new());
    if given.len() > MAX_INPUTS || given.values().any(|value| value.len() > MAX_INPUT || value.contains('\0')) {
        reader.refuse("inputs", format!("may hold {MAX_INPUTS} values of at most {MAX_INPUT} bytes, without a NUL"));
    }
    let mut inputs = Variables::new();
    for (name, value) in given {
        match name.parse::<VariableName>() {
            Ok(name) if name.is_kept() => {
                let why = "it belongs to Signalbox or the executor, or decides which programs a build runs";
                reader.refuse("inputs", format!("has {name}, a name that no input may have: {why}"));
            }
            Ok(name) => drop(inputs.insert(name, value)),
            Err(_) => reader.refuse("inputs", "has a name that no variable can have"),
        }
    }
    inputs
}
