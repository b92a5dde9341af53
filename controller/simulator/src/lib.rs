//! A simulator of the controller's heart.
//!
//! The real `decide`, the real dispatcher and the real reconciler live through histories that a number determines, on a
//! clock that the history moves, against models of the store, the workers, the executors, the forges and the hosts. The
//! models fail as the number says: requests and answers are lost, doubled and late, controllers die between any two steps,
//! clocks jump, executors forget and show yesterday's state. After each step the laws are checked, and at the end that
//! everything has come to its end, was done once, and has left nothing behind.
//!
//! A history that breaks a law is played again from its number alone, and shortened to the steps that matter.

mod build;
mod controller;
mod database;
mod dice;
mod law;
mod outside;
mod play;
mod sample;
mod story;
mod weather;
mod wiring;
mod world;

pub use database::Row;
pub use law::Broken;
pub use play::{Failure, Figures, Settings, play, shorten, tell};
pub use weather::Weather;
pub use wiring::{Real, Wiring};
