//! The project's own checks, run as `cargo xtask …`.
//!
//! It links none of the services, so that it is quick to build and can judge a tree that does not compile.

mod cargo;
mod dependencies;
mod documents;
mod edges;
mod openapi;
mod places;
mod threats;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Checks of the tree that the compiler does not make.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Are the crates' dependencies those of the architecture, and do SQL, ssh and git stay where they belong?
    CheckEdges,
    /// Are the dependencies' licences allowed, their sources the crates index, and none of them banned?
    CheckDependencies {
        /// Also list the crates that are linked in more than one version.
        #[arg(long)]
        duplicates: bool,
    },
    /// Do the files, links and tests exist that the documents name, and has each threat its row with tests of its number?
    CheckDocuments,
    /// Writes `docs/api/*.json` from the code.
    Openapi {
        /// Write nothing; fail if the files differ from the code.
        #[arg(long)]
        check: bool,
    },
    /// Plays histories of the controller's heart in which everything goes wrong that can; `-- --help` says more.
    Simulate {
        /// What the simulator is told: `--seeds N`, `--seed N`, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            for fault in &faults {
                eprintln!("  {fault}");
            }
            eprintln!("{} found", if faults.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", faults.len()) });
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<Vec<String>> {
    match task {
        Task::CheckEdges => {
            let workspace = cargo::workspace()?;
            let mut faults = edges::faults(&edges::members(&workspace));
            faults.extend(places::faults(workspace.workspace_root.as_std_path())?);
            Ok(faults)
        }
        Task::CheckDependencies { duplicates } => dependencies::check(*duplicates),
        Task::CheckDocuments => {
            let root = cargo::root()?;
            let mut faults = documents::faults(&root)?;
            faults.extend(threats::faults(&root)?);
            Ok(faults)
        }
        Task::Openapi { check } => openapi::run(*check),
        Task::Simulate { arguments } => {
            let simulator = ["run", "--release", "--quiet", "--package", "signalbox-simulator", "--"];
            let arguments: Vec<&str> = simulator.into_iter().chain(arguments.iter().map(String::as_str)).collect();
            cargo::show(&arguments).map(|()| Vec::new())
        }
    }
}
