//! Hooks: what they are told, and how it gets there.

mod change;
mod delivery;
pub(crate) mod payload;

pub(crate) use change::{Brought, LISTED, MergeRequestChange, RefChange, merge_request, note, push};
pub(crate) use delivery::{Courier, Parcel, deliver, is_local, parcels};
