//! TLS before a git server.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::GitServer;

impl GitServer {
    /// Puts TLS before it, with this certificate and its key, both in DER; answers the port. It ends with the test's runtime.
    ///
    /// # Panics
    /// When the two make no pair.
    #[expect(clippy::expect_used, reason = "a test without its server cannot go on")]
    pub async fn behind_tls(&self, certificate: Vec<u8>, key: Vec<u8>) -> u16 {
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], key.try_into().expect("a key"))
            .expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = self.address();
        tokio::spawn(async move {
            while let Ok((plain, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not believe us goes away; so may anybody at any time.
                    let Ok(mut client) = acceptor.accept(plain).await else { return };
                    let Ok(mut server) = tokio::net::TcpStream::connect(server).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        port
    }
}
