//! `ops/prove`: runs a campaign, and says what it found.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use signalbox_campaigns::{Progress, Report, powercut};

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
    let report = match &arguments.campaign {
        Campaign::Powercut { bound, subject } => {
            powercut::run(subject, powercut::Settings { bound: *bound, first_only: false }, &progress).await
        }
    };
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
