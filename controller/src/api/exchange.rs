//! Token exchange: a build shows its executor's word for who it is, and is given what it may upload with.
//!
//! Architecture invariant: what is given can do no more than what the attempt was frozen to make. It is good for the grant of
//! that one attempt, for the names of its plan, until the attempt must have ended; and it is given only while the attempt is
//! at work.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use signalbox_adapters::executor::{BuildIdentity, Unidentified};
use signalbox_contract::api::exchange::{ACCESS_TOKEN, ExchangeRequest, Exchanged, GRANT_TYPE, ID_TOKEN};
use signalbox_contract::build::BuildState;
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{ArtifactName, AttemptKey, Code, ExecutorName, Problem};
use signalbox_controller_core::attempt::Phase;
use signalbox_controller_core::{Run, Work};
use signalbox_service::http::{self as service_http, Json};
use signalbox_service::secret::{ExposeSecret as _, SecretString};

use super::{Api, refused};
use crate::config::ExecutorKind;

/// The largest form that is read, in bytes.
const MAX_FORM: usize = 64 << 10;

/// The type of a token that says no more than that it is a JWT. It is taken for an ID token, too.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// How soon a build that is not known yet may ask again, in seconds.
const SOON: u32 = 2;

/// What RFC 8693 knows beside what is taken here. Who gives one of these expects something else.
const NOT_TAKEN: [&str; 5] = ["actor_token", "actor_token_type", "audience", "resource", "scope"];

/// Exchange an ID token that an executor gave a job for a token to upload that job's artifacts with (RFC 8693).
///
/// Needs no token of Signalbox's: the ID token is the proof. It must be for the audience that the executor's configuration
/// names, and of a build that one of our attempts is following now.
#[utoipa::path(post, path = "/token", tag = "tokens", security(()), request_body(content = ExchangeRequest, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, description = "What it may upload with.", body = Exchanged),
    (status = 400, description = "The form is not valid; `errors` names the fields.", body = Problem),
    (status = 401, description = "The ID token cannot be verified, has ended, or is not for us.", body = Problem),
    (status = 403, description = "It is genuine, and of no build that may upload now.", body = Problem),
    (status = 413, description = "The form is too large.", body = Problem),
    (status = 415, description = "It is not a form.", body = Problem),
    (status = 503, description = "Whether the ID token is genuine cannot be told now, or its build is not known here yet: ask again.", body = Problem),
))]
pub(super) async fn post(State(api): State<Api>, headers: HeaderMap, body: Body) -> service_http::Result<Response> {
    let token = subject_token(&headers, body).await?;
    let (executor, identity) = api.identify(&token).await?;
    let Upload { key, names, deadline } = api.upload_of(&executor, &identity).await?;
    let max_bytes = api.config.max_artifacts;
    let put = Capability::PutGrant { names: names.clone(), max_bytes };
    let access_token = api.workers.capability(Service::ArtifactStore, key, put, deadline).map_err(service_http::internal)?;
    let store = api.config.executors.get(&executor).map(|executor| &executor.kind).and_then(ExecutorKind::store);
    let mut upload = store.unwrap_or(&api.workers.store_url).clone();
    // An address that nothing can be put below is refused with the configuration.
    if let Ok(mut path) = upload.path_segments_mut() {
        path.pop_if_empty().extend(["grants", &key.to_string(), ""]);
    }
    let expires_in = u64::try_from(deadline.as_second() - api.clock.now().as_second()).unwrap_or_default();
    tracing::info!(%key, %executor, build = %identity.build, part = identity.part, artifacts = names.len(), "identity.exchanged");
    let given = Exchanged {
        access_token: access_token.expose_secret().to_owned(),
        issued_token_type: ACCESS_TOKEN.to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in,
        upload,
        artifacts: names,
        max_bytes,
        attempt: key,
    };
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(given)).into_response())
}

/// What a build may upload.
struct Upload {
    key: AttemptKey,
    names: Vec<ArtifactName>,
    deadline: Timestamp,
}

