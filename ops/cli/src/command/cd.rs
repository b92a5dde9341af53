//! `signalbox cd`, `rerun`, `deploy`, `rollback`: what starts a run.

use std::collections::BTreeSet;

use anyhow::Result;
use http::HeaderName;
use http::header::{HeaderMap, HeaderValue};
use signalbox_contract::api::deploy::{EnvironmentInfo, HostOutcome};
use signalbox_contract::api::run::{
    Accepted, CdRequest, DeployArtifactRequest, Outcome, RerunFrom, RerunRequest, RollbackRequest, RunView,
};
use signalbox_contract::job::{VariableName, Variables};
use signalbox_contract::{ArtifactName, Code, Digest, EnvironmentName, FailureCode, PublishedName, RunId};

use crate::arguments::{CdArguments, FromWhere};
use crate::command::show;
use crate::connection::{Connection, path};
use crate::follow::{exit_code, follow};
use crate::mistake::Mistake;
use crate::output::Output;

/// How many published names are told at most.
const NAMED: usize = 20;

/// `POST /cd`, and what was asked for besides.
pub(crate) async fn cd(connection: &Connection, arguments: CdArguments, output: Output) -> Result<u8> {
    let following = arguments.follow;
    let accepted = ask(connection, arguments).await?;
    go_on(connection, accepted, following, output).await
}

/// `POST /cd`.
pub(crate) async fn ask(connection: &Connection, arguments: CdArguments) -> Result<Accepted> {
    let mut headers = HeaderMap::new();
    if let Some(key) = &arguments.idempotency_key {
        let value = HeaderValue::try_from(key.as_str()).map_err(|_| Mistake::usage("an idempotency key has printable characters only"))?;
        headers.insert(HeaderName::from_static("idempotency-key"), value);
    }
    let request = CdRequest {
        repo: arguments.repo,
        ref_name: arguments.ref_name,
        artifact: arguments.artifact,
        job: arguments.job,
        environment: arguments.environment,
        published_name: arguments.published_name,
        executor: arguments.executor,
        inputs: inputs(&arguments.inputs)?,
    };
    connection.post("/cd", headers, &request).await
}

/// `POST /runs/{id}/rerun`.
pub(crate) async fn rerun(connection: &Connection, run: RunId, from: FromWhere, following: bool, output: Output) -> Result<u8> {
    let from = match from {
        FromWhere::Failed => RerunFrom::Failed,
        FromWhere::Start => RerunFrom::Start,
    };
    let path = path(["runs", &run.to_string(), "rerun"]);
    let accepted: Accepted = match connection.post(&path, HeaderMap::new(), &RerunRequest { from }).await {
        Ok(accepted) => accepted,
        Err(error) if from == RerunFrom::Failed => return Err(from_the_start(connection, run, error).await),
        Err(error) => return Err(error),
    };
    go_on(connection, accepted, following, output).await
}

/// The refusal to run a run again from where it failed, with what to type where it did not fail anywhere.
async fn from_the_start(connection: &Connection, run: RunId, error: anyhow::Error) -> anyhow::Error {
    let mistake = match error.downcast::<Mistake>() {
        Ok(mistake) => mistake,
        Err(error) => return error,
    };
    if mistake.problem.as_ref().is_none_or(|problem| problem.code != Code::NotAllowedNow) {
        return mistake.into();
    }
    // This is said besides; the refusal stands there in any case.
    let passed =
        connection.get(&path(["runs", &run.to_string()])).await.is_ok_and(|view: RunView| view.summary.outcome == Some(Outcome::Passed));
    if !passed {
        return mistake.into();
    }
    let message = format!("{}\n`signalbox rerun {run} --from start` does.", mistake.message);
    Mistake { message, ..mistake }.into()
}

/// `POST /environments/{name}/deploy`.
pub(crate) async fn deploy(
    connection: &Connection,
    environment: &EnvironmentName,
    artifact: ArtifactName,
    published_name: Option<PublishedName>,
    following: bool,
    output: Output,
) -> Result<u8> {
    let by_artifact: Option<PublishedName> = artifact.clone().into();
    let Some(published_name) = published_name.or(by_artifact) else {
        return Err(Mistake::usage("the last part of the artifact's name cannot be published; give --published-name").into());
    };
    let request = DeployArtifactRequest { artifact_id: artifact, published_name };
    let path = path(["environments", environment.as_str(), "deploy"]);
    let accepted: Accepted = connection.post(&path, HeaderMap::new(), &request).await?;
    go_on(connection, accepted, following, output).await
}

