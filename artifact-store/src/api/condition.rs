//! `If-Match`, `If-None-Match` and entity tags (RFC 9110, section 13).

use http::{HeaderMap, HeaderName, header};
use signalbox_contract::Digest;
use signalbox_service::http::Result;

use super::problem;
use crate::catalog::{Condition, Precondition};

/// The entity tag of these bytes: their digest.
pub(super) fn tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// The conditions of a request.
pub(super) fn preconditions(headers: &HeaderMap) -> Result<Precondition> {
    Ok(Precondition {
        if_match: condition(headers, &header::IF_MATCH, false)?,
        if_none_match: condition(headers, &header::IF_NONE_MATCH, true)?,
    })
}

/// One condition. A weak tag counts only where `weak` comparison is meant.
fn condition(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Result<Option<Condition>> {
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let invalid = || problem::header(name.as_str(), "must be * or a list of entity tags in quotes");
    let mut digests = Vec::new();
    let mut any = false;
    for line in lines {
        let line = line.to_str().map_err(|_| invalid())?;
        for entry in line.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            if entry == "*" {
                any = true;
                continue;
            }
            let (is_weak, strong) = entry.strip_prefix("W/").map_or((false, entry), |rest| (true, rest));
            let text = strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(invalid)?;
            // A tag that is none of ours matches nothing.
            if let (Ok(digest), true) = (text.parse::<Digest>(), weak || !is_weak) {
                digests.push(digest);
            }
        }
    }
    Ok(Some(if any { Condition::Any } else { Condition::Among(digests) }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn conditions(name: &HeaderName, text: &'static str) -> Option<Precondition> {
        preconditions(&HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(text))])).ok()
    }

    #[test]
    fn tags_are_read_as_they_are_written() {
        let digest = Digest::from_bytes([7; 32]);
        let one: HeaderValue = format!("\"other\", {}", tag(&digest)).parse().expect("a header");
        let headers = HeaderMap::from_iter([(header::IF_MATCH, one)]);
        assert_eq!(preconditions(&headers).expect("valid").if_match, Some(Condition::Among(vec![digest])));
        let weak: HeaderValue = format!("W/{}", tag(&digest)).parse().expect("a header");
        let headers = HeaderMap::from_iter([(header::IF_MATCH, weak.clone()), (header::IF_NONE_MATCH, weak)]);
        let both = preconditions(&headers).expect("valid");
        assert_eq!(both.if_match, Some(Condition::Among(Vec::new())), "a weak tag is not the same bytes");
        assert_eq!(both.if_none_match, Some(Condition::Among(vec![digest])));
        assert_eq!(conditions(&header::IF_NONE_MATCH, "*").expect("valid").if_none_match, Some(Condition::Any));
        assert!(conditions(&header::IF_MATCH, "sha256").is_none(), "a tag has quotes");
    }
}
