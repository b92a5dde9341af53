//! https, with a certificate authority of one's own.

use super::*;

/// Puts TLS before the world's server, for the name `git.invalid`; answers the port and the authority's certificate.
async fn behind_tls(world: &World) -> (u16, PathBuf) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["git.invalid".to_owned()]).expect("a certificate");
    let ca = world.path().join("ca.pem");
    std::fs::write(&ca, cert.pem()).expect("written");
    let port = world.server.behind_tls(cert.der().to_vec(), signing_key.serialize_der()).await;
    (port, ca)
}

// Threat 70.
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
