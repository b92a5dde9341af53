//! What somebody says of executors: that something is new there. It makes a look come sooner, and is believed no further.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use signalbox_contract::ExecutorName;

/// The executors that were spoken of and not looked at since. Clones are handles on the same ones.
#[derive(Debug, Clone, Default)]
pub struct Nudges(Arc<Mutex<BTreeSet<ExecutorName>>>);

impl Nudges {
    /// Something is new at this executor.
    pub fn nudge(&self, executor: &ExecutorName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(executor.clone());
    }

    /// Those that were spoken of since this was asked last.
    pub(super) fn take(&self) -> BTreeSet<ExecutorName> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
