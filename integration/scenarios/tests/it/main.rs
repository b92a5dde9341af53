//! Scenarios: stories about the whole system, each as a user would tell it.

#![expect(clippy::expect_used, reason = "a scenario that cannot set its stage cannot go on")]

mod crashes;
mod gitlab_source;
mod hello;
mod main_job;
mod mirrors;
mod native;
mod outages;
mod plan;
mod planted;
mod reviews;
mod secrets;
mod sources;
mod traces;
mod yard;
