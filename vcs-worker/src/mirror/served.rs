//! The mirrors that this worker serves itself: a ref in our copy, which [`crate::served`] shows.

use std::net::IpAddr;
use std::sync::Arc;

use signalbox_adapters::mirror::{Finding, Fut, Listed, Mirror, MirrorError, Order, Severity, Shown, Target, attempt_ref};
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::{CommitSha, Failure, FailureCode, RefName, RepoName};
use signalbox_service::git::{Fault, GitError};
use url::Url;

use crate::cache::{Cache, Copy};
use crate::names::Names;

/// Mirrors of our own.
pub(crate) struct Served {
    names: Arc<Names>,
    cache: Arc<Cache>,
    base: Url,
}

impl Served {
    /// Mirrors that are reached below `base`.
    pub(crate) const fn new(names: Arc<Names>, cache: Arc<Cache>, base: Url) -> Self {
        Self { names, cache, base }
    }

    fn copy(&self, name: &RepoName) -> Option<Arc<Copy>> {
        let binding = self.names.get(name)?;
        Some(self.cache.copy(&binding.copy)).filter(|copy| copy.exists())
    }

    fn url(&self, name: &RepoName) -> Url {
        let mut url = self.base.clone();
        let path = format!("{}/mirrors/{name}.git", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    fn shown(&self, order: &Order<'_>, moved: bool) -> Result<Shown, MirrorError> {
        let internal = |_| MirrorError::Final(Failure::new(FailureCode::Internal, "The mirror's ref cannot be made."));
        let ref_name: RefName = attempt_ref(order.key).parse().map_err(internal)?;
        Ok(Shown { url: self.url(order.target.name), ref_name, sha: order.sha.clone(), project: None, moved })
    }
}

/// It lies with us, and may pass.
pub(super) fn ours(error: &GitError) -> MirrorError {
    tracing::error!(fault = ?error.fault, said = error.said, "mirror.not_changed");
    let (code, hint) = match error.fault {
        Fault::DiskFull => (FailureCode::DiskFull, "Make room on the VCS worker's disk."),
        _ => (FailureCode::Internal, "See the VCS worker's log."),
    };
    MirrorError::Passing(Failure::new(code, format!("The ref was not changed: {}.", error.fault.as_str())).hint(hint))
}

impl Mirror for Served {
    fn server(&self) -> Option<&Url> {
        None
    }

    fn show<'a>(&'a self, order: &'a Order<'a>) -> Fut<'a, Shown> {
        Box::pin(async move {
            if order.naming != Naming::Run {
                let failure = Failure::new(FailureCode::MirrorRefused, "The VCS worker's own mirrors show attempts' refs alone.");
                return Err(MirrorError::Final(failure.hint("Say naming = \"run\", or name a configured mirror.")));
            }
            let sha = order.sha;
            let gone =
                || MirrorError::Final(Failure::new(FailureCode::CommitNotFound, format!("Our copy of {} is gone.", order.target.name)));
            let copy = self.copy(order.target.name).ok_or_else(gone)?;
            let ref_name = attempt_ref(order.key);
            let changed = async {
                let mut inspector = copy.inspect()?;
                if inspector.commit(&ref_name).await?.as_ref() != Some(sha) {
                    copy.update_refs(&format!("update {ref_name} {sha}\n")).await?;
                }
                inspector.commit(&ref_name).await
            };
            match changed.await.map_err(|error| ours(&error))? {
                Some(read) if read == *sha => self.shown(order, true),
                _ => {
                    let failure = Failure::new(FailureCode::ProofFailed, format!("{ref_name} was written and is not {sha}."));
                    Err(MirrorError::Final(failure))
                }
            }
        })
    }

    fn hide<'a>(&'a self, order: &'a Order<'a>) -> Fut<'a, Shown> {
        Box::pin(async move {
            if let Some(copy) = self.copy(order.target.name) {
                copy.update_refs(&format!("delete {}\n", attempt_ref(order.key))).await.map_err(|error| ours(&error))?;
            }
            self.shown(order, false)
        })
    }

    fn list<'a>(&'a self, target: &'a Target<'a>) -> Fut<'a, Option<Listed>> {
        Box::pin(async move {
            let Some(copy) = self.copy(target.name) else { return Ok(None) };
            let refs = copy.attempts().await.map_err(|error| ours(&error))?;
            Ok(Some(Listed { url: self.url(target.name), project: None, size: Some(copy.size()), refs }))
        })
    }

    fn clear<'a>(&'a self, target: &'a Target<'a>, refs: &'a [(RefName, CommitSha)]) -> Fut<'a, ()> {
        Box::pin(async move {
            let Some(copy) = self.copy(target.name) else { return Ok(()) };
            for (name, sha) in refs {
                match copy.update_refs(&format!("delete {name} {sha}\n")).await {
                    // It is something else by now, or gone.
                    Err(error) if error.fault != Fault::DiskFull => tracing::info!(said = error.said, %name, "mirror.ref_kept"),
                    outcome => outcome.map_err(|error| ours(&error))?,
                }
            }
            Ok(())
        })
    }

    fn examine<'a>(&'a self, _addresses: &'a [IpAddr]) -> Fut<'a, Vec<Finding>> {
        Box::pin(async move {
            let detail = format!("The VCS worker's own mirrors are served below {}.", self.base);
            Ok(vec![Finding::new(Severity::Fine, detail, "")])
        })
    }
}
