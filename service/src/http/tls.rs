//! TLS: certificates from files, loaded again when the files change. All names of rustls stand here.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;
use crate::secret::{ExposeSecret as _, SecretFileError, read_secret};
use crate::shutdown::Shutdown;

/// The largest file with certificates, in bytes.
const MAX_CHAIN: u64 = 1024 * 1024;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the certificates cannot be read.
    #[error("the certificate {path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds no certificate, or something else besides.
    #[error("{path} holds no PEM certificate")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key cannot be read, or may be read by others.
    #[error("the certificate's key cannot be used")]
    Key(#[from] SecretFileError),
    /// It holds no private key.
    #[error("{path} holds no PEM private key")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is of an unknown kind, or is not the certificate's.
    #[error("the key in {key} does not fit the certificate in {certificate}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Makes aws-lc-rs the process's only TLS library. Safe to call again.
pub fn install_crypto() {
    // It fails only when a provider is installed already, and this is the only place that installs one.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// Checks that a certificate and its key can be used.
///
/// # Errors
/// When they cannot be read, are none, or do not fit together.
pub fn check(files: &TlsFiles) -> Result<(), TlsError> {
    load(files).map(|_| ())
}

fn load(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let pem = read_bounded(&files.certificate).map_err(|source| TlsError::Unreadable { path: files.certificate.clone(), source })?;
    let no_certificate = || TlsError::NoCertificate { path: files.certificate.clone() };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| no_certificate())?;
    if chain.is_empty() {
        return Err(no_certificate());
    }
    let secret = read_secret(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(secret.expose_secret().as_bytes()).map_err(|_| TlsError::NoKey { path: files.key.clone() })?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| TlsError::Mismatch {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    })
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_CHAIN).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A certificate that is loaded again when its files change. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Certificates {
    files: TlsFiles,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    /// How the files looked when they were loaded first.
    stamp: Stamp,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificates {
    /// Loads the certificate.
    pub(super) fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let stamp = Stamp::of(files);
        let current = Arc::new(Current(ArcSwap::from_pointee(load(files)?)));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { files: files.clone(), current, config: Arc::new(config), stamp })
    }

    /// What the acceptor needs.
    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Looks at the files now and then until the end begins. A new certificate that cannot be used is logged once, and
    /// the old one stays; it is tried again, for the two files may be written one after the other.
    pub(super) async fn watch(self, every: Duration, refused: Counter, shutdown: Shutdown) {
        let mut served = self.stamp.clone();
        let mut complained = None;
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(every) => {}
            }
            let files = self.files.clone();
            // Files are on a disk that may be slow; the connections must not wait for it.
            let looked = tokio::task::spawn_blocking({
                let served = served.clone();
                move || {
                    let stamp = Stamp::of(&files);
                    (stamp != served).then(|| (stamp, load(&files)))
                }
            });
            match looked.await {
                Ok(Some((stamp, Ok(key)))) => {
                    self.current.0.store(Arc::new(key));
                    tracing::info!(certificate = %self.files.certificate.display(), "tls.certificate_renewed");
                    (served, complained) = (stamp, None);
                }
                Ok(Some((stamp, Err(error)))) if complained.as_ref() != Some(&stamp) => {
                    let causes: Vec<_> = anyhow::Error::new(error).chain().map(ToString::to_string).collect();
                    tracing::error!(error = %causes.join(": "), "tls.certificate_kept");
                    refused.inc();
                    complained = Some(stamp);
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "tls.look_failed"),
            }
        }
    }
}

/// How two files look: when they were written, how long they are, and which they are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([Option<(i64, i64, u64, u64)>; 2]);

impl Stamp {
    fn of(files: &TlsFiles) -> Self {
        Self([&files.certificate, &files.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len(), metadata.ino()))
        }))
    }
}
