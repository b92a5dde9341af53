//! TLS with certificates of the test's own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::TlsFiles;
use crate::testing::eventually;

/// An authority, and the folder for the certificates that it issues.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        install_crypto();
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        Self { folder: tempfile::tempdir().expect("a folder"), issuer }
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.folder.path().join("certificate.pem"), key: self.folder.path().join("key.pem") }
    }

    /// Issues a certificate for these names into the files.
    fn issue(&self, names: &[&str]) -> TlsFiles {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = self.files();
        write(&files.certificate, &certificate.pem());
        write(&files.key, &key.serialize_pem());
        files
    }

    fn client(&self) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_pem(self.issuer.pem().as_bytes()).expect("a certificate");
        // Each request gets a connection of its own, and so the certificate of the moment.
        reqwest::Client::builder().tls_certs_only([root]).no_proxy().pool_max_idle_per_host(0)
    }
}

fn write(path: &FilePath, text: &str) {
    // As careful operators do it: beside, then in place.
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("written");
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).expect("private");
    std::fs::rename(&beside, path).expect("in place");
}

fn routes() -> Router {
    let version = async |request: http::Request<axum::body::Body>| format!("{:?}", request.version());
    Router::new().route("/version", get(version)).route("/slow", get(async || std::future::pending::<()>().await))
}

// Threat 70.
#[tokio::test]
async fn the_protocol_is_what_both_sides_agreed_on() {
    let authority = Authority::new();
    let server = Server::start(routes(), quick().tls(Some(authority.issue(&["localhost"]))));
    let url = format!("https://localhost:{}/version", server.address.port());
    let resolve = |builder: reqwest::ClientBuilder| builder.resolve("localhost", server.address).build().expect("a client");
    let http2 = resolve(authority.client()).get(&url).send().await.expect("answered");
    assert_eq!(http2.text().await.expect("text"), "HTTP/2.0");
    let http1 = resolve(authority.client().http1_only()).get(&url).send().await.expect("answered");
    assert_eq!(http1.text().await.expect("text"), "HTTP/1.1");
    let stranger = reqwest::Client::builder().no_proxy().resolve("localhost", server.address).build().expect("a client");
    stranger.get(&url).send().await.expect_err("whoever does not trust the authority does not connect");
    server.end().await;
}

