//! `POST /cd`: mirror, build, deploy.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use signalbox_contract::api::run::{Accepted, CdRequest, MAX_INPUT, MAX_INPUTS};
use signalbox_contract::api::vcs::Naming;
use signalbox_contract::grant::{Action, Glob, Target};
use signalbox_contract::source::MAX_SOURCE_URL;
use signalbox_contract::{ArtifactName, Code, CommitSha, Digest, ExecutorName, Origin, Problem, PublishedName, RefName, RepoName};
use signalbox_controller_core::plan::{CdOrder, DeployTarget, Request};
use signalbox_service::auth::{Operator, sha256};
use signalbox_service::http::{self as service_http, Json, Refusal};
use signalbox_service::near::nearest;

use super::environments::NAMED;
use super::{Api, refused};
use crate::config::{ExecutorConfig, RepositoryConfig};
use crate::store::NewRun;

/// The header that makes asking twice asking once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Start a run: mirror the ref, build it, and deploy the artifact if one is named.
///
/// Without an `Idempotency-Key` a hundred posts are a hundred runs. With one, the same key and body give the same run for a
/// day; the same key with another body is refused.
#[utoipa::path(
    post, path = "/cd", tag = "runs", request_body = CdRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 printable ASCII characters; kept a day")),
    responses(
        (status = 202, description = "The run is recorded durably and goes on by itself.", body = Accepted),
        (status = 400, description = "The body is not valid; `errors` names the fields.", body = Problem),
        (status = 401, description = "No valid token.", body = Problem),
        (status = 403, description = "The token's grants do not cover it.", body = Problem),
        (status = 409, description = "The repository's name belongs to another source.", body = Problem),
        (status = 422, description = "Something is not configured, such as the repository or the environment, or the environment does not allow the published name, or the ref is a commit's id, or the key was used with another body.", body = Problem),
        (status = 503, description = "The queue is full; nothing was accepted.", body = Problem),
    )
)]
pub(super) async fn post(
    State(api): State<Api>,
    operator: Operator,
    headers: HeaderMap,
    Json(mut request): Json<CdRequest>,
) -> service_http::Result<Response> {
    check(&request)?;
    let known = api.config.repository(&request.repo);
    // Whoever may not start a run of a repository does not learn whether there is one.
    let Some((name, repository)) = known.filter(|(name, _)| operator.may(Action::Start, &of(name))) else {
        return Err(of_no_repository(&api, &operator, &request).await);
    };
    // By its name or by its URL, it is the same repository that was meant.
    name.as_str().clone_into(&mut request.repo);
    let idempotency = idempotency(&headers, "/cd", &request)?;
    let target = deploy_target(repository, &request);
    if let Ok(Some((artifact, to))) = &target {
        let target = Target { repo: Some(name), artifact: Some(artifact), environment: Some(&to.environment), name: Some(&to.name) };
        operator.require(Action::Deploy, &target)?;
    }
    let executor = executor(&api, repository.executor.as_ref(), &request);
    let unfit = executor.as_ref().map_or_else(|_| Vec::new(), |at| unfit(repository, &request, at));
    let (executor, deploy) = match (check_ref(&request.ref_name), executor, fitting(&api, &operator, target).await) {
        (Ok(()), Ok(executor), Ok(deploy)) if unfit.is_empty() => (executor, deploy),
        (named, executor, deploy) => {
            let faults = [named.err(), executor.err(), deploy.err()].into_iter().flatten();
            return Err(together(faults.chain(unfit)).into());
        }
    };
    let mut order = order(name, repository, request, executor, deploy);
    order.artifacts = publishable(&operator, name);
    let run = NewRun { principal: operator.principal().to_owned(), request: Request::Cd(Box::new(order)), idempotency };
    accepted(api.store.accept(run).await.map_err(refused)?)
}

/// `202` with where to look.
pub(super) fn accepted(accepted: Accepted) -> service_http::Result<Response> {
    let location = HeaderValue::try_from(&accepted.url).map_err(service_http::internal)?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(accepted)).into_response())
}

/// The key that the caller gave, with a digest of what is asked under it.
pub(super) fn idempotency<T: serde::Serialize>(
    headers: &HeaderMap,
    path: &str,
    request: &T,
) -> service_http::Result<Option<(String, Digest)>> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let plain = |key: &&str| (1..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let key = key.to_str().ok().filter(plain).filter(|_| keys.next().is_none());
    let key = key.ok_or_else(|| {
        Problem::new(Code::InvalidRequest).field("Idempotency-Key", "must be given once, with 1 to 128 printable ASCII characters")
    })?;
    // What was meant counts, not how it was spelt: the parsed request, written anew.
    let mut text = path.as_bytes().to_vec();
    serde_json::to_writer(&mut text, request).map_err(service_http::internal)?;
    Ok(Some((key.to_owned(), sha256(&text))))
}

