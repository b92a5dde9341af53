//! GitLab as an executor, against the fake GitLab.

mod conformance;
mod faults;
mod identities;
mod stage;
