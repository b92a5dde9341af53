//! What all operations of all services have in common, put into a service's description once: who may call them, how a
//! request is refused before its handler sees it, and the routes of [`super::health`].

use signalbox_contract::Problem;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::health::Health;

/// The media type of every refusal.
const PROBLEM: &str = "application/problem+json";

/// Completes a service's description. `kinds` are the kinds of token that it takes; what does not say otherwise needs one of
/// the first kind. An operation that needs none says so with `security(())`.
pub fn describe(mut api: OpenApi, kinds: &[&str]) -> OpenApi {
    let components = api.components.get_or_insert_default();
    for kind in kinds {
        components.add_security_scheme(*kind, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
    let mut schemas = vec![named::<Problem>(), named::<Health>()];
    Problem::schemas(&mut schemas);
    for (name, schema) in schemas {
        components.schemas.entry(name).or_insert(schema);
    }
    api.paths.paths.insert("/health/live".to_owned(), health("Whether the service lives.", false));
    api.paths.paths.insert("/health/ready".to_owned(), health("Whether the service has what it needs.", true));
    for item in api.paths.paths.values_mut() {
        for operation in operations(item) {
            complete(operation, kinds);
        }
    }
    api
}

/// The operations of a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.head, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}

fn named<T: ToSchema>() -> (String, RefOr<utoipa::openapi::Schema>) {
    (T::name().into_owned(), <T as PartialSchema>::schema())
}

fn health(summary: &str, refuses: bool) -> PathItem {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Health::name()))).build();
    let well = ResponseBuilder::new().description("It is.").content("application/json", content).build();
    let mut operation =
        OperationBuilder::new().tag("health").summary(Some(summary)).security(SecurityRequirement::default()).response("200", well);
    if refuses {
        operation = operation.response("503", refusal("It is not; `errors` names what is missing."));
    }
    PathItem::new(HttpMethod::Get, operation)
}

/// Adds what the operation does not say itself.
fn complete(operation: &mut Operation, kinds: &[&str]) {
    if operation.security.is_none() {
        operation.security = kinds.first().map(|kind| vec![SecurityRequirement::new::<_, [&str; 0], &str>(*kind, [])]);
    }
    let open = operation.security.iter().flatten().any(|needed| *needed == SecurityRequirement::default());
    let body = match &operation.request_body {
        Some(RefOr::T(body)) => Some(body.clone()),
        Some(RefOr::Ref(_)) | None => None,
    };
    let asks = body.is_some() || operation.parameters.as_ref().is_some_and(|all| !all.is_empty());
    let may = [
        (asks, "400", "What was sent is not valid; `errors` names the fields."),
        (!open, "401", "No valid token."),
        (!open, "403", "The token is not for this."),
        (body.is_some(), "408", "The body took longer to arrive than is allowed."),
        (body.is_some(), "413", "The body is larger than is allowed here."),
        (body.as_ref().is_some_and(is_json), "415", "The body does not say that it is JSON."),
        (true, "503", "The service is starting, ending or has too much to do; `Retry-After` says when to ask again."),
    ];
    for (is, status, words) in may {
        if is {
            operation.responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(refusal(words)));
        }
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            tell_as_problem(response);
        }
    }
}

fn is_json(body: &RequestBody) -> bool {
    body.content.contains_key("application/json")
}

fn problem() -> RefOr<utoipa::openapi::Schema> {
    RefOr::Ref(Ref::from_schema_name(Problem::name()))
}

fn refusal(words: &str) -> Response {
    ResponseBuilder::new().description(words).content(PROBLEM, ContentBuilder::new().schema(Some(problem())).build()).build()
}

/// A problem has a media type of its own, which the attributes beside the handlers do not repeat each time.
fn tell_as_problem(response: &mut Response) {
    let is_problem = |content: &RefOr<utoipa::openapi::Content>| matches!(content, RefOr::T(content) if content.schema == Some(problem()));
    if response.content.get("application/json").is_some_and(is_problem)
        && let Some(content) = response.content.shift_remove("application/json")
    {
        response.content.insert(PROBLEM.to_owned(), content);
    }
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi as _;

    use super::*;

    #[utoipa::path(post, path = "/things/{id}", params(("id" = u32, Path)), request_body = Problem, responses(
        (status = 200, description = "Made."),
        (status = 413, description = "Larger than a thing.", body = Problem),
    ))]
    #[expect(dead_code, reason = "only its description is used")]
    fn post() {}

    #[utoipa::path(get, path = "/open", security(()), responses((status = 200, description = "Open.")))]
    #[expect(dead_code, reason = "only its description is used")]
    fn open() {}

    #[derive(utoipa::OpenApi)]
    #[openapi(paths(post, open))]
    struct Document;

    #[test]
    fn what_all_operations_share_is_described_and_what_one_says_itself_stays() {
        let api = serde_json::to_value(describe(Document::openapi(), &["act", "capability"])).expect("JSON");
        let post = &api["paths"]["/things/{id}"]["post"];
        assert_eq!(post["security"][0]["act"], serde_json::json!([]));
        for status in ["400", "401", "408", "413", "415", "503"] {
            let content = &post["responses"][status]["content"][PROBLEM]["schema"]["$ref"];
            assert_eq!(content, "#/components/schemas/Problem", "{status}: {post:#}");
        }
        assert_eq!(post["responses"]["413"]["description"], "Larger than a thing.");
        let open = &api["paths"]["/open"]["get"]["responses"];
        assert!(open.get("401").is_none() && open.get("400").is_none(), "{open:#}");
        for path in ["/health/live", "/health/ready"] {
            assert_eq!(api["paths"][path]["get"]["security"][0], serde_json::json!({}));
        }
        for scheme in ["act", "capability"] {
            assert_eq!(api["components"]["securitySchemes"][scheme]["scheme"], "bearer");
        }
        assert!(api["components"]["schemas"]["Health"].is_object() && api["components"]["schemas"]["Problem"].is_object());
    }
}