/// What starting runs of a repository is about.
pub(super) fn of(name: &RepoName) -> Target<'_> {
    Target { repo: Some(name), ..Target::default() }
}

/// A commit has no name at its source by which it could be fetched; it is fetched by the ref that has it.
fn check_ref(ref_name: &RefName) -> Result<(), Problem> {
    if ref_name.as_str().to_ascii_lowercase().parse::<CommitSha>().is_err() {
        return Ok(());
    }
    Err(Problem::new(Code::NotARef)
        .detail("A commit cannot be fetched by itself. Name the branch or tag that has it.")
        .field("ref", "is the id of a commit; name the branch or tag that has it"))
}

/// What the request's types alone do not say: all that is wrong with it, whatever is configured.
fn check(request: &CdRequest) -> Result<(), Problem> {
    let mut problem = Problem::new(Code::InvalidBody);
    if request.repo.len() > MAX_SOURCE_URL {
        problem = problem.field("repo", format!("must have at most {MAX_SOURCE_URL} bytes"));
    }
    if request.artifact.is_none() {
        let stray = [("environment", request.environment.is_some()), ("published_name", request.published_name.is_some())];
        for (field, _) in stray.into_iter().filter(|(_, given)| *given) {
            problem = problem.field(field, "makes sense only with an artifact: nothing is deployed without one");
        }
    }
    if request.inputs.len() > MAX_INPUTS {
        return Err(problem.field("inputs", format!("has more than {MAX_INPUTS} entries")));
    }
    for (name, value) in &request.inputs {
        if name.is_kept() {
            let words = "is a name that no input may have: it belongs to Signalbox or the executor, or decides which programs a build runs";
            problem = problem.field(format!("inputs.{name}"), words);
        } else if value.len() > MAX_INPUT || value.contains('\0') {
            problem = problem.field(format!("inputs.{name}"), format!("must have at most {MAX_INPUT} bytes, and no NUL among them"));
        }
    }
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}

/// Where a run brings what it builds.
type Deployment = (ArtifactName, DeployTarget);

/// What the configuration does not have at this field.
fn missing(field: &str, detail: &str) -> Problem {
    Problem::new(Code::NotConfigured).field(field, detail)
}

/// Why there is no run of something that is no configured repository; and of what else the request names, that is not configured
/// either, as far as it can be told without one.
async fn of_no_repository(api: &Api, operator: &Operator, request: &CdRequest) -> Refusal {
    let named: Option<RepoName> = request.repo.parse().ok();
    let meant = meant(api, operator, &request.repo);
    if let Err(Refusal(mut problem)) = operator.require(Action::Start, &Target { repo: named.as_ref(), ..Target::default() }) {
        problem.detail.push_str(&meant);
        return problem.into();
    }
    let mut faults = vec![
        Problem::new(Code::NotConfigured)
            .detail(format!("{}{meant}", unknown_repository(&request.repo)))
            .field("repo", "is neither the name of a configured repository nor the source URL of one"),
    ];
    faults.extend(check_ref(&request.ref_name).err());
    if request.executor.is_some() {
        faults.extend(executor(api, None, request).err());
    }
    if let (Some(artifact), Some(environment)) = (&request.artifact, &request.environment)
        && let Some(name) = published_name(request)
    {
        let target = Target { repo: named.as_ref(), artifact: Some(artifact), environment: Some(environment), name: Some(&name) };
        // Whoever may not deploy there does not learn whether there is such an environment.
        if operator.may(Action::Deploy, &target) {
            let to = DeployTarget { environment: environment.clone(), name };
            faults.extend(api.check_target(operator, "environment", &to).await.err());
        }
    }
    together(faults).into()
}

/// The executor that builds, by the request or by the repository's default.
fn executor<'c>(api: &'c Api, default: Option<&ExecutorName>, request: &CdRequest) -> Result<(ExecutorName, &'c ExecutorConfig), Problem> {
    let executor = request.executor.as_ref().or(default);
    let executor = executor.ok_or_else(|| missing("executor", "must be given: the repository has no default"));
    let found = executor.and_then(|name| {
        let at = api.config.executors.get(name).ok_or_else(|| missing("executor", "is not configured"))?;
        Ok((name.clone(), at))
    });
    found.map_err(|problem| {
        let there: Vec<&str> = api.config.executors.keys().map(AsRef::as_ref).take(NAMED).collect();
        let what = problem.errors.first().map(|fault| fault.detail.clone()).unwrap_or_default();
        problem.detail(format!("The executor {what}. There is: {}.", there.join(", ")))
    })
}

