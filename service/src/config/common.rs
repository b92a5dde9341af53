//! What every service's configuration begins with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use url::Url;

use super::file::ConfigFile;
use super::reader::{Reader, with_causes};

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, in PEM.
    pub certificate: PathBuf,
    /// The private key in PEM; only its owner may read it.
    pub key: PathBuf,
}

/// The part of the configuration that all services have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// The file that all of it was read from.
    pub file: ConfigFile,
    /// Where the service listens.
    pub listen: SocketAddr,
    /// Where its metrics are served, in clear text; nowhere unless given.
    pub metrics: Option<SocketAddr>,
    /// The certificate; none means clear text, which only loopback allows.
    pub tls: Option<TlsFiles>,
    /// The folder that this process alone uses.
    pub data: PathBuf,
    /// The file with the public keys (JWKS) by which tokens are checked.
    pub public_keys: PathBuf,
    /// A further authority's certificate, trusted in calls to other services.
    pub ca: Option<PathBuf>,
    /// Where others reach the service, if that is not where it listens.
    pub public_url: Option<Url>,
}

impl Common {
    /// Reads `listen`, `metrics_listen`, `metrics_in_clear_text`, `data`, `public_keys`, `ca`, `public_url` and `[tls]`.
    /// The data folder's default is `data/` and the file's name without its ending.
    pub fn read(reader: &mut Reader, default_listen: SocketAddr) -> Option<Self> {
        let listen = reader.or("listen", default_listen);
        let metrics: Option<SocketAddr> = reader.optional("metrics_listen");
        let metrics_in_clear_text = reader.or("metrics_in_clear_text", false);
        let name = Path::new(reader.file()).file_stem().map_or_else(|| "service".to_owned(), |name| name.display().to_string());
        let data = reader.or("data", reader.folder().join("data").join(name));
        let public_keys = reader.or("public_keys", reader.folder().join("keys/public.json"));
        let ca = reader.optional("ca");
        let public_url = reader.optional("public_url");
        let tls = read_tls(reader);
        if tls.is_none() && !listen.ip().is_loopback() {
            reader.refuse(
                "listen",
                "is reachable from other machines, so it needs TLS: give [tls] certificate and key, or listen on 127.0.0.1",
            );
        }
        if metrics.is_some_and(|metrics| !metrics.ip().is_loopback()) && !metrics_in_clear_text {
            let words = "is reachable from other machines, and metrics are served in clear text: if that is meant, say metrics_in_clear_text = true";
            reader.refuse("metrics_listen", words);
        }
        Some(Self { file: reader.source(), listen, metrics, tls, data, public_keys, ca, public_url })
    }

    /// Tries the public keys: what would stop the service when it starts is said when its file is checked. It stands apart
    /// from [`Common::read`], which has to do with the file's words alone, and finds its error beside all others there.
    pub fn try_public_keys(reader: &mut Reader) {
        let path = reader.asked_path("public_keys", "keys/public.json");
        if let Some(path) = path
            && let Err(error) = crate::auth::KeySet::read(&path)
        {
            reader.refuse("public_keys", with_causes(&error));
        }
    }

    /// Tries the key that signs, in the same way.
    pub fn try_signing_key(reader: &mut Reader) {
        let folder = reader.asked_path("keys", "keys");
        if let Some(folder) = folder
            && let Err(error) = crate::auth::Signer::open(&folder, crate::clock::SystemClock::shared())
        {
            reader.refuse("keys", with_causes(&error));
        }
    }

    /// The URL at which others reach the service.
    pub fn url(&self) -> Option<Url> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.public_url.clone().or_else(|| Url::parse(&format!("{scheme}://{}/", self.listen)).ok())
    }
}

fn read_tls(reader: &mut Reader) -> Option<TlsFiles> {
    reader.table("tls", |tls| {
        let (certificate, key) = (tls.required("certificate"), tls.required("key"));
        let files = TlsFiles { certificate: certificate?, key: key? };
        // What would stop the service when it starts is said when its configuration is checked.
        if let Err(error) = crate::http::check_tls(&files) {
            tls.refuse("", with_causes(&error));
        }
        Some(files)
    })
}
