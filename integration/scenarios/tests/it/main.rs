//! Scenarios: stories about the whole system, each as a user would tell it.

mod crashes;
mod main_job;
