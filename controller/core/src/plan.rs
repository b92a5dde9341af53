//! What a run is to do: the request as it was resolved at acceptance, and the plan of steps that is frozen once the source
//! is known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::grant::Glob;
use signalbox_contract::job::{JobFile, JobSpec, Variables};
use signalbox_contract::{
    ArtifactName, Digest, EnvironmentName, ExecutorName, Failure, FailureCode, JobName, MirrorName, Origin, PublishedName, RefName,
    RepoName, SourceUrl,
};

use crate::resource::ResourceKey;

pub use crate::route::{Native, Pick, Route};

/// What was asked for, with every default of the server's configuration filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Request {
    /// `POST /cd`: mirror, build, deploy.
    Cd(Box<CdOrder>),
    /// `POST /environments/{name}/deploy`: deploy what is in the store.
    Deploy {
        /// The artifact.
        artifact: ArtifactName,
        /// Where to, and under which name.
        target: DeployTarget,
    },
    /// `POST /environments/{name}/rollback`: go back to a kept release.
    Rollback {
        /// Where, and which name.
        target: DeployTarget,
        /// Which release; the one before the present one if none is named.
        digest: Option<Digest>,
    },
}

/// What `POST /cd` asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdOrder {
    /// The repository.
    pub repo: RepoName,
    /// Its source.
    pub source: SourceUrl,
    /// The ref.
    pub ref_name: RefName,
    /// The job, if one was named.
    pub job: Option<JobName>,
    /// Where to build.
    pub executor: ExecutorName,
    /// What the build gets.
    pub inputs: Variables,
    /// Which artifacts whoever asked last, for the run or its rerun, may publish: the job is the change's own, so what it declares is not taken on its word.
    pub artifacts: Vec<Glob>,
    /// What is deployed, if anything.
    pub deploy: Option<(ArtifactName, DeployTarget)>,
    /// What made it begin.
    #[serde(default)]
    pub origin: Origin,
    /// Whether what the build makes is published under its names. What a change under review makes is not, unless that is
    /// configured: nobody has approved of it yet.
    #[serde(default = "yes")]
    pub publish: bool,
    /// Whether its forge is told how it stands.
    #[serde(default)]
    pub vote: bool,
    /// How the executor comes by what it builds.
    #[serde(default)]
    pub route: Route,
}

const fn yes() -> bool {
    true
}

/// Where something is deployed, and under which name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployTarget {
    /// The environment.
    pub environment: EnvironmentName,
    /// The name that its hosts publish.
    pub name: PublishedName,
}

impl Request {
    /// What made it begin.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Cd(order) => &order.origin,
            Self::Deploy { .. } | Self::Rollback { .. } => &Origin::Api,
        }
    }

    /// The repository, for the kinds that have one.
    pub fn repo(&self) -> Option<&RepoName> {
        match self {
            Self::Cd(order) => Some(&order.repo),
            Self::Deploy { .. } | Self::Rollback { .. } => None,
        }
    }

    /// Where it deploys, if it does.
    pub fn target(&self) -> Option<&DeployTarget> {
        match self {
            Self::Cd(order) => order.deploy.as_ref().map(|(_, target)| target),
            Self::Deploy { target, .. } | Self::Rollback { target, .. } => Some(target),
        }
    }

    /// The artifact that it deploys, if that was named.
    pub fn artifact(&self) -> Option<&ArtifactName> {
        match self {
            Self::Cd(order) => order.deploy.as_ref().map(|(artifact, _)| artifact),
            Self::Deploy { artifact, .. } => Some(artifact),
            Self::Rollback { .. } => None,
        }
    }

    /// The steps that are known at acceptance, before any source was seen.
    pub fn first_steps(&self) -> Vec<PlannedStep> {
        match self {
            Self::Cd(order) => vec![PlannedStep {
                name: "mirror".to_owned(),
                stage: "mirror".to_owned(),
                needs: Vec::new(),
                work: Work::Mirror { repo: order.repo.clone(), source: order.source.clone(), ref_name: order.ref_name.clone() },
            }],
            Self::Deploy { artifact, target } => vec![PlannedStep {
                name: "deploy".to_owned(),
                stage: "deploy".to_owned(),
                needs: Vec::new(),
                work: Work::Deploy { artifact: artifact.clone(), from: None, target: target.clone() },
            }],
            Self::Rollback { target, digest } => vec![PlannedStep {
                name: "rollback".to_owned(),
                stage: "rollback".to_owned(),
                needs: Vec::new(),
                work: Work::Activate { target: target.clone(), digest: *digest },
            }],
        }
    }
}

