//! Lists, a page at a time.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::header::LINK;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::call::Call;

/// Beyond this many rows, totals are not said.
const COUNTED: usize = 10_000;

/// Answers a page of a list whose rows are told apart by an id; each is written only when it is on the page.
pub(crate) fn page<T>(call: &Call, rows: &[T], write: impl Fn(&T) -> Value) -> Response {
    if call.params.text("pagination").as_deref() == Some("keyset") {
        return keyset(call, rows, write);
    }
    let per_page = usize::try_from(call.params.number("per_page").unwrap_or(20)).unwrap_or(100).clamp(1, 100);
    let at = usize::try_from(call.params.number("page").unwrap_or(1)).unwrap_or(usize::MAX).max(1);
    let total = rows.len();
    let pages = total.div_ceil(per_page).max(1);
    let from = at.saturating_sub(1).saturating_mul(per_page).min(total);
    let shown: Vec<Value> = rows[from..(from + per_page).min(total)].iter().map(write).collect();
    let mut links = Vec::new();
    let mut link = |page: usize, rel: &str| links.push(format!("<{}>; rel=\"{rel}\"", address(call, "page", &page.to_string(), per_page)));
    if at > 1 {
        link(at - 1, "prev");
    }
    if at < pages {
        link(at + 1, "next");
    }
    link(1, "first");
    if total <= COUNTED {
        link(pages, "last");
    }
    let mut response = Json(shown).into_response();
    let mut head = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    head("x-page", at.to_string());
    head("x-per-page", per_page.to_string());
    head("x-next-page", if at < pages { (at + 1).to_string() } else { String::new() });
    head("x-prev-page", if at > 1 { (at - 1).to_string() } else { String::new() });
    if total <= COUNTED {
        head("x-total", total.to_string());
        head("x-total-pages", pages.to_string());
    }
    head("link", links.join(", "));
    response
}

/// A page that says only where the next begins.
fn keyset<T>(call: &Call, rows: &[T], write: impl Fn(&T) -> Value) -> Response {
    let per_page = usize::try_from(call.params.number("per_page").unwrap_or(20)).unwrap_or(100).clamp(1, 100);
    let from = usize::try_from(call.params.number("cursor").unwrap_or_default()).unwrap_or(usize::MAX).min(rows.len());
    let to = (from + per_page).min(rows.len());
    let shown: Vec<Value> = rows[from..to].iter().map(write).collect();
    let mut response = Json(shown).into_response();
    if to < rows.len()
        && let Ok(link) = HeaderValue::try_from(format!("<{}>; rel=\"next\"", address(call, "cursor", &to.to_string(), per_page)))
    {
        response.headers_mut().insert(LINK, link);
    }
    response
}

fn address(call: &Call, key: &str, value: &str, per_page: usize) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, given) in url::form_urlencoded::parse(call.uri.query().unwrap_or_default().as_bytes()) {
        // Who asks is not repeated where everybody can read it.
        if name != key && name != "per_page" && name != "private_token" && name != "job_token" {
            query.append_pair(&name, &given);
        }
    }
    query.append_pair(key, value);
    query.append_pair("per_page", &per_page.to_string());
    format!("{}{}?{}", call.fake.url(), call.uri.path(), query.finish())
}
