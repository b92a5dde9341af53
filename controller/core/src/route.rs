//! How an executor comes by what it builds, and where in what it makes the artifacts are.

use serde::{Deserialize, Serialize};
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::git::RepoPath;
use signalbox_contract::{ArtifactName, MirrorName, RefName};

/// How an executor comes by what it builds. All of it is the server's configuration, never the change's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The mirror that the executor reads; without it the VCS worker's own.
    pub mirror: Option<MirrorName>,
    /// Under which name the commit is shown there, where that is configured.
    pub naming: Option<Naming>,
    /// What is known of the executor's own definition. Without it, a job of `.signalbox.yaml` is built.
    pub native: Option<Native>,
}

/// What is known of a definition that the executor itself reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Native {
    /// The file that must be in the commit; none if the definition stands elsewhere.
    pub file: Option<RepoPath>,
    /// Where in what it makes the artifacts are.
    pub picks: Vec<Pick>,
}

/// Where in what a native build makes an artifact is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// The artifact.
    pub name: ArtifactName,
    /// The part that makes it. Without it, whichever has such a file.
    pub part: Option<String>,
    /// The file. Without it, the only one with the artifact's name.
    pub path: Option<RepoPath>,
}

impl Pick {
    /// An artifact of which nothing but its name is known.
    pub const fn named(name: ArtifactName) -> Self {
        Self { name, part: None, path: None }
    }

    /// Where it is looked for, in words.
    pub fn place(&self) -> String {
        let file = match &self.path {
            Some(path) => format!("the file {path}"),
            None => format!("a file {}", self.name.as_str().rsplit('/').next().unwrap_or_default()),
        };
        match &self.part {
            Some(part) => format!("{file} of the part {part}"),
            None => format!("{file} of any part"),
        }
    }
}

impl Route {
    /// Under which name a ref of the source is shown at the mirror.
    ///
    /// A push starts builds only where somebody else's server is the mirror. Only branches and tags have a name to keep; what
    /// is under review has none there, and one that looks like a name of ours must not take its place. What has inputs cannot be
    /// begun by a push, which carries none: it has a name of its own where nothing else was configured.
    pub fn naming_of(&self, ref_name: &RefName, with_inputs: bool) -> Naming {
        if self.mirror.is_none() {
            return Naming::Run;
        }
        let full = ref_name.as_str();
        let kept = full.starts_with("refs/heads/") || full.starts_with("refs/tags/");
        match self.naming {
            Some(Naming::Replace) => Naming::Replace,
            None if with_inputs => Naming::Run,
            Some(Naming::Same) | None if kept && !ref_name.short().starts_with("cd/") => Naming::Same,
            Some(Naming::Run | Naming::Same) | None => Naming::Run,
        }
    }
}
