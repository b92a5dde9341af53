//! Signing: the controller alone does it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, Header};
use serde::Serialize;
use signalbox_contract::token::{ACT_LIFETIME, ActClaims, Capability, CapabilityClaims, ISSUER, OperatorClaims, Service, TokenKind};
use signalbox_contract::{AttemptKey, Digest};

use super::keys::{KeyError, KeySet, SigningKey};
use super::rotation::{PUBLIC_FILE, SIGNING_FILE};
use super::watched::{EVERY, Watched};
use crate::clock::SharedClock;
use crate::secret::SecretString;
use crate::telemetry::causes;

/// How long a new key is held back after it was first seen. Verifiers look at their file once in [`EVERY`]; by then all
/// of them have the new key's public half.
const HELD_BACK: Duration = EVERY.saturating_mul(2);

/// Why a token could not be signed: the token library refused, which no valid key and claims make it do.
#[derive(Debug, thiserror::Error)]
#[error("a token could not be signed")]
pub struct SignError(#[source] jsonwebtoken::errors::Error);

/// Signs tokens. It takes up a new key by itself after a rotation.
pub struct Signer {
    file: Watched,
    public: std::path::PathBuf,
    key: ArcSwap<SigningKey>,
    next: Mutex<Option<(SigningKey, Instant)>>,
    clock: SharedClock,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("kid", &self.key_id()).finish_non_exhaustive()
    }
}

impl Signer {
    /// Opens the private key in the folder `dir`.
    ///
    /// # Errors
    /// When there is none, others may read it, it is no Ed25519 key, or its public half is not published beside it.
    pub fn open(dir: &Path, clock: SharedClock) -> Result<Self, KeyError> {
        let file = Watched::new(dir.join(SIGNING_FILE));
        let public = dir.join(PUBLIC_FILE);
        let key = published(file.path(), &public)?;
        Ok(Self { file, public, key: ArcSwap::from_pointee(key), next: Mutex::new(None), clock })
    }

    /// The name of the key that signs now.
    pub fn key_id(&self) -> String {
        self.key.load().kid.clone()
    }

    /// A token for one request: `op` is its method and its path, `body` the SHA-256 of its body.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn act(&self, aud: Service, op: &str, key: Option<AttemptKey>, body: Digest) -> Result<SecretString, SignError> {
        let iat = self.clock.now().as_second();
        let claims = ActClaims {
            iss: ISSUER.to_owned(),
            sub: Service::Controller.as_str().to_owned(),
            aud,
            iat,
            exp: iat + ACT_LIFETIME,
            op: op.to_owned(),
            key,
            body,
        };
        self.sign(TokenKind::Act, &claims)
    }

    /// A token that allows `cap` to whoever holds it, until `exp`.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn capability(&self, aud: Service, key: AttemptKey, cap: Capability, exp: jiff::Timestamp) -> Result<SecretString, SignError> {
        let claims = CapabilityClaims {
            iss: ISSUER.to_owned(),
            sub: Service::Controller.as_str().to_owned(),
            aud,
            iat: self.clock.now().as_second(),
            exp: exp.as_second(),
            key,
            cap,
        };
        self.sign(TokenKind::Capability, &claims)
    }

    /// An operator's token with these claims.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn operator(&self, claims: &OperatorClaims) -> Result<SecretString, SignError> {
        self.sign(TokenKind::Operator, claims)
    }

    fn sign<C: Serialize>(&self, kind: TokenKind, claims: &C) -> Result<SecretString, SignError> {
        self.follow_rotation();
        let key = self.key.load();
        let header = Header { typ: Some(kind.typ().to_owned()), kid: Some(key.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &key.encoding).map(SecretString::from).map_err(SignError)
    }

    /// Takes up the key that a rotation put in place, once everybody had the time to see it published.
    fn follow_rotation(&self) {
        let changed = self.file.changed();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if changed {
            match published(self.file.path(), &self.public) {
                Ok(key) => *next = Some((key, Instant::now())),
                // The old key goes on; the file is read again when it changes again.
                Err(error) => tracing::warn!(error = %causes(&error), "the new signing key is not usable"),
            }
        }
        if let Some((key, _)) = next.take_if(|(_, seen)| seen.elapsed() >= HELD_BACK) {
            tracing::info!(kid = key.kid, "signing with a new key");
            self.key.store(std::sync::Arc::new(key));
        }
    }
}

/// The private key, if its public half is published: nothing is signed that nobody could verify.
fn published(path: &Path, public: &Path) -> Result<SigningKey, KeyError> {
    let key = SigningKey::read(path)?;
    if KeySet::read(public)?.find(&key.kid).is_none() {
        return Err(KeyError::NotPublished { path: path.to_owned() });
    }
    Ok(key)
}
