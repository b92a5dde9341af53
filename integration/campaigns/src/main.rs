//! `ops/prove`: runs a campaign, and says what it found.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use signalbox_campaigns::{Progress, Report, crash, flips, lossy, powercut};

/// Tries whether anything is lost, doubled or torn. Ends with 0 where everything held, with 1 where something was broken, and
/// with 2 where nothing could be tried.
#[derive(Debug, Parser)]
#[command(name = "ops/prove")]
struct Arguments {
    #[command(subcommand)]
    campaign: Campaign,
    /// Says what was found as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Campaign {
    /// Kills services, ssh sessions and the way to GitLab at random moments while work goes through, and counts afterwards at all
    /// who received something.
    Crash {
        /// How many kills.
        #[arg(long, default_value_t = 60)]
        kills: usize,
        /// Where chance begins.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Proposes changes in a real Gerrit that is badly heard and answers badly, kills services, and counts the votes.
    Lossy {
        /// How many changes.
        #[arg(long, default_value_t = 50)]
        changes: usize,
        /// Where chance begins.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Switches a release to and fro under readers, and kills those who switch.
    Flips {
        /// How many switches.
        #[arg(long, default_value_t = 10_000)]
        flips: usize,
        /// Where chance begins.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Cuts the power: records what services do to their disk, builds what a power cut can leave of it, and starts the
    /// services on that.
    Powercut {
        /// How many states of the disk are opened for each subject.
        #[arg(long, default_value_t = 1000)]
        bound: usize,
        /// Only this subject; may be given several times.
        #[arg(long, value_parser = powercut::SUBJECTS)]
        subject: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let progress = Progress::shown();
    let begun = Instant::now();
    let report = match &arguments.campaign {
        Campaign::Crash { kills, seed } => {
            let parts = crash::run(&crash::Orders::new(*kills, *seed), &progress).await;
            Report::of("crash", begun.elapsed(), parts)
        }
        Campaign::Lossy { changes, seed } => {
            let parts = lossy::run(&lossy::Orders::new(*changes, *seed), &progress).await;
            Report::of("lossy", begun.elapsed(), parts)
        }
        Campaign::Flips { flips, seed } => {
            let parts = flips::run(flips::Orders { flips: *flips, seed: *seed }, &progress).await;
            Report::of("flips", begun.elapsed(), parts)
        }
        Campaign::Powercut { bound, subject } => {
            powercut::run(subject, powercut::Settings { bound: *bound, first_only: false }, &progress).await
        }
    };
    progress.end();
    show(&report, arguments.json)
}

fn show(report: &Report, json: bool) -> ExitCode {
    if json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("the report cannot be written: {error}"),
        }
    } else {
        println!("{report}");
    }
    report.exit_code()
}
