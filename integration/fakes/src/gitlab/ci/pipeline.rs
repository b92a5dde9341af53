//! Making a pipeline: which jobs a definition has for a ref, an event and a set of changed files.

use std::collections::{BTreeMap, BTreeSet};

use super::definition::Definition;
use super::job::{AllowFailure, Job, When};
use super::multiply::Copy;
use super::refusal::Refusal;
use super::rule::{Rule, Seen};
use super::template::Template;
use super::variable::{Scope, Variables};

/// What a pipeline is made for.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The predefined variables, those of project and group, and those that whoever started it gave.
    pub variables: BTreeMap<String, String>,
    /// The files that the push changed; nothing where that cannot be told, and then all rules on changes fit.
    pub changed: Option<Vec<String>>,
    /// All files of the commit.
    pub files: Vec<String>,
}

impl Definition {
    /// The jobs, stage after stage, each stage in the order in which it is written.
    ///
    /// # Errors
    /// Why there is no pipeline, in GitLab's words.
    pub fn pipeline(&self, context: &Context) -> Result<Vec<Job>, Refusal> {
        let globals = self.globals(context).ok_or(Refusal::Filtered)?;
        let mut jobs: Vec<Job> = Vec::new();
        for template in &self.templates {
            for copy in template.copies.of(&template.job.name) {
                jobs.extend(make(template, copy, &globals, context));
            }
        }
        if jobs.iter().all(|job| job.stage == ".pre" || job.stage == ".post") {
            return Err(Refusal::NoJobs);
        }
        jobs.sort_by_key(|job| job.stage_index);
        settle_needs(&mut jobs)?;
        Ok(jobs)
    }

    /// The pipeline's own name, where the definition gives it one.
    #[must_use]
    pub fn name(&self, context: &Context) -> Option<String> {
        let globals = self.globals(context)?;
        let scope = Scope::new(&context.variables, globals.values());
        self.workflow.name.as_deref().map(|name| scope.expand(name)).filter(|name| !name.trim().is_empty())
    }

    /// The global variables, with those of the workflow's rule; nothing when the workflow wants no pipeline.
    fn globals(&self, context: &Context) -> Option<Variables> {
        let mut globals = self.variables.clone();
        if let Some(rules) = &self.workflow.rules {
            let rule = first_fit(rules, &Scope::new(&context.variables, globals.values()), context)?;
            if rule.when == Some(When::Never) {
                return None;
            }
            globals.extend(rule.variables.clone());
        }
        Some(globals)
    }
}

fn first_fit<'a>(rules: &'a [Rule], scope: &Scope, context: &Context) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.fits(scope, seen(context)))
}

fn seen(context: &Context) -> Seen<'_> {
    Seen { changed: context.changed.as_deref(), files: &context.files }
}

fn make(template: &Template, copy: Copy, globals: &Variables, context: &Context) -> Option<Job> {
    let mut variables: Variables = globals
        .iter()
        .filter(|(name, _)| template.inherit_variables.takes(name))
        .map(|(name, variable)| (name.clone(), variable.clone()))
        .collect();
    variables.extend(template.variables.clone());
    variables.extend(copy.variables);
    let scope = Scope::new(&context.variables, variables.values());
    let mut job = template.job.clone();
    job.name = copy.name;
    job.parallel = copy.parallel;
    if let Some(rules) = &template.rules {
        let rule = first_fit(rules, &scope, context)?;
        job.when = rule.when.unwrap_or(job.when);
        if job.when == When::Never {
            return None;
        }
        if let Some(always) = rule.allow_failure {
            job.allow_failure = AllowFailure { always, exit_codes: Vec::new() };
        }
        job.interruptible = rule.interruptible.unwrap_or(job.interruptible);
        variables.extend(rule.variables.clone());
        job.needs = rule.needs.clone().or(job.needs);
    } else {
        let wanted = template.only.as_ref().is_none_or(|only| only.all_fit(&scope, seen(context)));
        let unwanted = template.except.as_ref().is_some_and(|except| except.any_fits(&scope, seen(context)));
        if !wanted || unwanted {
            return None;
        }
    }
    let scope = Scope::new(&context.variables, variables.values());
    job.tags = job.tags.iter().map(|tag| scope.expand(tag)).collect();
    job.variables = variables.into_values().collect();
    Some(job)
}

/// A need that is not in this pipeline is an error, unless it is optional: then it is not waited for.
fn settle_needs(jobs: &mut [Job]) -> Result<(), Refusal> {
    let names: BTreeSet<String> = jobs.iter().map(|job| job.name.clone()).collect();
    for job in jobs {
        let Some(needs) = &mut job.needs else { continue };
        if let Some(missing) = needs.iter().find(|need| !need.optional && !names.contains(&need.job)) {
            return Err(Refusal::Invalid(format!(
                "'{}' job needs '{}' job, but '{}' does not exist in the pipeline. This might be because of the only, except, or rules \
                 keywords. To need a job that sometimes does not exist in the pipeline, use needs:optional.",
                job.name, missing.job, missing.job
            )));
        }
        needs.retain(|need| names.contains(&need.job));
    }
    Ok(())
}
