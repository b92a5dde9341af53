//! A call: who asks, for what, with which parameters.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts as _, OriginalUri, RawPathParams};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, Request, StatusCode, Uri};

use super::caller::Caller;
use super::params::Params;
use super::refusal::Refusal;
use crate::gitlab::fake::Fake;
use crate::gitlab::git::Repository;
use crate::gitlab::state::State;
use crate::gitlab::state::project::{Deletion, Project};
use crate::gitlab::state::user::level;

/// The largest body of a call.
const LARGEST: usize = 64 * 1024 * 1024;

/// A call.
pub(crate) struct Call {
    pub(crate) fake: Arc<Fake>,
    pub(crate) caller: Caller,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) params: Params,
    path: Vec<(String, String)>,
}

impl FromRequest<Arc<Fake>> for Call {
    type Rejection = Response;

    async fn from_request(request: Request<Body>, fake: &Arc<Fake>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let raw = RawPathParams::from_request_parts(&mut parts, fake).await;
        let path = raw.map(|raw| raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let caller = Caller::find(fake, &parts.headers, &query).map_err(Refusal::into_response)?;
        caller.may(&parts.method, parts.uri.path()).map_err(Refusal::into_response)?;
        let body = axum::body::to_bytes(body, LARGEST).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE.into_response())?;
        let params = Params::read(&query, &parts.headers, &body).map_err(Refusal::into_response)?;
        // Inside of a nest the address is only its end.
        let uri = parts.extensions.get::<OriginalUri>().map_or(parts.uri, |original| original.0.clone());
        Ok(Self { fake: Arc::clone(fake), caller, method: parts.method, uri, headers: parts.headers, params, path })
    }
}

impl Call {
    /// A part of the address.
    pub(crate) fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A part of the address that is a number.
    pub(crate) fn number(&self, name: &str) -> Result<u64, Refusal> {
        self.path(name).parse().map_err(|_| Refusal::invalid(name))
    }

    /// Who asks, if it is somebody.
    pub(crate) fn user(&self) -> Result<u64, Refusal> {
        self.caller.user.filter(|_| self.caller.job.is_none()).ok_or_else(Refusal::unauthorized)
    }

    /// Whether an administrator asks.
    pub(crate) fn admin(&self) -> Result<u64, Refusal> {
        let user = self.user()?;
        let admin = self.change(|state| state.users.get(&user).is_some_and(|user| user.admin));
        if admin { Ok(user) } else { Err(Refusal::forbidden()) }
    }

    /// Looks at the state or changes it.
    pub(crate) fn change<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        self.fake.change(act)
    }

    /// The project of the address, for somebody who has this level there. What somebody may not see is not there.
    pub(crate) fn project(&self, least: u32) -> Result<u64, Refusal> {
        let name = self.path("id");
        let (user, job) = (self.caller.user, self.caller.job);
        self.change(|state| {
            let here = name.parse().ok().and_then(|id: u64| state.projects.get(&id)).or_else(|| state.project_at(name));
            let moved = here.is_none();
            let project = here.or_else(|| state.former_paths.get(name).and_then(|id| state.projects.get(id)));
            let seen = project.filter(|project| project.deletion != Some(Deletion::Destroying)).filter(|project| {
                match job.and_then(|job| state.jobs.get(&job)) {
                    Some(job) => job.project == project.id || state.sees(user, project),
                    None => state.sees(user, project),
                }
            });
            let Some(project) = seen else {
                return Err(Refusal::not_found("Project"));
            };
            if moved {
                return Err(self.moved(state, project));
            }
            let access = user.map_or(level::NONE, |user| state.level(user, project));
            if least > level::GUEST && access < least && !(least <= level::REPORTER && job.is_some()) {
                return Err(if user.is_none() { Refusal::unauthorized() } else { Refusal::forbidden() });
            }
            Ok(project.id)
        })
    }

    /// The project was renamed: reading is sent on to its id, and nothing else is.
    fn moved(&self, state: &State, project: &Project) -> Refusal {
        if self.method != Method::GET {
            return Refusal::message(StatusCode::METHOD_NOT_ALLOWED, "Non GET methods are not allowed for moved projects");
        }
        let mut parts: Vec<String> = self.uri.path().split('/').map(str::to_owned).collect();
        if let Some(at) = parts.iter().position(|part| part == "projects")
            && let Some(id) = parts.get_mut(at + 1)
        {
            *id = project.id.to_string();
        }
        let query = self.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let to = format!("{}{}{query}", state.url, parts.join("/"));
        Refusal::message(StatusCode::MOVED_PERMANENTLY, "This resource has been moved").header("location", &to)
    }

    /// The project of the address with its repository.
    pub(crate) fn repository(&self, least: u32) -> Result<(u64, Repository), Refusal> {
        let project = self.project(least)?;
        Ok((project, self.fake.repository(project)))
    }

    /// Something of the project of the address.
    pub(crate) fn of_project<R>(&self, project: u64, act: impl FnOnce(&mut Project) -> R) -> Result<R, Refusal> {
        self.change(|state| state.projects.get_mut(&project).map(act)).ok_or_else(|| Refusal::not_found("Project"))
    }

    /// What the caller may do in a project.
    pub(crate) fn level(&self, project: u64) -> u32 {
        let user = self.caller.user;
        self.change(|state| match (user, state.projects.get(&project)) {
            (Some(user), Some(project)) => state.level(user, project),
            _ => level::NONE,
        })
    }
}
