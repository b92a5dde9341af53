//! GitLab's public keys, kept at hand.
//!
//! They are asked for when they are needed, by whoever brings a token, and never more often than once a minute: a stranger
//! with tokens of keys that nobody knows has us ask no more than that. A key that is not known is not for that none of
//! GitLab's: one with which it has begun to sign since is found when that minute is over, and until then its holder is told
//! to ask again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::DecodingKey;
use signalbox_service::auth::install_crypto;
use signalbox_service::clock::SharedClock;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;
use tokio::sync::watch;

use crate::executor::Unidentified;
use crate::gitlab::{GitLab, PublicKey};

/// After how long the keys are asked for again although the one that is needed is known: one that was withdrawn is believed
/// for so long.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// For how long they are believed while GitLab does not answer.
const KEPT: SignedDuration = SignedDuration::from_hours(6);

/// How often they are asked for at most.
const PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// How long a request waits for them. Asking may take longer: then it is for whoever comes next.
const PATIENCE: Duration = Duration::from_secs(3);

/// How soon they are asked for again after that failed.
const SOON: SignedDuration = SignedDuration::from_secs(5);

/// By how much GitLab's clock and ours may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(super::identity::LEEWAY);

/// The longest name of a key.
const LONGEST_NAME: usize = 200;

/// How many bits a key may have. What is shorter can be broken, what is longer costs too much to check.
const BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A GitLab's public keys. Clones are handles on the same ones: whoever takes tokens of the same GitLab asks for its keys
/// together with the others.
#[derive(Clone)]
pub struct Keyring(Arc<Ring>);

struct Ring {
    gitlab: GitLab,
    clock: SharedClock,
    shutdown: Shutdown,
    known: Shelf,
    asked: Mutex<Option<Asked>>,
}

type Shelf = Arc<RwLock<Arc<Known>>>;

/// The last time that GitLab was asked for its keys.
#[derive(Clone)]
struct Asked {
    at: Timestamp,
    /// Whether it has answered with keys; closed once nobody waits for it any more.
    answered: watch::Receiver<bool>,
}

impl Asked {
    fn is_under_way(&self) -> bool {
        self.answered.has_changed().is_ok()
    }

    /// When it may be asked again.
    fn again(&self) -> Timestamp {
        let pause = if *self.answered.borrow() { PAUSE } else { SOON };
        self.at.saturating_add(pause).unwrap_or(Timestamp::MAX)
    }
}

#[derive(Default)]
struct Known {
    keys: BTreeMap<String, DecodingKey>,
    /// When they came.
    at: Option<Timestamp>,
}

impl Known {
    /// Whether they came no longer ago than this. A clock that was set back makes them old.
    fn is_younger(&self, age: SignedDuration, now: Timestamp) -> bool {
        self.at.map(|at| now.duration_since(at)).is_some_and(|past| !past.is_negative() && past < age)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.known();
        f.debug_struct("Keyring").field("names", &known.keys.keys().collect::<Vec<_>>()).field("at", &known.at).finish_non_exhaustive()
    }
}

impl Keyring {
    /// The keys of this GitLab. Asking for them ends with the service.
    pub fn new(gitlab: GitLab, clock: SharedClock, shutdown: Shutdown) -> Self {
        Self(Arc::new(Ring { gitlab, clock, shutdown, known: Shelf::default(), asked: Mutex::default() }))
    }

    /// The key of this name, with which a token is signed that says that it was made then.
    pub(super) async fn find(&self, name: &str, made: Timestamp) -> Result<DecodingKey, Unidentified> {
        let ring = &*self.0;
        let known = ring.known();
        if let Some(key) = known.keys.get(name).filter(|_| known.is_younger(FRESH, ring.clock.now())) {
            return Ok(key.clone());
        }
        let mut asked = ring.ask();
        // It is closed without another word when it fails. Whoever waits no longer leaves it to whoever asks next.
        let _ = tokio::time::timeout(PATIENCE, asked.answered.wait_for(|answered| *answered)).await;
        let (known, now) = (ring.known(), ring.clock.now());
        match known.keys.get(name).filter(|_| known.is_younger(KEPT, now)) {
            Some(key) => Ok(key.clone()),
            // A key with which GitLab has signed before it told its keys would have been among them.
            None if *asked.answered.borrow() && made.saturating_add(SKEW).is_ok_and(|made| made <= asked.at) => {
                Err(Unidentified::Unverifiable)
            }
            None => {
                let left = if asked.is_under_way() { SOON } else { asked.again().duration_since(now).clamp(SignedDuration::ZERO, PAUSE) };
                Err(Unidentified::NotNow { after: left.unsigned_abs() })
            }
        }
    }
}

