//! Whether the files of one installation say the same: what one of them names, another must have.
//!
//! Only files that are checked together are compared, as far as each of them can be read: of what is wrong in itself nothing
//! more is said. What is found is told where the name stands, since that is where most of the mistakes are.

use std::path::PathBuf;

use signalbox_contract::SourceUrl;
use signalbox_contract::token::Service;
use signalbox_service::auth::{KeySet, Signer};
use signalbox_service::client::is_here;
use signalbox_service::clock::SystemClock;
use signalbox_service::config::{Common, ConfigError, ConfigErrors, Reader};
use url::Url;

use crate::services::Configured;

/// A file that was checked by itself.
pub(super) struct Checked {
    /// The service that it is for.
    pub(super) service: Service,
    /// Where it is.
    pub(super) path: PathBuf,
    /// What it says, as far as it can be read.
    pub(super) config: Option<Configured>,
    /// What is wrong with it alone.
    pub(super) errors: Vec<ConfigError>,
}

impl Checked {
    /// Whether something is wrong with a key, or within its table.
    fn is_wrong(&self, key: &str) -> bool {
        let within = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
        self.errors.iter().any(|error| error.key.strip_prefix(key).is_some_and(within))
    }

    /// The names of its tables `[KEY.NAME]`, also of those with which something is wrong. None if it is no TOML.
    fn names(&self, key: &'static str) -> Option<Vec<String>> {
        Some(Reader::open(&self.path).ok()?.named_tables(key, |name, _| Some(name.to_owned())))
    }

    /// The sources that may be fetched. None if some of them could not be read.
    fn sources(&self) -> Option<&[signalbox_vcs_worker::remote::Source]> {
        let Some(Configured::VcsWorker(config)) = &self.config else { return None };
        let entries = Reader::open(&self.path).ok()?.tables("sources", |_| Some(())).len();
        (entries == config.sources.len()).then_some(&config.sources)
    }
}

/// All that does not go together.
pub(super) fn discords(files: &[Checked]) -> Vec<ConfigError> {
    let together = Together::of(files);
    files.iter().flat_map(|file| together.compare(file)).collect()
}

/// The files, by what they are for. Of two for one service nothing can be said: which of them counts is not known.
struct Together<'f> {
    sources: Option<&'f [signalbox_vcs_worker::remote::Source]>,
    mirrors: Option<Vec<String>>,
    environments: Option<Vec<String>>,
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
        let the = |service| files.iter().find(|file| file.service == service).filter(|_| only(files, service));
        let (vcs, deploy) = (the(Service::VcsWorker), the(Service::DeployWorker));
        let controller = the(Service::Controller).and_then(|file| match &file.config {
            Some(Configured::Controller(config)) => Some(&**config),
            _ => None,
        });
        Self {
            sources: vcs.and_then(Checked::sources),
            mirrors: vcs.and_then(|file| file.names("mirrors")),
            environments: deploy.and_then(|file| file.names("environments")),
            controller,
            all: files,
        }
    }

    fn compare(&self, file: &Checked) -> Vec<ConfigError> {
        // What could not be read was said already.
        let Ok(reader) = Reader::open(&file.path) else { return Vec::new() };
        let mut remarks = Remarks { reader, said: Vec::new() };
        if file.service == Service::Controller {
            self.repositories(&mut remarks);
        }
        if let Some(configured) = &file.config {
            self.compare_read(&mut remarks, configured);
        }
        let mut found = remarks.finish();
        found.retain(|remark| !file.is_wrong(&remark.key));
        found
    }

    /// Compares what only a file shows of which nothing that must be there is missing.
    fn compare_read(&self, remarks: &mut Remarks, configured: &Configured) {
        match configured {
            Configured::Controller(config) => {
                let workers = [
                    ("vcs_worker", Service::VcsWorker, &config.vcs_worker),
                    ("artifact_store", Service::ArtifactStore, &config.artifact_store),
                    ("deploy_worker", Service::DeployWorker, &config.deploy_worker),
                ];
                for (key, service, url) in workers {
                    self.address(remarks, key, service, url);
                }
                self.executors(remarks, config);
            }
            Configured::ArtifactStore(config) => {
                if let Some(url) = &config.controller {
                    self.address(remarks, "controller", Service::Controller, url);
                }
                self.keys(remarks, &config.common);
            }
            Configured::DeployWorker(config) => {
                self.address(remarks, "store", Service::ArtifactStore, &config.store);
                self.keys(remarks, &config.common);
            }
            Configured::VcsWorker(config) => self.keys(remarks, &config.common),
            Configured::LocalExecutor(config) => self.keys(remarks, &config.common),
        }
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
        let file = self.all.iter().find(|file| file.service == service)?;
        if !is_here(url) || !only(self.all, service) || file.is_wrong("listen") || file.is_wrong("tls") {
            return None;
        }
        let Common { listen, tls, .. } = file.config.as_ref()?.common();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let same = url.port_or_known_default() == Some(listen.port()) && url.scheme() == scheme;
        let there = file.path.display();
        (!same).then(|| {
            format!("leads to {}, and {there} has the {service} listen on {listen} by {scheme}", url.origin().ascii_serialization())
        })
    }

    fn executors(&self, remarks: &mut Remarks, controller: &signalbox_controller::Config) {
        let Remarks { reader, said } = remarks;
        reader.named_tables("executors", |name, reader| {
            let executor = controller.executors.iter().find(|(known, _)| known.as_str() == name)?.1;
            if let signalbox_controller::config::ExecutorKind::Local { url } = &executor.kind
                && let Some(words) = self.elsewhere(Service::LocalExecutor, url)
            {
                say(reader, said, "url", words);
            }
            let mirror = executor.kind.mirror()?;
            if !self.mirrors.as_ref()?.iter().any(|known| known == mirror.as_str()) {
                say(reader, said, "mirror", format!("names {mirror}: no [mirrors.{mirror}] is in the VCS worker's configuration"));
            }
            Some(())
        });
    }

    fn repositories(&self, remarks: &mut Remarks) {
        let Remarks { reader, said } = remarks;
        reader.named_tables("repositories", |_, reader| {
            let source: Option<SourceUrl> = reader.optional("source");
            if let Some((source, sources)) = source.zip(self.sources)
                && !sources.iter().any(|entry| entry.covers(&source))
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
        let Some((named, there)) = named.zip(self.environments.as_ref()) else { return };
        if !there.contains(&named) {
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
    files.iter().filter(|file| file.service == service).count() == 1
}
