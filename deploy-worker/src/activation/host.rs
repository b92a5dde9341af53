//! Asking one host.

use std::time::Duration;

use signalbox_contract::Failure;

use super::{Deployer, words};
use crate::environment::Host;
use crate::release::{Order, Report, Task, parse, script};
use crate::ssh::{Input, Remote};

/// How many bytes a host may answer to an act.
const ANSWER: usize = 64 * 1024;

/// How many bytes it may take to tell of all its names.
const STATE: usize = 2 * 1024 * 1024;

/// What a host answered, and what it complained of.
pub(super) struct Said {
    pub(super) report: Report,
    pub(super) complaint: Vec<u8>,
}

impl Deployer {
    /// Runs the script on a host.
    pub(super) async fn tell(&self, host: &Host, order: &Order<'_>, task: Task, input: Input, limit: Duration) -> Result<Said, Failure> {
        let doing = match task {
            Task::Deploy | Task::Activate => "switching",
            Task::Upload => "copying and switching",
            Task::Check => "looking for the release",
            Task::State => "looking at what it shows",
        };
        let stdout = if task == Task::State { STATE } else { ANSWER };
        let remote = Remote { script: script(), args: &order.arguments(task), input, stdout, limit, doing };
        let heard = self.sessions.run(&host.destination, &remote).await.map_err(|error| words::of_ssh(host, &error))?;
        match parse(&heard.stdout) {
            Ok(report) if heard.success => Ok(Said { report, complaint: heard.stderr }),
            Ok(_) => Err(words::unexpected(host, "the script did not end well", &heard.stderr)),
            Err(malformed) => Err(words::unexpected(host, &malformed.to_string(), &heard.stderr)),
        }
    }
}
