//! What a build made, where its executor keeps it: streamed into the attempt's grant, in constant memory.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use http::HeaderMap;
use jiff::Timestamp;
use signalbox_adapters::executor::{Bytes, Executor, ExecutorError, OutputRef, Outputs, Pick};
use signalbox_contract::api::store::PutResult;
use signalbox_contract::token::{Capability, Service};
use signalbox_contract::{AttemptKey, Code, Failure, FailureCode};
use signalbox_controller_core::effect::AtExecutor;
use signalbox_controller_core::plan;
use signalbox_service::client::CallError;
use signalbox_service::secret::SecretString;

use super::Fault;
use super::perform::{Outside, called, fault, tracked, unsigned};

/// Why a stream that we read could not be read on, told by the stream to whoever sends it.
type Broken = Arc<Mutex<Option<ExecutorError>>>;

impl Outside {
    /// Puts into the attempt's grant what is asked for of its build, but for what the build has put there itself. Repeatable:
    /// the same bytes go to the same place.
    pub(super) async fn fetch_outputs(
        &self,
        key: AttemptKey,
        at: &AtExecutor,
        picks: &[plan::Pick],
        until: Timestamp,
    ) -> Result<(), Fault> {
        let (executor, Some(build)) = (self.executor(&at.executor)?, &at.build) else { return Ok(()) };
        if picks.is_empty() || executor.abilities().outputs == Outputs::Put {
            return Ok(());
        }
        let grant = self.workers.grant(key).await.map_err(|error| called(Service::ArtifactStore, &error))?;
        // What the build uploaded itself counts, whatever its executor keeps under that name: it is not even looked for.
        let picks: Vec<&plan::Pick> = picks.iter().filter(|pick| !grant.artifacts.iter().any(|put| put.name == pick.name)).collect();
        // An earlier try came as far as to close the grant: all is there.
        if picks.is_empty() || grant.closed {
            return Ok(());
        }
        let wanted: Vec<Pick> =
            picks.iter().map(|pick| Pick { name: pick.name.clone(), part: pick.part.clone(), path: pick.path.clone() }).collect();
        let mut found = executor.outputs(&tracked(key, build)?, &wanted).await.map_err(fault)?;
        // What was not asked for is not put anywhere, whatever the executor says.
        found.retain(|output| picks.iter().any(|pick| pick.name == output.name));
        let sizes = found.iter().filter_map(|output| output.size).chain(grant.artifacts.iter().map(|put| put.size));
        let known = sizes.fold(0_u64, u64::saturating_add);
        if known > self.max_artifacts {
            return Err(self.too_large(&format!("What the build made has {known} bytes")));
        }
        let cap = Capability::PutGrant { names: picks.iter().map(|pick| pick.name.clone()).collect(), max_bytes: self.max_artifacts };
        let put = self.workers.capability(Service::ArtifactStore, key, cap, until).map_err(|error| unsigned(&error))?;
        for (n, output) in (1_usize..).zip(&found) {
            match self.fetch_output(executor, key, output, &put).await? {
                Some(kept) => {
                    tracing::info!(%key, artifact = %kept.name, bytes = kept.size, digest = %kept.digest, n, of = found.len(), "artifact.fetched");
                }
                // It was closed meanwhile.
                None => break,
            }
        }
        Ok(())
    }

    /// Puts one of them. `None` if the grant is closed already.
    async fn fetch_output(
        &self,
        executor: &Arc<dyn Executor>,
        key: AttemptKey,
        output: &OutputRef,
        put: &SecretString,
    ) -> Result<Option<PutResult>, Fault> {
        let bytes = executor.read(output).await.map_err(fault)?;
        let broken = Broken::default();
        let path = format!("/grants/{key}/{}", output.name);
        let body = readable(bytes, Arc::clone(&broken));
        let sent: Result<PutResult, CallError> = self.workers.store.put_stream(&path, Some(put), HeaderMap::new(), output.size, body).await;
        let error = match sent {
            Ok(kept) => return Ok(Some(kept)),
            Err(error) => error,
        };
        // What was wrong with what we read says more than that it could not be sent.
        let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (broken, error.problem().map(|problem| problem.code)) {
            (Some(broken), _) => Err(fault(broken)),
            (None, Some(Code::NotAllowedNow)) => Ok(None),
            (None, Some(Code::TooLarge)) => Err(self.too_large(&format!("The artifact {} has more bytes", output.name))),
            (None, _) => Err(called(Service::ArtifactStore, &error)),
        }
    }

    fn too_large(&self, what: &str) -> Fault {
        let detail = format!("{what}; the artifacts of an attempt may have {} bytes together.", self.max_artifacts);
        Fault::Failed(
            Failure::new(FailureCode::ArtifactTooLarge, detail).hint("It is `limits.artifacts` of the controller's configuration."),
        )
    }
}

/// The bytes as they are sent. Why they break off is kept in `broken`.
fn readable(bytes: Bytes, broken: Broken) -> impl futures_util::Stream<Item = io::Result<bytes::Bytes>> + Send + 'static {
    bytes.map(move |piece| {
        piece.map_err(|error| {
            broken.lock().unwrap_or_else(PoisonError::into_inner).replace(error);
            io::Error::other("what is read broke off")
        })
    })
}
