//! `signalbox init`: a folder with everything that `signalbox up` needs.
//!
//! ```text
//! FOLDER/controller.toml  vcs-worker.toml  artifact-store.toml  deploy-worker.toml  local-executor.toml
//! FOLDER/keys/            the key that signs, and the public keys
//! FOLDER/tokens/          admin, for the controller; admin-store, for the artifact store
//! FOLDER/data/            what the services keep; they make it
//! ```
//!
//! What is there already is never touched, so that a second `init` completes what a first one could not.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use signalbox_contract::api::token::TokenRequest;
use signalbox_contract::grant::Grant;
use signalbox_contract::token::Service;
use signalbox_service::auth::{PUBLIC_FILE, SIGNING_FILE, init_keys};
use signalbox_service::clock::SystemClock;
use signalbox_service::secret::write_secret;

use crate::command::token::sign;
use crate::mistake::Mistake;
use crate::output::Output;
use crate::services::ALL;

/// How long the administrator's tokens last, in seconds. `signalbox token create --keys` makes others at any time.
const ADMIN_LIFETIME: u32 = 365 * 24 * 3600;

/// Where services listen, and what their configurations say besides.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Where each listens.
    pub(crate) listen: BTreeMap<&'static str, SocketAddr>,
    /// Lines that come after a service's own.
    pub(crate) besides: BTreeMap<&'static str, String>,
}

impl Default for Site {
    fn default() -> Self {
        let at = |service: Service, port| (service.as_str(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let listen = BTreeMap::from([
            at(Service::Controller, 7480),
            at(Service::VcsWorker, 7481),
            at(Service::ArtifactStore, 7482),
            at(Service::DeployWorker, 7483),
            at(Service::LocalExecutor, 7484),
        ]);
        Self { listen, besides: BTreeMap::new() }
    }
}

impl Site {
    /// The configuration of `service`.
    pub(crate) fn configuration(&self, service: Service) -> String {
        let text = match service {
            Service::Controller => include_str!("controller.toml"),
            Service::VcsWorker => include_str!("vcs-worker.toml"),
            Service::ArtifactStore => include_str!("artifact-store.toml"),
            Service::DeployWorker => include_str!("deploy-worker.toml"),
            Service::LocalExecutor => include_str!("local-executor.toml"),
        };
        let addressed =
            self.listen.iter().fold(text.to_owned(), |text, (name, address)| text.replace(&format!("@{name}@"), &address.to_string()));
        match self.besides.get(service.as_str()) {
            Some(lines) => format!("{addressed}\n{lines}"),
            None => addressed,
        }
    }
}

/// The configuration file of a service in a folder that `init` made.
pub(crate) fn config_file(folder: &Path, service: Service) -> PathBuf {
    folder.join(service.as_str()).with_extension("toml")
}

/// The administrator's token for a service.
pub(crate) fn admin_token(folder: &Path, service: Service) -> PathBuf {
    folder.join("tokens").join(if service == Service::ArtifactStore { "admin-store" } else { "admin" })
}

/// `signalbox init`.
pub(crate) fn init(folder: &Path, output: Output) -> Result<u8> {
    if !is_ours_or_empty(folder)? {
        let words = format!("{} holds other things already; give a new folder", folder.display());
        return Err(Mistake::setup(words).into());
    }
    let made = install(folder, &Site::default())?;
    let shown = folder.display();
    // Another terminal need not be in the folder in which this is typed.
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    output.show(&serde_json::json!({ "folder": folder, "made": made }), |_| {
        if made.is_empty() {
            return format!("{shown} is complete already; nothing was changed");
        }
        let list = made.iter().map(|path| format!("  {}", path.display())).collect::<Vec<_>>().join("\n");
        format!(
            "made in {shown}:\n{list}\n\n\
             Next: say in {shown}/controller.toml, vcs-worker.toml and deploy-worker.toml what may be built and where it goes,\n  \
             signalbox check-config {shown}\n  \
             signalbox up {shown}\n\
             and, in another terminal,\n  \
             export SIGNALBOX_TOKEN_FILE={}\n  \
             export SIGNALBOX_STORE_TOKEN_FILE={}\n  \
             signalbox doctor\n  \
             signalbox status\n\
             These two are an administrator's tokens, for the controller and for the artifact store. Tokens that may do less:\n  \
             signalbox token create NAME --allow read,start --repos '*' --artifacts '*' -o FILE\n  \
             signalbox token create NAME --audience artifact-store --allow blob-read --artifacts '*' -o FILE",
            admin_token(&absolute, Service::Controller).display(),
            admin_token(&absolute, Service::ArtifactStore).display(),
        )
    })?;
    Ok(0)
}

/// Whether a folder is not there, is empty, or holds something that `init` makes.
pub(crate) fn is_ours_or_empty(folder: &Path) -> Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none() || ALL.iter().any(|service| config_file(folder, *service).exists())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Mistake::setup(format!("{} cannot be read: {error}", folder.display())).into()),
    }
}

/// Makes what is not there yet, and answers what that was.
pub(crate) fn install(folder: &Path, site: &Site) -> Result<Vec<PathBuf>> {
    for path in [folder.to_owned(), folder.join("tokens"), folder.join("data")] {
        make_folder(&path)?;
    }
    let mut made = Vec::new();
    let keys = folder.join("keys");
    if !keys.join(SIGNING_FILE).exists() && !keys.join(PUBLIC_FILE).exists() {
        init_keys(&keys).context("making keys")?;
        made.push(keys.clone());
    }
    for audience in [Service::Controller, Service::ArtifactStore] {
        let path = admin_token(folder, audience);
        if path.exists() {
            continue;
        }
        let request = TokenRequest { principal: "admin".to_owned(), audience, lifetime: ADMIN_LIFETIME, grants: vec![Grant::everything()] };
        let (token, _) = sign(&keys, &SystemClock::shared(), &request)?;
        write_secret(&path, &token).with_context(|| format!("writing {}", path.display()))?;
        made.push(path);
    }
    // The configurations come last: a folder that has them has everything else.
    for service in ALL {
        let path = config_file(folder, service);
        if !path.exists() {
            write_new(&path, &site.configuration(service))?;
            made.push(path);
        }
    }
    Ok(made)
}

fn make_folder(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("making {}", path.display()))
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("writing {}", path.display()))
}
