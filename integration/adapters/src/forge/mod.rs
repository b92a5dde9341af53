//! Forges: where changes come from, and where what became of them is told.
//!
//! [`Forge`] is the one face that they all have for us. What a delivery means, and whether it is genuine, is pure; only
//! [`Forge::heads`], [`Forge::tell`] and [`Forge::stream`] reach out.

mod comment;
mod face;
pub mod gerrit;
pub mod gitlab;
mod happening;
mod payload;
#[cfg(test)]
mod scripted;
mod secrets;

pub use crate::mirror::{Finding, Severity};
pub use face::{Admitted, Forge, ForgeError, Forged, Fut, Glance, Knock, Review, Streamed, Told, Watched};
pub use happening::{Closing, Happening, Proposal, Untranslated};
pub use secrets::Secrets;
pub use signalbox_contract::Standing;
