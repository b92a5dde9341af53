//! The controller's HTTP API. Handlers translate and authorise; what is decided, the core decides; what takes long, the
//! engine does: a handler records the intention and says where to look.

mod attempts;
mod caching;
mod cd;
mod deliveries;
mod doctor;
mod environments;
mod exchange;
mod live;
mod logs;
mod mirrors;
mod runs;
mod schema;
mod streams;
mod tokens;
mod webhooks;

pub(crate) use deliveries::{DeliveriesQuery, may_replay};
pub(crate) use logs::{LogQuery, attempt_of, part_of};
pub(crate) use runs::actions;
pub use schema::job_schema;
pub(crate) use streams::Streams;
pub use webhooks::Desk;
pub(crate) use webhooks::LARGEST;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use signalbox_contract::grant::{Action, Grant, Target};
use signalbox_contract::{Code, Problem, RunId};
use signalbox_controller_core::Run;
use signalbox_service::auth::{Operator, Verifier};
use signalbox_service::client::CallError;
use signalbox_service::clock::SharedClock;
use signalbox_service::http::{self, Limit, Refusal};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;
use tower_http::csrf::CsrfLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::Config;
use crate::doctor::Doctor;
use crate::engine::{Executors, Workers};
use crate::log::LogBook;
use crate::page;
use crate::roster::Roster;
use crate::store::{Place, Store, StoreError, Visible};

/// What the handlers work with.
#[derive(Clone)]
pub struct Api {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    pub(crate) book: LogBook,
    pub(crate) workers: Workers,
    /// Which environments there are.
    pub(crate) roster: Roster,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) clock: SharedClock,
    pub(crate) shutdown: Shutdown,
    /// The executors, whose word for their builds is taken.
    pub(crate) executors: Executors,
    /// Examines what all of it depends on.
    pub(crate) doctor: Doctor,
    /// Where forges deliver.
    pub(crate) desk: Desk,
    /// The room for live streams.
    pub(crate) streams: Arc<Streams>,
}

impl FromRef<Api> for Arc<Verifier> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.verifier)
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Signalbox controller",
    description = "Takes changes, has them mirrored, built and deployed, and tells what became of them. Every request carries a \
                   token in `Authorization: Bearer`; every answer that is not what was asked for is a problem (RFC 9457)."
))]
struct Document;

/// What takes more than one segment of a path is routed by hand.
#[derive(OpenApi)]
#[openapi(paths(webhooks::post_with_path))]
struct Secret;

/// The routes, and their description.
fn described() -> (OpenApiRouter<Api>, OpenApiRouter<Api>, OpenApiRouter<Api>) {
    let ordinary = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(cd::post))
        .routes(routes!(runs::status))
        .routes(routes!(runs::list))
        .routes(routes!(runs::get))
        .routes(routes!(attempts::get))
        .routes(routes!(runs::events))
        .routes(routes!(runs::stop))
        .routes(routes!(runs::rerun))
        .routes(routes!(environments::list))
        .routes(routes!(environments::get))
        .routes(routes!(environments::deploy))
        .routes(routes!(environments::rollback))
        .routes(routes!(doctor::get))
        .routes(routes!(mirrors::list))
        .routes(routes!(mirrors::collect))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::get))
        .routes(routes!(deliveries::replay))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(exchange::post))
        .routes(routes!(tokens::revoke))
        .routes(routes!(tokens::revocations))
        .routes(routes!(schema::get));
    let streaming = OpenApiRouter::new().routes(routes!(logs::get)).routes(routes!(live::get));
    let delivered = OpenApiRouter::new().routes(routes!(webhooks::post));
    (ordinary, streaming, delivered)
}

/// The routes: the ordinary ones, pages included; those whose answers are streams; and those where forges deliver. A
/// browser that holds a session may change nothing on behalf of another site.
pub fn routers(api: Api) -> (Router, Router, Router) {
    let description = openapi();
    let (ordinary, streaming, delivered) = described();
    let delivered = delivered.with_state(api.clone()).split_for_parts().0;
    let secret = Router::new().route("/webhooks/{forge}/{*path}", axum::routing::post(webhooks::post_with_path)).with_state(api.clone());
    let ordinary = ordinary.with_state(api.clone()).split_for_parts().0;
    let streaming = streaming.with_state(api.clone()).split_for_parts().0;
    let known = |routes| http::described_parameters(routes, &description);
    // A forge may be told any address, and disables a webhook that is refused: what stands behind the path there is let be.
    (known(ordinary).merge(page::router(api)).layer(CsrfLayer::new()), known(streaming), delivered.merge(secret))
}

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (ordinary, streaming, delivered) = described();
    let mut document = ordinary.into_openapi();
    document.merge(streaming.into_openapi());
    document.merge(delivered.into_openapi());
    document.merge(Secret::openapi());
    http::describe(document, &["operator"])
}

