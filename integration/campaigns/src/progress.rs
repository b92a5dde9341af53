//! How far a campaign is.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where a campaign says how far it is: a bar on a terminal, a line for each part elsewhere, nothing in tests.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
    lines: bool,
}

impl Progress {
    /// One that says nothing.
    pub fn silent() -> Self {
        Self { bar: ProgressBar::hidden(), lines: false }
    }

    /// One on standard error.
    pub fn shown() -> Self {
        let bar = ProgressBar::new(0);
        let terminal = std::io::stderr().is_terminal();
        if terminal {
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {elapsed}, {eta} left") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar, lines: !terminal }
    }

    /// Begins with a part that has so many steps.
    pub fn begin(&self, part: &str, steps: usize) {
        if self.lines {
            eprintln!("{part}: {steps}");
        }
        self.bar.reset();
        self.bar.set_message(part.to_owned());
        self.bar.set_length(steps as u64);
    }

    /// One step is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// Everything is done.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
