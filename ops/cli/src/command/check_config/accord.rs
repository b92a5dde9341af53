//! Whether the files of one installation say the same: what one of them names, another must have.
//!
//! Only files that are checked together are compared, and each of them must be right in itself. What is found is told where
//! the name stands, since that is where most of the mistakes are.

use std::path::{Path, PathBuf};

use signalbox_contract::SourceUrl;
use signalbox_contract::token::Service;
use signalbox_service::auth::{KeySet, Signer};
use signalbox_service::clock::SystemClock;
use signalbox_service::config::{Common, ConfigError, ConfigErrors, Reader};
use url::{Host, Url};

use crate::services::Configured;

/// A file that is right in itself.
pub(super) type Checked = (PathBuf, Configured);

/// All that does not go together.
pub(super) fn discords(files: &[Checked]) -> Vec<ConfigError> {
    let together = Together::of(files);
    files.iter().flat_map(|(path, configured)| together.compare(path, configured)).collect()
}

/// The files, by what they are for. Of two for one service nothing can be said: which of them counts is not known.
struct Together<'f> {
    vcs: Option<&'f signalbox_vcs_worker::Config>,
    deploy: Option<&'f signalbox_deploy_worker::Config>,
    controller: Option<&'f signalbox_controller::Config>,
    all: &'f [Checked],
}

/// What is said of keys of one file.
struct Remarks {
    reader: Reader,
    said: Vec<String>,
}

impl Remarks {
    fn say(&mut self, key: &str, words: String) {
        say(&mut self.reader, &mut self.said, key, words);
    }

    /// The errors, without those that reading some of the keys alone brings.
    fn finish(self) -> Vec<ConfigError> {
        let Err(ConfigErrors(errors)) = self.reader.finish() else { return Vec::new() };
        errors.into_iter().filter(|error| self.said.contains(&error.message)).collect()
    }
}

fn say(reader: &mut Reader, said: &mut Vec<String>, key: &str, words: String) {
    reader.refuse(key, words.clone());
    said.push(words);
}

impl<'f> Together<'f> {
    fn of(files: &'f [Checked]) -> Self {
        let mut together = Self { vcs: None, deploy: None, controller: None, all: files };
        for (_, configured) in files.iter().filter(|(_, configured)| only(files, configured.service())) {
            match configured {
                Configured::VcsWorker(config) => together.vcs = Some(config),
                Configured::DeployWorker(config) => together.deploy = Some(config),
                Configured::Controller(config) => together.controller = Some(config),
                Configured::ArtifactStore(_) | Configured::LocalExecutor(_) => {}
            }
        }
        together
    }

    fn compare(&self, path: &Path, configured: &Configured) -> Vec<ConfigError> {
        // What could not be read was said already.
        let Ok(reader) = Reader::open(path) else { return Vec::new() };
        let mut remarks = Remarks { reader, said: Vec::new() };
        match configured {
            Configured::Controller(config) => {
                let workers = [
                    ("vcs_worker", Service::VcsWorker, &config.vcs_worker),
                    ("artifact_store", Service::ArtifactStore, &config.artifact_store),
                    ("deploy_worker", Service::DeployWorker, &config.deploy_worker),
                ];
                for (key, service, url) in workers {
                    self.address(&mut remarks, key, service, url);
                }
                self.executors(&mut remarks);
                self.repositories(&mut remarks);
            }
            Configured::ArtifactStore(config) => {
                if let Some(url) = &config.controller {
                    self.address(&mut remarks, "controller", Service::Controller, url);
                }
                self.keys(&mut remarks, &config.common);
            }
            Configured::DeployWorker(config) => {
                self.address(&mut remarks, "store", Service::ArtifactStore, &config.store);
                self.keys(&mut remarks, &config.common);
            }
            Configured::VcsWorker(config) => self.keys(&mut remarks, &config.common),
            Configured::LocalExecutor(config) => self.keys(&mut remarks, &config.common),
        }
        remarks.finish()
    }

