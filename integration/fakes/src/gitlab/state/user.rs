//! People, their tokens, and what they may do.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

/// Access levels, as GitLab numbers them.
pub mod level {
    /// Nothing at all.
    pub const NONE: u32 = 0;
    /// May see issues, and little else.
    pub const GUEST: u32 = 10;
    /// May see the code.
    pub const REPORTER: u32 = 20;
    /// May push and run pipelines.
    pub const DEVELOPER: u32 = 30;
    /// May change the project's settings and protected branches.
    pub const MAINTAINER: u32 = 40;
    /// May delete the project.
    pub const OWNER: u32 = 50;
    /// Runs the whole GitLab.
    pub const ADMIN: u32 = 60;
}

/// A person, or the robot behind a project's or group's token.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: u64,
    /// The name it logs in by.
    pub username: String,
    /// The name it is called by.
    pub name: String,
    /// Where mail reaches it.
    pub email: String,
    /// Whether it runs the whole GitLab.
    pub admin: bool,
    /// Whether it is the robot of a project's or group's token.
    pub bot: bool,
    /// Whether it was blocked: it may do nothing, and events of it are not sent.
    pub blocked: bool,
}

/// What a token was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A person's own.
    Personal,
    /// A project's: a robot that is a member of that project alone.
    Project(u64),
    /// A group's: a robot that is a member of that group.
    Group(u64),
}

/// A token, with what it is good for.
#[derive(Debug)]
pub struct Token {
    /// Its id.
    pub id: u64,
    /// What its owner calls it.
    pub name: String,
    /// Whose rights it has.
    pub user: u64,
    /// What it was made for.
    pub kind: TokenKind,
    /// `api`, `read_api`, `read_repository`, `write_repository`, `create_runner` …
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is good for nothing.
    pub expires_at: Option<Timestamp>,
    /// Whether it was taken back.
    pub revoked: bool,
    /// When it was used last.
    pub last_used_at: Option<Timestamp>,
    secret: SecretString,
}

/// What a new token is to be.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What its owner calls it.
    pub name: String,
    /// Whose rights it has.
    pub user: u64,
    /// What it was made for.
    pub kind: TokenKind,
    /// What it is good for.
    pub scopes: Vec<String>,
    /// From when on it is good for nothing.
    pub expires_at: Option<Timestamp>,
}

impl Token {
    pub(super) fn new(id: u64, new: NewToken, secret: SecretString, now: Timestamp) -> Self {
        let NewToken { name, user, kind, scopes, expires_at } = new;
        Self { id, name, user, kind, scopes, created_at: now, expires_at, revoked: false, last_used_at: None, secret }
    }

    /// Whether it was made with this scope.
    pub fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|held| held == scope)
    }

    /// Whether it is still good for anything.
    pub fn active(&self, now: Timestamp) -> bool {
        !self.revoked && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether these are its characters.
    pub fn is(&self, secret: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.secret.expose_secret().as_bytes(), secret.as_bytes()).is_ok()
    }
}