/// A step of the plan. Later steps name the earlier ones that they need: a step begins when all of those have passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its name, unique in the run.
    pub name: String,
    /// The stage that it belongs to.
    pub stage: String,
    /// The indices of the steps that must have passed before.
    pub needs: Vec<u16>,
    /// What is done.
    pub work: Work,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Fetch the source and prove it.
    Mirror {
        /// The repository's name here.
        repo: RepoName,
        /// Where it comes from.
        source: SourceUrl,
        /// What to fetch.
        ref_name: RefName,
    },
    /// Have an executor build it.
    Build {
        /// The repository.
        repo: RepoName,
        /// The ref, as the source has it.
        ref_name: RefName,
        /// Where.
        executor: ExecutorName,
        /// The mirror that the executor reads; without it the VCS worker's own.
        mirror: Option<MirrorName>,
        /// Under which name the commit is shown there.
        naming: Naming,
        /// How.
        definition: Definition,
        /// Values that were given with the request.
        inputs: Variables,
    },
    /// Bring an artifact to an environment.
    Deploy {
        /// The artifact.
        artifact: ArtifactName,
        /// The step that makes it; none if it is in the store already.
        from: Option<u16>,
        /// Where to.
        target: DeployTarget,
    },
    /// Go back to a release that the hosts keep.
    Activate {
        /// Where.
        target: DeployTarget,
        /// Which release.
        digest: Option<Digest>,
    },
}

/// How something is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Definition {
    /// By a job of `.signalbox.yaml`.
    Job {
        /// The job's name.
        name: JobName,
        /// The job, as the commit defines it.
        spec: JobSpec,
    },
    /// By what the executor itself reads.
    Native {
        /// What is fetched of what it makes.
        picks: Vec<Pick>,
    },
}

impl Definition {
    /// The job's name, where it is one.
    pub const fn job(&self) -> Option<&JobName> {
        match self {
            Self::Job { name, .. } => Some(name),
            Self::Native { .. } => None,
        }
    }

    /// The artifacts that it may make.
    pub fn artifacts(&self) -> Vec<&ArtifactName> {
        match self {
            Self::Job { spec, .. } => spec.artifacts.keys().collect(),
            Self::Native { picks } => picks.iter().map(|pick| &pick.name).collect(),
        }
    }

    /// What has to be fetched when it has ended.
    pub fn picks(&self) -> &[Pick] {
        match self {
            Self::Job { .. } => &[],
            Self::Native { picks } => picks,
        }
    }
}

impl Work {
    /// The environment that it changes, if it does.
    pub const fn target(&self) -> Option<&DeployTarget> {
        match self {
            Self::Deploy { target, .. } | Self::Activate { target, .. } => Some(target),
            Self::Mirror { .. } | Self::Build { .. } => None,
        }
    }

    /// What it needs a place of before it begins, in the order in which it asks. A ref comes first: whoever waits for one
    /// must not keep a place at the executor from others.
    pub fn resources(&self) -> Vec<ResourceKey> {
        match self {
            Self::Mirror { .. } => Vec::new(),
            Self::Build { executor, .. } => self.moved_ref().into_iter().chain([ResourceKey::Executor(executor.clone())]).collect(),
            Self::Deploy { target, .. } | Self::Activate { target, .. } => vec![ResourceKey::Environment(target.environment.clone())],
        }
    }

    /// The name at a mirror that publishing moves, where others move it too.
    fn moved_ref(&self) -> Option<ResourceKey> {
        let Self::Build { repo, ref_name, mirror: Some(mirror), naming, .. } = self else { return None };
        let ref_name = match naming {
            Naming::Run => return None,
            Naming::Same => ref_name.clone(),
            // All of the project is replaced, whichever ref it is for.
            Naming::Replace => "refs/heads/master".parse().unwrap_or_else(|_| ref_name.clone()),
        };
        Some(ResourceKey::Ref { mirror: mirror.clone(), repo: repo.clone(), ref_name })
    }

    /// Whether publishing alone may begin its build.
    pub const fn begins_by_push(&self) -> bool {
        matches!(self, Self::Build { mirror: Some(_), naming: Naming::Same | Naming::Replace, .. })
    }
}

