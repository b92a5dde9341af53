//! TLS in front of a server that speaks none.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// A door with a certificate of the world's own authority, for loopback. It closes when it is dropped.
#[derive(Debug)]
pub struct Front(AbortHandle);

impl Front {
    /// Opens one at `address`, with the certificate in `site`, before the server at `behind`.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[expect(clippy::expect_used, reason = "a test without its server cannot go on")]
    pub async fn open(address: SocketAddr, site: &Path, behind: SocketAddr) -> Self {
        let certificate = CertificateDer::from_pem_file(site.join("certificate.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(site.join("key.pem")).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let open = tokio::spawn(async move {
            while let Ok((plain, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not believe us goes away; so may anybody at any time.
                    let Ok(mut client) = acceptor.accept(plain).await else { return };
                    let Ok(mut server) = TcpStream::connect(behind).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self(open.abort_handle())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.0.abort();
    }
}