    /// The service that an address on this machine leads to listens there.
    fn address(&self, remarks: &mut Remarks, key: &str, service: Service, url: &Url) {
        if let Some(words) = self.elsewhere(service, url) {
            remarks.say(key, words);
        }
    }

    /// Why an address does not lead to a service, where the files show that. Of names and of other machines' addresses they
    /// show nothing: what is between is not known.
    fn elsewhere(&self, service: Service, url: &Url) -> Option<String> {
        let here = match url.host()? {
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
            Host::Domain(name) => name == "localhost",
        };
        let (file, configured) = self.all.iter().find(|(_, configured)| configured.service() == service)?;
        if !here || !only(self.all, service) {
            return None;
        }
        let Common { listen, tls, .. } = configured.common();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let same = url.port_or_known_default() == Some(listen.port()) && url.scheme() == scheme;
        let there = file.display();
        (!same).then(|| {
            format!("leads to {}, and {there} has the {service} listen on {listen} by {scheme}", url.origin().ascii_serialization())
        })
    }

    fn executors(&self, remarks: &mut Remarks) {
        let Remarks { reader, said } = remarks;
        let Some(controller) = self.controller else { return };
        reader.named_tables("executors", |name, reader| {
            let executor = controller.executors.iter().find(|(known, _)| known.as_str() == name)?.1;
            if let signalbox_controller::config::ExecutorKind::Local { url } = &executor.kind
                && let Some(words) = self.elsewhere(Service::LocalExecutor, url)
            {
                say(reader, said, "url", words);
            }
            let mirror = executor.kind.mirror()?;
            let mirrors = &self.vcs?.mirrors;
            if !mirrors.iter().any(|known| known.name() == mirror) {
                say(reader, said, "mirror", format!("names {mirror}: no [mirrors.{mirror}] is in the VCS worker's configuration"));
            }
            Some(())
        });
    }

    fn repositories(&self, remarks: &mut Remarks) {
        let Remarks { reader, said } = remarks;
        reader.named_tables("repositories", |_, reader| {
            let source: Option<SourceUrl> = reader.optional("source");
            if let Some((source, vcs)) = source.zip(self.vcs)
                && !vcs.sources.iter().any(|entry| entry.covers(&source))
            {
                let words = "no [[sources]] entry of the VCS worker's configuration covers it: by exact scheme, host and port, and the \
                             beginning of its path by whole parts";
                say(reader, said, "source", format!("is {source}: {words}"));
            }
            self.environment(reader, said);
            reader.tables("on", |reader| {
                self.environment(reader, said);
                Some(())
            });
            Some(())
        });
    }

    fn environment(&self, reader: &mut Reader, said: &mut Vec<String>) {
        let named: Option<String> = reader.optional("environment");
        let Some((named, deploy)) = named.zip(self.deploy) else { return };
        if !deploy.environments.keys().any(|known| known.as_str() == named) {
            let there: Vec<&str> = deploy.environments.keys().map(AsRef::as_ref).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            let words = format!("names {named}: no [environments.{named}] is in the deployment worker's configuration, which has {there}");
            say(reader, said, "environment", words);
        }
    }

    /// The service believes what the controller signs. A copy may be older or newer than the key that signs now by one key:
    /// that is how keys are changed.
    fn keys(&self, remarks: &mut Remarks, common: &Common) {
        let Some(controller) = self.controller else { return };
        let Ok(signer) = Signer::open(&controller.keys, SystemClock::shared()) else { return };
        let Ok(believed) = KeySet::read(&common.public_keys) else { return };
        let signs = signer.key_id();
        if !believed.key_ids().any(|known| known == signs) {
            let keys = controller.keys.display();
            let words = format!(
                "is {}, which lacks the key with which the controller signs: copy public.json from {keys}",
                common.public_keys.display()
            );
            remarks.say("public_keys", words);
        }
    }
}

/// Whether there is one file for a service.
fn only(files: &[Checked], service: Service) -> bool {
    files.iter().filter(|(_, configured)| configured.service() == service).count() == 1
}
