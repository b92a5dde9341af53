//! What a command ends with when it does not end well: a sentence that says what to do, and an exit code.

use signalbox_contract::Problem;

/// Exit codes, as `signalbox --help` lists them.
pub(crate) mod code {
    /// The run failed, was lost or took too long; something is wrong, or did not work.
    pub(crate) const RUN_FAILED: u8 = 1;
    /// The command line is wrong. The parser of the command line uses the same.
    pub(crate) const USAGE: u8 = 2;
    /// The run was unstable.
    pub(crate) const UNSTABLE: u8 = 3;
    /// The run was stopped or superseded.
    pub(crate) const STOPPED: u8 = 4;
    /// The service refused.
    pub(crate) const REFUSED: u8 = 5;
    /// The service cannot be reached, or a file or a setting is missing or wrong.
    pub(crate) const SETUP: u8 = 6;
    /// Interrupted, as shells number it.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// A mistake that the user can do something about.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Mistake {
    /// What is wrong and what to do.
    pub(crate) message: String,
    /// The exit code.
    pub(crate) code: u8,
    /// What the service answered, for programs.
    pub(crate) problem: Option<Box<Problem>>,
}

impl Mistake {
    /// A mistake with this exit code.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), code, problem: None }
    }

    /// The same, with what the service answered.
    pub(crate) fn answered(mut self, problem: Problem) -> Self {
        self.problem = Some(Box::new(problem));
        self
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(code::USAGE, message)
    }

    /// A refusal by a service.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(code::REFUSED, message)
    }

    /// Something missing or wrong around the command.
    pub(crate) fn setup(message: impl Into<String>) -> Self {
        Self::new(code::SETUP, message)
    }
}

/// The exit code that goes with an error: the mistake's own, else that something around the command is wrong.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Mistake>().map_or(code::SETUP, |mistake| mistake.code)
}
