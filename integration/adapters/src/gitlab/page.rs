//! Lists that come in pages.

use http::HeaderMap;
use http::header::LINK;
use serde::de::DeserializeOwned;
use url::Url;

use super::client::{GitLab, parse};
use super::error::GitLabError;
use super::request::Request;

/// How many items a page has at most.
const PAGE: &str = "100";

/// The items of a list, and whether that is all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The items, in GitLab's order.
    pub items: Vec<T>,
    /// Whether there are more than were read.
    pub more: bool,
}

impl GitLab {
    /// Reads a list, following `Link` for at most so many pages.
    ///
    /// # Errors
    /// As [`GitLabError`] tells; also when a page's `Link` leads to elsewhere.
    pub async fn list<T: DeserializeOwned>(&self, request: Request, pages: usize) -> Result<Listed<T>, GitLabError> {
        let mut url = request.url(self.base())?;
        if !url.query_pairs().any(|(name, _)| name == "per_page") {
            url.query_pairs_mut().append_pair("per_page", PAGE);
        }
        let mut items = Vec::new();
        for _ in 0..pages.max(1) {
            let answer = self.answer_at(&request, url.clone()).await?;
            let page: Vec<T> = parse(&answer)?;
            items.extend(page);
            let Some(next) = next(&url, &answer.headers) else { return Ok(Listed { items, more: false }) };
            if !self.is_ours(&next) {
                return Err(GitLabError::unreadable("its list continues at another address; GitLab's `external_url` may be wrong"));
            }
            if next == url {
                return Err(GitLabError::unreadable("its list continues with the same page"));
            }
            url = next;
        }
        Ok(Listed { items, more: true })
    }
}

/// The address that `Link` names as `next`.
fn next(base: &Url, headers: &HeaderMap) -> Option<Url> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).flat_map(links).find_map(|(target, parameters)| {
        let is_next = parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').split(' ').any(|rel| rel == "next")
        });
        is_next.then(|| base.join(target).ok()).flatten()
    })
}

/// The targets of a `Link` header with their parameters. A comma inside of `<…>` divides nothing.
fn links(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let (parameters, after) = after.split_once(',').unwrap_or((after, ""));
        rest = after;
        Some((target, parameters))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(link: &str) -> Option<String> {
        let headers = [(LINK, link.parse().expect("a value"))].into_iter().collect();
        next(&Url::parse("https://gitlab.example/api/v4/x?page=1").expect("a URL"), &headers).map(String::from)
    }

    #[test]
    fn the_next_page_is_the_one_that_is_named_so() {
        let link =
            "<https://gitlab.example/api/v4/x?a=1,2&page=1>; rel=\"prev\", <https://gitlab.example/api/v4/x?a=1,2&page=3>; rel=\"next\"";
        assert_eq!(read(link).as_deref(), Some("https://gitlab.example/api/v4/x?a=1,2&page=3"));
        assert_eq!(read("</api/v4/x?page=2>; rel=next").as_deref(), Some("https://gitlab.example/api/v4/x?page=2"));
        for none in ["", "<>", "<<<", "<x>; rel=\"last\"", "rel=next", "<https://[>; rel=next"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
