//! Answering with bytes.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use signalbox_contract::{Code, Problem};
use signalbox_service::http::{Refusal, Result, internal};

use super::condition::{preconditions, tag};
use super::fields::{CONTENT_DIGEST, GENERIC, REPR_DIGEST, structured};
use super::range::{Wanted, wanted};
use super::{App, problem};
use crate::blob::{Blob, Keeping, ReadError, Reading};

/// What a browser may do with stored bytes: nothing. They are somebody else's, and may be a page with a script.
const POLICY: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'; frame-ancestors 'none'");

/// The policy for bytes that can never change under their address.
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// A blob as it is asked for.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) blob: Arc<Blob>,
    /// Its media type, and the name that a browser saves it under; none where it is asked for by its digest.
    pub(super) shown: Option<(&'a str, &'a str)>,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// The bytes went away since they were looked up.
    Gone(ReadError),
    /// It is refused.
    Refused(Refusal),
}

impl From<Refusal> for NoAnswer {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Answers a GET or HEAD. The first bytes are proven before the answer begins; if later ones are not what was stored, the
/// connection is cut, so that nobody takes a part for the whole.
pub(super) async fn answer(app: &App, asked: Asked<'_>) -> std::result::Result<Response, NoAnswer> {
    let Asked { method, headers, blob, .. } = &asked;
    let conditions = preconditions(headers)?;
    if !conditions.matches(Some(&blob.digest)) {
        return Err(problem::precondition().into());
    }
    let not_modified = !conditions.differs(Some(&blob.digest));
    let wanted = if **method == Method::GET { wanted(headers, &blob.digest, blob.size) } else { Wanted::Whole };
    let mut response = Response::new(Body::empty());
    identify(response.headers_mut(), &asked)?;
    if not_modified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let (status, from, until) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0, blob.size),
        Wanted::Part(from, until) => (StatusCode::PARTIAL_CONTENT, from, until),
        Wanted::Nothing => return unsatisfiable(blob.size),
    };
    *response.status_mut() = status;
    describe(response.headers_mut(), &asked, from, until, status)?;
    if **method == Method::GET && from < until {
        *response.body_mut() = body(app, Arc::clone(blob), from, until).await?;
    } else if matches!(blob.keeping, Keeping::Corrupt { .. }) {
        return Err(problem::read(&ReadError::Corrupt).into());
    }
    Ok(response)
}

/// 416, saying how much there is.
fn unsatisfiable(size: u64) -> std::result::Result<Response, NoAnswer> {
    let problem = Problem::new(Code::RangeNotSatisfiable).field("range", format!("must lie within the {size} bytes that there are"));
    let mut response = Refusal(problem).into_response();
    let range = HeaderValue::try_from(format!("bytes */{size}")).map_err(internal)?;
    response.headers_mut().insert(header::CONTENT_RANGE, range);
    Ok(response)
}

fn value(text: String) -> Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(internal)
}

/// What is said also when the bytes are not sent again.
fn identify(answer: &mut HeaderMap, asked: &Asked<'_>) -> Result<()> {
    answer.insert(header::ETAG, value(tag(&asked.blob.digest))?);
    answer.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    if asked.shown.is_none() {
        answer.insert(header::CACHE_CONTROL, FOR_EVER);
    }
    Ok(())
}

fn describe(answer: &mut HeaderMap, asked: &Asked<'_>, from: u64, until: u64, status: StatusCode) -> Result<()> {
    let blob = &asked.blob;
    let (media_type, file) = asked.shown.unwrap_or((GENERIC, ""));
    answer.insert(header::CONTENT_TYPE, value(media_type.to_owned())?);
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::CONTENT_LENGTH, HeaderValue::from(until - from));
    // A name's characters need no escaping within quotes.
    let file = file.rsplit('/').next().filter(|last| !last.is_empty());
    let disposition = file.map_or_else(|| "attachment".to_owned(), |last| format!("attachment; filename=\"{last}\""));
    answer.insert(header::CONTENT_DISPOSITION, value(disposition)?);
    let digest = value(structured(&blob.digest))?;
    if status == StatusCode::PARTIAL_CONTENT {
        answer.insert(header::CONTENT_RANGE, value(format!("bytes {from}-{}/{}", until - 1, blob.size))?);
        answer.insert(REPR_DIGEST, digest);
    } else {
        answer.insert(CONTENT_DIGEST, digest);
    }
    Ok(())
}

async fn body(app: &App, blob: Arc<Blob>, from: u64, until: u64) -> std::result::Result<Body, NoAnswer> {
    let mut reading = match Reading::open(&app.store.files, Arc::clone(&blob), from, until).await {
        Ok(reading) => reading,
        Err(error @ ReadError::Missing) => return Err(NoAnswer::Gone(error)),
        Err(error) => return Err(refuse(app, &blob, &error).into()),
    };
    let meter = app.store.meters.served_bytes.clone();
    let first = match reading.next().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(refuse(app, &blob, &error).into()),
        None => return Ok(Body::empty()),
    };
    meter.inc_by(first.len() as u64);
    if first.len() as u64 == until - from {
        return Ok(Body::from(first));
    }
    let state = (Some(first), reading, app.clone());
    Ok(Body::from_stream(stream::unfold(state, move |(first, mut reading, app)| {
        let meter = meter.clone();
        async move {
            if let Some(first) = first {
                return Some((Ok(first), (None, reading, app)));
            }
            let next = reading.next().await?;
            match &next {
                Ok(bytes) => {
                    meter.inc_by(bytes.len() as u64);
                }
                Err(error) => drop(refuse(&app, reading.blob(), error)),
            }
            Some((next, (None, reading, app)))
        }
    })))
}

/// The refusal of bytes that cannot be read; rot is noted.
pub(super) fn refuse(app: &App, blob: &Blob, error: &ReadError) -> Refusal {
    let noted = matches!(blob.keeping, Keeping::Corrupt { .. });
    if matches!(error, ReadError::Corrupt | ReadError::Missing) && !noted {
        app.store.meters.rot_found.inc();
        app.store.catalog.mark_corrupt(blob.digest);
    }
    problem::read(error)
}
