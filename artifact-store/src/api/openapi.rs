//! The API's description, from the code.

use signalbox_service::http::describe;
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Operation;

use super::{blobs, digests, grants, lists, pins, scrub};

#[derive(OpenApi)]
#[openapi(
    info(title = "Signalbox artifact store", description = "Keeps bytes under digests, and names that point to them."),
    paths(
        blobs::put_blob,
        blobs::get_blob,
        blobs::delete_blob,
        lists::list_blobs,
        lists::list_versions,
        digests::get_digest,
        grants::get_grant,
        grants::put_grant,
        grants::put_grant_close,
        grants::close_grant,
        pins::unpin,
        pins::resolve,
        scrub::post_scrub
    ),
    // A path's parameters do not bring their schemas along.
    components(schemas(signalbox_contract::AttemptKey))
)]
struct Description;

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = Description::openapi();
    for path in ["/blobs/{name}", "/digests/{digest}"] {
        if let Some(item) = api.paths.paths.get_mut(path) {
            item.head = item.get.clone().map(headed);
        }
    }
    // The history has a second address, under the bytes that it is of.
    if let Some(mut history) = api.paths.paths.get("/versions/{name}").cloned() {
        if let Some(operation) = &mut history.get {
            operation.operation_id = Some("list_versions_of_blob".to_owned());
        }
        api.paths.paths.insert("/blobs/{name}/versions".to_owned(), history);
    }
    describe(api, &["operator", "capability", "act"])
}

/// `HEAD` answers what `GET` does, without the bytes.
fn headed(mut get: Operation) -> Operation {
    get.operation_id = get.operation_id.map(|id| format!("{id}_head"));
    get.summary = get.summary.map(|words| format!("{words} Without the bytes."));
    for response in get.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
    get
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_route_is_described() {
        let api = super::openapi();
        let paths: Vec<&String> = api.paths.paths.keys().collect();
        for path in [
            "/blobs",
            "/blobs/{name}",
            "/blobs/{name}/versions",
            "/digests/{digest}",
            "/grants/{key}",
            "/grants/{key}/close",
            "/grants/{key}/{name}",
            "/resolve",
            "/scrub",
            "/unpin",
            "/versions/{name}",
        ] {
            assert!(paths.iter().any(|known| *known == path), "{path}");
        }
        assert_eq!(paths.len(), 13, "and those about its health: {paths:?}");
    }
}
