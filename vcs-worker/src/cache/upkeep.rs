//! Upkeep of a copy: many small packs and many refs are made few, in the background, while nobody fetches.

use std::sync::Arc;
use std::time::Duration;

use signalbox_service::git::GitError;
use signalbox_service::telemetry::causes;

use super::copy::Copy;
use crate::proof::PROVEN;

/// From how many packs on they are put together.
const PACKS: usize = 40;

/// How many proven commits are remembered; older ones are mirrored anew when they are wanted again.
const MOST_PROVEN: usize = 5000;

/// How long upkeep may take.
const PATIENCE: Duration = Duration::from_mins(30);

impl Copy {
    /// Puts packs together if there are many. Each fetch is one pack, so that the kernel can bound it.
    pub(super) fn keep_up(self: &Arc<Self>) {
        if self.packs() < PACKS {
            return;
        }
        let copy = Arc::clone(self);
        self.shutdown.spawn("upkeep", async move {
            let work = async {
                let _turn = copy.turn.lock().await;
                // Somebody else may have done it in between.
                if copy.packs() >= PACKS
                    && let Err(error) = copy.put_together().await
                {
                    tracing::warn!(error = %causes(&error), said = error.said, "cache.upkeep_failed");
                }
            };
            tokio::select! {
                () = work => {}
                () = copy.shutdown.requested() => {}
            }
        });
    }

    fn packs(&self) -> usize {
        std::fs::read_dir(self.path.join("objects/pack")).map_or(0, |entries| {
            entries.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")).count()
        })
    }

    async fn put_together(&self) -> Result<(), GitError> {
        self.forget_oldest().await?;
        self.git.local(&self.path).args(["pack-refs", "--all"]).deadline(PATIENCE).run().await?;
        self.git.local(&self.path).args(["repack", "--quiet", "-d", "--geometric=2"]).deadline(PATIENCE).run().await?;
        Ok(())
    }

    /// Forgets the oldest proven commits. Their objects stay: a build may still read them.
    async fn forget_oldest(&self) -> Result<(), GitError> {
        let listed = self
            .git
            .local(&self.path)
            .args(["for-each-ref", "--sort=-committerdate", "--format=%(refname)"])
            .operands([PROVEN])
            .stdout(64 * 1024 * 1024)
            .run()
            .await?;
        let listed = String::from_utf8_lossy(&listed);
        let surplus = listed.lines().skip(MOST_PROVEN).fold(String::new(), |lines, name| lines + "delete " + name + "\n");
        if surplus.is_empty() { Ok(()) } else { self.update_refs(&surplus).await }
    }
}
