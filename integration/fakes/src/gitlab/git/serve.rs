//! Smart HTTP: what `git http-backend` does, behind GitLab's doors.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use signalbox_service::git::Command;
use signalbox_service::process::Running;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::push::{self, Pushed, Reading};
use crate::gitlab::fake::Fake;
use crate::gitlab::state::project::Deletion;
use crate::gitlab::state::user::level;

/// The most of a push that comes before its pack.
const HEAD: usize = 4 * 1024 * 1024;

/// The most that git answers to a push.
const ANSWER: u64 = 16 * 1024 * 1024;

/// How long one conversation may take.
const DEADLINE: Duration = Duration::from_mins(10);

/// Refs that are GitLab's own.
const HIDDEN: [&str; 6] = ["refs/merge-requests", "refs/pipelines", "refs/keep-around", "refs/environments", "refs/remotes", "refs/tmp"];

const DENIED: &str = "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or you're \
    required to use a token instead of a password. If a token was provided, it was either incorrect, expired, or improperly scoped.";

/// What a client wants of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Read,
    Write,
}

/// Who comes with it.
struct Guest {
    user: Option<u64>,
    reads: bool,
    writes: bool,
    job: Option<u64>,
}

/// Answers a request that is not the API's.
pub(crate) async fn serve(fake: Arc<Fake>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    let Some((repository, action)) = ["info/refs", "git-upload-pack", "git-receive-pack"]
        .into_iter()
        .find_map(|action| path.strip_suffix(action)?.strip_suffix('/').map(|repository| (repository.to_owned(), action)))
    else {
        return (StatusCode::NOT_FOUND, "<html><body><h1>404</h1>The page could not be found.</body></html>").into_response();
    };
    let query = parts.uri.query().unwrap_or_default();
    let wish = match action {
        "git-receive-pack" => Wish::Write,
        "info/refs" if query.contains("service=git-receive-pack") => Wish::Write,
        _ => Wish::Read,
    };
    let Some(path) = repository.strip_suffix(".git") else {
        // A name without the ending is sent to the one with it, as long as nothing is changed by that.
        let to = format!("{}/{repository}.git/{action}?{query}", fake.url());
        return (StatusCode::MOVED_PERMANENTLY, [(LOCATION, to)]).into_response();
    };
    match enter(&fake, &parts, path, wish) {
        Ok((project, user)) => converse(fake, parts, body, project, user, action).await,
        Err(refused) => refused,
    }
}

fn denied() -> Response {
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"GitLab\"")], DENIED).into_response()
}

/// Lets a guest in, or not: which project, and who they are.
fn enter(fake: &Arc<Fake>, parts: &Parts, path: &str, wish: Wish) -> Result<(u64, u64), Response> {
    let missing = || {
        let words = "The project you were looking for could not be found or you don't have permission to view it.";
        (StatusCode::NOT_FOUND, words).into_response()
    };
    let forbidden = |words: &'static str| Err((StatusCode::FORBIDDEN, words).into_response());
    let guest = guest(fake, parts)?;
    fake.change(|state| {
        let former = || state.former_paths.get(path).and_then(|id| state.projects.get(id));
        let project = state.project_at(path).or_else(former).filter(|project| project.deletion != Some(Deletion::Destroying));
        let seen = project.filter(|project| match guest.job.and_then(|job| state.jobs.get(&job)) {
            // A job sees its own project, and what its starter sees.
            Some(job) => job.project == project.id || state.sees(Some(job.user), project),
            None => state.sees(guest.user, project),
        });
        let Some(project) = seen else {
            return Err(if guest.user.is_none() { denied() } else { missing() });
        };
        let access = guest.user.map_or(level::NONE, |user| state.level(user, project));
        match wish {
            Wish::Read if guest.user.is_some() && !guest.reads => forbidden("You are not allowed to download code from this project."),
            Wish::Write if guest.user.is_none() => Err(denied()),
            Wish::Write if !guest.writes => forbidden("You are not allowed to upload code."),
            Wish::Write if project.archived => forbidden("You can't push code to an archived project."),
            Wish::Write if access < level::DEVELOPER => forbidden("You are not allowed to push code to this project."),
            _ => Ok((project.id, guest.user.unwrap_or_default())),
        }
    })
}

