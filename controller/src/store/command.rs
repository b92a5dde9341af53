//! What the writer is asked to do.

use std::sync::Arc;

use jiff::Timestamp;
use signalbox_contract::api::delivery::DeedView;
use signalbox_contract::{ExecutorName, RunId};
use signalbox_controller_core::{Event, Lane};
use tokio::sync::oneshot;

use super::{Doing, Lease, Leased, NewDelivery, NewRun, Receipt, StoreError};

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A command, and where the answer goes once the batch that it is in is durable.
#[derive(Debug)]
pub(super) enum Command {
    Accept { run: Box<NewRun>, reply: Reply<RunId> },
    Happened { run: RunId, event: Box<Event>, done: Option<Lease>, reply: Reply<bool> },
    Receive { delivery: Box<NewDelivery>, reply: Reply<Receipt> },
    Act { doing: Box<Doing>, reply: Reply<Vec<DeedView>> },
    Postpone { id: u64, due: Timestamp, reason: String, reply: Reply<()> },
    Replay { id: u64, reply: Reply<bool> },
    Done { lease: Lease, reply: Reply<()> },
    Later { lease: Lease, due: Timestamp, error: String, reply: Reply<()> },
    Lease { room: Vec<(Lane, u32)>, owner: Arc<str>, until: Timestamp, reply: Reply<Vec<Leased>> },
    Hurry { executor: ExecutorName, reply: Reply<()> },
    Renew { leases: Vec<Lease>, until: Timestamp, reply: Reply<()> },
}
