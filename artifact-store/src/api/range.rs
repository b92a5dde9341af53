//! `Range`, `If-Range` and what they select (RFC 9110, section 14).
//!
//! One range is answered with 206. Several at once are answered with the whole, which the standard allows: their answer
//! could be many times the size of the blob.

use http::{HeaderMap, header};

use super::condition::tag;
use signalbox_contract::Digest;

/// What of a blob is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// From the first (included) until the second (excluded).
    Part(u64, u64),
    /// Nothing that there is.
    Nothing,
}

/// What the request wants of a blob of `size` bytes.
pub(super) fn wanted(headers: &HeaderMap, digest: &Digest, size: u64) -> Wanted {
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        return Wanted::Whole;
    };
    // A part of something else than what the client has the rest of would be worse than nothing. Dates are never taken:
    // two overwrites can happen within one second.
    let stale = headers.get_all(header::IF_RANGE).iter().any(|value| value.as_bytes() != tag(digest).as_bytes());
    if stale {
        return Wanted::Whole;
    }
    range.to_str().ok().map_or(Wanted::Whole, |text| select(text, size))
}

/// What is not a range of bytes is ignored, as the standard asks.
fn select(text: &str, size: u64) -> Wanted {
    let Some((unit, set)) = text.split_once('=') else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Wanted::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else {
        return Wanted::Whole;
    };
    let (Ok(first), Ok(last)) = (number(first), number(last)) else {
        return Wanted::Whole;
    };
    match (first, last) {
        (None, None) => Wanted::Whole,
        (Some(first), Some(last)) if last < first => Wanted::Whole,
        (Some(first), last) => {
            let until = last.map_or(size, |last| last.saturating_add(1).min(size));
            if first < until { Wanted::Part(first, until) } else { Wanted::Nothing }
        }
        (None, Some(0)) => Wanted::Nothing,
        // The last bytes of nothing are nothing, which no range can say.
        (None, Some(_)) if size == 0 => Wanted::Whole,
        (None, Some(suffix)) => Wanted::Part(size.saturating_sub(suffix), size),
    }
}

/// Something stands where a number should.
struct NoNumber;

/// A number, or none where nothing stands. One that is too large for the machine is as large as can be.
fn number(text: &str) -> Result<Option<u64>, NoNumber> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NoNumber);
    }
    Ok((!text.is_empty()).then(|| text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_select_what_the_standard_says() {
        for (text, size, expected) in [
            ("bytes=0-0", 10, Wanted::Part(0, 1)),
            ("bytes=2-4", 10, Wanted::Part(2, 5)),
            ("BYTES=5-", 10, Wanted::Part(5, 10)),
            ("bytes=-3", 10, Wanted::Part(7, 10)),
            ("bytes=-30", 10, Wanted::Part(0, 10)),
            ("bytes=0-99999999999999999999999999", 10, Wanted::Part(0, 10)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=18446744073709551616-", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=-1", 0, Wanted::Whole),
            ("bytes=4-2", 10, Wanted::Whole),
            ("bytes=0-0,2-2", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("bytes=--1", 10, Wanted::Whole),
            ("bytes=+1-2", 10, Wanted::Whole),
            ("lines=1-2", 10, Wanted::Whole),
            ("", 10, Wanted::Whole),
        ] {
            assert_eq!(select(text, size), expected, "{text} of {size}");
        }
    }

    proptest! {
        #[test]
        fn no_text_selects_what_is_not_there(text in "bytes=[0-9,-]{0,40}", size in 0_u64..1000) {
            if let Wanted::Part(from, until) = select(&text, size) {
                prop_assert!(from < until && until <= size);
            }
        }

        #[test]
        fn a_range_selects_what_a_slice_would(first in 0_u64..200, length in 1_u64..200, size in 0_u64..200) {
            let bytes: Vec<u64> = (0..size).collect();
            let model: Vec<u64> = bytes.iter().copied().filter(|at| (first..first + length).contains(at)).collect();
            let expected = model.first().map_or(Wanted::Nothing, |from| Wanted::Part(*from, from + model.len() as u64));
            prop_assert_eq!(select(&format!("bytes={first}-{}", first + length - 1), size), expected);
        }
    }
}
