//! One file for each thing that can be asked for.

pub(crate) mod blobs;
pub(crate) mod cd;
pub(crate) mod check_config;
pub(crate) mod deliveries;
pub(crate) mod doctor;
pub(crate) mod environments;
pub(crate) mod fake;
pub(crate) mod keys;
pub(crate) mod mirrors;
pub(crate) mod runs;
pub(crate) mod show;
pub(crate) mod token;
