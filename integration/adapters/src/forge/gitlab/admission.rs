//! Which of GitLab's deliveries are genuine, what identifies one, and what of it is kept.
//!
//! A newer GitLab signs (Standard Webhooks), an older one sends a secret along. Where a delivery is signed and we have keys,
//! the signature alone decides.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::HeaderMap;
use jiff::Timestamp;
use signalbox_service::auth::{constant_time_eq, is_hmac_sha256};
use signalbox_service::secret::{ExposeSecret as _, SecretString};

use super::GitlabForgeSettings;
use crate::forge::payload::{content_id, kept, object, text, word};
use crate::forge::{Admitted, Forged, Glance, Knock};

/// The largest delivery that is taken, in bytes. GitLab sends none that is larger.
pub const MAX_DELIVERY: usize = 25 * 1024 * 1024;

/// The headers that say something and hold no secret.
const HEADERS: &[&str] = &[
    "content-type",
    "idempotency-key",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "x-gitlab-event",
    "x-gitlab-event-uuid",
    "x-gitlab-instance",
    "x-gitlab-webhook-uuid",
];

/// How many signatures one delivery may carry: one for each key while they are changed.
const SIGNATURES: usize = 8;

/// What the headers say: a secret that we know, or a signature that the body will have to bear out.
pub(super) fn glance(settings: &GitlabForgeSettings, headers: &HeaderMap) -> Result<Glance, Forged> {
    if is_signed(settings, headers) {
        let whole = ["webhook-id", "webhook-timestamp", "webhook-signature"].iter().all(|name| header(headers, name).is_some());
        return if whole { Ok(Glance::Signed) } else { Err(Forged::Unsigned) };
    }
    if knows_a_secret(headers, &settings.secrets.current()) { Ok(Glance::Known) } else { Err(Forged::Unsigned) }
}

/// Whether it is to be judged by a signature.
fn is_signed(settings: &GitlabForgeSettings, headers: &HeaderMap) -> bool {
    headers.contains_key("webhook-signature") && !settings.signing.is_empty()
}

/// A webhook's call.
pub(super) fn admit(settings: &GitlabForgeSettings, knock: &Knock<'_>) -> Result<Admitted, Forged> {
    let signed = is_signed(settings, knock.headers);
    if glance(settings, knock.headers)? == Glance::Signed {
        verify(settings, knock)?;
    }
    if knock.body.len() > MAX_DELIVERY {
        return Err(Forged::Unreadable);
    }
    let body = object(knock.body).ok_or(Forged::Unreadable)?;
    // The id that was signed, before the one that anybody could have put beside it. `X-Gitlab-Event-UUID` is shared by
    // several events, and `X-Gitlab-Webhook-UUID` is another for each try: neither identifies a delivery.
    let own = if signed { header(knock.headers, "webhook-id") } else { header(knock.headers, "idempotency-key") };
    let id = own.filter(|id| id.len() <= 128).map_or_else(|| content_id(&body), str::to_owned);
    let kind = header(knock.headers, "x-gitlab-event").and_then(word);
    let kind = kind.or_else(|| text(&body, &["object_kind"]).and_then(word)).or_else(|| text(&body, &["event_name"]).and_then(word));
    let headers = HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), header(knock.headers, name)?.to_owned())));
    Ok(Admitted { id, kind: kind.unwrap_or("unknown").to_owned(), headers: headers.collect(), body: kept(body) })
}

/// A header of visible characters, once, and not longer than any that is used.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    (values.next().is_none() && !value.is_empty() && value.len() <= 1024).then_some(value)
}

fn knows_a_secret(headers: &HeaderMap, secrets: &[SecretString]) -> bool {
    let Some(said) = header(headers, "x-gitlab-token") else {
        return false;
    };
    // Each is compared, and each in constant time: how long it takes says nothing.
    secrets.iter().fold(false, |known, secret| constant_time_eq(said.as_bytes(), secret.expose_secret().trim().as_bytes()) | known)
}

/// Whether the delivery is signed with one of our keys, and now.
fn verify(settings: &GitlabForgeSettings, knock: &Knock<'_>) -> Result<(), Forged> {
    let said = |name| header(knock.headers, name).ok_or(Forged::Unsigned);
    let (id, time, signatures) = (said("webhook-id")?, said("webhook-timestamp")?, said("webhook-signature")?);
    let parts = [id.as_bytes(), b".", time.as_bytes(), b".", knock.body];
    let tags = signatures.split_ascii_whitespace().take(SIGNATURES);
    let tags: Vec<Vec<u8>> = tags.filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok()).collect();
    let genuine = settings.signing.current().iter().filter_map(key).any(|key| tags.iter().any(|tag| is_hmac_sha256(&key, &parts, tag)));
    if !genuine {
        return Err(Forged::Unsigned);
    }
    // Only now: whether a forged one would have been in time is nobody's business.
    let signed = time.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or(Forged::Unsigned)?;
    if knock.at.duration_since(signed).unsigned_abs() > settings.tolerance {
        return Err(Forged::Stale);
    }
    Ok(())
}

/// The bytes of a key that was written as `whsec_` and base64. One that is none opens nothing.
fn key(secret: &SecretString) -> Option<Vec<u8>> {
    let text = secret.expose_secret().trim();
    let encoded = text.strip_prefix("whsec_").unwrap_or(text).trim_end_matches('=');
    STANDARD_NO_PAD.decode(encoded).ok().filter(|key| !key.is_empty())
}
