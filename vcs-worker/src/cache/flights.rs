//! Fetches that are under way, and those who wait for the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// What came of a flight, once it has landed.
type Landed<T> = watch::Receiver<Option<T>>;

/// Flights by what they are for.
#[derive(Debug)]
pub(super) struct Flights<K, T>(Mutex<HashMap<K, Landed<T>>>);

/// A place in a flight.
pub(super) enum Boarding<'a, K: Eq + Hash, T> {
    /// Somebody is at it: wait.
    Join(Landed<T>),
    /// Nobody is: do it.
    Lead(Flight<'a, K, T>),
}

/// A flight that its holder leads. If the holder goes away before it lands, those who wait begin anew.
pub(super) struct Flight<'a, K: Eq + Hash, T> {
    flights: &'a Flights<K, T>,
    key: K,
    sender: watch::Sender<Option<T>>,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Flights<K, T> {
    /// Joins the flight for `key`, or leads a new one.
    pub(super) fn board(&self, key: &K) -> Boarding<'_, K, T> {
        let mut flights = self.lock();
        if let Some(landed) = flights.get(key) {
            return Boarding::Join(landed.clone());
        }
        let (sender, landed) = watch::channel(None);
        flights.insert(key.clone(), landed);
        Boarding::Lead(Flight { flights: self, key: key.clone(), sender })
    }
}

impl<K: Eq + Hash, T> Flights<K, T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Landed<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, T> Flight<'_, K, T> {
    /// From now on nobody joins: whoever comes later wants to know what is true then.
    pub(super) fn close(&self) {
        let mut flights = self.flights.lock();
        if flights.get(&self.key).is_some_and(|landed| landed.same_channel(&self.sender.subscribe())) {
            flights.remove(&self.key);
        }
    }

    /// Tells everybody what came of it.
    pub(super) fn land(self, outcome: T) {
        self.close();
        self.sender.send_replace(Some(outcome));
    }
}

impl<K: Eq + Hash, T> Drop for Flight<'_, K, T> {
    fn drop(&mut self) {
        self.close();
    }
}
