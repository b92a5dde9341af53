//! The other services, as the controller calls them.

use signalbox_contract::api::deploy::EnvironmentInfo;
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{AttemptKey, EnvironmentName};
use signalbox_service::auth::{SignError, Signer};
use signalbox_service::client::{Call, CallError, Client};
use signalbox_service::secret::SecretString;
use std::sync::Arc;
use url::Url;

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

    /// The environments that the deployment worker knows.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn environments(&self) -> Result<Vec<EnvironmentInfo>, CallError> {
        self.deploy.read(&self.signer, &Call::get(Service::DeployWorker, "/environments")).await
    }

    /// What an environment's hosts show now.
    ///
    /// # Errors
    /// When the deployment worker cannot be asked, or has no such environment.
    pub async fn environment(&self, name: &EnvironmentName) -> Result<EnvironmentInfo, CallError> {
        let path = format!("/environments/{name}");
        self.deploy.read(&self.signer, &Call::get(Service::DeployWorker, &path)).await
    }
}