fn guest(fake: &Arc<Fake>, parts: &Parts) -> Result<Guest, Response> {
    let Some(given) = parts.headers.get(AUTHORIZATION) else {
        return Ok(Guest { user: None, reads: true, writes: false, job: None });
    };
    let basic = given.to_str().ok().and_then(|given| given.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded = basic.and_then(|(_, value)| base64::engine::general_purpose::STANDARD.decode(value.trim()).ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(denied)?;
    let (name, secret) = decoded.split_once(':').ok_or_else(denied)?;
    if name.is_empty() {
        return Err(denied());
    }
    fake.change(|state| {
        let now = state.now();
        if name == "gitlab-ci-token" {
            let job = state.job_of_token(secret).ok_or_else(denied)?;
            return Ok(Guest { user: Some(job.user), reads: true, writes: false, job: Some(job.id) });
        }
        let id = state.token(secret).filter(|token| token.active(now)).map(|token| token.id).ok_or_else(denied)?;
        let Some(token) = state.tokens.get_mut(&id) else {
            return Err(denied());
        };
        token.last_used_at = Some(now);
        let writes = token.has("api") || token.has("write_repository");
        let reads = writes || token.has("read_repository");
        let user = token.user;
        if !reads || state.users.get(&user).is_none_or(|user| user.blocked) {
            return Err(denied());
        }
        Ok(Guest { user: Some(user), reads, writes, job: None })
    })
}

async fn converse(fake: Arc<Fake>, parts: Parts, body: Body, project: u64, user: u64, action: &str) -> Response {
    let pushes = action == "git-receive-pack" && parts.method == Method::POST;
    let (mut head, mut rest) = (BytesMut::new(), body.into_data_stream());
    let mut request = push::Request::default();
    if pushes {
        if parts.headers.contains_key(CONTENT_ENCODING) {
            return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
        }
        loop {
            match push::read(&head) {
                Reading::Whole(whole) => break request = whole,
                Reading::Incomplete if head.len() < HEAD => {}
                _ => return StatusCode::BAD_REQUEST.into_response(),
            }
            match rest.next().await {
                Some(Ok(chunk)) => head.extend_from_slice(&chunk),
                _ => return StatusCode::BAD_REQUEST.into_response(),
            }
        }
    }
    let command = backend(&fake, &parts, project, action);
    let command = if pushes { judged(&fake, command, project, user, &request) } else { command };
    let Ok(mut running) = command.start() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let (Some(mut stdin), Some(stdout)) = (running.stdin.take(), running.stdout.take()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let feed = async move {
        let mut sent = stdin.write_all(&head).await;
        while sent.is_ok() {
            match rest.next().await {
                Some(Ok(chunk)) => sent = stdin.write_all(&chunk).await,
                // What was cut in the middle ends for git too, which then takes nothing of it.
                _ => break,
            }
        }
    };
    let mut stdout = BufReader::new(stdout);
    if !pushes {
        tokio::spawn(feed);
        let Some((status, headers)) = cgi_head(&mut stdout).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        return (status, headers, Body::from_stream(until_the_end(running, stdout))).into_response();
    }
    let answered = async {
        let head = cgi_head(&mut stdout).await?;
        let mut bytes = Vec::new();
        (&mut stdout).take(ANSWER).read_to_end(&mut bytes).await.ok()?;
        Some((head, bytes))
    };
    let both = tokio::time::timeout(DEADLINE, async { tokio::join!(feed, answered).1 }).await;
    let ended = running.wait_within(Duration::from_secs(30), &CancellationToken::new()).await;
    let (Ok(Some(((status, headers), bytes))), Ok(_)) = (both, ended) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    take(&fake, project, user, request, &bytes).await;
    (status, headers, bytes).into_response()
}

/// What git is told about a push.
fn judged(fake: &Arc<Fake>, command: Command, project: u64, user: u64, request: &push::Request) -> Command {
    let (judgement, rules, says) = fake.change(|state| {
        let Some(project) = state.projects.get(&project) else {
            return (push::Judgement::default(), crate::gitlab::state::project::PushRules::default(), String::new());
        };
        let judgement = push::judge(state, project, user, request);
        (judgement, project.push_rules.clone(), says(&state.url, &state.path_of(project), project.default_branch.as_deref(), request))
    });
    let largest = rules.max_file_size.map(|mebibytes| (mebibytes * 1024 * 1024).to_string()).unwrap_or_default();
    command
        .env("FAKE_REFUSAL", judgement.refusal.unwrap_or_default())
        .env("FAKE_NO_FORCE", judgement.no_force.join(" "))
        .env("FAKE_MESSAGE_PATTERN", rules.commit_message_regex.unwrap_or_default())
        .env("FAKE_LARGEST_FILE", largest)
        .env("FAKE_SAYS", says)
}

/// What people are told after a new branch was pushed.
fn says(url: &str, path: &str, default: Option<&str>, request: &push::Request) -> String {
    let [change] = request.changes.as_slice() else {
        return String::new();
    };
    match change.ref_name.strip_prefix("refs/heads/") {
        Some(branch) if change.old == super::NOTHING && default.is_some_and(|default| default != branch) => format!(
            "To create a merge request for {branch}, visit:\n  {}/{path}/-/merge_requests/new?merge_request%5Bsource_branch%5D={}",
            url,
            url::form_urlencoded::byte_serialize(branch.as_bytes()).collect::<String>()
        ),
        _ => String::new(),
    }
}

fn backend(fake: &Fake, parts: &Parts, project: u64, action: &str) -> Command {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let folder = fake.repository(project).folder;
    let limit = fake.state_of(project, |project| project.push_rules.max_push_size).flatten().unwrap_or(fake.options.max_push);
    let mut command = fake.git.local(&folder).deadline(DEADLINE);
    for prefix in HIDDEN {
        command = command.args(["-c", &format!("receive.hideRefs={prefix}")]);
    }
    command = command
        .args(["-c", "uploadpack.hideRefs=refs/keep-around", "-c", "uploadpack.hideRefs=refs/tmp"])
        .args(["-c", "uploadpack.allowAnySHA1InWant=true", "-c", "uploadpack.allowFilter=true"])
        .args(["-c", "receive.advertisePushOptions=true", "-c", "receive.denyDeleteCurrent=ignore"])
        .args(["-c", &format!("receive.maxInputSize={limit}"), "-c", "safe.directory=*"])
        .args(["-c", &format!("core.hooksPath={}", fake.git_hooks.display())])
        .arg("http-backend")
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROJECT_ROOT", &folder)
        .env("PATH_INFO", format!("/{action}"))
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header(CONTENT_TYPE.as_str()))
        .env("HTTP_CONTENT_ENCODING", header(CONTENT_ENCODING.as_str()))
        .env("GIT_PROTOCOL", header("git-protocol"))
        // Without a name of somebody, git takes no push.
        .env("REMOTE_USER", "gitlab")
        .env("REMOTE_ADDR", "127.0.0.1");
    if let Some(length) = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()) {
        command = command.env("CONTENT_LENGTH", length);
    }
    command
}

async fn cgi_head(stdout: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<(StatusCode, HeaderMap)> {
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    let mut any = false;
    loop {
        let mut line = String::new();
        stdout.take(8192).read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return any.then_some((status, headers));
        };
        any = true;
        if name.eq_ignore_ascii_case("status") {
            status = value.split(' ').next()?.parse().ok()?;
        } else {
            headers.insert(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
    }
}

/// What git says, until it has said everything; whoever goes away takes it along.
fn until_the_end(
    running: Running,
    stdout: impl tokio::io::AsyncRead + Send + Unpin + 'static,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let chunks = ReaderStream::with_capacity(stdout, 64 * 1024);
    futures_util::stream::unfold((chunks, running), |(mut chunks, running)| async move {
        chunks.next().await.map(|chunk| (chunk, (chunks, running)))
    })
}

/// Finds out what a push changed, and takes note of it.
async fn take(fake: &Arc<Fake>, project: u64, user: u64, request: push::Request, answer: &[u8]) {
    if request.changes.is_empty() {
        return;
    }
    let refs = fake.repository(project).refs("refs/").await;
    let now_at = |name: &str| refs.iter().find(|found| found.name == name).map_or(super::NOTHING, |found| found.target.as_str());
    let mut changes = request.changes;
    // Of two pushes of the same commit at once git takes one, and refuses the other; the ref is there for both.
    let refused = |name: &str| {
        let words = format!("ng {name} ");
        answer.windows(words.len()).any(|window| window == words.as_bytes())
    };
    changes.retain(|change| change.old != change.new && now_at(&change.ref_name) == change.new && !refused(&change.ref_name));
    if !changes.is_empty() {
        fake.pushed(Pushed { project, user, changes, options: request.options }).await;
    }
}
