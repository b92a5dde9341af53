//! How a build begins, is found, is stopped, and is kept from beginning.

use std::time::Duration;

use jiff::SignedDuration;
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::{AttemptKey, Failure, FailureCode};
use signalbox_service::telemetry::causes;

use super::GitLabExecutor;
use super::place::{PipelineRef, Place};
use super::refusal::{not_read, translate};
use crate::executor::{Anchor, BuildRef, Definition, ExecutorError, Fenced, Found, Intent, NativeBuild, Order, Started, Tracked};
use crate::gitlab::{GitLabError, NewPipeline, Pipeline, PipelineQuery, PipelineVariable, Project, ProjectRef};

/// How many pages of pipelines are searched. Each has a hundred.
const PAGES: usize = 3;

/// How many pipelines are looked into for variables that name their attempt.
const LOOKED_INTO: usize = 10;

/// How long a start whose answer was lost is searched for on a ref of its own, before its attempt is fenced and tried again.
const LOST: SignedDuration = SignedDuration::from_secs(15);

/// The same on a ref that others use too, where nothing can be fenced: GitLab gives up on any call before.
const LOST_AMONG_OTHERS: SignedDuration = SignedDuration::from_secs(75);

/// The version from which on pipelines take inputs.
const TYPED_INPUTS: (u32, u32) = (18, 1);

/// How soon a start is tried again when GitLab does not know the branch yet.
const BRANCH_COMES: Duration = Duration::from_secs(2);

impl GitLabExecutor {
    /// Finds out which pipeline is the newest. The project may not be there yet: the mirror makes it.
    pub(super) async fn drop_anchor(&self, intent: &Intent) -> Result<Anchor, ExecutorError> {
        let project = self.gitlab.project(&self.project_of(&intent.repo)).await.map_err(not_read)?;
        let mut newest = 0;
        if let Some(project) = &project {
            let query = PipelineQuery { per_page: Some(1), ..PipelineQuery::default() };
            let listed = self.gitlab.pipelines(&project.reference(), &query, 1).await;
            newest = match listed {
                Ok(listed) => listed.items.iter().map(|pipeline| pipeline.id).max().unwrap_or(0),
                // So GitLab answers where pipelines are switched off; the start says it in words.
                Err(GitLabError::Forbidden { scope: None, .. }) => 0,
                Err(error) => return Err(not_read(error)),
            };
        }
        let ref_name = match intent.naming {
            Naming::Run => format!("cd/{}", intent.key),
            Naming::Same => intent.branch.short().to_owned(),
            Naming::Replace => "master".to_owned(),
        };
        let (path, project) = (self.project_path(&intent.repo), project.map(|project| project.id));
        Place { path, project, newest, ref_name, sha: intent.sha.to_string(), naming: intent.naming }.anchor()
    }

    pub(super) async fn begin(&self, order: &Order, anchor: &Anchor) -> Result<Started, ExecutorError> {
        let Definition::Native(native) = &order.definition else {
            let failure =
                Failure::new(FailureCode::ExecutorRefused, "GitLab runs what `.gitlab-ci.yml` says, and no job of .signalbox.yaml.");
            return Err(ExecutorError::Refused(failure.hint("Add a `.gitlab-ci.yml`, or build the repository with the local executor.")));
        };
        let place = Place::read(anchor)?;
        let project = self.building_project(&place, order).await?;
        if let Some(tending) = &self.tending {
            tending.used(project.id);
        }
        // A start whose answer was lost has perhaps been made, and is not made twice.
        if let Some(first) = self.ours(&project, &place, &order.key).await?.first() {
            return Ok(Started::Build(PipelineRef { project: project.id, pipeline: first.id }.build()?));
        }
        if !place.is_alone() && order.source.moved {
            return Ok(Started::Offered);
        }
        let new = self.new_pipeline(order, native).await?;
        let dispensable = self.typed_inputs || native.inputs.is_empty();
        let pipeline = match self.create(&project.reference(), new, dispensable).await {
            Ok(pipeline) => pipeline,
            Err(error) if error.says("reference not found") => return Err(self.unknown_branch(&project, order, error).await),
            Err(error) => {
                if !error.changed_nothing() {
                    self.memory.searched_for(&order.key, self.clock.now());
                }
                return Err(translate(error));
            }
        };
        let build = PipelineRef { project: project.id, pipeline: pipeline.id };
        if pipeline.sha != order.source.sha.as_str() {
            // Somebody moved the ref between the mirror's proof and the start. It is shown as it is: whoever observes it sees
            // that it is of another commit, has it cancelled if it still runs, and tries ours again.
            tracing::warn!(key = %order.key, build = build.pipeline, sha = pipeline.sha, "a pipeline is of another commit than was published");
            if let Err(error) = self.gitlab.cancel_pipeline(&build.reference(), build.pipeline).await {
                tracing::warn!(error = %causes(&error), build = build.pipeline, "a pipeline of another commit could not be cancelled yet");
            }
        }
        Ok(Started::Build(build.build()?))
    }

