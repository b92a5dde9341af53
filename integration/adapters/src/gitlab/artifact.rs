//! Bytes: traces and artifacts, as streams that are bounded in time where they stand still.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::client::{GitLab, redirect};
use super::error::GitLabError;
use super::project::ProjectRef;
use super::request::Request;

/// How long a stream may stand still.
const IDLE: Duration = Duration::from_mins(1);

/// How many redirects are followed to bytes that lie elsewhere.
const REDIRECTS: usize = 3;

/// Which bytes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// All.
    All,
    /// From here on.
    From(u64),
    /// The last so many.
    Last(u64),
}

/// Bytes that come as a stream.
#[derive(Debug)]
pub struct Download {
    response: reqwest::Response,
}

impl Download {
    /// The first byte that comes, where it is not the first of all: GitLab has kept to the range that was asked for.
    pub fn offset(&self) -> u64 {
        self.range().map_or(0, |(first, _)| first)
    }

    /// How many bytes there are in all, where that is said.
    pub fn total(&self) -> Option<u64> {
        if self.response.status() == StatusCode::PARTIAL_CONTENT {
            return self.range().and_then(|(_, total)| total);
        }
        self.response.content_length()
    }

    /// `bytes FIRST-LAST/TOTAL`
    fn range(&self) -> Option<(u64, Option<u64>)> {
        if self.response.status() != StatusCode::PARTIAL_CONTENT {
            return None;
        }
        let text = self.response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
    }

    /// The next bytes; `None` at the end. A stream that is cut or stands still is an error, never an end.
    ///
    /// # Errors
    /// [`GitLabError::Unreadable`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, GitLabError> {
        match tokio::time::timeout(IDLE, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| GitLabError::unreadable(format!("it was cut: {}", error.without_url()))),
            Err(_) => Err(GitLabError::unreadable("nothing more came")),
        }
    }
}

impl GitLab {
    /// What a job prints, from this byte on where GitLab can begin there; [`Download::offset`] says whether it did. `None`
    /// if there is nothing from there on.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn trace(&self, project: &ProjectRef, job: u64, from: u64) -> Result<Option<Download>, GitLabError> {
        let span = if from == 0 { Span::All } else { Span::From(from) };
        self.download(Request::get(project.segments(["jobs", &job.to_string(), "trace"])), span).await
    }

    /// The archive of a job's artifacts, or some of it. `None` if that part is not there.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn archive(&self, project: &ProjectRef, job: u64, span: Span) -> Result<Option<Download>, GitLabError> {
        self.download(Request::get(project.segments(["jobs", &job.to_string(), "artifacts"])), span).await
    }

    /// One file of a job's artifacts.
    ///
    /// # Errors
    /// As [`GitLabError`] tells.
    pub async fn artifact(&self, project: &ProjectRef, job: u64, path: &str) -> Result<Download, GitLabError> {
        let job = job.to_string();
        let below = ["jobs", job.as_str(), "artifacts"];
        let segments = project.segments(below).into_iter().chain(path.split('/').map(str::to_owned));
        let download = self.download(Request::get(segments), Span::All).await?;
        download.ok_or_else(|| GitLabError::unreadable("it has no such range, though none was asked for"))
    }

    async fn download(&self, request: Request, span: Span) -> Result<Option<Download>, GitLabError> {
        let mut headers = HeaderMap::new();
        let range = match span {
            Span::All => None,
            Span::From(first) => Some(format!("bytes={first}-")),
            Span::Last(count) => Some(format!("bytes=-{count}")),
        };
        if let Some(range) = range {
            headers.insert(RANGE, HeaderValue::try_from(range).map_err(GitLabError::not_sent)?);
        }
        let mut url = request.url(self.base())?;
        let mut response = self.send_once(&request, url.clone(), headers.clone()).await?;
        let mut elsewhere = false;
        for _ in 0..REDIRECTS {
            if !response.status().is_redirection() {
                break;
            }
            url = redirect(&url, response.headers()).ok_or_else(|| GitLabError::unreadable("it redirects to no address"))?;
            // Only the API itself is given the token: a project that was renamed. Object storage is not.
            elsewhere = !self.is_ours(&url);
            response = if elsewhere {
                let answer = tokio::time::timeout(IDLE, self.outside().get(&url, headers.clone())).await;
                answer.map_err(|_| GitLabError::Unknown("no answer came in time".into()))??
            } else {
                self.send_once(&request, url.clone(), headers.clone()).await?
            };
        }
        if response.status().is_redirection() {
            return Err(GitLabError::unreadable("it redirects without end"));
        }
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(None);
        }
        if elsewhere && !response.status().is_success() {
            // A refusal of the storage says nothing of GitLab, our token or our budget.
            return Err(GitLabError::unreadable(format!("the storage that it redirects to answered {}", response.status().as_u16())));
        }
        let response = self.judge(&request, response).await?;
        Ok(Some(Download { response }))
    }
}
