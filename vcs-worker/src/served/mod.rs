//! The mirrors, read-only, over git's smart HTTP: what `git http-backend` does, for one program and one kind of caller.
//!
//! Invariants: only `git upload-pack` is ever run. A reader holds a capability for exactly that repository. It is shown the
//! attempts' refs (`refs/heads/cd/…`) and no others; what git gives out beyond that lies in the same copy of the same source,
//! which is why copies share nothing. Readers are counted and have a deadline, and one that goes away takes its git along.

mod input;
mod output;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use signalbox_adapters::mirror::attempt_ref;
use signalbox_contract::{Code, Problem, RepoName};
use signalbox_service::auth::Capable;
use signalbox_service::git::{Command, Git};
use signalbox_service::http::{Path, Query, Refusal, Result, internal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::Api;
use crate::cache::{Cache, Copy};
use crate::names::Names;

/// How long a reader waits for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// What serving mirrors needs.
pub(crate) struct Mirrors {
    pub(crate) names: Arc<Names>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) git: Git,
    /// Room for readers.
    pub(crate) room: Arc<Semaphore>,
    /// How long one reader may take.
    pub(crate) deadline: Duration,
}

/// The query of the first request of a clone.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Service {
    /// Always `git-upload-pack`.
    #[serde(default)]
    service: String,
}

/// Tells a git client how to go on. The first request of every clone and fetch.
#[utoipa::path(
    get,
    path = "/mirrors/{name}.git/info/refs",
    params(("name" = String, Path, description = "The repository's name, which may hold slashes"), Service),
    responses(
        (status = 200, description = "git's advertisement", content_type = "application/x-git-upload-pack-advertisement"),
        (status = 401, description = "No valid capability; git clients may give it as a password", body = Problem),
        (status = 403, description = "The capability is not for this repository, its attempt has ended, or `service` is not git-upload-pack", body = Problem),
        (status = 404, description = "No repository of this name has a copy here, or git has no such file", body = Problem),
    ),
    security(("capability" = []))
)]
pub(crate) async fn info_refs(
    State(api): State<Api>,
    capable: Capable,
    Path(path): Path<String>,
    Query(query): Query<Service>,
    headers: HeaderMap,
) -> Result<Response> {
    let name = name_before(&path, ".git/info/refs")?;
    capable.reads_repo(&name)?;
    if query.service != "git-upload-pack" {
        let words = "The mirrors are read-only, over git's smart protocol: service must be git-upload-pack.";
        return Err(Problem::new(Code::Forbidden).detail(words).field("service", "must be git-upload-pack").into());
    }
    let copy = api.mirrors.find(&name)?;
    still_shown(&copy, &capable).await?;
    let _room = api.mirrors.enter().await?;
    let advertised = api.mirrors.upload_pack(&copy, &headers).arg("--http-backend-info-refs").operands([copy.path()]).stdout(8 << 20);
    let advertised = advertised.run().await.map_err(internal)?;
    let mut body = Vec::with_capacity(advertised.len() + 64);
    // Version 2 begins at once; the older ones are introduced.
    if protocol(&headers) != "version=2" {
        body.extend_from_slice(b"001e# service=git-upload-pack\n0000");
    }
    body.extend_from_slice(&advertised);
    Ok(answer("application/x-git-upload-pack-advertisement", Body::from(body)))
}

