//! Names and values, as a query and a form have them: taken apart, or refused with every one that is at fault.

use serde::de::DeserializeOwned;
use signalbox_contract::problem::FieldError;
use signalbox_contract::{Code, Problem};
use url::form_urlencoded;

use super::shape::{LOOKS, SEARCHED, TOLD};
use super::words;

/// What stands in for a value that is missing, so that what is behind it comes to light.
const SAMPLES: [&str; 3] = ["1", "true", "x"];

/// Where reading stopped.
struct Stop {
    fault: FieldError,
    /// Whether there is no such name, rather than a value that is not valid.
    missing: bool,
}

/// Takes names and values apart.
///
/// # Errors
/// 400 with this code. Its words are about the first fault, its `errors` about all.
pub(super) fn parse_pairs<T: DeserializeOwned>(code: Code, text: &str) -> Result<T, Problem> {
    parse_known::<T>(code, text, &[])
}

/// The same, where some of the names are known to be at fault whatever is read.
pub(super) fn parse_known<T: DeserializeOwned>(code: Code, text: &str, unknown: &[FieldError]) -> Result<T, Problem> {
    check_utf8(code, text)?;
    let mut faults = match read(text) {
        Ok(value) if unknown.is_empty() => return Ok(value),
        Ok(_) => Vec::new(),
        Err(stop) => search::<T>(text, stop),
    };
    for fault in unknown {
        // What is known of all operations says more of a name than its not being among those of this one.
        match faults.iter_mut().find(|told| told.field == fault.field) {
            Some(told) => *told = fault.clone(),
            None => faults.push(fault.clone()),
        }
    }
    let order: Vec<_> = form_urlencoded::parse(text.as_bytes()).map(|(name, _)| name.into_owned()).collect();
    faults.sort_by_key(|fault| order.iter().position(|name| *name == fault.field).unwrap_or(order.len()));
    faults.truncate(TOLD);
    Err(words::problem_of(code, faults))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Stop> {
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        Stop { fault: words::fault(&path, &message), missing: words::missing(&message).is_some() }
    })
}

/// All faults. Reading stops at the first; so what is at fault is taken out, what is missing is put there, and it is read again.
fn search<T: DeserializeOwned>(text: &str, first: Stop) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let (mut rest, mut next) = (text.to_owned(), Some(first));
    for _ in 0..LOOKS {
        let Some(Stop { fault, missing }) = next.take() else { break };
        let field = fault.field.clone();
        // What was taken out because it was at fault is not missing.
        if !faults.iter().any(|known: &FieldError| known.field == field) {
            faults.push(fault);
        }
        if field.is_empty() || faults.len() == TOLD || text.len() > SEARCHED {
            break;
        }
        if missing {
            for sample in SAMPLES {
                let tried = form_urlencoded::Serializer::new(rest.clone()).append_pair(&field, sample).finish();
                match read::<T>(&tried) {
                    Err(stop) if stop.fault.field == field => {}
                    read => {
                        (rest, next) = (tried, read.err());
                        break;
                    }
                }
            }
        } else {
            let (at_fault, others): (Vec<_>, Vec<_>) = form_urlencoded::parse(rest.as_bytes()).partition(|(name, _)| *name == field);
            // A name that is not shown as it was sent is not found, and nothing more can be learnt.
            if at_fault.is_empty() {
                break;
            }
            rest = form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
            next = read::<T>(&rest).err();
        }
    }
    faults
}

/// Refuses percent-encoding that is not that of UTF-8: what is decoded otherwise was not sent.
fn check_utf8(code: Code, text: &str) -> Result<(), Problem> {
    let broken = text.split('&').find(|pair| std::str::from_utf8(&decoded(pair)).is_err());
    let Some(pair) = broken else { return Ok(()) };
    let (name, _) = form_urlencoded::parse(pair.as_bytes()).next().unwrap_or_default();
    Err(words::at_field(code, &name, "must be UTF-8 in percent-encoding"))
}

/// The bytes that percent-encoding stands for.
fn decoded(text: &str) -> Vec<u8> {
    let digit =
        |at: usize| text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut place = 0;
    while let Some(byte) = text.as_bytes().get(place) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(place + 1), digit(place + 2)) {
            bytes.push(high << 4 | low);
            place += 3;
        } else {
            bytes.push(*byte);
            place += 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only how it is refused matters")]
    struct Wanted {
        name: String,
        verdict: signalbox_contract::Verdict,
        limit: Option<u32>,
        cursor: Option<u64>,
    }

    #[test]
    fn every_name_at_fault_is_told_at_once_and_the_first_in_words() {
        for (text, fields) in [
            ("", "name verdict"),
            ("limit=-1&foo=1&cursor=zz&verdict=x&name=y", "limit foo cursor verdict"),
            ("cursor=1&cursor=2&limit=1&limit=x&name=a", "cursor limit verdict"),
            ("x%20y=1&limit=&name=a&verdict=success", "x y limit"),
            ("verdict=x", "verdict name"),
        ] {
            let problem = parse_pairs::<Wanted>(Code::InvalidRequest, text).expect_err(text);
            let told: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(told.join(" "), fields, "{text}");
            assert!(problem.detail.contains(&format!("`{}`", told[0])), "{problem:?}");
        }
        let many: Vec<String> = (0..100).map(|n| format!("x{n}=1")).collect();
        let problem = parse_pairs::<Wanted>(Code::InvalidRequest, &many.join("&")).expect_err("it is refused");
        assert_eq!(problem.errors.len(), TOLD);
    }
}
