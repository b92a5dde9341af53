//! `signalbox deliveries`.

use clap::{Args, Subcommand};
use signalbox_contract::ForgeName;

use super::choice::DeliveryFilter;

/// What forges delivered: a list, unless one of them is named.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DeliveriesArguments {
    #[command(subcommand)]
    pub(crate) command: Option<DeliveriesCommand>,
    /// Only from this forge
    #[arg(long)]
    pub(crate) forge: Option<ForgeName>,
    /// Only in this state
    #[arg(long)]
    pub(crate) state: Option<DeliveryFilter>,
    /// How many at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) limit: u16,
    /// Older ones: what the last answer gave as `next`
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// One delivery.
#[derive(Debug, Subcommand)]
pub(crate) enum DeliveriesCommand {
    /// Show a delivery: what was done about it and why not, and what is kept of it
    Show {
        /// Its number; `signalbox deliveries` lists them
        id: u64,
    },
    /// Have a delivery acted on again; what was started for it is not started twice
    Replay {
        /// Its number; `signalbox deliveries` lists them
        id: u64,
    },
}