/// What is deployed where, by the request or by the repository's defaults.
fn deploy_target(repository: &RepositoryConfig, request: &CdRequest) -> Result<Option<Deployment>, Problem> {
    let Some(artifact) = request.artifact.clone() else { return Ok(None) };
    let environment = request.environment.clone().or_else(|| repository.environment.clone());
    let environment = environment.ok_or_else(|| missing("environment", "must be given: the repository has no default"))?;
    let name =
        published_name(request).ok_or_else(|| missing("published_name", "must be given: the artifact's name does not fit a host"))?;
    Ok(Some((artifact, DeployTarget { environment, name })))
}

/// The name under which the artifact is published: its own, unless another is given.
fn published_name(request: &CdRequest) -> Option<PublishedName> {
    request.published_name.clone().or_else(|| Option::<PublishedName>::from(request.artifact.clone()?))
}

/// The same, if the deployment worker has it.
async fn fitting(api: &Api, operator: &Operator, target: Result<Option<Deployment>, Problem>) -> Result<Option<Deployment>, Problem> {
    let target = target?;
    if let Some((_, to)) = &target {
        api.check_target(operator, "environment", to).await?;
    }
    Ok(target)
}

/// All that is wrong, told at once, under the code of the first.
fn together(faults: impl IntoIterator<Item = Problem>) -> Problem {
    let told = faults.into_iter().map(|fault| Refusal::from(fault).0);
    told.reduce(|first, further| {
        let words = format!("{} {}", first.detail, further.detail);
        further.errors.into_iter().fold(first.detail(words), |problem, fault| problem.field(fault.field, fault.detail))
    })
    .unwrap_or_else(|| Problem::new(Code::NotConfigured))
}

/// What the executor that builds cannot do for the request.
fn unfit(repository: &RepositoryConfig, request: &CdRequest, (executor, at): &(ExecutorName, &ExecutorConfig)) -> Vec<Problem> {
    let mut faults = Vec::new();
    let pushed = matches!(repository.naming, Some(Naming::Same | Naming::Replace)) && at.kind.mirror().is_some();
    if !request.inputs.is_empty() && pushed {
        let detail = "cannot be given: the repository's naming has a push begin its builds, which carries none; configure naming = \"run\"";
        faults.push(missing("inputs", detail));
    }
    if request.job.is_some() && at.kind.is_native() {
        let detail = format!("makes no sense for the executor {executor}, which builds by a definition of its own");
        faults.push(Problem::new(Code::InvalidBody).field("job", detail));
    }
    faults
}

/// The request with every default filled in.
fn order(
    name: &RepoName,
    repository: &RepositoryConfig,
    request: CdRequest,
    (executor, at): (ExecutorName, &ExecutorConfig),
    deploy: Option<Deployment>,
) -> CdOrder {
    let CdRequest { ref_name, job, inputs, .. } = request;
    CdOrder {
        repo: name.clone(),
        source: repository.source.clone(),
        ref_name,
        job,
        executor,
        inputs,
        artifacts: Vec::new(),
        deploy,
        origin: Origin::Api,
        publish: true,
        vote: false,
        route: repository.route(at),
    }
}

/// Which repository was probably meant, of those alone of which the asker may start runs; nothing if none is like it.
fn meant(api: &Api, operator: &Operator, asked: &str) -> String {
    let theirs = api.config.repositories.keys().filter(|name| operator.may(Action::Start, &of(name)));
    nearest(asked, theirs.map(RepoName::as_str)).map_or_else(String::new, |name| format!(" Did you mean {name}?"))
}

/// What to do about a repository that is not configured.
fn unknown_repository(asked: &str) -> String {
    let table = match asked.parse::<RepoName>() {
        // A name with other characters than a bare key may have stands in quotes.
        Ok(name) if name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) => {
            format!("[repositories.{name}]")
        }
        Ok(name) => format!("[repositories.\"{name}\"]"),
        Err(_) => "[repositories.NAME]".to_owned(),
    };
    format!("The server's configuration has no such repository. Add {table} with its `source` to the controller's configuration.")
}

/// Which artifacts may be published by the grants that allow starting runs of this repository.
pub(super) fn publishable(operator: &Operator, name: &RepoName) -> Vec<Glob> {
    let starting = operator.0.grants.iter().filter(|grant| grant.allows(Action::Start, &of(name)));
    starting.flat_map(|grant| grant.artifacts.iter().cloned()).collect()
}
