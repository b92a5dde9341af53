//! The connections of a service: how many there are, and which of them are idle.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Slot {
    born: Instant,
    /// Requests whose answers are not over.
    active: AtomicUsize,
    /// Answers of which a piece waits for the client to take it.
    offered: AtomicUsize,
    /// Whether bytes wait to be sent.
    unsent: AtomicBool,
    /// When a request or an answer last got on, in milliseconds since birth.
    last: AtomicU64,
    /// When bytes were last sent, of whatever kind, in milliseconds since birth.
    sent: AtomicU64,
    evicted: CancellationToken,
    changed: Arc<Notify>,
}

impl Slot {
    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&self) {
        self.last.store(self.age(), Ordering::Relaxed);
    }

    /// Notes that bytes were sent.
    pub(super) fn moved(&self) {
        self.sent.store(self.age(), Ordering::Relaxed);
    }

    /// How long no request and no answer has got on.
    pub(super) fn still_for(&self) -> Duration {
        Duration::from_millis(self.age().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    /// Since when no request and no answer has got on: a moment, so that two connections can be compared.
    fn still_since(&self) -> Instant {
        self.born + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// How long no byte was sent either.
    pub(super) fn unmoved_for(&self) -> Duration {
        let sent = Duration::from_millis(self.age().saturating_sub(self.sent.load(Ordering::Relaxed)));
        sent.min(self.still_for())
    }

    /// Whether a request is at work, or a piece of its answer not handed out yet.
    pub(super) fn at_work(&self) -> bool {
        self.active.load(Ordering::Acquire) > 0
    }

    /// Whether no request is at work, and no answer on its way.
    pub(super) fn idle(&self) -> bool {
        !self.at_work() && !self.unsent.load(Ordering::Acquire)
    }

    /// Whether an answer waits for the client to take more of it.
    pub(super) fn waits_for_client(&self) -> bool {
        self.offered.load(Ordering::Acquire) > 0
    }

    /// Notes whether bytes wait to be sent.
    pub(super) fn unsent(&self, waiting: bool) {
        if self.unsent.swap(waiting, Ordering::AcqRel) && !waiting {
            self.touch();
            self.changed.notify_waiters();
        }
    }

    /// Notes that a request has begun; it ends when the value returned is dropped.
    pub(super) fn request(self: &Arc<Self>) -> Busy {
        self.touch();
        self.active.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }

    /// Resolves when the connection must make room for another one.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

/// A request at work.
#[derive(Debug)]
pub(super) struct Busy(Arc<Slot>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        if self.0.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

/// An answer's body, which keeps its request busy until it is over.
pub(super) struct Answer {
    body: Body,
    busy: Busy,
    offered: bool,
}

impl Answer {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, busy, offered: false }
    }

    fn offer(&mut self, offered: bool) {
        let slot = &self.busy.0;
        match (self.offered, offered) {
            (false, true) => slot.offered.fetch_add(1, Ordering::AcqRel),
            (true, false) => slot.offered.fetch_sub(1, Ordering::AcqRel),
            _ => 0,
        };
        self.offered = offered;
        slot.touch();
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let result = Pin::new(&mut self.body).poll_frame(cx);
        // Until it is polled again, the piece lies with the client.
        let offered = matches!(result, Poll::Ready(Some(Ok(_))));
        self.offer(offered);
        result
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.offer(false);
    }
}

/// All connections of a service.
#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    gauge: Gauge,
    changed: Arc<Notify>,
    open: Mutex<(u64, HashMap<u64, Arc<Slot>>)>,
}

/// A place among the connections, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    slots: Arc<Slots>,
    number: u64,
    /// The connection's own state.
    pub(super) slot: Arc<Slot>,
}

impl Slots {
    pub(super) fn new(max: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), gauge, changed: Arc::default(), open: Mutex::default() })
    }

    /// Waits for a place. When all are taken, the connection that has been idle for longest must go.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(place) = self.try_take() {
                return place;
            }
            changed.await;
        }
    }

    /// Has the connection go that has been idle for longest, if any is idle.
    pub(super) fn evict_idle(&self) {
        let _ = evict_longest_idle(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner).1);
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.1.len() >= self.max {
            evict_longest_idle(&mut open.1)?;
        }
        let number = open.0;
        open.0 += 1;
        let slot = Arc::new(Slot {
            born: Instant::now(),
            active: AtomicUsize::new(0),
            offered: AtomicUsize::new(0),
            unsent: AtomicBool::new(false),
            last: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            evicted: CancellationToken::new(),
            changed: Arc::clone(&self.changed),
        });
        open.1.insert(number, Arc::clone(&slot));
        self.gauge.inc();
        Some(Place { slots: Arc::clone(self), number, slot })
    }
}

fn evict_longest_idle(open: &mut HashMap<u64, Arc<Slot>>) -> Option<()> {
    let idle = open.iter().filter(|(_, slot)| slot.idle());
    let number = idle.min_by_key(|(_, slot)| slot.still_since()).map(|(number, _)| *number)?;
    open.remove(&number)?.evicted.cancel();
    Some(())
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.open.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
        self.slots.gauge.dec();
        self.slots.changed.notify_waiters();
    }
}
