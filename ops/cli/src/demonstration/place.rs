//! Where the demonstration keeps what it makes, and on which ports its parts listen: the same ones each time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use signalbox_contract::token::Service;
use signalbox_deploy_worker::testing::Host;
use signalbox_service::testing::free_port;
use url::Url;

use crate::install::{Site, config_file, install};
use crate::mistake::Mistake;
use crate::services::ALL;

/// What was chosen the first time. The repository's address must stay: its name is bound to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ports {
    services: BTreeMap<String, u16>,
    git: u16,
    published: u16,
}

/// The demonstration's folder.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    ports: Ports,
}

impl Place {
    /// The place in `folder`, as it was the last time or new.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("ports.json");
        let ports = if let Ok(text) = std::fs::read_to_string(&path) {
            let words = format!("{} is not understood; remove {} to begin anew", path.display(), folder.display());
            serde_json::from_str(&text).map_err(|_| Mistake::setup(words))?
        } else {
            let ports = Ports::choose();
            std::fs::write(&path, serde_json::to_string_pretty(&ports)?).with_context(|| format!("writing {}", path.display()))?;
            ports
        };
        let place = Self { folder: folder.to_owned(), ports };
        place.check_ports()?;
        Ok(place)
    }

    fn check_ports(&self) -> Result<()> {
        let services = self.ports.services.iter().map(|(name, port)| (name.as_str(), *port));
        let all = services.chain([("git server", self.ports.git), ("web server", self.ports.published)]);
        let taken: Vec<String> =
            all.filter(|(_, port)| TcpListener::bind(at(*port)).is_err()).map(|(name, port)| format!("{port} ({name})")).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let words = format!(
            "another program listens where this demonstration did the last time: port {}. End it, or remove {} to begin anew on other ports",
            taken.join(", "),
            self.folder.display()
        );
        Err(Mistake::setup(words).into())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The repositories that the example's git server serves.
    pub(super) fn repositories(&self) -> PathBuf {
        self.folder.join("repositories")
    }

    /// The folder of the services, as `signalbox init` makes one.
    pub(super) fn site(&self) -> PathBuf {
        self.folder.join("site")
    }

    /// What the services say.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("signalbox.log")
    }

    /// The hosts. A host that root starts has an account of its own, which must be able to reach its files.
    pub(super) fn hosts(&self) -> Result<PathBuf> {
        let passable = |path: &Path| std::fs::metadata(path).is_ok_and(|folder| folder.mode() & 0o001 != 0);
        let closed = self.folder.ancestors().skip(1).any(|path| !passable(path));
        if !rustix::process::geteuid().is_root() || !closed {
            // The folder itself is the demonstration's own, so it can be opened.
            open_to_pass(&self.folder)?;
            return Ok(self.folder.join("hosts"));
        }
        let inode = std::fs::metadata(&self.folder).context("looking at the folder")?.ino();
        let elsewhere = PathBuf::from(format!("/var/tmp/signalbox-try-{inode}"));
        std::fs::create_dir_all(&elsewhere).with_context(|| format!("making {}", elsewhere.display()))?;
        let owner = std::fs::symlink_metadata(&elsewhere).context("looking at the hosts' folder")?;
        if owner.uid() != 0 || !owner.is_dir() {
            return Err(Mistake::setup(format!("{} belongs to somebody else", elsewhere.display())).into());
        }
        Ok(elsewhere)
    }

    pub(super) fn git(&self) -> SocketAddr {
        at(self.ports.git)
    }

    pub(super) fn published(&self) -> SocketAddr {
        at(self.ports.published)
    }

    /// The example repository's address.
    pub(super) fn source(&self) -> String {
        format!("http://{}/hello", self.git())
    }

    /// Where a service is.
    pub(super) fn url(&self, service: Service) -> Result<Url> {
        let port = self.ports.services.get(service.as_str()).context("a service without a port")?;
        Ok(format!("http://{}/", at(*port)).parse()?)
    }

    /// Writes the services' configuration anew: the host's port is another one each time.
    pub(super) fn write_site(&self, host: &Host) -> Result<()> {
        let listen = ALL.iter().filter_map(|service| Some((service.as_str(), at(*self.ports.services.get(service.as_str())?)))).collect();
        let besides = BTreeMap::from([
            (
                Service::Controller.as_str(),
                format!("[repositories.hello]\nsource = \"{}\"\nexecutor = \"local\"\nenvironment = \"test\"\n", self.source()),
            ),
            (Service::VcsWorker.as_str(), format!("[[sources]]\nurl = \"http://{}/\"\nprivate = true\n", self.git())),
            (Service::DeployWorker.as_str(), Host::environment("test", &[("example-host", host)], &["*"])),
        ]);
        let site = self.site();
        for service in ALL {
            match std::fs::remove_file(config_file(&site, service)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("replacing a configuration"),
                _ => {}
            }
        }
        install(&site, &Site { listen, besides })?;
        Ok(())
    }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn open_to_pass(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).with_context(|| format!("opening {}", folder.display()))
}

impl Ports {
    /// The usual ports where they are free, others where not.
    fn choose() -> Self {
        let or_free = |usual: SocketAddr| if TcpListener::bind(usual).is_ok() { usual.port() } else { free_port().port() };
        let services = Site::default().listen.into_iter().map(|(name, usual)| (name.to_owned(), or_free(usual))).collect();
        Self { services, git: free_port().port(), published: free_port().port() }
    }
}
