//! Headers of uploads: digests (RFC 9530), the content type, and what is not taken.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, header};
use signalbox_contract::Digest;
use signalbox_service::http::{Result, refuse_encoded};

use super::problem;

/// The media type of bytes of which nobody said what they are.
pub(super) const GENERIC: &str = "application/octet-stream";

/// RFC 9530: the digest of the bytes on the wire.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// RFC 9530: the digest of the whole, also beside a part.
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The older form (RFC 3230), which some clients still send.
const DIGEST: HeaderName = HeaderName::from_static("digest");

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// A digest as RFC 9530 writes it.
pub(super) fn structured(digest: &Digest) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes()))
}

/// The SHA-256 that an upload is announced to have, from whichever header; two that differ are refused. So are digests of
/// other algorithms alone: RFC 9530 lets them be ignored, but whoever sends one believes that it was compared.
pub(super) fn announced_digest(headers: &HeaderMap) -> Result<Option<Digest>> {
    let (mut found, mut ignored) = (None, None);
    for (name, colons) in [(CONTENT_DIGEST, true), (REPR_DIGEST, true), (DIGEST, false)] {
        for line in headers.get_all(&name) {
            let invalid = || problem::header(name.as_str(), "must hold digests, such as sha-256=:BASE64:");
            for entry in line.to_str().map_err(|_| invalid())?.split(',') {
                let (algorithm, value) = entry.trim().split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(invalid)?;
                // Other algorithms may stand beside; only this one is checked.
                if !algorithm.eq_ignore_ascii_case("sha-256") {
                    ignored.get_or_insert(name.clone());
                    continue;
                }
                let value =
                    if colons { value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).ok_or_else(invalid)? } else { value };
                let bytes: [u8; 32] = STANDARD.decode(value).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(invalid)?;
                let digest = Digest::from_bytes(bytes);
                if found.replace(digest).is_some_and(|before| before != digest) {
                    return Err(problem::header(name.as_str(), "names another digest than was given before"));
                }
            }
        }
    }
    match (found, ignored) {
        (None, Some(name)) => Err(problem::header(name.as_str(), "must hold a sha-256 digest: no other is compared here")),
        _ => Ok(found),
    }
}

/// The media type that the uploader gives, as it is given; generic if none is. Never guessed from the bytes.
pub(super) fn content_type(headers: &HeaderMap) -> Result<String> {
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(value) = lines.next() else {
        return Ok(GENERIC.to_owned());
    };
    let invalid = || problem::header("content-type", "must be one media type of at most 200 plain characters");
    let text = value.to_str().map_err(|_| invalid())?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte));
    let plain = text.len() <= 200 && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let shaped = essence.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
    if !plain || !shaped || lines.next().is_some() {
        return Err(invalid());
    }
    Ok(text.to_owned())
}

/// How large the body is announced to be.
pub(super) fn announced_size(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Refuses uploads that ask for something which would silently not be done.
pub(super) fn refuse_unsupported(headers: &HeaderMap) -> Result<()> {
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(problem::header("content-range", "is not taken: send the whole"));
    }
    if headers.contains_key(CONTENT_MD5) {
        return Err(problem::header("content-md5", "is not checked here: send content-digest with sha-256"));
    }
    refuse_encoded(headers, "bytes are kept as they come, so give the encoded bytes as what they are").map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a header"))])
    }

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::from_bytes([9; 32]);
        let text = structured(&digest);
        assert_eq!(announced_digest(&with(CONTENT_DIGEST, &text)).expect("valid"), Some(digest));
        assert_eq!(announced_digest(&with(CONTENT_DIGEST, &format!("sha-512=:AAAA:, {text}"))).expect("valid"), Some(digest));
        assert_eq!(announced_digest(&with(DIGEST, &text.replace(':', ""))).expect("valid"), Some(digest));
        for bad in ["sha-256=AAAA", "sha-256=:AAAA:", "sha-256=:!:", "sha-256", "=", "sha-256=::", "sha-512=:AAAA:"] {
            assert!(announced_digest(&with(CONTENT_DIGEST, bad)).is_err(), "{bad}");
        }
        let mut two = with(CONTENT_DIGEST, &text);
        let other = HeaderValue::from_str(&structured(&Digest::from_bytes([8; 32]))).expect("a header");
        two.insert(REPR_DIGEST, other);
        assert!(announced_digest(&two).is_err(), "which of them is meant is not for us to say");
    }

    #[test]
    fn a_content_type_is_kept_and_never_guessed() {
        assert_eq!(content_type(&HeaderMap::new()).expect("valid"), GENERIC);
        assert_eq!(content_type(&with(header::CONTENT_TYPE, "text/html; charset=utf-8")).expect("valid"), "text/html; charset=utf-8");
        for bad in ["", "html", "text/", "a b/c", &"a/".repeat(200), "text/html\t"] {
            assert!(content_type(&with(header::CONTENT_TYPE, bad)).is_err(), "{bad:?}");
        }
    }
}
