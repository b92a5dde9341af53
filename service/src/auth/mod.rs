//! Tokens: who signs them, who checks them, and how a handler's signature says what it asks for.
//!
//! The controller alone holds a [`Signer`]; every service holds a [`Verifier`] over the public keys. Handlers take
//! [`Operator`], [`Act`] or [`Capable`], so that what a route asks for stands in its signature.
//!
//! Architecture invariant: no token chooses how it is checked. The algorithm is fixed, the key is one of a file's, and a
//! header that says anything beyond `alg`, `typ` and `kid` is refused.

mod act;
mod bearer;
mod capable;
mod crypto;
mod denied;
mod keys;
mod operator;
mod rotation;
mod signer;
mod verifier;
mod watched;

#[cfg(test)]
pub(crate) mod tests;

pub use act::{Act, MAX_ACT_BODY, MAX_WAIT};
pub use bearer::SESSION_COOKIE;
pub use capable::{Capable, CapableRefusal, GIT_USER};
pub use crypto::{constant_time_eq, install_crypto, is_hmac_sha256, sha256};
pub use denied::Denied;
pub use keys::{KeyError, KeySet, MAX_KEYS};
pub use operator::Operator;
pub use rotation::{PUBLIC_FILE, SIGNING_FILE, init_keys, publish_next_key, rotate_keys};
pub use signer::{SignError, Signer};
pub use verifier::{MAX_TOKEN, Verifier};
