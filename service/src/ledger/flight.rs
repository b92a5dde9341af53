//! What is being worked on in this process.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use jiff::Timestamp;
use signalbox_contract::{AttemptKey, Digest, Failure};
use tokio::sync::watch;

/// How many acts may be worked on at once.
const MAX_FLIGHTS: usize = 1024;

/// How many failures are remembered that nobody was there to hear.
const MAX_UNHEARD: usize = 1024;

/// An operation and an attempt.
pub(super) type Id = (String, AttemptKey);

/// How far a flight is.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Not yet written down.
    Starting,
    /// Written down, and at work.
    Working {
        /// When it was first asked for.
        since: Timestamp,
    },
    /// Over.
    Ended(Ending),
}

/// How a flight ended.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// Done, with the result as JSON.
    Done(String),
    /// Failed, once and for all.
    Failed(Failure),
    /// Failed for now: the next ask tries again.
    Again(Failure),
    /// The key is bound to another body.
    Reused,
    /// The service is ending; the work goes on at the next ask after its start.
    Stopped,
}

/// What an ask finds.
pub(super) enum Boarding {
    /// A flight that another ask began.
    Join(watch::Receiver<Phase>),
    /// A flight of its own to begin, and to listen to.
    Begin(watch::Sender<Phase>, watch::Receiver<Phase>),
    /// The last try failed for now, and nobody has heard of it yet.
    Unheard(Failure),
    /// The key flies already with another body.
    Reused,
    /// There are too many.
    Full,
}

/// All flights.
#[derive(Debug, Default)]
pub(super) struct Flights {
    running: HashMap<Id, (Digest, watch::Receiver<Phase>)>,
    unheard: HashMap<Id, (Digest, Failure)>,
}

impl Flights {
    pub(super) fn board(&mut self, id: Id, body: &Digest) -> Boarding {
        if let Slot::Occupied(unheard) = self.unheard.entry(id.clone()) {
            if unheard.get().0 != *body {
                return Boarding::Reused;
            }
            return Boarding::Unheard(unheard.remove().1);
        }
        let full = self.running.len() >= MAX_FLIGHTS;
        match self.running.entry(id) {
            Slot::Occupied(flight) if flight.get().0 != *body => Boarding::Reused,
            Slot::Occupied(flight) => Boarding::Join(flight.get().1.clone()),
            Slot::Vacant(_) if full => Boarding::Full,
            Slot::Vacant(slot) => {
                let (sender, receiver) = watch::channel(Phase::Starting);
                slot.insert((*body, receiver.clone()));
                Boarding::Begin(sender, receiver)
            }
        }
    }

    /// Ends a flight. A failure that asks for another try must be heard of by somebody, or a caller who only looks in now
    /// and then would have it tried for ever without learning why.
    pub(super) fn land(&mut self, id: &Id, sender: &watch::Sender<Phase>, ending: Ending) {
        let Some((body, own)) = self.running.remove(id) else { return };
        drop(own);
        if let Ending::Again(failure) = &ending
            && sender.receiver_count() == 0
        {
            if self.unheard.len() >= MAX_UNHEARD {
                self.unheard.clear();
            }
            self.unheard.insert(id.clone(), (body, failure.clone()));
        }
        sender.send_replace(Phase::Ended(ending));
    }
}