// Threat 70.
#[tokio::test]
async fn nothing_older_than_tls_1_2_is_spoken() {
    let authority = Authority::new();
    let server = Server::start(routes(), quick().tls(Some(authority.issue(&["localhost"]))));
    // SSL 3.0, TLS 1.0 and 1.1 say hello, with every suite they know.
    for minor in [0_u8, 1, 2] {
        let suites = [0xc0, 0x0a, 0xc0, 0x09, 0xc0, 0x14, 0xc0, 0x13, 0x00, 0x35, 0x00, 0x2f, 0x00, 0x0a, 0x00, 0x05];
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.push(0);
        hello.extend([0, u8::try_from(suites.len()).expect("few")]);
        hello.extend(suites);
        hello.extend([1, 0]);
        let length = u8::try_from(hello.len()).expect("short");
        let mut record = vec![22, 3, minor, 0, length + 4, 1, 0, 0, length];
        record.extend(&hello);
        let mut stream = server.connect().await;
        stream.write_all(&record).await.expect("sent");
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes it");
        // A fatal alert, or nothing; never a hello in return.
        assert!(answer.is_empty() || answer.starts_with(&[21]), "{minor}: {answer:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let files = authority.issue(&["first.test"]);
    let server = Server::start(routes(), quick().tls(Some(files.clone())));
    let reaches = async |name: &str| {
        let client = authority.client().resolve(name, server.address).build().expect("a client");
        client.get(format!("https://{name}:{}/version", server.address.port())).send().await.is_ok().then_some(())
    };
    reaches("first.test").await.expect("the first certificate is served");
    write(&files.certificate, "not a certificate");
    let seen = "tls_certificates_refused_total{service=\"test\"} 1\n";
    eventually(seen, PATIENCE, async || server.telemetry.metrics().expect("text").contains(seen).then_some(())).await;
    reaches("first.test").await.expect("the old certificate stays");
    authority.issue(&["second.test"]);
    eventually("the new certificate is served", PATIENCE, async || reaches("second.test").await).await;
    assert_eq!(reaches("first.test").await, None);
    server.end().await;
}

// Threat 55.
#[tokio::test]
async fn handshakes_and_prefaces_that_stall_are_closed() {
    let authority = Authority::new();
    let server = Server::start(routes(), quick().tls(Some(authority.issue(&["localhost"]))));
    assert_eq!(server.send("").await, "", "no byte of a handshake");
    assert!(!server.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.contains("HTTP/1.1"), "clear text is not answered");
    // The handshake is done, and HTTP/2 agreed on; then nothing comes.
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).expect("a root");
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    for protocols in [vec![b"h2".to_vec()], Vec::new()] {
        config.alpn_protocols = protocols;
        let connector = TlsConnector::from(Arc::new(config.clone()));
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = connector.connect(name, server.connect().await).await.expect("a handshake");
        let mut bytes = Vec::new();
        // Whatever it says in farewell, the connection ends.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes it");
    }
    server.end().await;
}

#[tokio::test]
async fn requests_over_http2_are_bounded_and_cut_at_the_end_too() {
    let authority = Authority::new();
    let options = ServeOptions { drain: Duration::from_millis(300), response_timeout: PATIENCE * 9, ..quick() };
    let server = Server::start(routes(), options.tls(Some(authority.issue(&["localhost"]))));
    let client = authority.client().resolve("localhost", server.address).build().expect("a client");
    let url = format!("https://localhost:{}", server.address.port());
    let long = client.get(format!("{url}/version?{}", "x".repeat(9000))).send().await.expect("answered");
    assert_eq!(long.status(), 414);
    let slow = tokio::spawn(client.get(format!("{url}/slow")).send());
    eventually("the request is at work", PATIENCE, async || {
        server.telemetry.metrics().expect("text").contains("http_connections{service=\"test\"} 1").then_some(())
    })
    .await;
    server.end().await;
    slow.await.expect("ended").expect_err("it never got an answer");
}

// Threat 55.
#[tokio::test]
async fn a_reader_that_opens_no_window_is_closed() {
    let authority = Authority::new();
    let endless = async || {
        let pieces = futures_util::stream::repeat_with(|| Ok::<_, std::convert::Infallible>(vec![b'x'; 65_536]));
        axum::body::Body::from_stream(pieces)
    };
    let routes = Router::new().route("/endless", get(endless));
    let server = Server::start(routes, quick().tls(Some(authority.issue(&["localhost"]))));
    let client = authority.client().resolve("localhost", server.address).build().expect("a client");
    // The client answers pings and keeps the answer, but reads nothing of it.
    let answer = client.get(format!("https://localhost:{}/endless", server.address.port())).send().await.expect("answered");
    assert_eq!(answer.version(), http::Version::HTTP_2);
    let none = "http_connections{service=\"test\"} 0\n";
    eventually(none, PATIENCE, async || server.telemetry.metrics().expect("text").contains(none).then_some(())).await;
    drop(answer);
    server.end().await;
}

#[test]
fn certificates_that_cannot_be_used_say_why() {
    let authority = Authority::new();
    let files = authority.issue(&["a.test"]);
    check_tls(&files).expect("usable");
    let key = std::fs::read_to_string(&files.key).expect("a key");
    authority.issue(&["b.test"]);
    write(&files.key, &key);
    assert!(matches!(check_tls(&files), Err(TlsError::Mismatch { .. })));
    write(&files.key, "not a key");
    assert!(matches!(check_tls(&files), Err(TlsError::NoKey { .. })));
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(matches!(check_tls(&files), Err(TlsError::Key(_))), "others may read it");
    write(&files.certificate, "");
    assert!(matches!(check_tls(&files), Err(TlsError::NoCertificate { .. })));
}
