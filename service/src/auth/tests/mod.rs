//! Tokens from the outside: forged, mutated, stolen, late, and sent the wrong way. The numbers are those of the list of
//! threats.

mod keys;
mod requests;
mod tokens;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use signalbox_contract::grant::Grant;
use signalbox_contract::token::{Capability, OperatorClaims, Service};
use signalbox_contract::{AttemptKey, RunId};
use tempfile::TempDir;
use uuid::Uuid;

use super::{PUBLIC_FILE, SIGNING_FILE, Signer, Verifier, init_keys, sha256};
use crate::clock::{Clock as _, ManualClock};
use crate::secret::ExposeSecret as _;

/// A controller's keys and the workers that believe them, at a time that stands still.
pub(crate) struct Keys {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) signer: Signer,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::new("2026-11-22T12:00:00Z".parse().expect("a time")));
        init_keys(dir.path()).expect("keys");
        let signer = Signer::open(dir.path(), clock.clone()).expect("a signer");
        Self { dir, clock, signer }
    }

    pub(crate) fn verifier(&self, audience: Service) -> Verifier {
        Verifier::open(&self.dir.path().join(PUBLIC_FILE), audience, self.clock.clone()).expect("a verifier")
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    pub(crate) fn claims(&self, grants: Vec<Grant>) -> OperatorClaims {
        OperatorClaims {
            iss: "signalbox".to_owned(),
            sub: "mina".to_owned(),
            aud: Service::Controller,
            jti: self.clock.uuid(),
            iat: self.now(),
            exp: self.now() + 3600,
            grants,
        }
    }

    pub(crate) fn operator(&self, grants: Vec<Grant>) -> String {
        self.signer.operator(&self.claims(grants)).expect("signed").expose_secret().to_owned()
    }

    pub(crate) fn act(&self, op: &str, body: &[u8]) -> String {
        self.signer.act(Service::VcsWorker, op, Some(key(1)), sha256(body)).expect("signed").expose_secret().to_owned()
    }

    pub(crate) fn capability(&self, cap: Capability) -> String {
        let exp = self.clock.now() + Duration::from_mins(15);
        self.signer.capability(Service::VcsWorker, key(1), cap, exp).expect("signed").expose_secret().to_owned()
    }

    /// A token with exactly this header and these claims, signed well with the real key.
    fn forge(&self, header: &str, claims: &str) -> String {
        let pem = std::fs::read_to_string(self.dir.path().join(SIGNING_FILE)).expect("the key");
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = Ed25519KeyPair::from_pkcs8(&STANDARD.decode(body).expect("base64")).expect("a key");
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())))
    }

    fn header(&self) -> String {
        format!(r#"{{"typ":"signalbox-operator+jwt","alg":"EdDSA","kid":"{}"}}"#, self.signer.key_id())
    }

    /// An operator's claims as JSON, with one of them changed or (for `null`) taken away.
    fn changed(&self, name: &str, value: &str) -> String {
        let mut claims = serde_json::to_value(self.claims(vec![Grant::everything()])).expect("JSON");
        let object = claims.as_object_mut().expect("an object");
        object.remove(name);
        let text = claims.to_string();
        if value == "null" { text } else { format!("{},\"{name}\":{value}}}", text.trim_end_matches('}')) }
    }
}

pub(crate) fn key(attempt: u16) -> AttemptKey {
    AttemptKey { run: RunId::from_uuid(Uuid::from_u128(7)), step: 0, attempt }
}

fn revoked(jti: Uuid) -> HashSet<Uuid> {
    HashSet::from([jti])
}