    /// What is asked for: what is ours as variables, and the run's inputs as the executor is told to give them.
    async fn new_pipeline(&self, order: &Order, native: &NativeBuild) -> Result<NewPipeline, ExecutorError> {
        let ref_name = order.source.ref_name.short().to_owned();
        let typed = self.typed_inputs && !native.inputs.is_empty();
        if typed {
            // An older version takes no notice of them, and would build something else.
            let version = self.gitlab.version().await.map_err(not_read)?;
            if version.numbers().is_some_and(|numbers| numbers < TYPED_INPUTS) {
                let detail = format!("GitLab {} takes no inputs of a pipeline.", crate::gitlab::plain(&version.version));
                let failure = Failure::new(FailureCode::ExecutorRefused, detail);
                return Err(ExecutorError::Refused(
                    failure.hint("Upgrade it to 18.1, or have inputs given as variables: `inputs = \"variables\"`."),
                ));
            }
        }
        let given = order.variables.iter().filter(|(key, _)| !(typed && native.inputs.contains_key(*key)));
        let variables = given.map(|(key, value)| PipelineVariable { key: key.to_string(), value: value.clone() }).collect();
        let inputs = native.inputs.iter().filter(|_| typed).map(|(key, value)| (key.to_string(), value.clone())).collect();
        Ok(NewPipeline { ref_name, variables, inputs })
    }

    /// Makes a pipeline; without our variables where the project allows nobody of our role to set any. Inputs are the
    /// user's: without them something else would be built, so where they are among the variables a refusal is told.
    async fn create(&self, project: &ProjectRef, new: NewPipeline, dispensable: bool) -> Result<Pipeline, GitLabError> {
        match self.gitlab.create_pipeline(project, &new).await {
            Err(error) if dispensable && !new.variables.is_empty() && error.says("set pipeline variables") => {
                self.gitlab.create_pipeline(project, &NewPipeline { variables: Vec::new(), ..new }).await
            }
            done => done,
        }
    }

    /// The project that the mirror pushed to, and that we build in: they must be one.
    async fn building_project(&self, place: &Place, order: &Order) -> Result<Project, ExecutorError> {
        let refused = |detail: String, hint: &str| ExecutorError::Refused(Failure::new(FailureCode::ExecutorRefused, detail).hint(hint));
        let project = self.gitlab.project(&ProjectRef::Path(place.path.clone())).await.map_err(not_read)?.ok_or_else(|| {
            refused(
                format!("GitLab shows the executor's token no project {}.", place.path),
                "Make the token's user a member of the group with the role Developer, and name the same group for the mirror and the executor.",
            )
        })?;
        let same = order.source.project.as_deref().is_none_or(|theirs| match theirs.parse::<u64>() {
            Ok(id) => id == project.id,
            Err(_) => theirs == project.path_with_namespace,
        });
        if !same {
            return Err(refused(
                format!("The mirror pushed to another project than {} (number {}).", place.path, project.id),
                "Name the same GitLab and the same group for the mirror and for the executor.",
            ));
        }
        if let Some(fault) = switched_off(&project) {
            return Err(fault);
        }
        Ok(project)
    }

    /// GitLab does not know the branch. For a moment after a push that is so, as it remembers which there were; where the
    /// branch is really gone, it stays so.
    async fn unknown_branch(&self, project: &Project, order: &Order, error: GitLabError) -> ExecutorError {
        match self.gitlab.commit(&project.reference(), order.source.ref_name.short()).await {
            Ok(Some(commit)) if commit.id == order.source.sha.as_str() => {
                ExecutorError::Retry { after: Some(BRANCH_COMES), why: "GitLab does not show the branch that was pushed yet".to_owned() }
            }
            Ok(_) => translate(error),
            Err(other) => not_read(other),
        }
    }

