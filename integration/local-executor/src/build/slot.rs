//! Places for builds: so many at a time, in the order in which they came.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All places.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<Vec<bool>>>,
}

/// One place. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Which one, from 0. No two builds that run at the same time have the same.
    pub(crate) number: u32,
    taken: Arc<Mutex<Vec<bool>>>,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(crate) fn new(count: u32) -> Self {
        let count = count as usize;
        Self { free: Arc::new(Semaphore::new(count)), taken: Arc::new(Mutex::new(vec![false; count])) }
    }

    /// Waits for a place. `None` only when there are no places any more.
    pub(crate) async fn take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let index = taken.iter().position(|taken| !taken)?;
        taken[index] = true;
        Some(Slot { number: u32::try_from(index).ok()?, taken: Arc::clone(&self.taken), _permit: permit })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The number is given back before the permit, which is dropped after this.
        if let Some(taken) = self.taken.lock().unwrap_or_else(PoisonError::into_inner).get_mut(self.number as usize) {
            *taken = false;
        }
    }
}
