//! Words that scenarios use.

use signalbox_contract::api::run::{Outcome, RunState};

/// What a scenario waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The run is over, and ended like this.
    Ended(Outcome),
    /// The run is in this state.
    Is(RunState),
}

/// A `.signalbox.yaml` with one job: this script, making these artifacts from files of the same name.
pub fn job_file(script: &str, artifacts: &[&str]) -> String {
    use std::fmt::Write as _;
    let mut text = "version: 1\njobs:\n  cd:\n    script: |\n".to_owned();
    for line in script.lines() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "      {line}");
    }
    if !artifacts.is_empty() {
        text.push_str("    artifacts:\n");
    }
    for name in artifacts {
        let _ = writeln!(text, "      {name}: {name}");
    }
    text
}
