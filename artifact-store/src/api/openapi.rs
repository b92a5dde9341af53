//! The API's description, from the code.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{blobs, digests, grants, lists, pins};

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
        grants::close_grant,
        pins::unpin,
        pins::resolve
    ),
    modifiers(&Tokens)
)]
struct Description;

/// The three kinds of token.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        for kind in ["operator", "capability", "act"] {
            components.add_security_scheme(kind, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        }
    }
}

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
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
            "/digests/{digest}",
            "/grants/{key}",
            "/grants/{key}/close",
            "/grants/{key}/{name}",
            "/resolve",
            "/unpin",
            "/versions/{name}",
        ] {
            assert!(paths.iter().any(|known| *known == path), "{path}");
        }
        assert_eq!(paths.len(), 9);
    }
}
