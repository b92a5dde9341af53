//! Who waits for a change of which run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use signalbox_contract::RunId;
use tokio::sync::watch;

/// The runs that somebody follows.
#[derive(Debug, Default)]
pub(super) struct Changes(Mutex<HashMap<RunId, watch::Sender<()>>>);

impl Changes {
    /// Tells those who follow one of the runs that it has changed.
    pub(super) fn tell<'a>(&self, runs: impl Iterator<Item = &'a RunId>) {
        let followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.is_empty() {
            return;
        }
        for run in runs {
            if let Some(followed) = followed.get(run) {
                followed.send_replace(());
            }
        }
    }

    pub(super) fn follow(self: &Arc<Self>, run: RunId) -> Following {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = followed.entry(run).or_insert_with(|| watch::channel(()).0).subscribe();
        Following { changes: Arc::clone(self), run, changed }
    }
}

/// Waits for the changes of one run.
#[derive(Debug)]
pub struct Following {
    changes: Arc<Changes>,
    run: RunId,
    changed: watch::Receiver<()>,
}

impl Following {
    /// From now on only later changes count.
    pub fn begin(&mut self) {
        self.changed.mark_unchanged();
    }

    /// Waits until the run has changed since [`begin`](Self::begin).
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // Its sender stays as long as anybody follows.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut followed = self.changes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.get(&self.run).is_some_and(|followed| followed.receiver_count() <= 1) {
            followed.remove(&self.run);
        }
    }
}
