//! Mirrors: what can be typed about them.

use clap::Subcommand;

/// The mirrors.
#[derive(Debug, Subcommand)]
pub(crate) enum MirrorsCommand {
    /// Show which refs and copies are older than the VCS worker keeps them and, with --yes, remove them
    Gc {
        /// Only show what would go, which is also done without this
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Remove it
        #[arg(short, long)]
        yes: bool,
    },
}