impl Ring {
    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks GitLab, unless that was done a moment ago or is under way. The asking is nobody's request: it goes on when whoever
    /// wanted the keys waits no longer, so that a GitLab that takes its time gives them, too.
    fn ask(&self) -> Asked {
        let mut last = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        // A clock that was set back has nobody wait until it is that late again.
        if let Some(asked) = last.as_ref().filter(|asked| asked.is_under_way() || (asked.at <= now && now < asked.again())) {
            return asked.clone();
        }
        let (tell, answered) = watch::channel(false);
        let (gitlab, shelf, shutdown) = (self.gitlab.clone(), Arc::clone(&self.known), self.shutdown.clone());
        self.shutdown.spawn("gitlab-keys", async move {
            tokio::select! {
                keys = gitlab.public_keys() => match keys {
                    Ok(keys) => {
                        let known = Known { keys: usable(&keys), at: Some(now) };
                        tracing::debug!(keys = known.keys.len(), of = keys.len(), "GitLab's public keys were read");
                        *shelf.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
                        tell.send_replace(true);
                    }
                    Err(error) => {
                        tracing::warn!(error = %causes(&error), "GitLab's public keys could not be read; the last ones are kept for a while");
                    }
                },
                () = shutdown.requested() => {}
            }
        });
        last.insert(Asked { at: now, answered }).clone()
    }
}

/// Those that can be used: RSA keys for signing with RS256, long enough, each with a name of its own.
fn usable(keys: &[PublicKey]) -> BTreeMap<String, DecodingKey> {
    install_crypto();
    let mut usable: BTreeMap<String, Option<DecodingKey>> = BTreeMap::new();
    for key in keys {
        let Some(name) = key.kid.as_ref().filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME) else { continue };
        // Of two with one name nobody can say which is meant.
        let known = usable.contains_key(name);
        usable.insert(name.clone(), read(key).filter(|_| !known));
    }
    usable.into_iter().filter_map(|(name, key)| Some((name, key?))).collect()
}

fn read(key: &PublicKey) -> Option<DecodingKey> {
    let is = |word: Option<&String>, wanted: &str| word.is_none_or(|word| word == wanted);
    if key.kty.as_deref() != Some("RSA") || !is(key.purpose.as_ref(), "sig") || !is(key.alg.as_ref(), "RS256") {
        return None;
    }
    let (n, e) = (key.n.as_deref()?, key.e.as_deref()?);
    let modulus = URL_SAFE_NO_PAD.decode(n).ok()?;
    let leading = modulus.iter().take_while(|byte| **byte == 0).count();
    let zeros = modulus.get(leading)?.leading_zeros();
    let bits = (modulus.len() - leading) * 8 - usize::try_from(zeros).ok()?;
    if !BITS.contains(&bits) {
        return None;
    }
    DecodingKey::from_rsa_components(n, e).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(change: impl FnOnce(&mut serde_json::Value)) -> PublicKey {
        // A modulus of 2048 bits; whether it is a product of primes is nobody's question here.
        let modulus = [vec![0xc5; 255], vec![1]].concat();
        let mut key =
            json!({ "kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus) });
        change(&mut key);
        serde_json::from_value(key).expect("a key")
    }

    fn sized(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode([vec![0xc5; bytes - 1], vec![1]].concat())
    }

    #[test]
    fn only_long_keys_of_the_one_kind_with_a_name_are_used() {
        let names = |keys: &[PublicKey]| usable(keys).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&[key(|_| ())]), ["one"]);
        assert_eq!(names(&[key(|key| key["n"] = json!(sized(512)))]), ["one"]);
        // Threat: keys that can be broken, or that cost too much.
        for bytes in [1, 64, 128, 255, 1025, 4096] {
            assert!(names(&[key(|key| key["n"] = json!(sized(bytes)))]).is_empty(), "{bytes} bytes");
        }
        let padded = URL_SAFE_NO_PAD.encode([vec![0; 200], vec![0xc5; 128]].concat());
        assert!(names(&[key(|key| key["n"] = json!(padded))]).is_empty(), "zeros make it no longer");
        for (field, value) in [
            ("kty", json!("oct")),
            ("kty", json!("EC")),
            ("kty", json!(7)),
            ("use", json!("enc")),
            ("alg", json!("HS256")),
            ("alg", json!("none")),
            ("kid", json!("")),
            ("kid", json!("x".repeat(300))),
            ("kid", json!(null)),
            ("n", json!("not base64!")),
            ("n", json!("")),
            ("e", json!(["AQAB"])),
        ] {
            assert!(names(&[key(|key| key[field] = value.clone())]).is_empty(), "{field} = {value}");
        }
        assert!(names(&[key(|_| ()), key(|key| key["n"] = json!(sized(512)))]).is_empty(), "nobody can say which of two is meant");
    }
}
