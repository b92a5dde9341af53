use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use signalbox_contract::grant::Grant;
use signalbox_contract::token::Service;

use super::Keys;
use crate::auth::{KeyError, KeySet, Signer, Verifier, init_keys, install_crypto, publish_next_key, rotate_keys};
use crate::clock::SystemClock;
use crate::secret::{SecretFileError, SecretString, write_secret};

/// A key that OpenSSL 3 wrote: `openssl genpkey -algorithm ed25519`. It was made for this test and signs nothing else.
const BY_OPENSSL: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAjLPo2BaYbz3cPTq9ZI0FfHLaQwHBYbcS35kCgeDJEo
-----END PRIVATE KEY-----";

#[test]
fn installing_the_crypto_library_again_changes_nothing() {
    install_crypto();
    install_crypto();
}

#[test]
fn keys_that_we_make_are_private_and_never_replaced() {
    let keys = Keys::new();
    let mode = |name: &str| std::fs::metadata(keys.dir.path().join(name)).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode("signing.pem"), 0o600);
    assert_eq!(mode("public.json") & 0o400, 0o400);
    let public = std::fs::read_to_string(keys.dir.path().join("public.json")).expect("the public keys");
    assert!(!public.contains("\"d\""), "no private half is in the public file");
    assert!(matches!(init_keys(keys.dir.path()), Err(KeyError::Exists { .. })));
    assert_eq!(std::fs::read_to_string(keys.dir.path().join("public.json")).expect("still there"), public);
}

#[test]
fn a_crash_between_the_two_files_is_mended_by_making_the_keys_again() {
    let keys = Keys::new();
    std::fs::remove_file(keys.dir.path().join("public.json")).expect("removed");
    assert_eq!(init_keys(keys.dir.path()).expect("mended"), keys.signer.key_id());
}

#[test]
fn a_key_by_openssl_signs_what_its_public_half_verifies() {
    let dir = tempfile::tempdir().expect("a folder");
    write_secret(&dir.path().join("signing.pem"), &SecretString::from(BY_OPENSSL)).expect("written");
    init_keys(dir.path()).expect("published");
    let signer = Signer::open(dir.path(), SystemClock::shared()).expect("a signer");
    let verifier = Verifier::open(&dir.path().join("public.json"), Service::VcsWorker, Arc::new(SystemClock)).expect("a verifier");
    let empty = crate::auth::sha256(b"");
    let token = signer.act(Service::VcsWorker, "GET /x", None, empty).expect("signed");
    verifier.act(secrecy::ExposeSecret::expose_secret(&token), "GET /x", &empty).expect("verified");
}

/// rcgen writes PKCS#8 version 2, from which no public key can be made.
#[test]
fn a_key_of_another_form_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("signing.pem");
    let foreign = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key").serialize_pem();
    let ecdsa = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    for pem in [foreign.trim_end(), ecdsa.trim_end(), "no key at all"] {
        let _ = std::fs::remove_file(&path);
        write_secret(&path, &SecretString::from(pem)).expect("written");
        let error = init_keys(dir.path()).expect_err("refused");
        assert!(error.to_string().contains("openssl genpkey -algorithm ed25519"), "{error}");
    }
}

#[test]
fn a_private_key_that_others_may_read_is_refused() {
    let keys = Keys::new();
    let path = keys.dir.path().join("signing.pem");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let refused = Signer::open(keys.dir.path(), keys.clock.clone());
    assert!(matches!(refused, Err(KeyError::Secret(SecretFileError::Exposed { mode: 0o644, .. }))));
}

#[test]
fn nothing_is_signed_with_a_key_that_is_not_published() {
    let keys = Keys::new();
    let other = Keys::new();
    std::fs::copy(other.dir.path().join("public.json"), keys.dir.path().join("public.json")).expect("copied");
    assert!(matches!(Signer::open(keys.dir.path(), keys.clock.clone()), Err(KeyError::NotPublished { .. })));
}

#[test]
fn a_next_key_is_published_long_before_it_signs() {
    let keys = Keys::new();
    let first = keys.signer.key_id();
    let next = publish_next_key(keys.dir.path()).expect("published");
    assert_eq!(publish_next_key(keys.dir.path()).expect("again"), next, "repeated, it changes nothing");
    let published = KeySet::read(&keys.dir.path().join("public.json")).expect("keys");
    assert_eq!(published.key_ids().collect::<Vec<_>>(), [first.as_str(), next.as_str()]);
    let restarted = Signer::open(keys.dir.path(), keys.clock.clone()).expect("a signer");
    assert_eq!(restarted.key_id(), first, "it does not sign yet");
    assert_eq!(rotate_keys(keys.dir.path()).expect("rotated"), next);
    let restarted = Signer::open(keys.dir.path(), keys.clock.clone()).expect("a signer");
    assert_eq!(restarted.key_id(), next);
    assert!(!keys.dir.path().join("next.pem").exists());
    let third = rotate_keys(keys.dir.path()).expect("rotated");
    let published = KeySet::read(&keys.dir.path().join("public.json")).expect("keys");
    assert_eq!(published.key_ids().collect::<Vec<_>>(), [third.as_str(), next.as_str()], "the first is gone");
}

#[test]
fn no_key_is_ever_printed() {
    let keys = Keys::new();
    let pem = std::fs::read_to_string(keys.dir.path().join("signing.pem")).expect("the key");
    let secret = pem.lines().nth(1).expect("a line");
    let verifier = keys.verifier(Service::Controller);
    let token = keys.operator(vec![Grant::everything()]);
    let printed = format!("{:?} {:?} {:?}", keys.signer, verifier, verifier.operator(&token));
    assert!(!printed.contains(secret) && !printed.contains(&token), "{printed}");
}
