//! Verifying: every service does it, with the public keys alone.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use signalbox_contract::Digest;
use signalbox_contract::token::{ACT_LIFETIME, ActClaims, CapabilityClaims, ISSUER, OperatorClaims, Service, TokenKind};
use uuid::Uuid;

use super::keys::{KeyError, KeySet};
use super::watched::Watched;
use super::{Denied, constant_time_eq, install_crypto, sha256};
use crate::clock::SharedClock;
use crate::telemetry::causes;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// By how many seconds the machines' clocks may differ when a token ends.
const LEEWAY: i64 = 5;

/// By how many seconds a token may have been made in the future. More than [`LEEWAY`]: a clock that is a little late
/// must not lock everybody out, and a token gains nothing by it.
const EARLIEST: i64 = 60;

/// How many verified operators' tokens are remembered.
const MAX_KNOWN: usize = 10_000;

/// Verifies tokens that are for one service. It reads its file of public keys again when that changes.
pub struct Verifier {
    audience: Service,
    clock: SharedClock,
    file: Watched,
    trust: ArcSwap<Trust>,
    changes: Mutex<()>,
}

/// What is believed. It is replaced as a whole, with an empty memory, when keys or revocations change: a token that is
/// being verified in that moment can then only be remembered by the old one, which nobody asks any more.
struct Trust {
    keys: Arc<KeySet>,
    revoked: Arc<HashSet<Uuid>>,
    /// By the SHA-256 of the token, so that looking one up tells nothing about those which are there.
    known: RwLock<HashMap<Digest, Arc<OperatorClaims>>>,
}

impl Trust {
    fn new(keys: Arc<KeySet>, revoked: Arc<HashSet<Uuid>>) -> Self {
        Self { keys, revoked, known: RwLock::default() }
    }

    fn recall(&self, token: &Digest) -> Option<Arc<OperatorClaims>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    fn remember(&self, token: Digest, claims: &Arc<OperatorClaims>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Only tokens that we signed get here, so it is rarely full; then it is cheapest to begin again.
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(token, Arc::clone(claims));
    }
}

/// What every token of ours says.
#[derive(Deserialize)]
struct Common {
    iss: String,
    sub: String,
    aud: String,
    iat: i64,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("audience", &self.audience).field("keys", &self.trust.load().keys).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier of tokens for `audience`, with the public keys in the file `path`.
    ///
    /// # Errors
    /// When the file cannot be read or is no set of Ed25519 keys.
    pub fn open(path: &Path, audience: Service, clock: SharedClock) -> Result<Self, KeyError> {
        install_crypto();
        let file = Watched::new(path.to_owned());
        let trust = Trust::new(Arc::new(KeySet::read(path)?), Arc::default());
        Ok(Self { audience, clock, file, trust: ArcSwap::from_pointee(trust), changes: Mutex::default() })
    }

    /// The service whose tokens it takes.
    pub const fn audience(&self) -> Service {
        self.audience
    }

    /// Whose tokens are revoked, by their ids. Those that ended need not be named any more.
    pub fn set_revoked(&self, revoked: HashSet<Uuid>) {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let trust = self.trust.load();
        // Told the same again and again, as the store is, it keeps what it remembers.
        if *trust.revoked != revoked {
            self.trust.store(Arc::new(Trust::new(Arc::clone(&trust.keys), Arc::new(revoked))));
        }
    }

    /// One more token is revoked. Two that are revoked at once are both revoked, whoever comes first.
    pub fn revoke(&self, jti: Uuid) {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let trust = self.trust.load();
        if !trust.revoked.contains(&jti) {
            let mut revoked = HashSet::clone(&trust.revoked);
            revoked.insert(jti);
            self.trust.store(Arc::new(Trust::new(Arc::clone(&trust.keys), Arc::new(revoked))));
        }
    }

    /// Whether a token that was verified before is still good: streams ask this while they last.
    pub fn still_good(&self, claims: &OperatorClaims) -> bool {
        self.check_times(claims.iat, claims.exp, None).is_ok() && !self.trust.load().revoked.contains(&claims.jti)
    }

    /// Verifies an operator's token. One that was verified a moment ago is only looked up, and its end and revocation
    /// checked.
    ///
    /// # Errors
    /// With why it is not taken.
    pub fn operator(&self, token: &str) -> Result<Arc<OperatorClaims>, Denied> {
        let trust = self.trust(token)?;
        let digest = sha256(token.as_bytes());
        if let Some(claims) = trust.recall(&digest) {
            self.check_times(claims.iat, claims.exp, None)?;
            if trust.revoked.contains(&claims.jti) {
                return Err(Denied::Revoked);
            }
            return Ok(claims);
        }
        let value = self.verify(&trust, token, TokenKind::Operator)?;
        let not_before = value.get("nbf").is_some_and(|nbf| !nbf.is_null());
        let claims: Arc<OperatorClaims> = Arc::new(parse(value)?);
        if trust.revoked.contains(&claims.jti) {
            return Err(Denied::Revoked);
        }
        // A hit does not look at `nbf`, which we never write.
        if !not_before {
            trust.remember(digest, &claims);
        }
        Ok(claims)
    }

    /// Verifies an act token for the request `op` (method and path) with the body whose digest this is.
    ///
    /// # Errors
    /// With why it is not taken.
    pub fn act(&self, token: &str, op: &str, body: &Digest) -> Result<ActClaims, Denied> {
        let claims = self.act_before_body(token, op)?;
        check_body(&claims, body)?;
        Ok(claims)
    }

