//! A controller process: the real dispatcher and the real reconciler, and what they have under way. All of it is gone when
//! it dies, but for what is on its way already.

use std::collections::BTreeMap;

use jiff::Timestamp;
use signalbox_controller_core::Effect;
use signalbox_controller_core::dispatcher::Dispatcher;
use signalbox_controller_core::lease::{Lease, Leased};
use signalbox_controller_core::reconciler::{Look, Reconciler};

use crate::outside::Answer;

/// An effect that is being performed.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) lease: Lease,
    pub(crate) effect: Effect,
    /// When it was sent, by a clock that nobody sets.
    pub(crate) sent: i64,
    /// The answer, once it has come back.
    pub(crate) answer: Option<Answer>,
}

#[derive(Debug, Default)]
pub(crate) struct Controller {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) reconciler: Reconciler,
    pub(crate) flights: Vec<Flight>,
    pub(crate) looks: Vec<Look>,
}

impl Controller {
    pub(crate) fn start() -> Self {
        Self { reconciler: Reconciler::new(BTreeMap::new()), ..Self::default() }
    }

    pub(crate) fn takes(&mut self, leased: &Leased, effect: Effect, now: Timestamp, sent: i64) {
        self.dispatcher.begin(leased, now);
        self.flights.push(Flight { lease: leased.lease, effect, sent, answer: None });
    }

    /// Whether nothing of it is under way.
    pub(crate) fn idle(&self) -> bool {
        self.flights.is_empty() && self.looks.is_empty()
    }
}
