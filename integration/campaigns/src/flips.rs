//! A release is switched to and fro under somebody who reads all the time, and those who switch are killed among it.
//!
//! What switches is the very script that the deployment worker runs on hosts, here in a folder of its own. Each body names its own digest, so
//! whoever reads it can tell whether it is whole. The same reader is shown a link that is removed and made anew, which is how it is done
//! by hand; there it has to find reads that went wrong, else it proves nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use signalbox_contract::{Digest, PublishedName, RunId};
use signalbox_deploy_worker::environment::{FileMode, RootFolder};
use signalbox_deploy_worker::release::{End, Order, Task, parse, script};
use signalbox_service::auth::sha256;
use signalbox_service::clock::{SharedClock, SystemClock};
use signalbox_service::process::{Bounds, ProcessError, Program};

use crate::dice::Dice;
use crate::progress::Progress;
use crate::report::Part;

/// How many read at a time.
const READERS: usize = 2;

/// Between two reads of one reader.
const PAUSE: Duration = Duration::from_micros(100);

/// How many of a hundred switches are killed in their middle.
const KILLED: u64 = 20;

/// How many bytes a body has.
const BODY: usize = 100_000;

/// The name that is published.
const NAME: &str = "hello";

/// What is ordered.
#[derive(Debug, Clone, Copy)]
pub struct Orders {
    /// How many switches.
    pub flips: usize,
    /// Where chance begins.
    pub seed: u64,
}

/// Switches so often, and tells what was read.
pub async fn run(orders: Orders, progress: &Progress) -> Vec<Part> {
    let mut dice = Dice::new(orders.seed);
    vec![ours(orders.flips, &mut dice, progress).await, by_hand(orders.flips, progress).await]
}

/// The script of the deployment worker.
async fn ours(flips: usize, dice: &mut Dice, progress: &Progress) -> Part {
    let name = "switched as hosts are";
    let mut host = match Folder::new() {
        Ok(host) => host,
        Err(why) => return Part::not_run(name, &why),
    };
    let mut bodies = vec![body(0), body(1)];
    let mut findings = Vec::new();
    for bytes in &bodies.clone() {
        findings.extend(host.switch(Task::Upload, bytes, None).await.err());
    }
    let readers = Readers::start(&host.published());
    let (mut switched, mut killed, mut uploaded) = (0, 0, 0);
    progress.begin(name, flips);
    for flip in 0..flips {
        // Now and then something new comes, and takes the place of the older one of the two.
        let upload = dice.percent(10);
        if upload {
            bodies[flip % 2] = body(flip as u64 + 2);
            uploaded += 1;
        }
        let deadline = dice.percent(KILLED).then(|| dice.millis(1..25));
        let bytes = bodies[flip % 2].clone();
        let task = if upload { Task::Upload } else { Task::Deploy };
        match host.switch(task, &bytes, deadline).await {
            Ok(true) => switched += 1,
            Ok(false) => {
                killed += 1;
                // As the worker does: the same is asked for again, with the bytes where the host has them not.
                let again = match host.switch_again(Task::Deploy, &bytes).await {
                    Ok(End::Missing) => host.switch_again(Task::Upload, &bytes).await,
                    other => other,
                };
                match again {
                    Ok(End::Switched | End::Unchanged) => switched += 1,
                    other => findings.push(format!("flip {flip}, after a kill: {other:?}")),
                }
            }
            Err(why) => findings.push(format!("flip {flip}: {why}")),
        }
        if fs::read(host.published()).ok().as_deref() != Some(&bytes) {
            findings.push(format!("after flip {flip} something else is shown"));
        }
        progress.step();
    }
    let (read, bad) = readers.stop();
    if bad > 0 {
        findings.push(format!("{bad} of {read} reads went wrong"));
    }
    let figures =
        [("switches", switched), ("of them killed in the middle", killed), ("uploads", uploaded), ("reads", read), ("bad reads", bad)];
    Part::tried(name, figures.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect(), findings)
}

/// A link that is removed and made anew.
async fn by_hand(flips: usize, progress: &Progress) -> Part {
    let name = "rm && ln -s, found out";
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return Part::not_run(name, &format!("a folder ({error})")),
    };
    let published = folder.path().join(NAME);
    let files: Vec<PathBuf> = (0..2).map(|number| folder.path().join(number.to_string())).collect();
    let prepared = files.iter().zip(0..).try_for_each(|(file, number)| fs::write(file, body(number)));
    if let Err(error) = prepared.and_then(|()| symlink(&files[0], &published)) {
        return Part::not_run(name, &format!("a folder that can be written ({error})"));
    }
    let readers = Readers::start(&published);
    progress.begin(name, flips);
    let mut findings = Vec::new();
    for flip in 0..flips {
        let file = files[flip % 2].clone();
        let script = Program::new("sh").args(["-c", "rm -f \"$1\" && ln -s \"$2\" \"$1\"", "naive"]).args([&published, &file]);
        if let Err(error) = script.env("PATH", "/usr/bin:/bin").run(Bounds::new(Duration::from_secs(20))).await {
            findings.push(format!("flip {flip}: {error}"));
        }
        progress.step();
    }
    let (read, bad) = readers.stop();
    if bad == 0 {
        findings.push("the reader saw nothing go wrong where it does, so it proves nothing".to_owned());
    }
    Part::tried(name, vec![("switches".to_owned(), flips as u64), ("reads".to_owned(), read), ("bad reads".to_owned(), bad)], findings)
}

