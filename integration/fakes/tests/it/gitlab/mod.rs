//! The fake GitLab.

mod api;
mod git;
mod hooks;
mod pipelines;
mod world;
