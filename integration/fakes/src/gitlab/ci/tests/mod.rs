//! Stories of definitions: what they make, and what they are told when they are wrong.

mod jobs;
mod mistakes;
mod progress;
mod rules;

use std::collections::BTreeMap;

use super::{Context, Definition, Job, Refusal};

/// A push to a branch.
fn push(branch: &str) -> Context {
    let variables = [
        ("CI", "true"),
        ("CI_PIPELINE_SOURCE", "push"),
        ("CI_COMMIT_BRANCH", branch),
        ("CI_COMMIT_REF_NAME", branch),
        ("CI_DEFAULT_BRANCH", "main"),
        ("CI_PROJECT_PATH", "group/hello"),
    ];
    Context { variables: variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), ..Context::default() }
}

fn with(mut context: Context, name: &str, value: &str) -> Context {
    context.variables.insert(name.to_owned(), value.to_owned());
    context
}

fn tag(name: &str) -> Context {
    let mut context = with(with(push(name), "CI_COMMIT_TAG", name), "CI_COMMIT_REF_NAME", name);
    context.variables.remove("CI_COMMIT_BRANCH");
    context
}

fn merge_request() -> Context {
    let mut context = with(push("topic"), "CI_PIPELINE_SOURCE", "merge_request_event");
    context.variables.remove("CI_COMMIT_BRANCH");
    with(context, "CI_MERGE_REQUEST_IID", "1")
}

fn jobs(text: &str, context: &Context) -> Vec<Job> {
    Definition::parse(text).expect("the definition is right").pipeline(context).expect("there is a pipeline")
}

fn names(text: &str, context: &Context) -> Vec<String> {
    match Definition::parse(text).expect("the definition is right").pipeline(context) {
        Ok(jobs) => jobs.into_iter().map(|job| job.name).collect(),
        Err(Refusal::NoJobs) => Vec::new(),
        Err(other) => panic!("{other}"),
    }
}

fn one(text: &str) -> Job {
    jobs(text, &push("main")).remove(0)
}

fn mistake(text: &str) -> String {
    Definition::parse(text).expect_err("the definition is wrong").to_string()
}

fn variables(job: &Job) -> BTreeMap<&str, &str> {
    job.variables.iter().map(|variable| (variable.name.as_str(), variable.value.as_str())).collect()
}
