//! How a service ends: everything that it started is told, and waited for, up to a deadline.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle on the end of a service. Clones are handles on the same end.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A handle for a service that has not begun to end.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everything to end.
    pub fn begin(&self) {
        self.token.cancel();
        self.tasks.close();
    }

    /// Whether the end has begun.
    pub fn begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the end begins.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// The token that is cancelled when the end begins, for streams that end with it.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a task that the end waits for. The task itself must watch [`Shutdown::requested`] if it would not end soon.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        use tracing::Instrument as _;
        self.tasks.spawn(task.instrument(tracing::info_span!("task", task = name)));
    }

    /// Begins the end, and waits for the tasks. `false` if some were still at work after `limit`.
    pub async fn drained(&self, limit: Duration) -> bool {
        self.begin();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }

    /// Waits until the process is asked to end: SIGTERM, or Ctrl-C on a terminal.
    pub async fn asked_by_the_system() {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut term) = signal(SignalKind::terminate()) else {
            // Without a handler the signal ends the process by itself.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}
