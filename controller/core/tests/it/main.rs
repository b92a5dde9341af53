//! The core as its stories tell it, and under everything that a modelled world can do to it.

#![expect(clippy::expect_used, reason = "a sample that is not valid is a fault of the test")]

mod building;
mod choosing;
mod deploying;
mod desk;
mod elsewhere;
mod fairness;
mod invariants;
mod lost;
mod reporting;
mod rerunning;
mod sample;
mod stopping;
mod story;
mod troubled;
mod whole;
mod world;