    pub(super) async fn search(&self, key: &AttemptKey, anchor: &Anchor) -> Result<Found, ExecutorError> {
        let place = Place::read(anchor)?;
        // That a project is not shown says nothing: it may be there, and our token may have lost it.
        let Some(project) = self.gitlab.project(&place.reference()).await.map_err(not_read)? else { return Ok(Found::NotYet) };
        let ours = self.ours(&project, &place, key).await?;
        let mut builds = Vec::with_capacity(ours.len());
        for pipeline in ours {
            builds.push(PipelineRef { project: project.id, pipeline: pipeline.id }.build()?);
        }
        let mut builds = builds.into_iter();
        match (builds.next(), builds.as_slice().is_empty()) {
            (Some(build), true) => Ok(Found::One(build)),
            (Some(counts), false) => Ok(Found::Many { counts, surplus: builds.collect() }),
            (None, _) if place.is_alone() => {
                // A start makes its pipeline before it answers. One that shows none for so long was lost on its way.
                if self.memory.searched_for(key, self.clock.now()) > LOST {
                    return Ok(Found::Never);
                }
                let branch = self.gitlab.branch(&project.reference(), &place.ref_name).await.map_err(not_read)?;
                Ok(if branch.is_some() { Found::NotYet } else { Found::Never })
            }
            (None, _) => match switched_off(&project) {
                Some(off) => Err(off),
                None if self.memory.lost_for(key, self.clock.now()).is_some_and(|since| since > LOST_AMONG_OTHERS) => Ok(Found::Never),
                None => Ok(Found::NotYet),
            },
        }
    }

    /// The pipelines that may be the attempt's, as far as their own fields tell, oldest first.
    async fn candidates(&self, project: &Project, place: &Place) -> Result<Vec<Pipeline>, ExecutorError> {
        let sha = (!place.is_alone()).then(|| place.sha.clone());
        let query = PipelineQuery { ref_name: Some(place.ref_name.clone()), sha, ..PipelineQuery::default() };
        let listed = match self.gitlab.pipelines(&project.reference(), &query, PAGES).await {
            Ok(listed) => listed,
            // So GitLab answers where pipelines are switched off: there are none.
            Err(GitLabError::Forbidden { scope: None, .. }) => return Ok(Vec::new()),
            Err(error) => return Err(not_read(error)),
        };
        let mut candidates: Vec<Pipeline> = listed.items.into_iter().filter(|pipeline| place.admits(pipeline)).collect();
        candidates.sort_by_key(|pipeline| pipeline.id);
        candidates.dedup_by_key(|pipeline| pipeline.id);
        Ok(candidates)
    }

    /// The attempt's pipelines, oldest first: the first counts.
    async fn ours(&self, project: &Project, place: &Place, key: &AttemptKey) -> Result<Vec<Pipeline>, ExecutorError> {
        let candidates = self.candidates(project, place).await?;
        if place.is_alone() {
            return Ok(candidates);
        }
        // Under a shared name other attempts make pipelines of the same commit, too. Only what names us is surplus of ours.
        let mut ours = Vec::new();
        for pipeline in candidates.into_iter().take(LOOKED_INTO) {
            match self.names_us(project, &pipeline, key).await? {
                Some(true) => ours.push(pipeline),
                None if ours.is_empty() => ours.push(pipeline),
                Some(false) | None => {}
            }
        }
        Ok(ours)
    }

