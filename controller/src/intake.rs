//! Taking in what forges say.
//!
//! A delivery is written down before it is answered; what it means, and what is done about it, is found out here, apart
//! from whoever delivered it. What was missed is found by comparing what is there with what is known, on connecting, on a
//! timer, and when a forge says that something was lost.
//!
//! Architecture invariant: one task acts, in the order in which things came. All that is done about a delivery is written
//! in one transaction with its outcome, so that after a crash it is either done or still to be done.

mod calls;
mod comparison;
mod plan;
mod sources;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_adapters::forge::{Happening, Untranslated};
use signalbox_contract::ForgeName;
use signalbox_contract::api::delivery::DeliveryState;
use signalbox_service::clock::SharedClock;
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::engine::{Forges, Nudges};
use crate::store::{Doing, Head, Settling, Store, StoreError, Waiting};

pub use calls::Calls;
use plan::{Book, Planned, Planner, named, scope};
pub use sources::Sources;

/// How many deliveries are acted on together.
const ROUND: u32 = 64;

/// How often it is looked for deliveries that nobody has called for.
const TICK: Duration = Duration::from_secs(1);

/// How long one that could not be acted on waits.
const PAUSE: Duration = Duration::from_secs(5);

/// For how long it is tried to act on a delivery.
const PATIENCE: Duration = Duration::from_hours(24);

/// How many heads of one comparison are looked at together.
const HEADS: usize = 500;

/// What was found at a forge, without any event.
#[derive(Debug)]
pub struct Comparison {
    forge: ForgeName,
    /// When it was asked.
    asked_at: Timestamp,
    /// What was asked for whole: of what is seen there for the first time, only note is taken.
    scopes: Vec<String>,
    found: Vec<Happening>,
    /// How changes are that were asked for by number.
    changes: Vec<Happening>,
}

/// What acts on deliveries and comparisons.
pub struct Intake {
    /// The store.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// What is to be done.
    pub config: Arc<Config>,
    /// The forges, which translate.
    pub forges: Forges,
    /// Where comparisons are called for.
    pub calls: Calls,
    /// Where it is said that builds have changed.
    pub nudges: Nudges,
}

