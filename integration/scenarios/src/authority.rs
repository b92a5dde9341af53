//! A certificate authority of the test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Writes `ca.pem`, and `certificate.pem` and `key.pem` for loopback, into a folder.
#[expect(clippy::expect_used, reason = "a test that has no certificates cannot go on")]
pub(crate) fn issue(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Signalbox scenarios");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let leaf = CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer).expect("a certificate");
    fs::write(folder.join("ca.pem"), issuer.pem()).expect("written");
    fs::write(folder.join("certificate.pem"), leaf.pem()).expect("written");
    let private = folder.join("key.pem");
    fs::write(&private, key.serialize_pem()).expect("written");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).expect("private");
}
