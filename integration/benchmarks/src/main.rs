//! `ops/bench`: measures Signalbox beside what it replaces, on the same machine, in the same run.

mod bench;
mod blobs;
mod footprint;
mod history;
mod intake;
mod machine;
mod mirroring;
mod peer;
mod site;
mod table;
mod wrk;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use signalbox_service::clock::{Clock as _, SystemClock};

use bench::Bench;
use table::{Row, markdown};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// M1: runs accepted a second.
    Accepts,
    /// M3 and M4: reads and restarts with a long history.
    History,
    /// A1: small blobs put.
    Puts,
    /// A2: large blobs put, and blobs read.
    Transfers,
    /// V1, V2 and V3: a commit mirrored.
    Mirroring,
    /// S1 and S2: memory, start and size.
    Footprint,
}

impl Measurement {
    async fn made(self, bench: &Bench) -> Result<Vec<Row>> {
        match self {
            Self::Accepts => intake::accepts(bench).await,
            Self::History => history::reads(bench).await,
            Self::Puts => blobs::small_puts(bench).await,
            Self::Transfers => blobs::transfers(bench).await,
            Self::Mirroring => mirroring::mirroring(bench).await,
            Self::Footprint => footprint::footprint(bench).await,
        }
    }
}

/// Measures Signalbox beside its peers, and prints a table: our figure, the peer's, the ratio, and what it must be. Ends with 0
/// where all is reached that must be, with 1 where something is not, and with 2 where something could not be measured.
#[derive(Debug, Parser)]
#[command(name = "ops/bench")]
struct Arguments {
    /// Only these; all without one.
    measurements: Vec<Measurement>,
    /// How often each side is measured; the best counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each time, in seconds.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The program that is measured.
    #[arg(long)]
    program: PathBuf,
    /// The virtual environment that has Buildbot.
    #[arg(long)]
    buildbot: PathBuf,
    /// The folder in which everything is made: on a real disk, and one that every user may enter.
    #[arg(long, default_value = "/var/tmp")]
    place: PathBuf,
    /// Writes the table to this document too.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Says what was measured as JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let bar = ProgressBar::new_spinner();
    if std::io::stderr().is_terminal() {
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
    } else {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let bench = Bench {
        program: arguments.program,
        place: arguments.place,
        buildbot: arguments.buildbot.join("bin"),
        rounds: arguments.rounds,
        time: Duration::from_secs(arguments.seconds),
        bar,
    };
    let chosen = if arguments.measurements.is_empty() { Measurement::value_variants() } else { &arguments.measurements };
    let (mut rows, mut failed) = (Vec::new(), false);
    for measurement in chosen {
        match measurement.made(&bench).await {
            Ok(found) => rows.extend(found),
            Err(error) => {
                failed = true;
                bench.bar.suspend(|| eprintln!("{measurement:?} could not be measured: {error:#}"));
            }
        }
    }
    bench.bar.finish_and_clear();
    let missed = rows.iter().any(|row| !row.holds());
    if let Err(error) = told(&rows, arguments.json, arguments.write.as_deref(), &bench).await {
        eprintln!("{error:#}");
        failed = true;
    }
    ExitCode::from(if failed { 2 } else { u8::from(missed) })
}

async fn told(rows: &[Row], json: bool, document: Option<&Path>, bench: &Bench) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(rows)?);
    } else {
        println!("{}", markdown(rows));
    }
    let Some(document) = document else { return Ok(()) };
    let root = document.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let facts: Vec<String> = machine::facts().into_iter().map(|fact| format!("- {fact}\n")).collect();
    let text = format!(
        "# Benchmarks\n\nMade by `ops/bench`; do not edit it by hand. Both sides of a line were measured in the same run, in turns, {} times\n\
         {} s each; the best of each side counts. Load and servers share the machine's cores, so that absolute figures say little;\n\
         ratios are what is compared.\n\n- {}, commit {}\n{}\n{}",
        bench.rounds,
        bench.time.as_secs(),
        machine::day(SystemClock.now()),
        machine::commit(root).await,
        facts.concat(),
        markdown(rows)
    );
    std::fs::write(document, text).with_context(|| format!("writing {}", document.display()))
}
