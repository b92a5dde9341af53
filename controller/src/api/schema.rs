//! The JSON Schema of `.signalbox.yaml`, for editors and for checking before a commit.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};
use signalbox_contract::job::JobFile;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(components(schemas(JobFile)))]
struct Definitions;

/// The schema (draft 2020-12, which is what OpenAPI 3.1 uses for its own schemas).
pub fn job_schema() -> Value {
    let document = serde_json::to_value(Definitions::openapi()).unwrap_or_default();
    let mut definitions = document.pointer("/components/schemas").cloned().unwrap_or_default();
    move_references(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": ".signalbox.yaml",
        "$ref": "#/$defs/JobFile",
        "$defs": definitions,
    })
}

/// Lets references point to where the definitions are in a schema of its own.
fn move_references(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(target) if name == "$ref" => *target = target.replace("#/components/schemas/", "#/$defs/"),
                    _ => move_references(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(move_references),
        _ => {}
    }
}

/// The JSON Schema of `.signalbox.yaml`. Needs no token: it says nothing of this installation.
#[utoipa::path(get, path = "/schemas/signalbox.json", tag = "schemas", security(()), responses(
    (status = 200, description = "The schema.", content_type = "application/schema+json"),
))]
pub(super) async fn get() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/schema+json")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    (headers, job_schema().to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_what_the_reader_knows() {
        let schema = job_schema();
        let job = &schema["$defs"]["JobSpec"];
        assert_eq!(job["additionalProperties"], json!(false), "{job}");
        let known: Vec<&String> = job["properties"].as_object().into_iter().flat_map(|properties| properties.keys()).collect();
        assert_eq!(known, ["artifacts", "env", "script", "timeout"]);
        assert_eq!(job["required"], json!(["script"]));
        assert!(!schema.to_string().contains("#/components/"), "{schema}");
    }
}