    /// The same before the body has come, so that a stranger's body is never waited for. [`check_body`] must follow.
    pub(super) fn act_before_body(&self, token: &str, op: &str) -> Result<ActClaims, Denied> {
        let trust = self.trust(token)?;
        let claims: ActClaims = parse(self.verify(&trust, token, TokenKind::Act)?)?;
        // One that lives longer was not made by a signer of ours.
        if claims.exp.saturating_sub(claims.iat) > ACT_LIFETIME {
            return Err(Denied::Unverifiable);
        }
        if claims.op != op {
            return Err(Denied::WrongRequest);
        }
        Ok(claims)
    }

    /// Verifies a capability. Whether it allows what is asked for is for the caller to see.
    ///
    /// # Errors
    /// With why it is not taken.
    pub fn capability(&self, token: &str) -> Result<CapabilityClaims, Denied> {
        let trust = self.trust(token)?;
        parse(self.verify(&trust, token, TokenKind::Capability)?)
    }

    /// What is believed now; first the token's length is checked and the file of keys looked at.
    fn trust(&self, token: &str) -> Result<Arc<Trust>, Denied> {
        if token.len() > MAX_TOKEN {
            return Err(Denied::TooLong);
        }
        if self.file.changed() {
            self.reload();
        }
        Ok(self.trust.load_full())
    }

    /// Reads the file of keys again.
    pub(super) fn reload(&self) {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        match KeySet::read(self.file.path()) {
            Ok(keys) => {
                tracing::info!(?keys, "reloaded the public keys");
                let revoked = Arc::clone(&self.trust.load().revoked);
                self.trust.store(Arc::new(Trust::new(Arc::new(keys), revoked)));
            }
            // The last good keys stay: a file that is being written badly must not stop the service.
            Err(error) => tracing::warn!(error = %causes(&error), "the public keys were not reloaded"),
        }
    }

    /// What a token of ours says, once its signature, its times, its kind, its issuer and its audience are right, in this
    /// order: what cannot be verified is unauthenticated, whatever it says it is.
    fn verify(&self, trust: &Trust, token: &str, expected: TokenKind) -> Result<Value, Denied> {
        let header = decode_header(token).map_err(|_| Denied::Unverifiable)?;
        // A header may say which key, and which kind. With `crit`, `jku`, `jwk`, `x5u`, `x5c`, another algorithm or a
        // member that nobody knows it is no longer equal to this one.
        let plain = Header { typ: header.typ.clone(), kid: header.kid.clone(), ..Header::new(Algorithm::EdDSA) };
        if header != plain {
            return Err(Denied::Unverifiable);
        }
        let kind = kind(header.typ.as_deref()).ok_or(Denied::Unverifiable)?;
        let key = header.kid.as_deref().and_then(|kid| trust.keys.find(kid)).ok_or(Denied::Unverifiable)?;
        let value = decode::<Value>(token, key, &validation()).map_err(|_| Denied::Unverifiable)?.claims;
        let common = Common::deserialize(&value).map_err(|_| Denied::Unverifiable)?;
        self.check_times(common.iat, common.exp, common.nbf)?;
        if kind != expected {
            return Err(Denied::WrongKind);
        }
        let right_subject = match expected {
            TokenKind::Operator => !common.sub.is_empty() && common.sub.len() <= 200 && !common.sub.contains(char::is_control),
            TokenKind::Act | TokenKind::Capability => common.sub == Service::Controller.as_str(),
        };
        if common.iss != ISSUER || !right_subject {
            return Err(Denied::WrongIssuer);
        }
        if common.aud != self.audience.as_str() {
            // Only whoever holds a token that we signed comes here, and could read this in it.
            let given = Service::ALL.into_iter().find(|service| service.as_str() == common.aud);
            return Err(Denied::WrongAudience { given, wanted: self.audience });
        }
        Ok(value)
    }

    fn check_times(&self, iat: i64, exp: i64, nbf: Option<i64>) -> Result<(), Denied> {
        let now = self.clock.now().as_second();
        if exp.saturating_add(LEEWAY) <= now {
            return Err(Denied::Expired);
        }
        if iat > now.saturating_add(EARLIEST) || nbf.is_some_and(|nbf| nbf > now.saturating_add(LEEWAY)) {
            return Err(Denied::NotYet);
        }
        if iat < 0 || exp <= iat {
            return Err(Denied::Unverifiable);
        }
        Ok(())
    }
}

/// Whether the body that came is the body to which the token is bound.
pub(super) fn check_body(claims: &ActClaims, body: &Digest) -> Result<(), Denied> {
    if constant_time_eq(claims.body.as_bytes(), body.as_bytes()) { Ok(()) } else { Err(Denied::WrongBody) }
}

fn kind(typ: Option<&str>) -> Option<TokenKind> {
    [TokenKind::Operator, TokenKind::Act, TokenKind::Capability].into_iter().find(|kind| Some(kind.typ()) == typ)
}

/// What the token library checks: the signature with the one algorithm, and that the claims are there (it takes a token
/// without an audience for one with the right audience, unless it is told). Values and times are checked by us, by our
/// clock, so that a wrong audience can be told from a wrong signature.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, Denied> {
    serde_json::from_value(value).map_err(|_| Denied::Unverifiable)
}
