//! `signalbox cd`, `rerun`, `deploy`, `rollback`: what starts a run.

use anyhow::Result;
use http::HeaderName;
use http::header::{HeaderMap, HeaderValue};
use serde::Serialize;
use signalbox_contract::api::run::{Accepted, CdRequest, DeployArtifactRequest, RerunFrom, RerunRequest, RollbackRequest};
use signalbox_contract::job::{VariableName, Variables};
use signalbox_contract::{ArtifactName, EnvironmentName, PublishedName, RunId};

use crate::arguments::{CdArguments, FromWhere};
use crate::command::show;
use crate::connection::{Connection, path};
use crate::follow::{exit_code, follow};
use crate::mistake::Mistake;
use crate::output::Output;

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
    let accepted: Accepted = connection.post(&path, HeaderMap::new(), &RerunRequest { from }).await?;
    go_on(connection, accepted, following, output).await
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
    start(connection, &["environments", environment.as_str(), "deploy"], &request, following, output).await
}

/// `POST /environments/{name}/rollback`.
pub(crate) async fn rollback(
    connection: &Connection,
    environment: &EnvironmentName,
    request: &RollbackRequest,
    following: bool,
    output: Output,
) -> Result<u8> {
    start(connection, &["environments", environment.as_str(), "rollback"], request, following, output).await
}

async fn start<B: Serialize>(connection: &Connection, parts: &[&str], request: &B, following: bool, output: Output) -> Result<u8> {
    let accepted: Accepted = connection.post(&path(parts.iter().copied()), HeaderMap::new(), request).await?;
    go_on(connection, accepted, following, output).await
}

/// Says that the run was accepted, or follows it.
pub(crate) async fn go_on(connection: &Connection, accepted: Accepted, following: bool, output: Output) -> Result<u8> {
    let run = accepted.run;
    if !following {
        output.show(&accepted, |_| format!("run {run} is accepted; `signalbox show {run}` shows it, `signalbox logs -f {run}` its log"))?;
        return Ok(0);
    }
    if !output.json {
        eprintln!("run {run}");
    }
    let view = follow(connection, run, output).await?;
    output.show(&view, show::ending)?;
    Ok(exit_code(&view))
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
