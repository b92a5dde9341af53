//! A whole definition: checked when it is read, asked for jobs when a pipeline is made.

use std::collections::{BTreeMap, BTreeSet};

use super::include::{self, Sources};
use super::reading::{Faults, Place, bool_at, check_keys, text_at};
use super::refusal::Errors;
use super::resolve::resolve;
use super::rule::{self, Rule};
use super::template::{self, DEFAULT_KEYS, Template};
use super::value::{Map, Value};
use super::variable::{Described, Variables, read as read_variables};

/// The keys at the top of a definition that are no jobs.
const RESERVED: [&str; 10] =
    ["include", "before_script", "image", "services", "after_script", "variables", "stages", "cache", "default", "workflow"];
const GLOBAL_DEFAULTS: [&str; 5] = ["before_script", "image", "services", "after_script", "cache"];
/// More than any real pipeline has; each is kept in memory.
const MOST_JOBS: usize = 5_000;

/// A `.gitlab-ci.yml` that is right.
#[derive(Clone, Debug)]
pub struct Definition {
    pub(super) stages: Vec<String>,
    pub(super) variables: Variables,
    pub(super) workflow: Workflow,
    pub(super) templates: Vec<Template>,
}

/// What is said about the pipeline as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Workflow {
    pub(super) rules: Option<Vec<Rule>>,
    pub(super) name: Option<String>,
    pub(super) auto_cancel: AutoCancel,
}

/// When the pipeline is cancelled by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoCancel {
    /// What a newer pipeline of the same ref cancels.
    pub on_new_commit: OnNewCommit,
    /// Whether the first failed job cancels the others.
    pub on_job_failure: bool,
}

/// What a newer pipeline of the same ref cancels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNewCommit {
    /// The pipeline, as long as no job has started that must not be interrupted.
    #[default]
    Conservative,
    /// The jobs that may be interrupted.
    Interruptible,
    /// Nothing.
    None,
}

impl Definition {
    /// Reads a definition that includes no other file.
    ///
    /// # Errors
    /// What is wrong with it, in GitLab's words.
    pub fn parse(text: &str) -> Result<Self, Errors> {
        Self::parse_with(text, Sources { file: None, inputs: &BTreeMap::new() })
    }

    /// Reads a definition, with the files it may include and the inputs it was given.
    ///
    /// # Errors
    /// What is wrong with it, in GitLab's words.
    pub fn parse_with(text: &str, sources: Sources<'_>) -> Result<Self, Errors> {
        let root = resolve(include::read(text, sources)?)?;
        let mut faults = Faults::default();
        let definition = Self::read(&root, &mut faults);
        if faults.none() { Ok(definition) } else { Err(Errors(faults.into_list())) }
    }

