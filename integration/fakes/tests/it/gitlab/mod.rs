//! The fake GitLab.

mod api;
mod clients;
mod git;
mod hooks;
mod pipelines;
mod world;
