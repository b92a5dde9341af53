//! A GitLab that fits into one process: groups, projects, git over HTTP, pipelines, runners, hooks.

pub mod ci;
