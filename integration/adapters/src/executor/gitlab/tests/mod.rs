//! Stories of the executor against a GitLab that says exactly what a story needs.

mod hooks;
mod identities;
mod logs;
mod outputs;
mod reports;
mod starts;
mod states;
mod world;
