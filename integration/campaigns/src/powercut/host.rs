//! A deployment, on the host's side: the script that the deployment worker runs there.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use signalbox_contract::RunId;
use signalbox_deploy_worker::environment::{FileMode, RootFolder};
use signalbox_deploy_worker::release::{End, Order, Task, parse};
use signalbox_service::auth::sha256;
use signalbox_service::clock::{Clock as _, SystemClock};
use signalbox_service::process::{Bounds, Program};
use tempfile::TempDir;

use super::recorder::Recorder;
use super::recording::Recording;
use super::site::PATIENCE;
use super::subject::Subject;
use crate::dice::Dice;

/// What is deployed, one after another; so many releases that the first ones are removed.
const DEPLOYED: [&str; 4] = ["release-1", "release-2", "release-3", "release-4"];

/// Under which name it is shown.
const SHOWN: &str = "hello";

/// Releases on a host.
#[derive(Debug)]
pub struct Releases {
    script: String,
    folder: TempDir,
}

impl Releases {
    /// Has a host's script deploy releases while it is watched.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn record(script: &str) -> Result<(Self, Recording)> {
        let folder = tempfile::tempdir()?;
        let releases = Self { script: script.to_owned(), folder };
        let root = releases.folder.path().join("root");
        std::fs::create_dir(&root)?;
        let mut recording = Recording::begin(&root)?;
        for (sequence, release) in (1..).zip(DEPLOYED) {
            let [input, log, trace] = ["input", "log", "trace"].map(|name| releases.folder.path().join(name));
            std::fs::write(&input, bytes(sequence))?;
            let input = input.display().to_string();
            let order = arguments(&root, sequence)?;
            // Through a pipe, as sshd gives it.
            let driver = "script=$1 input=$2; shift 2; cat \"$input\" | /bin/sh -c \"$script\" signalbox \"$@\"";
            let mut all = vec!["-c", driver, "driver", &releases.script, &input];
            all.extend(order.iter().map(String::as_str));
            let recorder = Recorder::start(Path::new("/bin/sh"), &all, &log, &trace, &[])?;
            let said = |written: &[u8]| written.windows(12).any(|part| part == b"end switched").then(|| release.to_owned());
            recording.play(recorder.ended().await?, said)?;
            let count = recording.answers.len();
            ensure!(count as u64 == sequence, "{release} was not deployed: {}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        recording.compare()?;
        Ok((releases, recording))
    }

    async fn deploy(&self, root: &Path, sequence: u64) -> Result<End> {
        let program = Program::new("/bin/sh").args(["-c", &self.script, "signalbox"]).args(arguments(root, sequence)?);
        let program = program.stdin(bytes(sequence)).env("PATH", "/usr/bin:/bin");
        let output = program.run(Bounds::new(PATIENCE)).await?;
        let report = parse(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(report.end)
    }
}

impl Subject for Releases {
    const NAME: &'static str = "deploy";

    // The worker takes no root in a folder of the system.
    const IN_MEMORY: bool = false;

    async fn judge(&self, folder: &Path, acknowledged: &BTreeSet<String>) -> Result<()> {
        let last = DEPLOYED.iter().rposition(|release| acknowledged.contains(*release));
        let shown = match std::fs::read(folder.join(SHOWN)) {
            Ok(shown) => Some(shown),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).context("what is shown cannot be read"),
        };
        let sequence = |index: usize| index as u64 + 1;
        let right = (last.unwrap_or(0)..DEPLOYED.len()).any(|index| shown.as_deref() == Some(bytes(sequence(index)).as_slice()));
        ensure!(
            right || last.is_none() && shown.is_none(),
            "the host shows {:?} bytes that are no whole release",
            shown.map(|bytes| bytes.len())
        );
        // The worker asks again for what was not answered, and then goes on.
        for index in last.map_or(0, |last| last + 1)..=DEPLOYED.len() {
            let end = self.deploy(folder, sequence(index)).await?;
            let done = matches!(end, End::Switched | End::Unchanged);
            // What was asked for later may have reached the disk before the earlier one was answered.
            ensure!(done || matches!(end, End::Superseded), "release {} ends {end:?}", sequence(index));
            ensure!(!done || std::fs::read(folder.join(SHOWN))? == bytes(sequence(index)), "the host shows something else");
        }
        ensure!(std::fs::read(folder.join(SHOWN))? == bytes(sequence(DEPLOYED.len())), "the host shows something old");
        Ok(())
    }
}

fn bytes(sequence: u64) -> Vec<u8> {
    Dice::new(sequence).bytes(9000)
}

fn arguments(root: &Path, sequence: u64) -> Result<Vec<String>> {
    let name = SHOWN.parse()?;
    let root: RootFolder = root.to_str().context("a path that is no text")?.parse().map_err(anyhow::Error::msg)?;
    let order = Order {
        root: &root,
        name: Some(&name),
        sequence,
        digest: Some(sha256(&bytes(sequence))),
        run: Some(RunId::from_uuid(SystemClock.uuid())),
        now: SystemClock.now(),
        artifact: "build/hello",
        keep: 2,
        file_mode: FileMode::Runnable,
        nonce: SystemClock.uuid().simple().to_string(),
        patience: 2,
    };
    Ok(order.arguments(Task::Upload))
}
