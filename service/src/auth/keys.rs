//! Keys: the private one that signs, and the set of public ones that verify.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use super::install_crypto;
use crate::secret::{ExposeSecret as _, SecretFileError, SecretString, read_secret};

/// How many public keys a set may hold: the current one, the next, the previous, and some to spare.
pub const MAX_KEYS: usize = 16;

/// The largest file of public keys, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Why keys could not be read, made or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the keys in {path} cannot be read; `signalbox keys init` makes them")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The private key's file is not as a secret should be.
    #[error("the private key is not usable")]
    Secret(#[source] SecretFileError),
    /// It is not an Ed25519 key in the one form that is taken.
    #[error("{path} does not hold an Ed25519 key in PKCS#8 version 1, as `openssl genpkey -algorithm ed25519` writes it")]
    NotAPrivateKey {
        /// The file.
        path: PathBuf,
    },
    /// It is not a set of public keys in which each can be trusted.
    #[error("{path} is not a set of Ed25519 public keys: {reason}")]
    NotAKeySet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The public half of the signing key is not in the public set, so nobody would believe its signatures.
    #[error("the key in {path} is not published beside it; was a file restored from a backup?")]
    NotPublished {
        /// The private key's file.
        path: PathBuf,
    },
    /// There are keys already.
    #[error("{path} exists already; nothing was changed")]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("the keys in {path} cannot be written")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The machine has no randomness to make a key of.
    #[error("no key could be made")]
    NotMade,
}

/// A private key with which tokens are signed.
pub(super) struct SigningKey {
    pub(super) kid: String,
    pub(super) encoding: EncodingKey,
    pub(super) public: Jwk,
}

impl SigningKey {
    /// Makes a key, as PEM.
    pub(super) fn generate() -> Result<SecretString, KeyError> {
        install_crypto();
        // Version 1, without the public half: the only form from which the token library can make a public key.
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| KeyError::NotMade)?;
        Ok(SecretString::from(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", STANDARD.encode(&document))))
    }

    /// Reads the key in the file `path`, which nobody else may read.
    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        install_crypto();
        let pem = read_secret(path).map_err(KeyError::Secret)?;
        Self::from_pem(&pem).ok_or_else(|| KeyError::NotAPrivateKey { path: path.to_owned() })
    }

    fn from_pem(pem: &SecretString) -> Option<Self> {
        let encoding = EncodingKey::from_ed_pem(pem.expose_secret().as_bytes()).ok()?;
        let mut public = Jwk::from_encoding_key(&encoding, Algorithm::EdDSA).ok()?;
        let kid = public.thumbprint(ThumbprintHash::SHA256).ok()?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Some(Self { kid, encoding, public })
    }
}

/// The public keys that a service believes. Each is named by its own thumbprint (RFC 7638), so that a name can never
/// stand for another key.
pub struct KeySet {
    keys: Vec<(String, DecodingKey)>,
    pub(super) document: JwkSet,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

impl KeySet {
    /// Reads the set in the file `path`.
    ///
    /// # Errors
    /// When it cannot be read, is no JSON Web Key Set, or holds anything but Ed25519 keys named by their thumbprints.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path).map_err(unreadable)?.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(&text).map_err(|reason| KeyError::NotAKeySet { path: path.to_owned(), reason })
    }

    /// Reads a set from the text of a JSON Web Key Set.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        install_crypto();
        if text.len() as u64 > MAX_FILE {
            return Err("it is larger than 64 KiB");
        }
        let document: JwkSet = serde_json::from_str(text).map_err(|_| "it is not a JSON Web Key Set")?;
        Self::from_document(document)
    }

    pub(super) fn from_document(document: JwkSet) -> Result<Self, &'static str> {
        if document.keys.is_empty() {
            return Err("it is empty");
        }
        if document.keys.len() > MAX_KEYS {
            return Err("it has more than 16 keys");
        }
        let mut keys: Vec<(String, DecodingKey)> = Vec::with_capacity(document.keys.len());
        for jwk in &document.keys {
            // Nothing symmetric can get in: a shared or short key is refused here, at the start.
            if !matches!(&jwk.algorithm, AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519) {
                return Err("a key is of another kind");
            }
            let key = DecodingKey::from_jwk(jwk).map_err(|_| "a key is malformed")?;
            if key.try_get_as_bytes().map_or(0, <[u8]>::len) != 32 {
                return Err("a key does not have 32 bytes");
            }
            let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| "a key is malformed")?;
            if jwk.common.key_id.as_deref() != Some(thumbprint.as_str()) {
                return Err("a key's kid is not its thumbprint");
            }
            if keys.iter().any(|(known, _)| *known == thumbprint) {
                return Err("a key stands in it twice");
            }
            keys.push((thumbprint, key));
        }
        Ok(Self { keys, document })
    }

    /// The names of the keys, the current one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(kid, _)| kid.as_str())
    }

    /// The key of this name. A name is only ever compared: it is no path and no query.
    pub(super) fn find(&self, kid: &str) -> Option<&DecodingKey> {
        self.keys.iter().find(|(known, _)| known == kid).map(|(_, key)| key)
    }
}
