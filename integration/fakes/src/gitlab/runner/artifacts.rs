//! What jobs leave, and what they get of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{gate, multipart};
use crate::gitlab::api::refusal::{Answer, Refusal, created};
use crate::gitlab::fake::Fake;
use crate::gitlab::state::job::Artifact;
use crate::gitlab::state::status::Status;

/// The kinds of which only one is kept, and which may be any number: GitLab refuses others.
const FORMATS: [&str; 3] = ["zip", "gzip", "raw"];
/// How long an archive is kept that says nothing else.
const USUAL_DAYS: i64 = 30;

/// A runner hands in a file.
pub(super) async fn upload(
    Shared(fake): Shared<Arc<Fake>>,
    Path(id): Path<u64>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let token = gate::shown(&headers, query.get("token").cloned());
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    fake.change(|state| {
        gate::enter(state, id, token.as_deref())?;
        let file = multipart::file(&kind, &body, "file").ok_or_else(|| Refusal::missing("file"))?;
        let word = |name: &str, usual: &str| query.get(name).filter(|value| !value.is_empty()).cloned().unwrap_or_else(|| usual.to_owned());
        let (file_type, file_format) = (word("artifact_type", "archive"), word("artifact_format", "zip"));
        if !FORMATS.contains(&file_format.as_str()) {
            return Err(Refusal::invalid("artifact_format"));
        }
        let now = state.now();
        let keep = match query.get("expire_in").map(String::as_str) {
            Some("never") => None,
            Some(words) if !words.is_empty() => crate::gitlab::ci::seconds(words).and_then(|seconds| i64::try_from(seconds).ok()),
            _ => Some(USUAL_DAYS * 24 * 3_600),
        };
        let Some(job) = state.jobs.get_mut(&id) else { return Err(Refusal::not_found("")) };
        if job.artifacts.iter().any(|kept| kept.file_type == file_type) {
            return Err(Refusal::bad("another artifact of the same type already exists"));
        }
        job.artifacts_expire_at = keep.and_then(|seconds| now.checked_add(jiff::SignedDuration::from_secs(seconds)).ok());
        let name = file.name.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("artifacts.zip").to_owned();
        let size = file.bytes.len();
        job.artifacts.push(Artifact { file_type, file_format, filename: name.clone(), bytes: Bytes::copy_from_slice(file.bytes) });
        created(json!({ "id": id, "name": job.plan.name, "token": job.token.expose_secret(), "artifacts_file": { "filename": name, "size": size } }))
    })
}

/// A running job fetches what another one of its project left.
pub(super) async fn download(
    Shared(fake): Shared<Arc<Fake>>,
    Path(id): Path<u64>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Answer {
    let token = gate::shown(&headers, query.get("token").cloned()).unwrap_or_default();
    fake.change(|state| {
        let asks =
            state.job_of_token(&token).filter(|job| job.status == Status::Running).map(|job| job.project).ok_or_else(Refusal::forbidden)?;
        let job = state.jobs.get(&id).filter(|job| job.project == asks).ok_or_else(Refusal::forbidden)?;
        let archive = job.artifact("archive").ok_or_else(|| Refusal::not_found(""))?;
        let heads = [
            (CONTENT_TYPE, "application/zip".to_owned()),
            (CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", archive.filename.replace('"', ""))),
        ];
        Ok((StatusCode::OK, heads, archive.bytes.clone()).into_response())
    })
}