impl Api {
    /// The executor that gave the token, and what it says.
    async fn identify(&self, token: &SecretString) -> service_http::Result<(ExecutorName, BuildIdentity)> {
        let mut reason = Unidentified::Elsewhere;
        for (name, executor) in &self.executors {
            match executor.identify(token).await {
                Ok(identity) => return Ok((name.clone(), identity)),
                Err(Unidentified::Elsewhere) => {}
                // Another executor in the same GitLab may know more of it; what is worth trying again is said last.
                Err(error) if matches!(reason, Unidentified::NotNow { .. }) => drop(error),
                Err(error) => reason = error,
            }
        }
        tracing::info!(%reason, "an identity was not taken");
        let sentence = sentence(&reason.to_string());
        Err(match &reason {
            Unidentified::Elsewhere | Unidentified::Unverifiable | Unidentified::Untimely(_) => {
                Problem::new(Code::Unauthenticated).detail(sentence)
            }
            Unidentified::Unfit(_) => Problem::new(Code::Forbidden).detail(sentence),
            Unidentified::NotNow { after } => {
                let seconds = u32::try_from(after.as_secs()).unwrap_or(u32::MAX).max(1);
                Problem::new(Code::Unavailable).detail(sentence).retry_after(seconds)
            }
        }
        .into())
    }

    /// What the build that a token tells of may upload now.
    async fn upload_of(&self, executor: &ExecutorName, identity: &BuildIdentity) -> service_http::Result<Upload> {
        if let Some(key) = self.store.attempt_of(executor, identity.build.as_str()).await.map_err(refused)?
            && let Some(run) = self.store.run(key.run).await.map_err(refused)?
        {
            return upload(&run, key, identity, self.clock.now()).map_err(|why| unfit(executor, identity, why));
        }
        // A push may have begun it before we have been told its number.
        for run in self.store.active_of(&identity.repo).await.map_err(refused)? {
            if self.store.run(run).await.map_err(refused)?.is_some_and(|run| is_expected(&run, executor, identity)) {
                let problem = Problem::new(Code::Unavailable).detail("The build is not known here yet; ask again.");
                return Err(problem.retry_after(SOON).into());
            }
        }
        Err(unfit(executor, identity, "no attempt that is at work now has begun this pipeline"))
    }
}

/// What an attempt's build may upload, if the token is its own and if it is at work.
fn upload(run: &Run, key: AttemptKey, identity: &BuildIdentity, now: Timestamp) -> Result<Upload, &'static str> {
    let step = run.steps.get(usize::from(key.step));
    let (Some(attempt), Some(Work::Build { repo, definition, .. })) = (run.current(&key), step.map(|step| &step.plan.work)) else {
        return Err("the attempt is over");
    };
    if !matches!(&attempt.phase, Phase::Tracking { seen: BuildState::Waiting { .. } | BuildState::Running }) || attempt.deadline <= now {
        return Err("the attempt is over");
    }
    if attempt.cancel.is_some() {
        return Err("the attempt is being stopped");
    }
    if *repo != identity.repo {
        return Err("the token is of another repository than the attempt");
    }
    if run.sha.as_ref() != Some(&identity.sha) {
        return Err("the token is of another commit than the attempt");
    }
    if attempt.published.as_ref().is_none_or(|published| published.ref_name != identity.ref_name) {
        return Err("the token is of another ref than the attempt");
    }
    let names: Vec<ArtifactName> = definition.artifacts().into_iter().cloned().collect();
    if names.is_empty() {
        return Err("the run asks for no artifact, and the repository's configuration names none");
    }
    Ok(Upload { key, names, deadline: attempt.deadline })
}

/// Whether the run waits for a build like this one, whose number it does not know.
fn is_expected(run: &Run, executor: &ExecutorName, identity: &BuildIdentity) -> bool {
    run.sha.as_ref() == Some(&identity.sha)
        && run.steps.iter().any(|step| {
            matches!(&step.plan.work, Work::Build { executor: at, repo, .. } if at == executor && *repo == identity.repo)
                && step.latest().is_some_and(|attempt| matches!(attempt.phase, Phase::Publishing | Phase::Starting | Phase::Finding { .. }))
        })
}

/// A genuine token for something that may not be. Its holder has proven to be a job of the executor's: it is told why.
fn unfit(executor: &ExecutorName, identity: &BuildIdentity, why: &'static str) -> service_http::Refusal {
    tracing::info!(%executor, build = %identity.build, part = identity.part, why, "an identity was not exchanged");
    Problem::new(Code::Forbidden).detail(sentence(why)).into()
}

/// The words as a sentence.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(char::to_uppercase);
    let end = if words.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{}{}{end}", first.into_iter().flatten().collect::<String>(), letters.as_str())
}