    /// Whether a pipeline's variables say that it is this attempt's; `None` if they say nothing.
    async fn names_us(&self, project: &Project, pipeline: &Pipeline, key: &AttemptKey) -> Result<Option<bool>, ExecutorError> {
        if pipeline.source.as_deref() == Some("push") {
            return Ok(None);
        }
        let variables = match self.gitlab.pipeline_variables(&project.reference(), pipeline.id).await {
            Ok(variables) => variables,
            Err(GitLabError::Forbidden { .. } | GitLabError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(not_read(error)),
        };
        let value = |name: &str| variables.iter().find(|variable| variable.key == name).map(|variable| variable.value.as_str());
        let Some(run) = value("SIGNALBOX_RUN") else { return Ok(None) };
        let of_step = value("SIGNALBOX_STEP") == Some(key.step.to_string().as_str());
        let of_attempt = value("SIGNALBOX_ATTEMPT") == Some(key.attempt.to_string().as_str());
        Ok(Some(run == key.run.to_string() && of_step && of_attempt))
    }

    pub(super) async fn stop(&self, tracked: &Tracked) -> Result<(), ExecutorError> {
        // What was never found needs no end.
        let Some(build) = PipelineRef::read(&tracked.build) else { return Ok(()) };
        match self.gitlab.cancel_pipeline(&build.reference(), build.pipeline).await {
            // GitLab says the same of what it does not show us: the pipeline may run there all the same.
            Err(error) if error.is_not_found() => match self.gitlab.project(&build.reference()).await.map_err(not_read)? {
                None if !self.is_really_gone().await? => Err(hidden()),
                Some(_) | None => Ok(()),
            },
            done => done.map_err(translate),
        }
    }

    /// Closes the door first, and then looks who is inside: a start that comes later finds no branch.
    pub(super) async fn shut(&self, key: &AttemptKey, anchor: &Anchor) -> Result<Fenced, ExecutorError> {
        let place = Place::read(anchor)?;
        let Some(project) = self.gitlab.project(&place.reference()).await.map_err(not_read)? else {
            return if place.project.is_none() || self.is_really_gone().await? { Ok(Fenced::Never) } else { Err(hidden()) };
        };
        if place.is_alone() {
            match self.gitlab.delete_branch(&project.reference(), &place.ref_name).await {
                Ok(()) => {}
                // The mirror takes its ref away, too; this is for the case that it comes late.
                Err(error @ (GitLabError::Forbidden { .. } | GitLabError::Invalid { .. })) => {
                    tracing::debug!(%error, "the attempt's branch is left to the mirror");
                }
                Err(error) => return Err(translate(error)),
            }
        }
        let started = !self.ours(&project, &place, key).await?.is_empty();
        Ok(if started { Fenced::HadStarted } else { Fenced::Never })
    }

    /// What still goes on and is certainly the attempt's, besides the one that counted. Under a shared name that is only what
    /// names the attempt: a push names nobody.
    pub(super) async fn beside(
        &self,
        key: &AttemptKey,
        anchor: &Anchor,
        counted: Option<&BuildRef>,
    ) -> Result<Vec<BuildRef>, ExecutorError> {
        let place = Place::read(anchor)?;
        let Some(project) = self.gitlab.project(&place.reference()).await.map_err(not_read)? else {
            let gone = place.project.is_none() || self.is_really_gone().await?;
            return if gone { Ok(Vec::new()) } else { Err(hidden()) };
        };
        let mut beside = Vec::new();
        for pipeline in
            self.candidates(&project, &place).await?.into_iter().filter(|pipeline| !pipeline.status.has_ended()).take(LOOKED_INTO)
        {
            let build = PipelineRef { project: project.id, pipeline: pipeline.id }.build()?;
            if counted != Some(&build) && (place.is_alone() || self.names_us(&project, &pipeline, key).await? == Some(true)) {
                beside.push(build);
            }
        }
        Ok(beside)
    }

    /// Whether a project that is not shown is really gone: the token still sees the group that it was in.
    pub(super) async fn is_really_gone(&self) -> Result<bool, ExecutorError> {
        Ok(self.gitlab.group(&self.group).await.map_err(not_read)?.is_some())
    }
}

/// Why no pipeline can ever run in a project, where that is so.
fn switched_off(project: &Project) -> Option<ExecutorError> {
    let path = &project.path_with_namespace;
    let (what, hint) = if project.builds_access_level.as_deref() == Some("disabled") {
        ("CI/CD is switched off in", "Switch it on in the project's settings: General, Visibility, CI/CD.")
    } else if project.archived == Some(true) {
        ("Nothing can be built in an archived project:", "Unarchive it in the project's settings.")
    } else {
        return None;
    };
    Some(ExecutorError::Refused(Failure::new(FailureCode::ExecutorRefused, format!("{what} {path}.")).hint(hint)))
}

/// Neither a project nor its group is shown: the token sees nothing for now.
fn hidden() -> ExecutorError {
    ExecutorError::Retry { after: None, why: "GitLab shows the token neither the project nor its group".to_owned() }
}