/// `POST /environments/{name}/rollback`.
pub(crate) async fn rollback(
    connection: &Connection,
    environment: &EnvironmentName,
    request: &RollbackRequest,
    following: bool,
    output: Output,
) -> Result<u8> {
    let path = path(["environments", environment.as_str(), "rollback"]);
    let accepted: Accepted = connection.post(&path, HeaderMap::new(), request).await?;
    if !following {
        let run = accepted.run;
        let to = request.digest.as_ref().map_or_else(
            || "the release that was active before the present one".to_owned(),
            |digest| format!("the release {}", output.digest(digest)),
        );
        output.show(&accepted, |_| {
            format!("run {run} is accepted: it goes back to {to}; `signalbox show {run}` shows what was active and what is then")
        })?;
        return Ok(0);
    }
    let view = to_its_end(connection, accepted.run, output).await?;
    let deployed = if view.summary.outcome == Some(Outcome::Failed) { deployed(connection, environment, &view).await } else { None };
    output.show(&view, |view| {
        let more = deployed.or_else(|| went_back(view, request, output));
        more.map_or_else(|| show::ending(view), |more| format!("{}\n{more}", show::ending(view)))
    })?;
    Ok(exit_code(&view))
}

/// What was active before a rollback, and what is now.
fn went_back(view: &RunView, request: &RollbackRequest, output: Output) -> Option<String> {
    let hosts = view.steps.iter().flat_map(|step| &step.attempts).flat_map(|attempt| &attempt.hosts);
    let switched = hosts.filter(|host| host.outcome == HostOutcome::Switched);
    let changes: BTreeSet<(Digest, Digest)> = switched.filter_map(|host| Some((host.previous?, host.digest?))).collect();
    let [(was, is)] = changes.into_iter().collect::<Vec<_>>()[..] else { return None };
    let (was, is) = (output.digest(&was), output.digest(&is));
    let again = if request.digest.is_none() { format!(" The same rollback again goes forward, to {was}.") } else { String::new() };
    Some(format!("{}: {was} was active, {is} is active now.{again}", request.published_name))
}

/// What is deployed there, as far as the token may see it, where the release to go back to was not there: another name was
/// meant, perhaps.
async fn deployed(connection: &Connection, environment: &EnvironmentName, view: &RunView) -> Option<String> {
    let mut failures = view.steps.iter().flat_map(|step| &step.attempts).filter_map(|attempt| attempt.failure.as_ref());
    failures.next_back().filter(|failure| failure.code == FailureCode::ReleaseNotFound)?;
    // This is said besides; the run's own failure stands there in any case.
    let there: EnvironmentInfo = connection.get(&path(["environments", environment.as_str()])).await.ok()?;
    let names: BTreeSet<String> = there.shown.iter().flat_map(|host| &host.releases).map(|release| release.name.to_string()).collect();
    let names = names.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    Some(if names.is_empty() {
        format!("Nothing is deployed in {environment}.")
    } else {
        format!("In {environment} is deployed: {names}.")
    })
}

/// Says that the run was accepted, or follows it.
pub(crate) async fn go_on(connection: &Connection, accepted: Accepted, following: bool, output: Output) -> Result<u8> {
    let run = accepted.run;
    if !following {
        output.show(&accepted, |_| format!("run {run} is accepted; `signalbox show {run}` shows it, `signalbox logs -f {run}` its log"))?;
        return Ok(0);
    }
    let view = to_its_end(connection, run, output).await?;
    output.show(&view, show::ending)?;
    Ok(exit_code(&view))
}

async fn to_its_end(connection: &Connection, run: RunId, output: Output) -> Result<RunView> {
    if !output.json {
        eprintln!("run {run}");
    }
    follow(connection, run, output).await
}

/// `NAME=VALUE` pairs as variables.
fn inputs(pairs: &[String]) -> Result<Variables> {
    let mut variables = Variables::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Mistake::usage(format!("--input is NAME=VALUE; `{pair}` has no =")).into());
        };
        let name: VariableName = name.parse().map_err(|error| Mistake::usage(format!("--input {name}: {error}")))?;
        if variables.insert(name, value.to_owned()).is_some() {
            return Err(Mistake::usage("--input names a variable twice").into());
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_split_at_the_first_equals_sign() {
        let given = inputs(&["A=1=2".to_owned(), "B=".to_owned()]).expect("valid");
        let values: Vec<_> = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(values, [("A", "1=2"), ("B", "")]);
        for bad in ["A", "1A=x", "=x"] {
            assert!(inputs(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(inputs(&["A=1".to_owned(), "A=2".to_owned()]).is_err());
    }
}
