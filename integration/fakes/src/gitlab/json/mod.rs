//! What the API shows of the state.

mod pipeline;
mod project;
mod repository;

pub(crate) use pipeline::{bridge, job, pipeline, pipeline_in_list, status};
pub(crate) use project::{
    deploy_key, deployment, environment, group, hook, merge_request, note, project, protected_branch, token, user, variable,
};
pub(crate) use repository::{branch, commit, tag};