    fn read(root: &Map, faults: &mut Faults) -> Self {
        let top = Place::new("root");
        let unknown: Vec<&str> = root
            .iter()
            .filter(|(name, value)| {
                !RESERVED.contains(&name.as_str()) && !name.starts_with('.') && !value.is_null() && value.as_map().is_none()
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if !unknown.is_empty() {
            faults.add(&top, &format!("config contains unknown keys: {}", unknown.join(", ")));
        }
        let workflow = read_workflow(root, faults);
        let defaults = read_defaults(root, faults);
        let mut templates = Vec::new();
        for (name, value) in root {
            if RESERVED.contains(&name.as_str()) || name.starts_with('.') {
                continue;
            }
            let empty = Map::new();
            let map = match value {
                Value::Map(map) => map,
                Value::Null => &empty,
                _ => continue,
            };
            templates.extend(template::read(name, map, &defaults, workflow.rules.is_some(), faults));
        }
        let named = root.keys().any(|name| !RESERVED.contains(&name.as_str()) && !name.starts_with('.'));
        if !named {
            faults.add(&Place::new("jobs"), "config should contain at least one visible job");
        }
        let mut definition = Self {
            stages: read_stages(root, faults),
            variables: root
                .get("variables")
                .map(|value| read_variables(&Place::new("variables"), value, Described::Fully, faults))
                .unwrap_or_default(),
            workflow,
            templates,
        };
        if faults.none() {
            definition.settle(faults);
        }
        definition
    }

    /// The checks that look at all jobs together; names of multiplied jobs are put in where they are waited for.
    fn settle(&mut self, faults: &mut Faults) {
        let total: usize = self.templates.iter().map(|template| template.copies.names("").len()).sum();
        if total > MOST_JOBS {
            faults.say(format!("The number of jobs has exceeded the limit of {MOST_JOBS}"));
            return;
        }
        let stages = self.stages.clone();
        for template in &mut self.templates {
            let job = &mut template.job;
            match stages.iter().position(|stage| *stage == job.stage) {
                Some(index) => job.stage_index = index,
                None => faults.say(format!(
                    "{} job: chosen stage {} does not exist; available stages are {}",
                    job.name,
                    job.stage,
                    stages.join(", ")
                )),
            }
        }
        let places: BTreeMap<String, usize> =
            self.templates.iter().map(|template| (template.job.name.clone(), template.job.stage_index)).collect();
        for template in &self.templates {
            check_waits(template, &places, faults);
        }
        if self.is_circular() {
            faults.say("The pipeline has circular dependencies".to_owned());
        }
        let copies: BTreeMap<String, Vec<String>> =
            self.templates.iter().map(|template| (template.job.name.clone(), template.copies.names(&template.job.name))).collect();
        for template in &mut self.templates {
            multiply_waits(template, &copies);
        }
    }

    fn is_circular(&self) -> bool {
        let mut waiting: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for template in &self.templates {
            let own = template.job.needs.iter().flatten();
            let ruled = template.rules.iter().flatten().flat_map(|rule| rule.needs.iter().flatten());
            let needs = own.chain(ruled).map(|need| need.job.as_str());
            waiting.insert(&template.job.name, needs.collect());
        }
        loop {
            let free: Vec<&str> =
                waiting.iter().filter(|(_, needs)| needs.iter().all(|need| !waiting.contains_key(need))).map(|(name, _)| *name).collect();
            if free.is_empty() {
                return !waiting.is_empty();
            }
            for name in free {
                waiting.remove(name);
            }
        }
    }

    /// The stages, `.pre` and `.post` among them.
    #[must_use]
    pub fn stages(&self) -> &[String] {
        &self.stages
    }

    /// When the pipeline is cancelled by itself.
    #[must_use]
    pub fn auto_cancel(&self) -> AutoCancel {
        self.workflow.auto_cancel
    }
}

fn check_waits(template: &Template, places: &BTreeMap<String, usize>, faults: &mut Faults) {
    let job = &template.job;
    let ruled = template.rules.iter().flatten().flat_map(|rule| rule.needs.iter().flatten());
    for need in job.needs.iter().flatten().chain(ruled) {
        match places.get(&need.job) {
            None if need.optional => {}
            None => faults.say(format!("{} job: undefined need: {}", job.name, need.job)),
            Some(place) if *place > job.stage_index => {
                faults.say(format!("{} job: need {} is not defined in current or prior stages", job.name, need.job));
            }
            Some(_) => {}
        }
    }
    for dependency in job.dependencies.iter().flatten() {
        match places.get(dependency) {
            None => faults.say(format!("{} job: undefined dependency: {dependency}", job.name)),
            Some(place) if *place >= job.stage_index && job.needs.is_none() => {
                faults.say(format!("{} job: dependency {dependency} is not defined in prior stages", job.name));
            }
            Some(_) => {}
        }
    }
    if let (Some(needs), Some(dependencies)) = (&job.needs, &job.dependencies) {
        let missing: Vec<&str> =
            dependencies.iter().map(String::as_str).filter(|name| !needs.iter().any(|need| need.job == *name)).collect();
        if !missing.is_empty() {
            faults.add(&Place::new("jobs").inside(&job.name), &format!("dependencies the {} should be part of needs", missing.join(", ")));
        }
    }
}

fn multiply_waits(template: &mut Template, copies: &BTreeMap<String, Vec<String>>) {
    let ruled = template.rules.iter_mut().flatten().filter_map(|rule| rule.needs.as_mut());
    for needs in template.job.needs.iter_mut().chain(ruled) {
        *needs = needs
            .iter()
            .flat_map(|need| {
                let names = copies.get(&need.job).cloned().unwrap_or_else(|| vec![need.job.clone()]);
                names.into_iter().map(|job| super::job::Need { job, ..need.clone() })
            })
            .collect();
    }
    if let Some(dependencies) = &mut template.job.dependencies {
        *dependencies = dependencies.iter().flat_map(|name| copies.get(name).cloned().unwrap_or_default()).collect();
    }
}

fn read_stages(root: &Map, faults: &mut Faults) -> Vec<String> {
    let given = match root.get("stages") {
        None | Some(Value::Null) => ["build", "test", "deploy"].map(str::to_owned).to_vec(),
        Some(_) => super::reading::texts_at(&Place::new("stages"), root, "stages", true, faults),
    };
    let mut stages = vec![".pre".to_owned()];
    for stage in given {
        if !stages.contains(&stage) && stage != ".post" {
            stages.push(stage);
        }
    }
    stages.push(".post".to_owned());
    stages
}

fn read_defaults(root: &Map, faults: &mut Faults) -> Map {
    let place = Place::new("default");
    let mut defaults = match root.get("default") {
        Some(Value::Map(map)) => map.clone(),
        None | Some(Value::Null) => Map::new(),
        Some(_) => {
            faults.add(&place, "config should be a hash");
            Map::new()
        }
    };
    check_keys(&place, &defaults, &DEFAULT_KEYS, faults);
    for key in GLOBAL_DEFAULTS {
        let Some(value) = root.get(key).filter(|value| !value.is_null()) else { continue };
        if defaults.contains_key(key) {
            faults.add(&place, &format!("{key} is defined in top-level and `default:` entry"));
        }
        defaults.insert(key.to_owned(), value.clone());
    }
    defaults
}

fn read_workflow(root: &Map, faults: &mut Faults) -> Workflow {
    let place = Place::new("workflow");
    let map = match root.get("workflow") {
        Some(Value::Map(map)) => map,
        None | Some(Value::Null) => return Workflow::default(),
        Some(_) => {
            faults.add(&place, "config should be a hash");
            return Workflow::default();
        }
    };
    check_keys(&place, map, &["rules", "name", "auto_cancel"], faults);
    Workflow {
        rules: map.get("rules").filter(|value| !value.is_null()).map(|value| rule::read(&place.inside("rules"), value, true, faults)),
        name: text_at(&place, map, "name", faults),
        auto_cancel: read_auto_cancel(&place.inside("auto_cancel"), map.get("auto_cancel"), faults),
    }
}

fn read_auto_cancel(place: &Place, value: Option<&Value>, faults: &mut Faults) -> AutoCancel {
    let Some(Value::Map(map)) = value else { return AutoCancel::default() };
    check_keys(place, map, &["on_new_commit", "on_job_failure"], faults);
    if bool_at(place, map, "on_job_failure", &mut Faults::default()).is_some() {
        faults.add(place, "on job failure must be one of: none, all");
    }
    AutoCancel {
        on_new_commit: match map.get("on_new_commit").and_then(Value::as_text) {
            None | Some("conservative") => OnNewCommit::Conservative,
            Some("interruptible") => OnNewCommit::Interruptible,
            Some("none") => OnNewCommit::None,
            Some(_) => {
                faults.add(place, "on new commit must be one of: conservative, interruptible, none");
                OnNewCommit::Conservative
            }
        },
        on_job_failure: map.get("on_job_failure").and_then(Value::as_text) == Some("all"),
    }
}
