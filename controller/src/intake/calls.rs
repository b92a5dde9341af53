//! Calls for a look at a forge: at all that is compared, or at single changes of which it is not known how they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use signalbox_contract::ForgeName;
use signalbox_contract::change::ChangeId;
use tokio::sync::Notify;

/// How many single changes may be called for at a time. Where there are more, all is compared.
const CHANGES: usize = 200;

/// What is to be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Everything.
    pub(super) all: bool,
    /// These changes.
    pub(super) changes: BTreeSet<ChangeId>,
}

#[derive(Debug, Default)]
struct Call {
    wanted: Mutex<Look>,
    came: Notify,
}

/// Calls for a look, by forge.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<BTreeMap<ForgeName, Call>>);

impl Calls {
    /// For these forges.
    pub fn new<'a>(forges: impl Iterator<Item = &'a ForgeName>) -> Self {
        Self(Arc::new(forges.map(|name| (name.clone(), Call::default())).collect()))
    }

    /// Has what is at a forge compared soon.
    pub fn compare(&self, forge: &ForgeName) {
        self.call(forge, |look| look.all = true);
    }

    /// Has a change looked at soon.
    pub(super) fn ask(&self, forge: &ForgeName, change: ChangeId) {
        self.call(forge, |look| {
            look.changes.insert(change);
            if look.changes.len() > CHANGES {
                *look = Look { all: true, changes: BTreeSet::new() };
            }
        });
    }

    fn call(&self, forge: &ForgeName, want: impl FnOnce(&mut Look)) {
        if let Some(call) = self.0.get(forge) {
            want(&mut call.wanted.lock().unwrap_or_else(PoisonError::into_inner));
            call.came.notify_one();
        }
    }

    /// What is called for at a forge, once something is.
    pub(super) async fn called(&self, forge: &ForgeName) -> Look {
        match self.0.get(forge) {
            Some(call) => {
                call.came.notified().await;
                std::mem::take(&mut *call.wanted.lock().unwrap_or_else(PoisonError::into_inner))
            }
            None => std::future::pending().await,
        }
    }
}
