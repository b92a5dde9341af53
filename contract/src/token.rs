//! What the tokens say that pass between users and services: claims only. Signing and checking is the chassis's.
//!
//! Three kinds, told apart by the JWT header's `typ`, so that none can be used as another:
//! an operator's token carries grants; an *act token* is bound to one request; a *capability* allows one narrow thing
//! for as long as its attempt lasts.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::grant::Grant;
use crate::{ArtifactName, AttemptKey, CommitSha, Digest, RepoName};

/// Who issues every token.
pub const ISSUER: &str = "signalbox";

/// How long an act token lasts, in seconds.
pub const ACT_LIFETIME: i64 = 600;

/// The header in which a capability travels beside an act token, for the receiver to use towards a third service.
pub const CAPABILITY_HEADER: &str = "signalbox-capability";

/// A service, as the audience of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Decides, remembers, signs.
    Controller,
    /// Fetches sources and serves mirrors.
    VcsWorker,
    /// Keeps bytes.
    ArtifactStore,
    /// Reaches hosts.
    DeployWorker,
    /// Runs builds here.
    LocalExecutor,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Controller, Self::VcsWorker, Self::ArtifactStore, Self::DeployWorker, Self::LocalExecutor];

    /// The service's name, as it stands in tokens, logs and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::VcsWorker => "vcs-worker",
            Self::ArtifactStore => "artifact-store",
            Self::DeployWorker => "deploy-worker",
            Self::LocalExecutor => "local-executor",
        }
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of a token, as its header's `typ` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Grants for a person or a script.
    Operator,
    /// One request from the controller to a worker.
    Act,
    /// One narrow thing for as long as an attempt lasts.
    Capability,
}

impl TokenKind {
    /// The header's `typ`.
    pub const fn typ(self) -> &'static str {
        match self {
            Self::Operator => "signalbox-operator+jwt",
            Self::Act => "signalbox-act+jwt",
            Self::Capability => "signalbox-capability+jwt",
        }
    }
}

/// An operator's token. Times are seconds since the epoch (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorClaims {
    /// Always `signalbox`.
    pub iss: String,
    /// The principal: who this is, for the audit.
    pub sub: String,
    /// The service that it is for: the controller, or the artifact store.
    pub aud: Service,
    /// The id by which it can be revoked.
    pub jti: Uuid,
    /// When it was made.
    pub iat: i64,
    /// When it ends.
    pub exp: i64,
    /// What it may do.
    pub grants: Vec<Grant>,
}

/// An act token: good for one request and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActClaims {
    /// Always `signalbox`.
    pub iss: String,
    /// Always `controller`.
    pub sub: String,
    /// The worker that it is for.
    pub aud: Service,
    /// When it was made.
    pub iat: i64,
    /// When it ends.
    pub exp: i64,
    /// The method and the path of the request, `POST /repo`.
    pub op: String,
    /// The attempt on whose behalf it is made; none for reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<AttemptKey>,
    /// The SHA-256 of the request's body, of no bytes where there is none.
    pub body: Digest,
}

/// A capability: allows one thing for as long as its attempt lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityClaims {
    /// Always `signalbox`.
    pub iss: String,
    /// Always `controller`.
    pub sub: String,
    /// The service that it is for.
    pub aud: Service,
    /// When it was made.
    pub iat: i64,
    /// When it ends.
    pub exp: i64,
    /// The attempt that it belongs to.
    pub key: AttemptKey,
    /// What it allows.
    pub cap: Capability,
}

/// What a capability allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Capability {
    /// Read one repository from the VCS worker's mirror.
    ReadRepo {
        /// The repository.
        repo: RepoName,
        /// The commit for which it is meant, for the log; git serves whatever the repository holds.
        sha: CommitSha,
    },
    /// Put artifacts into the attempt's grant in the artifact store.
    PutGrant {
        /// The names that may be put; no other.
        names: Vec<ArtifactName>,
        /// How many bytes all of them together may have.
        max_bytes: u64,
    },
    /// Read one blob from the artifact store.
    ReadDigest {
        /// Which.
        digest: Digest,
    },
}
