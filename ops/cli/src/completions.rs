//! `signalbox completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::arguments::Arguments;

/// The completions for `shell`, as a script.
pub(crate) fn script(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "signalbox", &mut text);
    text
}
