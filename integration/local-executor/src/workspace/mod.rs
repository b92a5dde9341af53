//! Where a build works: a folder of its own, fresh each time, gone afterwards.

pub(crate) mod artifact;
mod folder;
mod tree;

pub(crate) use folder::{Workspace, clear};
pub(crate) use tree::Measure;
