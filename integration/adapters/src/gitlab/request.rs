//! A call that is going to be made.

use http::Method;
use serde::Serialize;
use url::Url;

use super::error::GitLabError;

/// A call to the API: a method, a path of segments that are encoded one by one, a query and perhaps a JSON body.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    pub(super) body: Option<Result<Vec<u8>, String>>,
}

impl Request {
    /// A call of this method. Each segment is encoded whole: a project's path is one segment, its slashes included.
    pub fn new<I, S>(method: Method, segments: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self { method, segments: segments.into_iter().map(Into::into).collect(), query: Vec::new(), body: None }
    }

    /// A reading call.
    pub fn get<I, S>(segments: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self::new(Method::GET, segments)
    }

    /// A changing call.
    pub fn post<I, S>(segments: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self::new(Method::POST, segments)
    }

    /// The same, with a parameter in the query.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// The same, with a JSON body.
    #[must_use]
    pub fn json<B: Serialize + ?Sized>(mut self, body: &B) -> Self {
        self.body = Some(serde_json::to_vec(body).map_err(|error| error.to_string()));
        self
    }

    /// Whether the call changes nothing, so that it may be repeated at will.
    pub(super) fn reads(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// The address below `base`.
    pub(super) fn url(&self, base: &Url) -> Result<Url, GitLabError> {
        let mut url = base.clone();
        {
            let mut path = url.path_segments_mut().map_err(|()| GitLabError::not_sent("the address has no path"))?;
            path.pop_if_empty().extend(["api", "v4"]);
            for segment in &self.segments {
                // Such a segment would be dropped, and the call would be another one.
                if matches!(segment.as_str(), "" | "." | "..") {
                    return Err(GitLabError::not_sent("a part of the address is empty or consists of dots"));
                }
                path.push(segment);
            }
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}
