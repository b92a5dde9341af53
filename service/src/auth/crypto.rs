//! The one crypto library, chosen once for the process.

use aws_lc_rs::{digest, hmac};
use signalbox_contract::Digest;

/// Installs the crypto library for TLS and for tokens, by name: left to themselves, both guess from the features that
/// Cargo happened to unify, and panic at first use when they find none or two. Safe to call any number of times.
pub fn install_crypto() {
    // It refuses to be set twice; the first one set is ours, since everything that could use it calls this first.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    crate::http::install_crypto();
}

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut array = [0; 32];
    array.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    Digest::from_bytes(array)
}

/// Whether two texts are the same, in a time that does not depend on where they differ. For every comparison with
/// something that a caller must not be able to guess bit by bit.
pub fn constant_time_eq(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// Whether `tag` is the HMAC-SHA-256 of the parts, one after the other, under `key`; compared in constant time.
pub fn is_hmac_sha256(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    constant_time_eq(context.sign().as_ref(), tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_that_of_its_key_and_its_parts_alone() {
        // RFC 4231, case 2.
        let tag = Digest::from_hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843").expect("a digest");
        assert!(is_hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"], tag.as_bytes()));
        assert!(!is_hmac_sha256(b"Jeff", &[b"what do ya want for nothing?"], tag.as_bytes()));
        assert!(!is_hmac_sha256(b"Jefe", &[b"what do ya want for nothing"], tag.as_bytes()));
        assert!(!is_hmac_sha256(b"Jefe", &[b"what do ya want for nothing?"], b""));
    }
}
