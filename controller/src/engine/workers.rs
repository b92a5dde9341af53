//! The other services, as the controller calls them.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use signalbox_contract::api::Page;
use signalbox_contract::api::deploy::EnvironmentInfo;
use signalbox_contract::api::mirrors::{CollectRequest, CollectResult, MirrorFinding, MirrorInfo};
use signalbox_contract::api::store::GrantInfo;
use signalbox_contract::api::vcs::{ExamineSources, NamedSource, SourceFinding};
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{AttemptKey, EnvironmentName, HostName};
use signalbox_service::auth::{SignError, Signer};
use signalbox_service::client::{Call, CallError, Client};
use signalbox_service::secret::SecretString;
use url::{Url, form_urlencoded};

/// How long the VCS worker may take where it goes to the mirrors' servers; it gives up on them sooner.
const MIRRORS: Duration = Duration::from_secs(45);

/// How many hosts the deployment worker is asked about at once.
const HOSTS: u32 = 200;

/// The workers, and the key with which calls to them are signed.
#[derive(Clone)]
pub struct Workers {
    /// Signs every call.
    pub signer: Arc<Signer>,
    /// The VCS worker.
    pub vcs: Client,
    /// The artifact store.
    pub store: Client,
    /// Where builds and the deployment worker reach the artifact store.
    pub store_url: Url,
    /// The deployment worker.
    pub deploy: Client,
}

impl Workers {
    /// A capability for `aud`, until `expires` (seconds since the epoch).
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn capability(&self, aud: Service, key: AttemptKey, cap: Capability, expires: jiff::Timestamp) -> Result<SecretString, SignError> {
        self.signer.capability(aud, key, cap, expires)
    }

    /// The environments that the deployment worker knows, all of them, by their names.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn environments(&self) -> Result<Vec<EnvironmentInfo>, CallError> {
        let mut all: Vec<EnvironmentInfo> = Vec::new();
        loop {
            let after = all.last().map_or_else(String::new, |last| format!("?cursor={}", last.name));
            let call = format!("/environments{after}");
            let page: Page<EnvironmentInfo> = self.deploy.read(&self.signer, &Call::get(Service::DeployWorker, &call)).await?;
            // A page that leads nowhere, or back, would never end.
            let onward = page.items.first().is_some_and(|first| all.last().is_none_or(|last| last.name < first.name));
            all.extend(page.items);
            if page.next.is_none() || !onward {
                return Ok(all);
            }
        }
    }

    /// What an environment's hosts show now: a page of them, behind the one named `after`.
    ///
    /// # Errors
    /// When the deployment worker cannot be asked, or has no such environment.
    pub async fn environment(&self, name: &EnvironmentName, after: Option<&HostName>, limit: u32) -> Result<EnvironmentInfo, CallError> {
        let after = after.map(|host| ("cursor", host.as_str()));
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("limit", &limit.to_string()).extend_pairs(after).finish();
        let path = format!("/environments/{name}?{query}");
        self.deploy.read(&self.signer, &Call::get(Service::DeployWorker, &path)).await
    }

    /// The same of all hosts.
    ///
    /// # Errors
    /// When the deployment worker cannot be asked, or has no such environment.
    pub async fn whole_environment(&self, name: &EnvironmentName) -> Result<EnvironmentInfo, CallError> {
        let mut whole = self.environment(name, None, HOSTS).await?;
        while let Some(after) = whole.next.take() {
            let page = self.environment(name, Some(&after), HOSTS).await?;
            whole.shown.extend(page.shown);
            // A page that leads back would never end.
            whole.next = page.next.filter(|next| *next > after);
        }
        Ok(whole)
    }

    /// What lies in an attempt's grant already.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn grant(&self, key: AttemptKey) -> Result<GrantInfo, CallError> {
        self.store.read(&self.signer, &Call::get(Service::ArtifactStore, &format!("/grants/{key}"))).await
    }

    /// A page of what is at the mirrors.
    ///
    /// # Errors
    /// When the VCS worker cannot be asked.
    pub async fn mirrors(&self, cursor: Option<&str>, limit: u32) -> Result<Page<MirrorInfo>, CallError> {
        let after = cursor.map(|cursor| ("cursor", cursor));
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("limit", &limit.to_string()).extend_pairs(after).finish();
        let path = format!("/mirrors?{query}");
        self.patient().read(&self.signer, &Call::get(Service::VcsWorker, &path)).await
    }

    /// Cleans the mirrors, or tells what would go.
    ///
    /// # Errors
    /// When the VCS worker cannot be asked, or is at it already.
    pub async fn collect_mirrors(&self, request: CollectRequest) -> Result<CollectResult, CallError> {
        // No attempt stands behind it, and doing it twice is doing it once: it needs no key.
        let call = Call::new(Service::VcsWorker, Method::POST, "/mirrors/collect", None);
        self.patient().act(&self.signer, &call, &request).await
    }

    /// What the VCS worker finds when it examines its mirrors.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn examine_mirrors(&self) -> Result<Vec<MirrorFinding>, CallError> {
        self.patient().read(&self.signer, &Call::get(Service::VcsWorker, "/mirrors/doctor")).await
    }

    /// What the VCS worker finds when it examines these sources, [`MAX_SOURCES`] at most.
    ///
    /// [`MAX_SOURCES`]: signalbox_contract::api::vcs::MAX_SOURCES
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn examine_sources(&self, sources: Vec<NamedSource>) -> Result<Vec<SourceFinding>, CallError> {
        // Nothing is changed by it, so that it needs no key.
        let call = Call::new(Service::VcsWorker, Method::POST, "/sources/examine", None);
        self.patient().act(&self.signer, &call, &ExamineSources { sources }).await
    }

    fn patient(&self) -> Client {
        self.vcs.clone().answering_within(MIRRORS)
    }
}
