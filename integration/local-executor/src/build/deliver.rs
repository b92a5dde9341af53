//! What a build made, on its way into the artifact store.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use http::HeaderMap;
use signalbox_contract::api::store::PutResult;
use signalbox_contract::{ArtifactName, Code};
use signalbox_service::client::{CallError, Client};
use signalbox_service::telemetry::causes;
use tokio_util::io::ReaderStream;

use super::desk::{Desk, Order};
use super::work::broken;
use super::{Ended, plain};
use crate::limits::human;
use crate::log::LogFile;
use crate::workspace::Workspace;
use crate::workspace::artifact::{self, ArtifactError};

/// How often an artifact is sent before its build is given up.
const TRIES: u32 = 5;

/// How many are sent at the same time.
const TOGETHER: usize = 4;

/// How much of a file is read at a time.
const READ: usize = 256 * 1024;

impl Desk {
    /// Puts every declared artifact into the attempt's grant; those that `arrived` through the build's own socket are there.
    pub(super) async fn deliver(
        &self,
        order: &Order,
        workspace: &Workspace,
        arrived: &BTreeSet<ArtifactName>,
        log: &mut LogFile,
    ) -> Result<Ended, Ended> {
        let mut files = Vec::new();
        let mut wrong = Vec::new();
        // All are looked at before one is sent, so that the reason names everything that is amiss.
        for (name, path) in &order.artifacts {
            let (folder, wanted) = (workspace.build(), path.clone());
            let opened = tokio::task::spawn_blocking(move || artifact::open(&folder, &wanted)).await;
            match opened {
                Ok(Ok((file, size))) => files.push((name, file, size)),
                Ok(Err(ArtifactError::Missing)) if arrived.contains(name) => {}
                Ok(Err(error)) => wrong.push(format!("{name} ({path}): {error}")),
                Err(error) => return Err(broken(order, "Its artifacts could not be read", &std::io::Error::other(error))),
            }
        }
        if !wrong.is_empty() {
            return Ok(Ended::failed(format!("The job did not leave what it declares: {}.", wrong.join("; "))));
        }
        if files.is_empty() {
            return Ok(Ended::success());
        }
        let client = self.store_client(order)?;
        let puts: Vec<_> = files.into_iter().map(|(name, file, size)| put(&client, order, name, file, size)).collect();
        let sent: Vec<PutResult> = futures_util::stream::iter(puts).buffered(TOGETHER).try_collect().await?;
        for artifact in sent {
            let line = format!("kept {} ({}, {})", artifact.name, human(artifact.size), artifact.digest);
            log.say(&line).await.map_err(|error| broken(order, "Its log could not be written", &error))?;
        }
        Ok(Ended::success())
    }

    /// A client of the store that the order names.
    pub(super) fn store_client(&self, order: &Order) -> Result<Client, Ended> {
        Client::new(order.store.clone(), self.parts.config.common.ca.as_deref()).map_err(|error| {
            tracing::error!(key = %order.key, error = %causes(&error), "store.no_client");
            Ended::broken("The artifact store's address cannot be used.")
        })
    }
}

async fn put(client: &Client, order: &Order, name: &ArtifactName, file: File, size: u64) -> Result<PutResult, Ended> {
    let path = format!("/grants/{}/{name}", order.key);
    let unreadable = |error| broken(order, "Its artifacts could not be read", &error);
    let mut n = 1;
    loop {
        // The same open file each time: what was checked is what is sent.
        let mut again = file.try_clone().map_err(unreadable)?;
        std::io::Seek::rewind(&mut again).map_err(unreadable)?;
        let body = ReaderStream::with_capacity(tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(again), size), READ);
        let answer: Result<PutResult, CallError> = client.put_stream(&path, Some(&order.put), HeaderMap::new(), size, body).await;
        let error = match answer {
            Ok(result) if result.size == size => return Ok(result),
            Ok(_) => return Err(Ended::broken(format!("The artifact store kept something else than {name}."))),
            Err(error) => error,
        };
        if n == TRIES || !error.may_pass() {
            return Err(refused(order, name, &error));
        }
        tracing::info!(key = %order.key, artifact = %name, error = %causes(&error), "artifact.sent_again");
        tokio::time::sleep(Duration::from_millis(250) * n).await;
        n += 1;
    }
}

fn refused(order: &Order, name: &ArtifactName, error: &CallError) -> Ended {
    tracing::warn!(key = %order.key, artifact = %name, error = %causes(error), "artifact.not_sent");
    match error.problem() {
        Some(problem) if problem.code == Code::TooLarge => {
            Ended::failed(format!("The artifact {name} is larger than is allowed: {problem}"))
        }
        Some(problem) => Ended::broken(format!("The artifact store did not take {name}: {}", plain(problem.to_string().as_bytes()))),
        None => Ended::broken(format!("The artifact store could not be reached to put {name} there.")),
    }
}
