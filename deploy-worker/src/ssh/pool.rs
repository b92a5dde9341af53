//! The connections that are kept warm.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signalbox_service::clock::SharedClock;
use signalbox_service::shutdown::Shutdown;

use super::connection::Connection;
use super::control::ControlFolder;
use super::exchange::{Exchange, exchange};
use super::{ControlFolderError, Destination, Heard, Remote, SshError};

/// How long after a host was not reached, or a session was cut off, it is tried again; as often as there are entries.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// How long connections may take, and stay.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long connecting and logging in may take.
    pub connect: Duration,
    /// For how long a connection that nobody uses is kept.
    pub idle: Duration,
}

/// A destination's connection, when there is one. Whoever needs one that is not there makes it, and the others wait.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

/// Connections to hosts, made when they are needed and kept while they are used.
#[derive(Debug, Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    control: ControlFolder,
    times: Times,
    slots: Mutex<HashMap<Arc<Destination>, Slot>>,
}

impl Sessions {
    /// Makes the folder for control sockets, and starts to close what is idle. All connections end with `shutdown`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(data: &Path, times: Times, clock: &SharedClock, shutdown: &Shutdown) -> Result<Self, ControlFolderError> {
        let control = ControlFolder::make(data, clock)?;
        let inner = Arc::new(Inner { control, times, slots: Mutex::new(HashMap::new()) });
        let tended = Arc::clone(&inner);
        let ending = shutdown.clone();
        shutdown.spawn("ssh-connections", async move {
            let pause = (tended.times.idle / 4).clamp(Duration::from_millis(100), Duration::from_secs(15));
            while tokio::time::timeout(pause, ending.requested()).await.is_err() {
                tended.close_idle(tended.times.idle).await;
            }
            // Deployments that are at work end with the service; their connections end when they are let go.
            tended.close_idle(Duration::ZERO).await;
        });
        Ok(Self { inner })
    }

    /// Runs a script on a host, and again when it or its session is killed in the middle.
    ///
    /// # Errors
    /// When the host cannot be reached, does not answer in time, or answers too much. What the script itself says of its
    /// success is in the answer.
    pub async fn run(&self, to: &Arc<Destination>, remote: &Remote<'_>) -> Result<Heard, SshError> {
        let mut pauses = AGAIN.iter();
        let mut first = true;
        loop {
            let (connection, warm) = self.inner.connection(to).await?;
            let cut = match exchange(&connection, remote).await {
                Exchange::Settled(outcome) => {
                    if matches!(outcome, Err(SshError::Late { .. } | SshError::TooMuch { .. })) {
                        // Others that use this connection may finish on it; new ones get another.
                        self.inner.forget(to, &connection).await;
                    }
                    return outcome;
                }
                Exchange::Killed(heard) => Ok(heard),
                Exchange::Dead => {
                    self.inner.forget(to, &connection).await;
                    Err(SshError::Broken)
                }
            };
            drop(connection);
            // A connection that was kept was dead before we came, most likely; its successor is worth no pause. Whatever else was cut off
            // is run again a moment later: all that is run here may be run again.
            if !(first && warm && cut.is_err()) {
                let Some(pause) = pauses.next() else { return cut };
                tracing::debug!(address = %to.address, doing = remote.doing, "ssh.run_again");
                tokio::time::sleep(*pause).await;
            }
            first = false;
        }
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        let slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().filter(|slot| slot.try_lock().is_ok_and(|slot| slot.is_some())).count()
    }
}

impl Inner {
    fn slot(&self, to: &Arc<Destination>) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(Arc::clone(to)).or_default())
    }

    /// The connection to a destination, and whether it was there before.
    async fn connection(&self, to: &Arc<Destination>) -> Result<(Arc<Connection>, bool), SshError> {
        let slot = self.slot(to);
        // Whoever holds the slot connects, which has its own limit: waiting is bounded by that.
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref() {
            connection.touch();
            return Ok((Arc::clone(connection), true));
        }
        let connection = Arc::new(self.reach(to).await?);
        *slot = Some(Arc::clone(&connection));
        Ok((connection, false))
    }

    /// Connects, and again when the host was not reached at all: one lost packet or a server that is being restarted must
    /// not fail a deployment. All of it takes no longer than one connection may.
    async fn reach(&self, to: &Destination) -> Result<Connection, SshError> {
        let begun = Instant::now();
        let mut pauses = AGAIN.iter();
        let mut left = self.times.connect;
        loop {
            let error = match Connection::establish(to, self.control.socket(), left).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            left = self.times.connect.saturating_sub(begun.elapsed());
            let Some(pause) = pauses.next().filter(|pause| error.is_unreached() && **pause < left) else {
                return Err(error);
            };
            tracing::debug!(address = %to.address, error = %error, "ssh.tried_again");
            tokio::time::sleep(*pause).await;
            left = left.saturating_sub(*pause);
        }
    }

    /// Takes a connection out of its slot, unless another one is there already.
    async fn forget(&self, to: &Arc<Destination>, connection: &Arc<Connection>) {
        let slot = self.slot(to);
        let mut slot = slot.lock().await;
        if slot.as_ref().is_some_and(|held| Arc::ptr_eq(held, connection)) {
            *slot = None;
        }
    }

    async fn close_idle(&self, idle: Duration) {
        let mut ending = Vec::new();
        {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.retain(|_, slot| {
                // A slot that is locked is being connected or asked for.
                let Ok(mut held) = slot.try_lock() else { return true };
                if held.as_ref().is_some_and(|connection| connection.idle().is_some_and(|time| time >= idle)) {
                    ending.extend(held.take());
                }
                // A slot that somebody else holds on to must stay the one that everybody finds.
                held.is_some() || Arc::strong_count(slot) > 1
            });
        }
        let ending = ending.into_iter().map(|connection| async move { connection.close().await });
        futures_util::future::join_all(ending).await;
    }
}
