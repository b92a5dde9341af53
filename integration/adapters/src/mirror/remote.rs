//! Any git server as the place: its repositories are there already, and are written by pushing.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use signalbox_contract::api::vcs::Naming;
use signalbox_contract::{CommitSha, Failure, FailureCode, RefName, RepoName};
use signalbox_service::git::{Credential, Git, Remote};
use signalbox_service::telemetry::causes;
use url::Url;

use super::push::{Bring, bring, look, remove};
use super::refusal::of_push;
use super::{Finding, Fut, Listed, Mirror, MirrorError, OURS, Order, Severity, Shown, Target, shown_as};

/// How many refs of ours are read of one repository.
const MOST_REFS: usize = 10_000;

/// How long a list of refs may take.
const LIST: Duration = Duration::from_mins(1);

/// Where the name of a repository stands in a URL.
const NAME: &str = "{name}";

/// What is configured of such a place.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    /// The URL of its repositories: `{name}` stands for the repository's name. Without it, `/NAME.git` comes behind.
    pub url: String,
    /// How to show who we are.
    pub credential: Credential,
    /// The certificate authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// How long one push may take.
    pub deadline: Duration,
}

/// A git server that takes pushes.
#[derive(Debug, Clone)]
pub struct RemoteMirror {
    git: Git,
    settings: RemoteSettings,
    server: Url,
}

impl RemoteMirror {
    /// The server that the settings name.
    ///
    /// # Errors
    /// When the URL is no plain one, as the rest of a sentence.
    pub fn new(git: Git, settings: RemoteSettings) -> Result<Self, String> {
        let probe = "x".parse().map_err(|_| "cannot be checked".to_owned())?;
        let server = address(&settings.url, &probe)?;
        Remote::new(&server).map_err(|error| error.said)?;
        Ok(Self { git, settings, server })
    }

    fn remote(&self, target: &Target<'_>) -> Result<Remote, MirrorError> {
        let unusable = |why: String| MirrorError::Final(Failure::new(FailureCode::MirrorRefused, why));
        let url = address(&self.settings.url, target.name).map_err(|why| unusable(format!("The mirror's URL {why}.")))?;
        let remote = Remote::new(&url).map_err(|error| unusable(error.said))?;
        let access = self.settings.credential.access().map_err(|error| {
            tracing::error!(error = %causes(&error), "mirror.credential_unreadable");
            let failure = Failure::new(FailureCode::MirrorDenied, "The mirror's credential cannot be read.");
            MirrorError::Final(failure.hint("See the VCS worker's log; the file must be there, and readable by the worker alone."))
        })?;
        Ok(remote.access(access).pinned(target.addresses.to_vec()).ca(self.settings.ca.clone()))
    }

    fn shown(order: &Order<'_>, remote: &Remote, ref_name: RefName, moved: bool) -> Shown {
        Shown { url: remote.url().clone(), ref_name, sha: order.sha.clone(), project: None, moved }
    }
}

/// The URL of a repository at this place.
fn address(template: &str, name: &RepoName) -> Result<Url, String> {
    let text = if template.contains(NAME) {
        template.replace(NAME, name.as_str())
    } else {
        format!("{}/{name}.git", template.trim_end_matches('/'))
    };
    Url::parse(&text).map_err(|_| "is not a URL".to_owned())
}

impl Mirror for RemoteMirror {
    fn server(&self) -> Option<&Url> {
        Some(&self.server)
    }

    fn show<'a>(&'a self, order: &'a Order<'a>) -> Fut<'a, Shown> {
        Box::pin(async move {
            if order.naming == Naming::Replace {
                let failure = Failure::new(FailureCode::MirrorRefused, "A plain git server has no projects that could be replaced.");
                return Err(MirrorError::Final(failure.hint("Say naming = \"run\" or \"same\", or use a mirror of the kind gitlab.")));
            }
            let ref_name = shown_as(order).map_err(MirrorError::Final)?;
            let remote = self.remote(&order.target)?;
            let push = Bring {
                remote: &remote,
                copy: order.target.copy,
                ref_name: &ref_name,
                sha: order.sha,
                note: order.note,
                options: &[],
                deadline: self.settings.deadline,
            };
            let moved = bring(&self.git, push).await?;
            Ok(Self::shown(order, &remote, ref_name, moved))
        })
    }

    fn hide<'a>(&'a self, order: &'a Order<'a>) -> Fut<'a, Shown> {
        Box::pin(async move {
            let ref_name = shown_as(order).map_err(MirrorError::Final)?;
            let remote = self.remote(&order.target)?;
            if order.naming == Naming::Run
                && let Some(now) = look(&self.git, &remote, &ref_name).await?
            {
                remove(&self.git, &remote, order.target.copy, &[(ref_name.clone(), now.object)], self.settings.deadline).await?;
            }
            Ok(Self::shown(order, &remote, ref_name, false))
        })
    }

    fn list<'a>(&'a self, target: &'a Target<'a>) -> Fut<'a, Option<Listed>> {
        Box::pin(async move {
            let remote = self.remote(target)?;
            match self.git.ls_remote_below(&remote, OURS, MOST_REFS, LIST).await {
                Ok(refs) => {
                    let refs = refs.into_iter().map(|shown| (shown.name, shown.object)).collect();
                    Ok(Some(Listed { url: remote.url().clone(), project: None, size: None, refs }))
                }
                Err(error) => match of_push(&error, remote.url(), None) {
                    MirrorError::Final(failure) if failure.code == FailureCode::MirrorNotFound => Ok(None),
                    error => Err(error),
                },
            }
        })
    }

    fn clear<'a>(&'a self, target: &'a Target<'a>, refs: &'a [(RefName, CommitSha)]) -> Fut<'a, ()> {
        Box::pin(async move { remove(&self.git, &self.remote(target)?, target.copy, refs, self.settings.deadline).await })
    }

    fn examine<'a>(&'a self, _addresses: &'a [IpAddr]) -> Fut<'a, Vec<Finding>> {
        Box::pin(async move {
            let detail =
                format!("The mirrors at {} are plain git repositories: whether they take pushes shows with the first.", self.server);
            Ok(vec![match self.settings.credential.access() {
                Ok(_) => Finding::new(Severity::Fine, detail, ""),
                Err(error) => Finding::new(Severity::Error, causes(&error), "Put the credential where the entry says."),
            }])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_place_in_the_url() {
        let at = |template: &str| address(template, &"team/hello".parse().expect("a name")).expect("a URL").to_string();
        assert_eq!(at("https://git.example.org/mirrors/"), "https://git.example.org/mirrors/team/hello.git");
        assert_eq!(at("ssh://git@git.example.org/m/{name}"), "ssh://git@git.example.org/m/team/hello");
    }
}
