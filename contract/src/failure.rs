//! Why a worker could not do what was asked, after it tried: an outcome, not a fault of the request.

use serde::{Deserialize, Serialize};

use crate::FailureClass;
use crate::text::sentence;

macro_rules! failures {
    ($($(#[$meta:meta])* $name:ident = $text:literal, $class:ident;)*) => {
        /// What failed, as a stable word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FailureCode {
            $($(#[$meta])* #[serde(rename = $text)] $name,)*
            /// A code that this version does not know, from a newer service.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl utoipa::PartialSchema for FailureCode {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                crate::schema::words("What failed, as a stable word.", [$($text),*, "unknown"])
            }
        }

        impl utoipa::ToSchema for FailureCode {}

        impl FailureCode {
            /// The word itself.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Unknown => "unknown" }
            }

            /// Whose fault it is, as far as the code can tell.
            pub const fn class(self) -> FailureClass {
                match self { $(Self::$name => FailureClass::$class,)* Self::Unknown => FailureClass::Unknown }
            }
        }
    };
}

failures! {
    /// The VCS worker's configuration has no source that allows this URL.
    SourceNotAllowed = "source_not_allowed", Configuration;
    /// The source's name has no address, or none that may be used.
    SourceAddress = "source_address", Configuration;
    /// The source's server cannot be reached.
    SourceUnreachable = "source_unreachable", Infrastructure;
    /// The source's server did not finish in time.
    SourceTimeout = "source_timeout", Infrastructure;
    /// The source's server refused the credentials, or asks for some.
    SourceDenied = "source_denied", Configuration;
    /// The source's server has no such repository (or says so).
    SourceNotFound = "source_not_found", Configuration;
    /// The source's server answered something that is not git, or broken objects.
    SourceBroken = "source_broken", Infrastructure;
    /// The source's server redirects elsewhere, which is not followed.
    SourceRedirects = "source_redirects", Configuration;
    /// The source is larger than is allowed.
    SourceTooLarge = "source_too_large", Configuration;
    /// The source has no such ref.
    RefNotFound = "ref_not_found", Work;
    /// The ref no longer points to the commit that was asked for.
    RefMoved = "ref_moved", Work;
    /// The commit that was asked for is not to be had.
    CommitNotFound = "commit_not_found", Work;
    /// What was published is not what was asked for.
    ProofFailed = "proof_failed", Infrastructure;
    /// The VCS worker's configuration has no mirror of this name.
    MirrorUnknown = "mirror_unknown", Configuration;
    /// The mirror's server cannot be reached, or failed.
    MirrorUnreachable = "mirror_unreachable", Infrastructure;
    /// The mirror's server refused the credentials, or they lack a right or a scope.
    MirrorDenied = "mirror_denied", Configuration;
    /// The mirror's server has no such repository, project or group (or says so).
    MirrorNotFound = "mirror_not_found", Configuration;
    /// A name at the mirror is taken: of a project, or of a ref.
    MirrorTaken = "mirror_taken", Configuration;
    /// The ref is protected at the mirror, or may not be replaced there.
    MirrorProtected = "mirror_protected", Configuration;
    /// A rule of the mirror's server refuses the push.
    MirrorRefused = "mirror_refused", Configuration;
    /// The mirror has no room for it: a limit on sizes, or a quota.
    MirrorFull = "mirror_full", Configuration;
    /// A setting at the mirror is not what is needed, and could not be changed.
    MirrorSettings = "mirror_settings", Configuration;
    /// Somebody else moves the ref at the mirror, again and again.
    MirrorMoved = "mirror_moved", Infrastructure;
    /// There is no room on the worker's disk.
    DiskFull = "disk_full", Infrastructure;
    /// `.signalbox.yaml` is missing.
    DefinitionMissing = "definition_missing", Work;
    /// `.signalbox.yaml` is not valid; the detail says line and column.
    DefinitionInvalid = "definition_invalid", Work;
    /// `.signalbox.yaml` has several jobs, none is called `cd`, and the request names none.
    JobAmbiguous = "job_ambiguous", Work;
    /// `.signalbox.yaml` has no job of the name that was asked for.
    JobNotFound = "job_not_found", Work;
    /// The job does not declare the artifact that was asked for.
    ArtifactNotDeclared = "artifact_not_declared", Work;
    /// The token that started or reran the run may not publish an artifact that the job declares.
    ArtifactNotAllowed = "artifact_not_allowed", Configuration;
    /// The job ended well and did not make the artifact that was asked for.
    ArtifactMissing = "artifact_missing", Work;
    /// An artifact is larger than its grant allows.
    ArtifactTooLarge = "artifact_too_large", Work;
    /// The build ended without success; the detail is what its executor says.
    BuildFailed = "build_failed", Work;
    /// The build was stopped at its executor, by somebody there.
    BuildStopped = "build_stopped", Unknown;
    /// Nobody knows how the build ended.
    BuildLost = "build_lost", Infrastructure;
    /// The commit was handed over, and no build of it ever began.
    BuildNeverCame = "build_never_came", Configuration;
    /// The executor refused the build.
    ExecutorRefused = "executor_refused", Configuration;
    /// The executor cannot be reached.
    ExecutorUnreachable = "executor_unreachable", Infrastructure;
    /// The executor cannot isolate builds here, and may not run them without isolation.
    NoSandbox = "no_sandbox", Configuration;
    /// There is no such environment.
    EnvironmentNotFound = "environment_not_found", Configuration;
    /// The environment does not allow this published name.
    NameNotAllowed = "name_not_allowed", Configuration;
    /// At least one host could not be switched.
    HostsFailed = "hosts_failed", Infrastructure;
    /// A host cannot be reached, or gave no answer.
    HostUnreachable = "host_unreachable", Infrastructure;
    /// There is no such release on the hosts any more.
    ReleaseNotFound = "release_not_found", Configuration;
    /// A host already has a later activation.
    SequenceSuperseded = "sequence_superseded", Work;
    /// The artifact's bytes are not to be had from the store.
    ArtifactUnavailable = "artifact_unavailable", Infrastructure;
    /// The forge refused to show how the run stands.
    ForgeRefused = "forge_refused", Configuration;
    /// A worker could not be reached, or failed, for as long as was tried.
    WorkerUnavailable = "worker_unavailable", Infrastructure;
    /// The time that was allowed is over.
    DeadlinePassed = "deadline_passed", Work;
    /// A fault of Signalbox.
    Internal = "internal", Infrastructure;
}

/// Why something that was tried did not succeed, in words for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failure {
    /// What failed.
    pub code: FailureCode,
    /// What happened, with names; bounded, free of control characters and of secrets.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Failure {
    /// A failure with this code and these words.
    pub fn new(code: FailureCode, detail: impl Into<String>) -> Self {
        Self { code, detail: sentence(detail.into()), hint: String::new() }
    }

    /// The same, saying what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = sentence(hint.into());
        self
    }

    /// The same, saying what to change in a service's configuration.
    #[must_use]
    pub fn configure(self, hint: &str) -> Self {
        self.hint(format!("{hint} Then restart it: a service reads its configuration when it starts."))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)?;
        if !self.hint.is_empty() {
            write!(f, " {}", self.hint)?;
        }
        Ok(())
    }
}
