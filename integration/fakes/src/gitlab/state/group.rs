//! Groups: folders of projects, with members who have rights in all of them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::project::Visibility;

/// A group, or the name space of a user.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its id, which is a name space's id too.
    pub id: u64,
    /// The group that it lies in.
    pub parent: Option<u64>,
    /// What it is called.
    pub name: String,
    /// The last part of its path.
    pub path: String,
    /// Its whole path.
    pub full_path: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// The user whose name space it is, if it is one.
    pub user: Option<u64>,
    /// Who has which level in it and below.
    pub members: BTreeMap<u64, u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was asked to be deleted.
    pub marked_for_deletion_at: Option<Timestamp>,
}

impl Group {
    /// The word for what it is.
    pub const fn kind(&self) -> &'static str {
        if self.user.is_some() { "user" } else { "group" }
    }
}
