//! The one writer of names: what arrives together shares one transaction, and so one sync.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use signalbox_contract::ArtifactName;
use signalbox_contract::api::store::BlobInfo;
use signalbox_service::folder::DataFolder;
use signalbox_service::telemetry::causes;
use tokio::sync::{mpsc, oneshot};

use super::change::{Heads, Precondition};
use super::commit::{NewVersion, Writes, load};
use super::read::moment;
use super::{ArrivingGuard, CatalogError, ChangeError, Shared};
use crate::blob::Arrived;

/// How many changes may share a transaction.
const BATCH: usize = 256;

/// What is to become of a name.
pub(crate) enum What {
    /// It shows these bytes.
    Put { name: ArtifactName, arrived: Arrived, content_type: String, precondition: Precondition },
    /// It and its history go.
    Delete { name: ArtifactName, precondition: Precondition },
}

/// A change that waits for the writer.
pub(crate) struct NameChange {
    pub(super) what: What,
    /// Keeps the collector away until the change is committed.
    pub(super) arriving: Option<ArrivingGuard>,
    pub(super) reply: oneshot::Sender<Result<Changed, ChangeError>>,
}

/// What came of a change.
#[derive(Debug, Clone)]
pub(crate) enum Changed {
    /// The name shows the bytes; `created` if it showed none before.
    Stored { info: BlobInfo, created: bool },
    /// The name is gone.
    Deleted,
}

impl What {
    fn name(&self) -> &ArtifactName {
        match self {
            Self::Put { name, .. } | Self::Delete { name, .. } => name,
        }
    }
}

/// Writes until all handles on the catalog are gone, then closes the database.
pub(super) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<NameChange>, folder: DataFolder) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let answers = commit(&shared, &batch).await;
        for (change, answer) in batch.drain(..).zip(answers) {
            drop(change.arriving);
            // The caller may have gone away; what it asked for is done all the same.
            let _ = change.reply.send(answer);
        }
    }
    shared.db.close().await;
    // Now another process may have it.
    drop(folder);
}

async fn commit(shared: &Shared, batch: &[NameChange]) -> Vec<Result<Changed, ChangeError>> {
    match try_commit(shared, batch).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::error!(error = %causes(&error), changes = batch.len(), "changes of names could not be committed");
            shared.cache.clear();
            batch.iter().map(|_| Err(error.clone().into())).collect()
        }
    }
}

async fn try_commit(shared: &Shared, batch: &[NameChange]) -> Result<Vec<Result<Changed, ChangeError>>, CatalogError> {
    let names: HashSet<&ArtifactName> = batch.iter().map(|change| change.what.name()).collect();
    let digests = batch
        .iter()
        .filter_map(|change| match &change.what {
            What::Put { arrived, .. } => Some(arrived.digest),
            What::Delete { .. } => None,
        })
        .collect();
    let mut connection = shared.db.writer.acquire().await?;
    let (mut heads, mut known) = load(&mut connection, &names, &digests).await?;
    let micros = shared.clock.now().as_microsecond();
    let mut writes = Writes::default();
    let mut added = 0;
    let mut touched = HashSet::new();
    let mut answers = Vec::with_capacity(batch.len());
    for change in batch {
        let answer = decide(shared, &change.what, &mut heads, &mut writes, micros, |arrived| {
            let more = if known.contains(&arrived.digest) { 0 } else { arrived.size };
            let fits = shared.has_room(added + more);
            if fits {
                known.insert(arrived.digest);
                added += more;
            }
            fits
        });
        if answer.is_ok() {
            touched.insert(change.what.name());
        }
        answers.push(answer);
    }
    for name in &touched {
        if let Some(head) = heads.get(*name) {
            writes.head(name, head);
        }
    }
    if !touched.is_empty() {
        writes.commit(&mut connection).await?;
    }
    drop(connection);
    shared.stored.fetch_add(added, Ordering::Relaxed);
    for name in touched {
        shared.cache.forget(name.as_str());
    }
    Ok(answers)
}

fn decide(
    shared: &Shared,
    what: &What,
    heads: &mut Heads,
    writes: &mut Writes,
    micros: i64,
    fits: impl FnOnce(&Arrived) -> bool,
) -> Result<Changed, ChangeError> {
    match what {
        What::Put { name, arrived, content_type, precondition } => {
            let before = heads.get(name).and_then(|head| head.current);
            if !precondition.holds(before.as_ref().map(|(_, digest)| digest)) {
                return Err(ChangeError::Precondition);
            }
            if !fits(arrived) {
                return Err(ChangeError::Quota);
            }
            let version = heads.entry(name.clone()).or_default().overwrite(arrived.digest, micros, shared.bounds.keep_versions);
            writes.blob(arrived, micros);
            writes.version(&NewVersion { name, version, digest: &arrived.digest, content_type, run: None }, micros);
            let info = BlobInfo {
                name: name.clone(),
                digest: arrived.digest,
                size: arrived.size,
                version,
                content_type: content_type.clone(),
                // As it is written, so that it is the same whenever it is told.
                stored_at: moment(micros)?,
                run: None,
            };
            Ok(Changed::Stored { info, created: before.is_none() })
        }
        What::Delete { name, precondition } => {
            let head = heads.get_mut(name).filter(|head| head.current.is_some());
            let Some(head) = head else {
                return Err(if precondition.if_match.is_some() { ChangeError::Precondition } else { ChangeError::Missing });
            };
            if !precondition.holds(head.current.as_ref().map(|(_, digest)| digest)) {
                return Err(ChangeError::Precondition);
            }
            head.delete(micros);
            Ok(Changed::Deleted)
        }
    }
}
