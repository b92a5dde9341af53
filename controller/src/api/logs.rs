//! The log of a step.

use std::ops::Range;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use signalbox_contract::api::executor::log::{COMPLETE, NEXT};
use signalbox_contract::build::PartState;
use signalbox_contract::{AttemptKey, Code, Problem, RunId};
use signalbox_controller_core::{Attempt, Run, Work};
use signalbox_service::auth::{Operator, sha256};
use signalbox_service::http::{self as service_http, Path, Query};
use utoipa::IntoParams;

use super::Api;
use super::attempts::named;
use super::caching::{Caching, matches_tag};
use crate::log::{LogBook, MAX_READ, PART};

/// Where the answer's first byte stands in the log, where an end of it was asked for by its length.
const FIRST: &str = "signalbox-log-first";

/// How many parts are listed to somebody who has to choose one.
const PARTS_NAMED: usize = 20;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// Which attempt; the latest unless given.
    pub(crate) attempt: Option<u16>,
    /// Only so many bytes from the end. The header `signalbox-log-first` says where they begin. Not together with `Range`.
    pub(crate) tail: Option<u64>,
    /// Which part of the build, by its id or its name. It must be given where several have a log; the run lists them.
    pub(crate) part: Option<String>,
}

/// The log of a step's attempt, as raw bytes: what looks like terminal codes or broken UTF-8 is what the build wrote.
///
/// Where the executor shows a build in parts, each has a log of its own. There is none of them together: they are written at
/// the same time.
///
/// While the build runs, the answer is what there is; the headers `signalbox-log-next` and `signalbox-log-complete` say from
/// which byte on to ask again (`Range: bytes=N-`), and whether that makes sense. The log of an attempt that has ended never
/// changes: named by its number it is immutable; else it has an `ETag`, to ask again with `If-None-Match`.
#[utoipa::path(get, path = "/runs/{id}/steps/{step}/log", tag = "runs", params(
    ("id" = RunId, Path, description = "The run."),
    ("step" = String, Path, description = "The step's name or index."),
    ("Range" = Option<String>, Header, description = "One range of bytes."),
    LogQuery,
), responses(
    (status = 200, description = "The log.", content_type = "text/plain"),
    (status = 206, description = "A part of it.", content_type = "text/plain"),
    (status = 304, description = "It has not changed."),
    (status = 400, description = "Several parts of the build have a log, and `part` says none; the problem lists them. Or `tail` is beside a `Range`.", body = Problem),
    (status = 404, description = "There is no such run, step, attempt or part, or the step keeps no log.", body = Problem),
    (status = 416, description = "The log does not reach that far (yet); `Content-Range` says how far it does.", body = Problem),
))]
pub(super) async fn get(
    State(api): State<Api>,
    operator: Operator,
    Path((id, step)): Path<(RunId, String)>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> service_http::Result<Response> {
    if query.tail.is_some() && headers.contains_key(RANGE) {
        return Err(Problem::new(Code::InvalidRequest).field("tail", "must not be given together with the header Range").into());
    }
    let run = api.run(&operator, id).await?;
    let key = attempt_of(&run, &step, query.attempt)?;
    let attempt = run.steps[usize::from(key.step)].attempts.get(usize::from(key.attempt) - 1);
    let ended = attempt.is_some_and(Attempt::ended);
    let part = part_of(attempt, query.part.as_deref())?;
    let mut state = api.book.state(&key, &part).await.map_err(service_http::internal)?;
    if ended && !state.complete {
        // It ended before its build began, or its log could not be read to the end. Nobody reads on in it: so that it can be
        // promised never to change, nothing that is still under way is added to it either.
        state = api.book.close(&key, &part).await.map_err(service_http::internal)?;
    }
    let complete = state.complete;
    // Without a number it is the log of whatever attempt is the last one by then.
    let caching = Caching::of(ended && complete && query.attempt.is_some());
    let tag = format!("\"{key}-{}-{}-{complete}\"", sha256(part.as_bytes()).hex(), state.length);
    if matches_tag(&headers, &tag) {
        return caching.unchanged(&tag);
    }
    // A piece makes sense only to whoever has the rest of the same.
    let whole = headers.get(IF_RANGE).is_some_and(|had| had.as_bytes() != tag.as_bytes());
    let range = match wanted(headers.get(RANGE).filter(|_| !whole), state.length) {
        Ok(range) => range,
        Err(beyond) => return out_of_range(beyond, state.length, complete),
    };
    let (status, bytes) = match range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        // A 206 answers nothing but a request for a range (RFC 9110, section 15.3.7).
        None => (StatusCode::OK, query.tail.map_or(0, |tail| state.length.saturating_sub(tail))..state.length),
    };
    let mut answer = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start)),
    ]
    .into_iter()
    .chain(caching.headers(&tag)?)
    .collect::<HeaderMap>();
    answer.insert(NEXT, HeaderValue::from(bytes.end));
    answer.insert(COMPLETE, HeaderValue::from_static(if complete && bytes.end == state.length { "true" } else { "false" }));
    if query.tail.is_some() {
        answer.insert(FIRST, HeaderValue::from(bytes.start));
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let total = if complete { state.length.to_string() } else { "*".to_owned() };
        let range = format!("bytes {}-{}/{total}", bytes.start, bytes.end - 1);
        answer.insert(CONTENT_RANGE, HeaderValue::try_from(range).map_err(service_http::internal)?);
    }
    Ok((status, answer, body(api.book.clone(), key, part, bytes)).into_response())
}