/// The ID token, out of a form that asks for what there is.
async fn subject_token(headers: &HeaderMap, body: Body) -> service_http::Result<SecretString> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let essence = types.next().and_then(|value| value.to_str().ok()).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if types.next().is_some() || !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Problem::new(Code::UnsupportedMediaType).detail("Send the body as application/x-www-form-urlencoded.").into());
    }
    let form = service_http::body_within(body, MAX_FORM).await?;
    read(&form).map(|request| SecretString::from(request.subject_token)).map_err(Into::into)
}

fn read(form: &[u8]) -> Result<ExchangeRequest, Problem> {
    let mut problem = Problem::new(Code::InvalidBody);
    let mut fields: [(&str, Option<String>); 4] =
        [("grant_type", None), ("subject_token", None), ("subject_token_type", None), ("requested_token_type", None)];
    for (name, value) in url::form_urlencoded::parse(form) {
        if let Some((known, field)) = fields.iter_mut().find(|(known, _)| *known == name) {
            if field.replace(value.into_owned()).is_some() {
                problem = problem.field(*known, "must be given once");
            }
        } else if let Some(other) = NOT_TAKEN.iter().find(|other| **other == name) {
            problem = problem.field(*other, "is not taken here");
        }
    }
    let [(_, grant_type), (_, subject_token), (_, subject_token_type), (_, requested_token_type)] = fields;
    let (grant_type, subject_token) = (grant_type.unwrap_or_default(), subject_token.unwrap_or_default());
    let subject_token_type = subject_token_type.unwrap_or_default();
    if grant_type != GRANT_TYPE {
        problem = problem.field("grant_type", format!("must be {GRANT_TYPE}"));
    }
    if subject_token.is_empty() {
        problem = problem.field("subject_token", "must be the job's ID token; is its variable empty?");
    }
    if subject_token_type != ID_TOKEN && subject_token_type != JWT {
        problem = problem.field("subject_token_type", format!("must be {ID_TOKEN}"));
    }
    if requested_token_type.as_deref().is_some_and(|wanted| wanted != ACCESS_TOKEN) {
        problem = problem.field("requested_token_type", format!("must be {ACCESS_TOKEN}"));
    }
    if problem.errors.is_empty() {
        Ok(ExchangeRequest { grant_type, subject_token, subject_token_type, requested_token_type })
    } else {
        Err(problem)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn form(fields: &[(&str, &str)]) -> Vec<u8> {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes()
    }

    #[test]
    fn a_form_asks_for_what_there_is_and_says_everything_once() {
        let good = [("grant_type", GRANT_TYPE), ("subject_token", "a.b.c"), ("subject_token_type", ID_TOKEN)];
        assert_eq!(read(&form(&good)).expect("a request").subject_token, "a.b.c");
        let with = |name, value| read(&form(&[&good[..], &[(name, value)]].concat()));
        assert!(with("requested_token_type", ACCESS_TOKEN).is_ok());
        assert!(with("client_id", "whatever").is_ok(), "what nobody knows is not heard");
        for (name, value) in [
            ("subject_token", "d.e.f"),
            ("grant_type", "client_credentials"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
            ("actor_token", "a.b.c"),
            ("scope", "everything"),
        ] {
            let problem = with(name, value).expect_err(name);
            assert!(problem.errors.iter().any(|error| error.field == name), "{problem:?}");
        }
        let nothing = read(b"").expect_err("nothing is there");
        assert_eq!(nothing.errors.len(), 3, "{nothing:?}");
    }

    #[tokio::test]
    async fn no_more_of_a_form_is_read_than_is_taken() {
        // Threat: whoever has no token at all fills the memory.
        let pieces = Arc::new(AtomicUsize::new(0));
        let read = Arc::clone(&pieces);
        let endless = stream::repeat_with(move || {
            read.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(vec![b'x'; 1 << 10])
        });
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))].into_iter().collect();
        let refused = subject_token(&headers, Body::from_stream(endless.take(1 << 10))).await.expect_err("too large");
        assert_eq!(refused.into_response().status(), http::StatusCode::PAYLOAD_TOO_LARGE);
        assert!(pieces.load(Ordering::Relaxed) <= (MAX_FORM >> 10) + 2, "{pieces:?}");
    }

    #[test]
    fn words_become_sentences() {
        assert_eq!(sentence("the token has expired"), "The token has expired.");
        assert_eq!(sentence("not yet; do the clocks agree?"), "Not yet; do the clocks agree?");
    }
}