impl Intake {
    /// Acts until the end.
    pub async fn run(self, mut comparisons: mpsc::Receiver<Comparison>, shutdown: Shutdown) {
        while !shutdown.begun() {
            match self.round().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(error = %causes(&error), "deliveries could not be acted on"),
            }
            tokio::select! {
                () = self.store.arrived() => {}
                Some(comparison) = comparisons.recv() => {
                    let forge = comparison.forge.clone();
                    if let Err(error) = self.compare(comparison).await {
                        // It is found again by the next comparison.
                        tracing::warn!(%forge, error = %causes(&error), "what was found could not be acted on");
                    }
                }
                () = tokio::time::sleep(TICK) => {}
                () = shutdown.requested() => {}
            }
        }
    }

    /// Acts on some deliveries. `true` if there may be more.
    async fn round(&self) -> Result<bool, StoreError> {
        let waiting = self.store.waiting(ROUND).await?;
        if waiting.is_empty() {
            return Ok(false);
        }
        let translated: Vec<_> = waiting.iter().map(|delivery| (delivery, self.translate(delivery))).collect();
        let mut book = Book::default();
        for forge in waiting.iter().map(|delivery| &delivery.source).collect::<BTreeSet<_>>() {
            let of = |(delivery, _): &&(&Waiting, _)| delivery.source == *forge;
            let subjects: Vec<_> = translated.iter().filter(of).flat_map(|(_, told)| told.iter().flatten().filter_map(named)).collect();
            book.learn(self.store.heads(forge, &subjects).await?);
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for (delivery, told) in &translated {
            let doing = self.settle(delivery, told, &mut book);
            answers.push((*delivery, self.store.act(doing)));
        }
        let full = waiting.len() == ROUND as usize;
        let mut trouble = None;
        for (delivery, answer) in answers {
            match answer.await {
                Ok(_) => {}
                Err(StoreError::QueueFull) => self.postpone(delivery).await?,
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(full), Err)
    }

    /// What a delivery means; a translator that panics must not hold up the others.
    fn translate(&self, delivery: &Waiting) -> Result<Vec<Happening>, Untold> {
        let forge = self.forges.get(&delivery.source).ok_or(Untold::NoForge)?;
        let translate = std::panic::AssertUnwindSafe(|| forge.translate(&delivery.kind, delivery.body.as_bytes()));
        std::panic::catch_unwind(translate).map_err(|_| Untold::Panicked)?.map_err(Untold::Not)
    }

    /// What is to be done about one delivery.
    fn settle(&self, delivery: &Waiting, told: &Result<Vec<Happening>, Untold>, book: &mut Book) -> Doing {
        let settling = |state, reason: String| Settling { id: delivery.id, source: delivery.source.clone(), state, repo: None, reason };
        let happenings = match told {
            Ok(happenings) => happenings,
            Err(untold) => {
                let (state, reason) = untold.outcome();
                return Doing { delivery: Some(settling(state, reason)), ..Doing::default() };
            }
        };
        let can_be_asked = self.forges.get(&delivery.source).is_some_and(|forge| forge.can_be_asked());
        let planner = Planner { config: &self.config, forge: &delivery.source, now: self.clock.now(), can_be_asked };
        let mut doing = Doing::default();
        let (mut repo, mut reasons) = (None, Vec::new());
        for happening in happenings {
            if matches!(happening, Happening::BuildChanged { .. }) {
                // Which build it is about is quicker seen there than asked here.
                self.config.executors_at(&delivery.source).for_each(|name| self.nudges.nudge(name));
            }
            let Planned { deeds, heads, repo: about, reason, compare, ask } = planner.plan(happening, book, None);
            book.learn(heads.clone());
            doing.deeds.extend(deeds);
            doing.heads.extend(heads);
            repo = repo.or(about);
            reasons.extend(reason);
            if compare {
                self.calls.compare(&delivery.source);
            }
            if let Some(change) = ask {
                self.calls.ask(&delivery.source, change);
            }
        }
        reasons.dedup();
        doing.delivery = Some(Settling { repo, ..settling(DeliveryState::Ignored, reasons.join("; ")) });
        doing
    }

    /// The queue has no room. The delivery waits, but not for ever.
    async fn postpone(&self, delivery: &Waiting) -> Result<(), StoreError> {
        let now = self.clock.now();
        let patient = delivery.received_at.saturating_add(PATIENCE).is_ok_and(|end| now < end);
        if patient {
            let due = now.saturating_add(PAUSE).unwrap_or(now);
            return self.store.postpone(delivery.id, due, "The queue of runs is full; it is tried again.".to_owned()).await;
        }
        let reason = "The queue of runs was full for a day. Replay it when there is room.".to_owned();
        let settling = Settling { id: delivery.id, source: delivery.source.clone(), state: DeliveryState::Failed, repo: None, reason };
        self.store.act(Doing { delivery: Some(settling), ..Doing::default() }).await.map(drop)
    }

    /// Acts on what is at a forge and is not known. The first comparison of a project only takes note of what is there.
    async fn compare(&self, comparison: Comparison) -> Result<(), StoreError> {
        let Comparison { forge, asked_at, scopes, found, changes } = comparison;
        let before: BTreeSet<String> = self.store.compared(&forge).await?.into_iter().collect();
        let planner = Planner { config: &self.config, forge: &forge, now: self.clock.now(), can_be_asked: true };
        for (found, is_known) in found.chunks(HEADS).map(|found| (found, false)).chain(changes.chunks(HEADS).map(|found| (found, true))) {
            let subjects: Vec<_> = found.iter().filter_map(named).collect();
            let mut book = Book::default();
            book.learn(self.store.heads(&forge, &subjects).await?);
            for happening in found {
                let Some((project, _)) = named(happening) else { continue };
                let doing = if is_known || scope(happening).is_some_and(|scope| before.contains(&scope)) {
                    let planned = planner.plan(happening, &book, Some(asked_at));
                    Doing { deeds: planned.deeds, heads: planned.heads, ..Doing::default() }
                } else {
                    Doing { heads: planner.first_seen(happening, &book), ..Doing::default() }
                };
                if doing.deeds.is_empty() && doing.heads.is_empty() {
                    continue;
                }
                let heads: Vec<Head> = doing.heads.clone();
                for deed in self.store.act(doing).await? {
                    tracing::info!(%forge, project, run = ?deed.run, what = ?deed.what, "what was missed was played");
                }
                book.learn(heads);
            }
        }
        let new: Vec<_> = scopes.into_iter().filter(|scope| !before.contains(scope)).map(|scope| (forge.clone(), scope)).collect();
        if new.is_empty() {
            return Ok(());
        }
        self.store.act(Doing { compared: new, ..Doing::default() }).await.map(drop)
    }
}

/// Why nothing can be said of a delivery.
enum Untold {
    NoForge,
    Panicked,
    Not(Untranslated),
}

impl Untold {
    fn outcome(&self) -> (DeliveryState, String) {
        match self {
            Self::NoForge => (DeliveryState::Failed, "The forge is not configured any more.".to_owned()),
            Self::Panicked => (DeliveryState::Failed, "A fault of Signalbox: it could not be translated.".to_owned()),
            Self::Not(malformed @ Untranslated::Malformed { .. }) => (DeliveryState::Failed, malformed.to_string()),
            Self::Not(other) => (DeliveryState::Ignored, other.to_string()),
        }
    }
}