/// Bytes that begin with the digest of those that follow.
fn body(number: u64) -> Vec<u8> {
    let mut rest = Dice::new(number).bytes(BODY);
    let mut bytes = sha256(&rest).hex().into_bytes();
    bytes.append(&mut rest);
    bytes
}

/// Whether bytes are one whole body.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.split_at_checked(64).is_some_and(|(digest, rest)| rest.len() == BODY && sha256(rest).hex().as_bytes() == digest)
}

/// Somebody who reads all the time.
struct Readers {
    over: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    bad: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(path: &Path) -> Self {
        let (over, read, bad) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let threads = (0..READERS).map(|_| {
            let (over, read, bad, path) = (Arc::clone(&over), Arc::clone(&read), Arc::clone(&bad), path.to_owned());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let good = fs::read(&path).is_ok_and(|bytes| is_whole(&bytes));
                    read.fetch_add(1, Ordering::Relaxed);
                    bad.fetch_add(u64::from(!good), Ordering::Relaxed);
                    // Others need the processor, too: those who switch.
                    std::thread::sleep(PAUSE);
                }
            })
        });
        let threads = threads.collect();
        Self { over, read, bad, threads }
    }

    /// Ends them, and answers how often they read and how often that went wrong.
    fn stop(self) -> (u64, u64) {
        self.over.store(true, Ordering::Relaxed);
        let broken = self.threads.into_iter().filter_map(|thread| thread.join().err()).count() as u64;
        (self.read.load(Ordering::Relaxed), self.bad.load(Ordering::Relaxed) + broken)
    }
}

/// A folder as a host has one.
struct Folder {
    _place: tempfile::TempDir,
    root: RootFolder,
    name: PublishedName,
    clock: SharedClock,
    sequence: u64,
    run: RunId,
}

impl Folder {
    fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("a folder ({error})"))?;
        let root = folder.path().to_string_lossy().parse().map_err(|error| format!("a folder with a plain name ({error})"))?;
        let name = NAME.parse().map_err(|error| format!("a name ({error})"))?;
        let clock = SystemClock::shared();
        let run = RunId::from_uuid(clock.uuid());
        Ok(Self { _place: folder, root, name, clock, sequence: 0, run })
    }

    fn published(&self) -> PathBuf {
        Path::new(self.root.as_str()).join(NAME)
    }

    /// Switches to these bytes, under a new number. False where it was killed at its deadline.
    async fn switch(&mut self, task: Task, bytes: &[u8], deadline: Option<Duration>) -> Result<bool, String> {
        self.sequence += 1;
        match self.tell(task, bytes, deadline).await? {
            None => Ok(false),
            Some(End::Switched | End::Unchanged) => Ok(true),
            Some(other) => Err(format!("{other:?}")),
        }
    }

    /// The same again, under the same number.
    async fn switch_again(&self, task: Task, bytes: &[u8]) -> Result<End, String> {
        self.tell(task, bytes, None).await?.ok_or_else(|| "it did not end".to_owned())
    }

    async fn tell(&self, task: Task, bytes: &[u8], deadline: Option<Duration>) -> Result<Option<End>, String> {
        let digest: Digest = sha256(bytes);
        let order = Order {
            root: &self.root,
            name: Some(&self.name),
            sequence: self.sequence,
            digest: Some(digest),
            run: Some(self.run),
            now: self.clock.now(),
            artifact: "hello",
            keep: 3,
            file_mode: FileMode::Readable,
            nonce: self.clock.uuid().simple().to_string(),
            patience: 10,
        };
        let mut program = Program::new("sh").args(["-c", script(), "signalbox"]).args(order.arguments(task)).env("PATH", "/usr/bin:/bin");
        if matches!(task, Task::Upload) {
            program = program.stdin(bytes.to_vec());
        }
        match program.run(Bounds::new(deadline.unwrap_or(Duration::from_mins(1)))).await {
            Ok(output) => parse(&output.stdout).map(|report| Some(report.end)).map_err(|error| format!("{error}")),
            Err(ProcessError::Deadline { .. }) if deadline.is_some() => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_body_or_two_that_are_mixed_are_no_whole_one() {
        let (one, other) = (body(1), body(2));
        assert!(is_whole(&one) && is_whole(&other));
        assert!(!is_whole(&one[..one.len() / 2]) && !is_whole(b""));
        assert!(!is_whole(&[&one[..1000], &other[1000..]].concat()));
    }
}