/// Resolves the plan once the commit's job file is known: which job, what it makes, where that goes.
///
/// # Errors
/// With the failure that ends the run: no such job, several to choose from, an artifact that the job does not declare, or one
/// that it may not publish.
pub fn resolve(order: &CdOrder, ref_name: &RefName, file: JobFile) -> Result<Vec<PlannedStep>, Failure> {
    let (job, spec) = choose(order.job.as_ref(), file.jobs)?;
    if let Some(beyond) = spec.artifacts.keys().find(|name| order.publish && !covered(&order.artifacts, name)) {
        let detail =
            format!("The job {job} declares the artifact {beyond}, which the token that started or reran the run may not publish.");
        return Err(
            Failure::new(FailureCode::ArtifactNotAllowed, detail).hint("Its grant to start runs needs a pattern for it under `artifacts`.")
        );
    }
    if let Some((artifact, _)) = &order.deploy
        && !spec.artifacts.contains_key(artifact)
    {
        let declared: Vec<&str> = spec.artifacts.keys().map(AsRef::as_ref).collect();
        return Err(Failure::new(FailureCode::ArtifactNotDeclared, format!("The job {job} does not declare an artifact {artifact}."))
            .hint(if declared.is_empty() {
                "It declares none; add it under `artifacts`.".to_owned()
            } else {
                format!("It declares: {}.", declared.join(", "))
            }));
    }
    Ok(steps(order, ref_name, Definition::Job { name: job, spec }))
}

/// Resolves the plan of a build whose definition its executor reads: nothing of it is known to us but where artifacts are.
///
/// # Errors
/// When whoever asked may not publish the artifact that is to be deployed.
pub fn resolve_native(order: &CdOrder, ref_name: &RefName, native: &Native) -> Result<Vec<PlannedStep>, Failure> {
    let wanted = order.deploy.as_ref().map(|(artifact, _)| artifact);
    if let Some(wanted) = wanted.filter(|wanted| !covered(&order.artifacts, wanted)) {
        let detail = format!("The token that started or reran the run may not publish the artifact {wanted}.");
        return Err(
            Failure::new(FailureCode::ArtifactNotAllowed, detail).hint("Its grant to start runs needs a pattern for it under `artifacts`.")
        );
    }
    // The server's configuration names what there is; whoever asks need not be allowed all of it.
    let mut picks: Vec<Pick> = native.picks.iter().filter(|pick| covered(&order.artifacts, &pick.name)).cloned().collect();
    if let Some(wanted) = wanted.filter(|wanted| !picks.iter().any(|pick| pick.name == **wanted)) {
        picks.push(Pick::named(wanted.clone()));
    }
    Ok(steps(order, ref_name, Definition::Native { picks }))
}

/// The build, and the deployment behind it where one was asked for.
fn steps(order: &CdOrder, ref_name: &RefName, definition: Definition) -> Vec<PlannedStep> {
    let mut steps = vec![PlannedStep {
        name: "build".to_owned(),
        stage: "build".to_owned(),
        needs: vec![0],
        work: Work::Build {
            repo: order.repo.clone(),
            ref_name: ref_name.clone(),
            executor: order.executor.clone(),
            mirror: order.route.mirror.clone(),
            naming: order.route.naming_of(ref_name, !order.inputs.is_empty()),
            definition,
            inputs: order.inputs.clone(),
        },
    }];
    if let Some((artifact, target)) = &order.deploy {
        steps.push(PlannedStep {
            name: "deploy".to_owned(),
            stage: "deploy".to_owned(),
            needs: vec![1],
            work: Work::Deploy { artifact: artifact.clone(), from: Some(1), target: target.clone() },
        });
    }
    steps
}

/// Whether one of the patterns covers the artifact.
pub(crate) fn covered(patterns: &[Glob], name: &ArtifactName) -> bool {
    patterns.iter().any(|glob| glob.matches(name.as_str()))
}

/// The job that was named; else `cd`; else the only one.
fn choose(named: Option<&JobName>, mut jobs: BTreeMap<JobName, JobSpec>) -> Result<(JobName, JobSpec), Failure> {
    let names = |jobs: &BTreeMap<JobName, JobSpec>| jobs.keys().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    if let Some(name) = named {
        return jobs.remove_entry(name).ok_or_else(|| {
            let failure = Failure::new(FailureCode::JobNotFound, format!("There is no job {name} in .signalbox.yaml."));
            if jobs.is_empty() { failure } else { failure.hint(format!("There is: {}.", names(&jobs))) }
        });
    }
    let default = jobs.keys().find(|name| name.as_str() == "cd").cloned();
    if let Some(entry) = default.and_then(|name| jobs.remove_entry(&name)) {
        return Ok(entry);
    }
    if jobs.len() > 1 {
        return Err(Failure::new(FailureCode::JobAmbiguous, "There are several jobs in .signalbox.yaml, and none is called cd.")
            .hint(format!("Name one of them as `job`: {}.", names(&jobs))));
    }
    jobs.pop_first().ok_or_else(|| Failure::new(FailureCode::JobNotFound, "There is no job in .signalbox.yaml."))
}
