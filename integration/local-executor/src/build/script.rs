//! The script at work: its words go to the log, its bounds are watched, and nothing outlives it.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use signalbox_contract::job::Timeout;
use signalbox_service::process::{Program, Tail};
use signalbox_service::telemetry::causes;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::oneshot;

use super::work::{blocking, seconds};
use super::{Ended, plain};
use crate::limits::{Limits, human};
use crate::log::LogFile;
use crate::workspace::{Measure, Workspace};

/// How much is read of what it prints at a time.
const READ: usize = 64 * 1024;

/// How long what it printed is waited for once all of it has ended.
const GRACE: Duration = Duration::from_secs(5);

/// How often at most the disk is measured.
const MEASURE: Duration = Duration::from_secs(1);

/// What is watched while it runs.
pub(super) struct Watch<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) limits: Limits,
    pub(super) timeout: Option<Timeout>,
}

/// Runs the script to its end. `end_processes` ends what it left behind, and returns when that is gone.
pub(super) async fn run(
    program: Program,
    log: &mut LogFile,
    watch: Watch<'_>,
    end_processes: impl Future<Output = ()>,
) -> Result<ExitStatus, Ended> {
    let not_started = |error: signalbox_service::process::ProcessError| {
        tracing::error!(error = %causes(&error), "build.not_started");
        Ended::broken("The sandbox could not be started.")
    };
    // Started from this task, whose thread stays: the sandbox ends with the thread that started it.
    let mut running = program.start().map_err(not_started)?;
    drop(running.stdin.take());
    let (stdout, stderr) = (running.stdout.take(), running.stderr.take());
    let (all_ended, ended) = oneshot::channel::<()>();
    let over = async {
        let status = running.wait().await.map_err(not_started);
        end_processes.await;
        // The reader is there: it waits for this or for the end of the stream.
        let _ = all_ended.send(());
        status
    };
    let copy = async {
        match stdout {
            Some(stdout) => copy(stdout, log, ended).await,
            None => Ok(()),
        }
    };
    let complain = async {
        let mut tail = Tail::new(4096);
        if let Some(stderr) = stderr {
            // Only the sandbox itself speaks here; what cannot be read of it only makes a message poorer.
            let _ = tokio::time::timeout(GRACE + watch.whole(), tail.read(stderr)).await;
        }
        tail.into_bytes()
    };
    let whole = async { tokio::join!(over, copy, complain) };
    let (status, copied, complaint) = tokio::select! {
        whole = whole => whole,
        ended = watch.over_the_limit() => return Err(ended),
    };
    copied.map_err(|error| {
        tracing::error!(error = %causes(&error), "log.not_written");
        Ended::broken("Its log could not be written.")
    })?;
    let status = status?;
    let complaint = plain(&complaint);
    if !status.success() && !complaint.is_empty() {
        return Err(Ended::broken(format!("The sandbox failed: {complaint}")));
    }
    Ok(status)
}

async fn copy(mut from: impl AsyncRead + Unpin, log: &mut LogFile, ended: oneshot::Receiver<()>) -> std::io::Result<()> {
    let grace = async {
        // It is sent in any case; a sender that is gone has ended as well.
        let _ = ended.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::pin!(grace);
    let mut buffer = vec![0; READ];
    loop {
        let count = tokio::select! {
            count = from.read(&mut buffer) => count?,
            // Somebody who got away holds the stream open; the build does not wait for him.
            () = &mut grace => return Ok(()),
        };
        if count == 0 {
            return Ok(());
        }
        log.printed(&buffer[..count]).await?;
    }
}

impl Watch<'_> {
    /// How long the script may take.
    fn whole(&self) -> Duration {
        self.timeout.map_or(Duration::from_hours(24 * 7), |timeout| Duration::from_secs(timeout.as_secs().into()))
    }

    /// Ends when the script has taken too long or too much.
    async fn over_the_limit(&self) -> Ended {
        tokio::select! {
            () = tokio::time::sleep(self.whole()) => Ended::timed_out(format!("The script took longer than its timeout of {}.", seconds(self.whole()))),
            ended = self.too_much_disk() => ended,
        }
    }

    /// Measures the workspace again and again. A large one is measured less often, so that measuring is never what the
    /// machine does most.
    async fn too_much_disk(&self) -> Ended {
        let mut pause = MEASURE;
        loop {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            let workspace = self.workspace.clone();
            match blocking(move || workspace.measure()).await {
                Ok(Measure::Bytes(bytes)) if bytes > self.limits.disk => {
                    return Ended::failed(format!("The build used more than the {} of disk that it may have.", human(self.limits.disk)));
                }
                Ok(Measure::TooDeep) => return Ended::failed("The build nested its folders too deep."),
                Ok(Measure::Bytes(_)) => {}
                Err(error) => tracing::warn!(error = %causes(&error), "build.disk_not_measured"),
            }
            pause = MEASURE.max(begun.elapsed() * 20);
        }
    }
}