/// How many entries a page is to have.
pub(crate) type PageSize = Limit<200>;

/// How many entries a page has.
fn page_size(asked: Option<PageSize>) -> u32 {
    asked.map_or(50, Limit::get)
}

/// What the store's errors are to a caller.
pub(crate) fn refused(error: StoreError) -> Refusal {
    match error.problem() {
        Some(problem) => problem.into(),
        None => http::internal(error),
    }
}

/// What it means to a caller that a worker, whose answer is waited for, could not be asked.
fn not_answered(worker: &str, error: &CallError) -> Refusal {
    match error {
        CallError::Refused(problem) if problem.code == Code::NotFound => return Problem::not_found().into(),
        // It is there and says when: that is worth passing on.
        CallError::Retry { problem: Some(problem), .. } if problem.code == Code::Unavailable && !problem.detail.is_empty() => {
            let passed_on = Problem::new(Code::Unavailable).detail(format!("The {worker} says: {}", problem.detail));
            return passed_on.retry_after(problem.retry_after.unwrap_or(10)).into();
        }
        _ => {}
    }
    tracing::warn!(error = %causes(error), worker, "a worker could not be asked");
    Problem::new(Code::Upstream).detail(format!("The {worker} did not answer; try again. `signalbox doctor` looks for why.")).into()
}

/// Goes on only for those who look after all of it: `operate` on every repository.
fn oversees(operator: &Operator) -> http::Result<()> {
    let all = |grant: &Grant| grant.actions.contains(&Action::Operate) && grant.repos.iter().any(|glob| glob.as_str() == "*");
    if operator.0.grants.iter().any(all) {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden)
        .detail("No grant of this token allows `operate` on every repository, which is the pattern `*`.")
        .into())
}

/// What a reader must be allowed to see a run: its repository; for a run without one, the environment and the name that it
/// changes.
pub(crate) fn target_of(run: &Run) -> Target<'_> {
    match (run.request.repo(), run.request.target()) {
        (Some(repo), _) => Target { repo: Some(repo), ..Target::default() },
        (None, Some(target)) => Target { environment: Some(&target.environment), name: Some(&target.name), ..Target::default() },
        (None, None) => Target::default(),
    }
}

/// All that a run touches: what starting it, or running it again, needs to be allowed.
pub(crate) fn reach_of(run: &Run) -> Target<'_> {
    let target = run.request.target();
    Target {
        repo: run.request.repo(),
        artifact: run.request.artifact(),
        environment: target.map(|target| &target.environment),
        name: target.map(|target| &target.name),
    }
}

impl Api {
    /// The run, if the reader may see it. What may not be seen is not there.
    pub(crate) async fn run(&self, operator: &Operator, id: RunId) -> http::Result<Run> {
        let run = match self.store.run(id).await {
            Err(StoreError::Unreadable(_)) => {
                let Place { repo, environment, name } = self.store.place(id).await.map_err(refused)?;
                let (environment, name) = if repo.is_some() { (None, None) } else { (environment, name) };
                let target = Target { repo: repo.as_ref(), environment: environment.as_ref(), name: name.as_ref(), ..Target::default() };
                let known = repo.is_some() || (environment.is_some() && name.is_some());
                let problem =
                    if known && operator.sees(&target) { refused(StoreError::Unreadable(id)) } else { Problem::not_found().into() };
                return Err(problem);
            }
            run => run.map_err(refused)?,
        };
        run.filter(|run| operator.sees(&target_of(run))).ok_or_else(|| Problem::not_found().into())
    }

    /// Which runs the reader may see. The lists are filtered by it before they are cut into pages.
    pub(crate) async fn visible(&self, operator: &Operator) -> http::Result<Visible> {
        let everything = |grant: &Grant| {
            let all = |globs: &[signalbox_contract::grant::Glob]| globs.iter().any(|glob| glob.as_str() == "*");
            grant.actions.contains(&Action::Read) && all(&grant.repos) && all(&grant.environments) && all(&grant.names)
        };
        if operator.0.grants.iter().any(everything) {
            return Ok(Visible::All);
        }
        let (mut repos, mut places) = self.store.known().await.map_err(refused)?;
        repos.retain(|repo| operator.sees(&Target { repo: Some(repo), ..Target::default() }));
        places
            .retain(|(environment, name)| operator.sees(&Target { environment: Some(environment), name: Some(name), ..Target::default() }));
        Ok(Visible::Only { repos, places })
    }
}
