//! How many live streams there may be: of one principal, so that nobody takes all the room, and of all together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use signalbox_contract::{Code, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of all together.
const ALL: usize = 256;

/// Of one principal.
const EACH: usize = 32;

/// When one that found no room should come again, in seconds.
const AGAIN: u32 = 10;

/// The room for live streams.
#[derive(Debug)]
pub(crate) struct Streams {
    all: Arc<Semaphore>,
    by_principal: Mutex<HashMap<String, usize>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL)), by_principal: Mutex::default() }
    }
}

/// The room of one stream. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    streams: Arc<Streams>,
    principal: String,
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    /// Takes room for a stream of the principal's.
    pub(super) fn enter(self: &Arc<Self>, principal: &str) -> Result<Seat, Problem> {
        let permit = Arc::clone(&self.all)
            .try_acquire_owned()
            .map_err(|_| Problem::new(Code::Unavailable).detail("There are as many live streams as there may be.").retry_after(AGAIN))?;
        let mut by_principal = self.by_principal.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = by_principal.entry(principal.to_owned()).or_default();
        if *taken >= EACH {
            let detail = format!("{principal} has {EACH} live streams, as many as one may have. End one of them first.");
            return Err(Problem::new(Code::TooManyRequests).detail(detail).retry_after(AGAIN));
        }
        *taken += 1;
        Ok(Seat { streams: Arc::clone(self), principal: principal.to_owned(), _permit: permit })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_principal = self.streams.by_principal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = by_principal.get_mut(&self.principal) {
            *taken -= 1;
            if *taken == 0 {
                by_principal.remove(&self.principal);
            }
        }
    }
}
