//! Calls to the controller and the artifact store, with refusals put into words for whoever typed the command.

use std::time::Duration;

use anyhow::Result;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{HeaderValue, Method};
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_contract::token::Service;
use signalbox_contract::{Code, Problem};
use signalbox_service::client::{CallError, Client, Download};

use crate::mistake::Mistake;
use crate::settings::Destination;

/// How long saying who it is may take a service that has refused something.
const WHO: Duration = Duration::from_secs(5);

/// A service that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client: Client,
    service: Service,
    token: SecretString,
}

impl Connection {
    /// A connection to `destination`. Nothing is sent yet.
    pub(crate) fn new(destination: Destination) -> Result<Self> {
        let Destination { service, url, token, ca } = destination;
        let client = Client::new(url, ca.as_deref()).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Mistake::setup(format!("the {service} cannot be called: {error}{cause}"))
        })?;
        Ok(Self { client, service, token })
    }

    /// The same, for questions that the service hands on to others: their answers may take this long.
    pub(crate) fn answering_within(mut self, limit: Duration) -> Self {
        self.client = self.client.answering_within(limit);
        self
    }

    /// `GET path`.
    pub(crate) async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R> {
        self.json::<(), R>(Method::GET, path, HeaderMap::new(), None).await
    }

    /// `POST path` with a body.
    pub(crate) async fn post<B: Serialize, R: DeserializeOwned>(&self, path: &str, headers: HeaderMap, body: &B) -> Result<R> {
        self.json(Method::POST, path, headers, Some(body)).await
    }

    /// `DELETE path`. Whatever it answers is not looked at.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        let _: serde::de::IgnoredAny = self.json::<(), _>(Method::DELETE, path, HeaderMap::new(), None).await?;
        Ok(())
    }

    /// `DELETE path`, and what it answers.
    pub(crate) async fn remove<R: DeserializeOwned>(&self, path: &str) -> Result<R> {
        self.json::<(), _>(Method::DELETE, path, HeaderMap::new(), None).await
    }

    /// `POST path` without a body.
    pub(crate) async fn order(&self, path: &str) -> Result<()> {
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        let _: serde::de::IgnoredAny = self.json::<(), _>(Method::POST, path, headers, None).await?;
        Ok(())
    }

    async fn json<B, R>(&self, method: Method, path: &str, headers: HeaderMap, body: Option<&B>) -> Result<R>
    where
        B: Serialize,
        R: DeserializeOwned,
    {
        match self.client.json(method, path, Some(&self.token), headers, body).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.refusal(error).await),
        }
    }

    /// What went wrong with a whole call: that another service answers at this address, or else as [`Self::explain`] says it.
    pub(crate) async fn refusal(&self, error: CallError) -> anyhow::Error {
        self.mistaken(&error).await.unwrap_or_else(|| self.explain(error))
    }

    /// Whether it is another of our services that refuses: one whose address was taken for this one's knows neither its
    /// paths nor its tokens.
    async fn mistaken(&self, error: &CallError) -> Option<anyhow::Error> {
        let codes = [Code::NotFound, Code::Unauthenticated];
        error.problem().filter(|problem| codes.contains(&problem.code))?;
        let there = self.client.clone().answering_within(WHO).who_answers().await?;
        if there == self.service.as_str() || !Service::ALL.iter().any(|known| known.as_str() == there) {
            return None;
        }
        let (service, address) = (self.service, self.address());
        let words = format!("at {address} the {there} answers, and not the {service}: give the {service}'s address ({})", self.option());
        Some(Mistake::setup(words).into())
    }

    fn address(&self) -> String {
        self.client.base().origin().ascii_serialization()
    }

    /// How the service's address is given.
    const fn option(&self) -> &'static str {
        match self.service {
            Service::ArtifactStore => "SIGNALBOX_STORE_URL or --store-url",
            _ => "SIGNALBOX_URL or --url",
        }
    }

    /// `GET path` as a stream. The caller is shown the refusal itself, since some of them are ordinary there.
    pub(crate) async fn stream(&self, path: &str, headers: HeaderMap) -> Result<Download, CallError> {
        self.client.get_stream(path, Some(&self.token), headers).await
    }

    /// The same, for whom no refusal is ordinary.
    pub(crate) async fn download(&self, path: &str) -> Result<Download> {
        match self.stream(path, HeaderMap::new()).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.refusal(error).await),
        }
    }

    /// `PUT path` as a stream.
    pub(crate) async fn upload<R, S>(&self, path: &str, headers: HeaderMap, length: u64, body: S) -> Result<R>
    where
        R: DeserializeOwned,
        S: futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static,
    {
        match self.client.put_stream(path, Some(&self.token), headers, length, body).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.refusal(error).await),
        }
    }

    /// What went wrong, as a sentence that says what to do.
    pub(crate) fn explain(&self, error: CallError) -> anyhow::Error {
        let service = self.service;
        let address = self.address();
        match error {
            CallError::Refused(problem) => Mistake::refused(self.in_words(&problem)).answered(problem).into(),
            CallError::Retry { after, problem, .. } => {
                let why = problem.as_ref().map_or_else(|| "it is busy, starting or stopping".to_owned(), ToString::to_string);
                let when = after.map_or_else(|| "later".to_owned(), |after| format!("in {} s", after.as_secs().max(1)));
                let mistake = Mistake::refused(format!("the {service} cannot do this now: {why} Try again {when}."));
                problem.into_iter().fold(mistake, Mistake::answered).into()
            }
            CallError::NotSent { source, .. } => {
                let option = self.option();
                let words = format!(
                    "no {service} answers at {address} ({}). Is it running (`signalbox up FOLDER`)? Is this its address ({option})?",
                    innermost(source.as_ref())
                );
                Mistake::setup(words).into()
            }
            CallError::Unknown { source, .. } => {
                let words = format!("the {service} at {address} gave no answer that makes sense: {}", innermost(source.as_ref()));
                Mistake::setup(words).into()
            }
        }
    }

    fn in_words(&self, problem: &Problem) -> String {
        let service = self.service;
        let advice = match problem.code {
            Code::Unauthenticated => {
                "Has the token expired or been revoked, is it for another service, or was it made with other keys? \
                 `signalbox token create` makes a new one; with `--keys FOLDER` it needs no token itself."
            }
            Code::Forbidden => "Ask an administrator for a token that allows it (`signalbox token create`).",
            Code::NotFound if service == Service::ArtifactStore => {
                "Nothing of this name or digest is there, or the token may not see it; `signalbox blobs list` shows what is."
            }
            Code::NotFound if problem.detail.is_empty() => "Nothing of this name or id is there, or the token may not see it.",
            Code::NotConfigured => "An administrator can add it to the service's configuration.",
            Code::QueueFull => "Try again when some runs are through.",
            Code::Internal => "Its log says why, under the request's id.",
            _ => "",
        };
        let mut words = format!("the {service} refused: {problem}");
        if !advice.is_empty() {
            words = format!("{words}\n{advice}");
        }
        if let (Code::Internal | Code::Upstream, Some(id)) = (problem.code, &problem.instance) {
            words = format!("{words} (request {id})");
        }
        crate::output::harmless(&words)
    }
}

/// The last cause of an error, which is the one that says something.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// A path made of these parts, each of which stays one part.
pub(crate) fn path<'p>(parts: impl IntoIterator<Item = &'p str>) -> String {
    // The address only serves to have the parts encoded.
    let Ok(mut url) = url::Url::parse("http://localhost/") else { return String::new() };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(parts);
    }
    url.path().to_owned()
}

/// The same path with a query of those parameters that are given.
pub(crate) fn with_query<'q>(path: &str, parameters: impl IntoIterator<Item = (&'q str, Option<String>)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_path_stays_one_part_of_it() {
        assert_eq!(path(["runs", "../x?y#z", "log"]), "/runs/..%2Fx%3Fy%23z/log");
        assert_eq!(with_query("/runs", [("ref", Some("refs/heads/a&b".to_owned())), ("repo", None)]), "/runs?ref=refs%2Fheads%2Fa%26b");
        assert_eq!(with_query("/runs", [("ref", None)]), "/runs");
    }
}
