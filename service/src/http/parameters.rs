//! Parameters that an operation does not read are refused, for all operations in one place: what is sent is meant, and a caller
//! whose parameter is misspelt, or is of another version, must not think that it was heeded. Which parameters there are, the
//! service's description says; so what is described, and what is taken, cannot come apart. Where an operation reads some, its
//! [`Query`](super::Query) tells those that are not known beside the values that are not valid: all that is wrong is told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{Method, Request};
use signalbox_contract::Code;
use signalbox_contract::problem::FieldError;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{OpenApi, RefOr};

use super::shape::TOLD;
use super::words;

/// The parameter in which RFC 6750 lets a token stand in a URL. Whatever takes a token refuses the request because of it.
pub(crate) const ACCESS_TOKEN: &str = "access_token";

/// Has each operation refuse the parameters that its description does not have. What is not described is left alone.
pub fn described_parameters(routes: Router, api: &OpenApi) -> Router {
    routes.layer(from_fn_with_state(Arc::new(Parameters::described(api)), keep_to))
}

/// Has routes that read no parameter refuse every one.
pub fn without_parameters(routes: Router) -> Router {
    routes.layer(from_fn_with_state(Arc::new(Parameters { templates: BTreeMap::new(), otherwise: Some(Reads::default()) }), keep_to))
}

/// What an operation reads of its query.
#[derive(Debug, Clone, Default)]
struct Reads {
    names: BTreeSet<String>,
    /// Whether it takes a token.
    takes_token: bool,
}

/// What the operations of a service read.
#[derive(Debug)]
struct Parameters {
    /// By the path's template, and the method.
    templates: BTreeMap<String, BTreeMap<&'static str, Reads>>,
    /// What is read by what is not among them; nobody knows, unless it is said.
    otherwise: Option<Reads>,
}

impl Parameters {
    fn described(api: &OpenApi) -> Self {
        let templates = api.paths.paths.iter().map(|(path, item)| (path.clone(), methods(item)));
        Self { templates: templates.collect(), otherwise: None }
    }

    fn of(&self, method: &Method, route: &str, path: &str) -> Option<&Reads> {
        let found = self.template(route, path).and_then(|methods| {
            // What answers GET answers HEAD.
            methods.get(method.as_str()).or_else(|| methods.get("GET").filter(|_| *method == Method::HEAD))
        });
        found.or(self.otherwise.as_ref())
    }

    /// The description of a route. One that takes the rest of a path may be described as several, which end differently: then
    /// it is that which the path ends like.
    fn template(&self, route: &str, path: &str) -> Option<&BTreeMap<&'static str, Reads>> {
        let Some((head, _)) = route.split_once("{*") else { return self.templates.get(route) };
        let fits = self.templates.iter().filter_map(|(template, methods)| {
            let tail = template.strip_prefix(head)?.strip_prefix('{')?.split_once('}')?.1;
            (!tail.contains('{') && path.ends_with(tail)).then_some((tail.len(), methods))
        });
        fits.max_by_key(|(length, _)| *length).map(|(_, methods)| methods)
    }
}

fn methods(item: &PathItem) -> BTreeMap<&'static str, Reads> {
    let all = [
        ("GET", &item.get),
        ("HEAD", &item.head),
        ("PUT", &item.put),
        ("POST", &item.post),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, reads(operation.as_ref()?)))).collect()
}

fn reads(operation: &Operation) -> Reads {
    let parameters = operation.parameters.iter().flatten().filter_map(|one| match one {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let names = parameters.filter(|one| matches!(one.parameter_in, ParameterIn::Query)).map(|one| one.name.clone());
    let open = operation.security.iter().flatten().any(|needed| *needed == SecurityRequirement::default());
    Reads { names: names.collect(), takes_token: !open }
}

async fn keep_to(State(known): State<Arc<Parameters>>, mut request: Request<Body>, next: Next) -> Response {
    match unknown(&known, &request) {
        None => {}
        Some((faults, true)) => drop(request.extensions_mut().insert(UnknownParameters(faults))),
        Some((faults, false)) => return super::Refusal::from(words::problem_of(Code::InvalidRequest, faults)).into_response(),
    }
    next.run(request).await
}

/// The parameters that are not known, for the extractor of an operation that reads others.
#[derive(Debug, Clone)]
pub(super) struct UnknownParameters(pub(super) Vec<FieldError>);

/// The parameters that the operation does not read, and whether it reads any. Their values are not looked at.
fn unknown(known: &Parameters, request: &Request<Body>) -> Option<(Vec<FieldError>, bool)> {
    let query = request.uri().query().filter(|query| !query.is_empty())?;
    let route = request.extensions().get::<MatchedPath>()?;
    let reads = known.of(request.method(), route.as_str(), request.uri().path())?;
    let mut faults: Vec<FieldError> = Vec::new();
    for (name, _) in url::form_urlencoded::parse(query.as_bytes()) {
        // Whoever sends a token in this way is told so by what takes tokens, with the status that goes with it.
        if reads.names.contains(name.as_ref()) || reads.takes_token && name.eq_ignore_ascii_case(ACCESS_TOKEN) {
            continue;
        }
        let token = ["token", ACCESS_TOKEN].iter().any(|token| name.eq_ignore_ascii_case(token));
        let words = if token {
            "must not stand in a URL, where histories and logs keep it; send the token in the header `Authorization`"
        } else {
            "is not known here"
        };
        let fault = words::fault(&name, words);
        if !faults.contains(&fault) {
            faults.push(fault);
        }
        if faults.len() == TOLD {
            break;
        }
    }
    (!faults.is_empty()).then_some((faults, !reads.names.is_empty()))
}