/// `416`, with how much there is (RFC 9110, section 14.4) and whether more may come, as every answer with a log says it.
fn out_of_range(problem: Problem, length: u64, complete: bool) -> service_http::Result<Response> {
    let mut response = service_http::Refusal::from(problem).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_RANGE, HeaderValue::try_from(format!("bytes */{length}")).map_err(service_http::internal)?);
    headers.insert(NEXT, HeaderValue::from(length));
    headers.insert(COMPLETE, HeaderValue::from_static(if complete { "true" } else { "false" }));
    Ok(response)
}

/// Streams kept bytes, so that a large log is never in memory as a whole.
fn body(book: LogBook, key: AttemptKey, part: String, bytes: Range<u64>) -> Body {
    Body::from_stream(stream::try_unfold(bytes.start, move |at| {
        let (book, part, end) = (book.clone(), part.clone(), bytes.end);
        async move {
            if at >= end {
                return Ok(None);
            }
            let piece = book.read(&key, &part, at, (end - at).min(MAX_READ)).await?;
            if piece.is_empty() {
                // Retention has taken it while it was read: the answer must not look whole.
                return Err(sqlx::Error::RowNotFound);
            }
            let next = at + piece.len() as u64;
            Ok::<_, sqlx::Error>(Some((piece, next)))
        }
    }))
}

/// The attempt whose log is meant.
pub(crate) fn attempt_of(run: &Run, step: &str, attempt: Option<u16>) -> Result<AttemptKey, Problem> {
    let key = named(run, step, attempt)?;
    if !matches!(run.steps[usize::from(key.step)].plan.work, Work::Build { .. }) {
        return Err(Problem::not_found().detail("This step keeps no log; its events say what it did."));
    }
    Ok(key)
}

/// The part whose log is meant, by its id or by its name. Of several of one name it is the last: the others were tried before.
pub(crate) fn part_of(attempt: Option<&Attempt>, wanted: Option<&str>) -> Result<String, Problem> {
    let parts: Vec<&PartState> = attempt.into_iter().flat_map(|attempt| &attempt.parts).filter(|part| part.has_log).collect();
    let known = || {
        let words = parts.iter().take(PARTS_NAMED).map(|part| format!("{} ({})", part.part, part.name));
        let more = parts.len().saturating_sub(PARTS_NAMED);
        let more = (more > 0).then(|| format!("{more} more"));
        words.chain(more).collect::<Vec<_>>().join(", ")
    };
    match (wanted, parts.as_slice()) {
        (None | Some(PART), []) => Ok(PART.to_owned()),
        (None, [only]) => Ok(only.part.clone()),
        (None, _) => Err(Problem::new(Code::InvalidRequest).field("part", format!("must be given: the build has the parts {}", known()))),
        (Some(wanted), _) => {
            let by_id = parts.iter().find(|part| part.part == wanted);
            let found = by_id.or_else(|| parts.iter().rfind(|part| part.name == wanted));
            let missing = || {
                let there = if parts.is_empty() { "none (yet)".to_owned() } else { known() };
                Problem::not_found().detail(format!("The build has no such part; it has {there}."))
            };
            found.map(|part| part.part.clone()).ok_or_else(missing)
        }
    }
}

/// The bytes that are asked for; none for all of them.
fn wanted(header: Option<&HeaderValue>, length: u64) -> Result<Option<Range<u64>>, Problem> {
    // A header that is no range of bytes is ignored, as RFC 9110 (section 14.2) says; so are several ranges at once.
    let Some(spec) = header.and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("bytes=")) else {
        return Ok(None);
    };
    let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Ok(None) };
    let unsatisfiable = || Problem::new(Code::RangeNotSatisfiable).detail(format!("The log has {length} bytes."));
    let range = match (position(first), position(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.trim().is_empty() => first..length,
        (None, Some(suffix)) if first.trim().is_empty() => length.saturating_sub(suffix)..length,
        _ => return Ok(None),
    };
    if range.start >= length || range.is_empty() { Err(unsatisfiable()) } else { Ok(Some(range)) }
}

/// A number of bytes. One that is larger than can be counted is beyond the end of every log.
fn position(text: &str) -> Option<u64> {
    let digits = text.trim();
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(range: &str) -> Result<Option<Range<u64>>, Problem> {
        wanted(Some(&HeaderValue::from_str(range).expect("a header")), 10)
    }

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        assert_eq!(ask("bytes=0-0"), Ok(Some(0..1)));
        assert_eq!(ask("bytes=5-"), Ok(Some(5..10)));
        assert_eq!(ask("bytes=-3"), Ok(Some(7..10)));
        assert_eq!(ask("bytes=5-99999999999999999999"), Ok(Some(5..10)));
        assert_eq!(ask("bytes=-99999999999999999999"), Ok(Some(0..10)));
        assert_eq!(ask("bytes=+5-"), Ok(None));
        assert_eq!(ask("bytes=5-18446744073709551615"), Ok(Some(5..10)));
        assert_eq!(ask("bytes=0-1,3-4"), Ok(None));
        assert_eq!(ask("bytes=4-2"), Ok(None));
        assert_eq!(ask("lines=1-2"), Ok(None));
        for beyond in [
            "bytes=10-",
            "bytes=10-12",
            "bytes=-0",
            "bytes=99999999999999999999999-",
            "bytes=99999999999999999999999-99999999999999999999999",
        ] {
            assert!(ask(beyond).is_err(), "{beyond}");
        }
    }
}
