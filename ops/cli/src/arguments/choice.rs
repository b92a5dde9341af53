//! Arguments that are one of a few words.

use clap::ValueEnum;
use signalbox_contract::api::delivery::DeliveryState;
use signalbox_contract::token::Service;
use url::Url;

/// The address of a service. Whether a token may be sent there is looked at later.
pub(crate) fn address(text: &str) -> Result<Url, String> {
    let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if let Some(url) = text.parse().ok().filter(usable) {
        return Ok(url);
    }
    // What lacks the scheme alone is guessed.
    let meant = if text.contains(['.', ':']) && !text.contains("://") { format!("http://{text}") } else { String::new() };
    let example = meant.parse().ok().filter(usable).map_or("https://ci.example.org", |_| meant.as_str());
    Err(format!(
        "an address begins with http:// or https://, as in {example}; correct the option, or the variable of the environment that it comes from"
    ))
}

/// The path of a project: its group, or groups, and its name, of letters that GitLab takes in paths.
pub(crate) fn project(text: &str) -> Result<String, String> {
    let part = |part: &str| {
        part.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter))
    };
    if text.contains('/') && text.split('/').all(part) {
        return Ok(text.to_owned());
    }
    let name = text.rsplit('/').next().filter(|name| part(name)).unwrap_or("hello");
    Err(format!("a project is in a group, and is given by its whole path, GROUP/PROJECT, as in mirrors/{name}"))
}

/// The state that runs are listed by.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StateFilter {
    Queued,
    Building,
    Stopping,
    Finished,
}

/// The state that deliveries are listed by.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DeliveryFilter {
    /// Written down, and not acted on yet
    Received,
    /// Acted on
    Done,
    /// Understood, and nothing had to be done
    Ignored,
    /// It could not be acted on
    Failed,
}

impl From<DeliveryFilter> for DeliveryState {
    fn from(filter: DeliveryFilter) -> Self {
        match filter {
            DeliveryFilter::Received => Self::Received,
            DeliveryFilter::Done => Self::Done,
            DeliveryFilter::Ignored => Self::Ignored,
            DeliveryFilter::Failed => Self::Failed,
        }
    }
}

/// Where a rerun begins.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FromWhere {
    /// At the first step that did not pass
    Failed,
    /// At the beginning
    Start,
}

/// Whom a token is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Audience {
    Controller,
    ArtifactStore,
}

/// A service, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceName {
    Controller,
    VcsWorker,
    ArtifactStore,
    DeployWorker,
    LocalExecutor,
}

impl From<ServiceName> for Service {
    fn from(name: ServiceName) -> Self {
        match name {
            ServiceName::Controller => Self::Controller,
            ServiceName::VcsWorker => Self::VcsWorker,
            ServiceName::ArtifactStore => Self::ArtifactStore,
            ServiceName::DeployWorker => Self::DeployWorker,
            ServiceName::LocalExecutor => Self::LocalExecutor,
        }
    }
}

/// An action that a token may allow, or all of them.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AllowedAction {
    Read,
    Start,
    Stop,
    Rerun,
    Deploy,
    Rollback,
    BlobRead,
    BlobWrite,
    Tokens,
    Deliveries,
    Operate,
    /// Every action
    All,
}