/// Answers a git client's question: which refs there are, or the objects that it lacks.
#[utoipa::path(
    post,
    path = "/mirrors/{name}.git/git-upload-pack",
    params(("name" = String, Path, description = "The repository's name, which may hold slashes")),
    request_body(content_type = "application/x-git-upload-pack-request", content = Vec<u8>),
    responses(
        (status = 200, description = "git's answer", content_type = "application/x-git-upload-pack-result"),
        (status = 401, description = "No valid capability; git clients may give it as a password", body = Problem),
        (status = 403, description = "The capability is not for this repository, or its attempt has ended", body = Problem),
        (status = 404, description = "No repository of this name has a copy here, or git has no such service", body = Problem),
        (status = 415, description = "The body is no git client's request, or is packed by something else than gzip", body = Problem),
    ),
    security(("capability" = []))
)]
pub(crate) async fn upload_pack(
    State(api): State<Api>,
    capable: Capable,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let name = name_before(&path, ".git/git-upload-pack")?;
    capable.reads_repo(&name)?;
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/x-git-upload-pack-request") {
        return Err(Problem::new(Code::UnsupportedMediaType).detail("The body must be a git client's request.").into());
    }
    let gzipped = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(_) => {
            let problem = Problem::new(Code::UnsupportedMediaType).detail("The body may be packed by gzip alone.");
            return Ok(([(ACCEPT_ENCODING, "gzip, identity")], Refusal(problem)).into_response());
        }
    };
    let copy = api.mirrors.find(&name)?;
    still_shown(&copy, &capable).await?;
    let room = api.mirrors.enter().await?;
    tracing::debug!(repo = %name, "mirror.read");
    let program = api.mirrors.upload_pack(&copy, &headers).arg("--stateless-rpc").operands([copy.path()]);
    let running = program.start().map_err(internal)?;
    let answered = output::stream(running, input::Input::new(body, gzipped), api.mirrors.deadline, room);
    Ok(answer("application/x-git-upload-pack-result", answered))
}

/// A capability ends with its attempt: it is good for as long as the attempt's own ref is there.
async fn still_shown(copy: &Copy, capable: &Capable) -> Result<()> {
    let ref_name = attempt_ref(&capable.0.key);
    // A ref that was just written is a file; git moves older ones into a list of its own.
    if tokio::fs::try_exists(copy.path().join(&ref_name)).await.unwrap_or_default() {
        return Ok(());
    }
    match copy.inspect().map_err(internal)?.commit(&ref_name).await.map_err(internal)? {
        Some(_) => Ok(()),
        None => Err(Problem::new(Code::Forbidden).detail("The capability's attempt has ended, or its ref was never shown.").into()),
    }
}

impl Mirrors {
    fn find(&self, name: &RepoName) -> Result<Arc<Copy>> {
        let binding = self.names.get(name).ok_or_else(Problem::not_found)?;
        let copy = self.cache.copy(&binding.copy);
        if copy.exists() { Ok(copy) } else { Err(Problem::not_found().into()) }
    }

    async fn enter(&self) -> Result<OwnedSemaphorePermit> {
        let full = || Refusal::from(Problem::new(Code::Unavailable).detail("Too many readers at a time.").retry_after(5));
        let entered = tokio::time::timeout(PATIENCE, Arc::clone(&self.room).acquire_owned()).await;
        entered.map_err(|_| full())?.map_err(|_| full())
    }

    /// `git upload-pack`, which shows the attempts' refs alone.
    fn upload_pack(&self, copy: &Copy, headers: &HeaderMap) -> Command {
        self.git
            .local(copy.path())
            .args(["-c", "uploadpack.hideRefs=refs", "-c", "uploadpack.hideRefs=!refs/heads/cd", "-c", "uploadpack.allowFilter=true"])
            .env("GIT_PROTOCOL", protocol(headers))
            .deadline(self.deadline)
            .args(["upload-pack", "--strict", "--timeout=60"])
    }
}

/// The protocol that the client asks for, as one of the few that git knows: nothing else is handed on.
fn protocol(headers: &HeaderMap) -> &'static str {
    let asked = headers.get("git-protocol").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has = |version: &str| asked.split(':').any(|part| part == version);
    if has("version=2") {
        "version=2"
    } else if has("version=1") {
        "version=1"
    } else {
        ""
    }
}

/// The repository's name before a known ending of the path.
fn name_before(path: &str, ending: &str) -> Result<RepoName> {
    let name = path.strip_suffix(ending).ok_or_else(Problem::not_found)?;
    // A name that is no name is nobody's: to a reader there is no difference.
    name.parse().map_err(|_| Problem::not_found().into())
}

fn answer(kind: &'static str, body: Body) -> Response {
    (
        [(CONTENT_TYPE, HeaderValue::from_static(kind)), (CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0, must-revalidate"))],
        body,
    )
        .into_response()
}
