//! https, with a certificate authority of one's own.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Puts TLS before the world's server, for the name `git.invalid`; answers the port and the authority's certificate.
async fn behind_tls(world: &World) -> (u16, PathBuf) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["git.invalid".to_owned()]).expect("a certificate");
    let ca = world.path().join("ca.pem");
    std::fs::write(&ca, cert.pem()).expect("written");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = world.server.address();
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
    (port, ca)
}

#[tokio::test]
async fn a_certificate_is_believed_only_if_its_authority_is_named_and_the_name_is_right() {
    let world = World::new().await;
    world.server.require(&format!("Bearer {CANARY}"));
    let (port, ca) = behind_tls(&world).await;
    let remote = |host: &str, ca: Option<&PathBuf>| {
        let url = format!("https://{host}:{port}/hello").parse().expect("a URL");
        let remote = Remote::new(&url).expect("plain").pinned(vec!["127.0.0.1".parse().expect("an address")]);
        remote.access(Access::Bearer(CANARY.into())).ca(ca.cloned())
    };
    world.fetch(&remote("git.invalid", Some(&ca)), "refs/heads/main").await.expect("fetched");
    world.server.forget();
    for other in [remote("git.invalid", None), remote("other.invalid", Some(&ca))] {
        let error = world.fetch(&other, "refs/heads/main").await.expect_err("not believed");
        assert_eq!(error.fault, Fault::Certificate, "{}", error.said);
    }
    assert!(world.server.seen().is_empty(), "nothing was sent before the certificate was believed");
}
