//! From calls to a history: what the kernel was asked for, told to the model.
//!
//! What the model does not know is an error, never passed over; and in the end the model must be what is really there
//! ([`Recording::compare`]). So a recording that is accepted is complete.

mod names;
mod work;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::disk::{Change, Entry, Found, History, Inode, Kind, ROOT, Step, Sync, look, split};
use super::files::{Open, OpenFiles};
use super::trace::{Call, Place};

/// How the name of the only files ends that may be changed through memory: SQLite's index of its log, which is made anew after a crash.
const INDEX: &[u8] = b"-shm";

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The folder cannot be read.
    #[error("the folder {folder} cannot be read")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The model has no words for something that was done.
    #[error("the model does not know what this does: {call}: {why}")]
    Unknown {
        /// The call.
        call: String,
        /// What is not known.
        why: &'static str,
    },
    /// The model is not what is really there.
    #[error("the model is not what is really there: {0}")]
    Different(String),
}

/// An answer that a program gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The line in which it was given.
    pub line: usize,
    /// Its name.
    pub name: String,
}

/// A folder's history while programs worked in it, and what they answered.
#[derive(Debug, Clone)]
pub struct Recording {
    folder: PathBuf,
    /// What was changed.
    pub history: History,
    /// What was answered.
    pub answers: Vec<Answer>,
    /// How many calls were looked at.
    pub calls: usize,
    /// The files that were changed through memory, unseen.
    pub mapped: BTreeSet<Vec<u8>>,
    names: BTreeMap<(Inode, Vec<u8>), Inode>,
    lengths: HashMap<Inode, u64>,
    /// Where each thread works, for paths that begin there.
    working: HashMap<u32, Vec<u8>>,
    lines: usize,
}

type Result<T, E = RecordingError> = std::result::Result<T, E>;

fn unknown(call: &Call, why: &'static str) -> RecordingError {
    let shown: Vec<String> = call.arguments.iter().map(|argument| argument.chars().take(80).collect()).collect();
    RecordingError::Unknown { call: format!("{}({})", call.name, shown.join(", ")), why }
}

impl Recording {
    /// Begins with a folder as it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn begin(folder: &Path) -> Result<Self> {
        let failed = |source| RecordingError::Folder { folder: folder.to_owned(), source };
        let folder = folder.canonicalize().map_err(failed)?;
        let history = History::of(&folder).map_err(failed)?;
        let names = history.names(std::iter::empty());
        let names: BTreeMap<(Inode, Vec<u8>), Inode> =
            names.into_iter().map(|((above, name), inode)| ((above, name.to_vec()), inode)).collect();
        let tree = history.tree(&[]);
        let mut recording = Self {
            folder,
            history,
            answers: Vec::new(),
            calls: 0,
            mapped: BTreeSet::new(),
            names,
            lengths: HashMap::new(),
            working: HashMap::new(),
            lines: 0,
        };
        for (path, found) in tree {
            if let (Found::File(bytes, _), Some(inode)) = (found, recording.inode(&path)) {
                recording.lengths.insert(inode, bytes.len() as u64);
            }
        }
        Ok(recording)
    }

    /// Goes on with what programs called. `answer` tells the name of what they wrote to somebody else, if it is an answer
    /// that counts.
    ///
    /// # Errors
    /// When something was done that the model does not know.
    pub fn play(&mut self, mut calls: Vec<Call>, answer: impl Fn(&[u8]) -> Option<String>) -> Result<()> {
        let mut files = OpenFiles::default();
        files.learn(&calls);
        for call in &mut calls {
            call.begun += self.lines;
            call.ended += self.lines;
        }
        for call in &calls {
            self.follow(call, &files);
            self.take(call, &mut files, &answer)?;
        }
        self.calls += calls.len();
        self.lines = calls.last().map_or(self.lines, |call| call.ended + 1);
        self.answers.sort_by_key(|answer| answer.line);
        Ok(())
    }

    /// The same program, were it not to sync what `left_out` says, which is told what each sync is about.
    ///
    /// # Panics
    /// When it leaves nothing out: what is found then is no fault of a program that syncs less.
    #[must_use]
    pub fn syncing_less(mut self, left_out: impl Fn(&Kind, &Sync) -> bool) -> Self {
        let kinds = self.history.clone();
        let kept = |sync: &Sync| !sync.inode.is_some_and(|inode| left_out(kinds.kind(inode), sync));
        let (history, missing) = self.history.syncing_only(kept);
        assert!(missing > 0, "nothing of that kind was synced anyway");
        self.history = history;
        self
    }

    /// Where a thread works: every call that names its working folder shows it.
    fn follow(&mut self, call: &Call, files: &OpenFiles) {
        let working = match call.name.as_str() {
            "chdir" if call.result == 0 => call.bytes(0).map(|path| {
                let before = self.working.get(&call.thread).cloned().unwrap_or_default();
                if path.starts_with(b"/") { path } else { [before.as_slice(), b"/", path.as_slice()].concat() }
            }),
            "fchdir" if call.result == 0 => call.place(0).map(|place| place.path),
            _ => (0..call.arguments.len()).filter_map(|index| call.place(index)).find(|place| place.number == -100).map(|place| place.path),
        };
        let inherited = || files.parent(call.thread).and_then(|parent| self.working.get(&parent).cloned());
        if let Some(working) = working.or_else(|| if self.working.contains_key(&call.thread) { None } else { inherited() }) {
            self.working.insert(call.thread, working);
        }
    }

    /// Whether the model is what is really there.
    ///
    /// # Errors
    /// When it is not.
    pub fn compare(&self) -> Result<()> {
        let real = look(&self.folder).map_err(|source| RecordingError::Folder { folder: self.folder.clone(), source })?;
        let all: Vec<&Step> = self.history.steps.iter().collect();
        let model = self.history.tree(&all);
        let paths: BTreeSet<&Vec<u8>> = real.keys().chain(model.keys()).collect();
        for path in paths {
            let same = match (real.get(path), model.get(path)) {
                (Some(Found::File(real, _)), Some(Found::File(model, _))) => {
                    real == model || (self.mapped.contains(path) && path.ends_with(INDEX))
                }
                (Some(Found::Folder(_)), Some(Found::Folder(_))) => true,
                (real, model) => real == model,
            };
            if !same {
                return Err(RecordingError::Different(String::from_utf8_lossy(path).into_owned()));
            }
        }
        Ok(())
    }

    /// The path below the folder, of what is called so.
    fn below<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        use std::os::unix::ffi::OsStrExt as _;
        let rest = path.strip_prefix(self.folder.as_os_str().as_bytes())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
    }

    fn inode(&self, path: &[u8]) -> Option<Inode> {
        if path.is_empty() {
            return Some(ROOT);
        }
        path.split(|byte| *byte == b'/').try_fold(ROOT, |above, name| self.names.get(&(above, name.to_vec())).copied())
    }

    /// The folder and name that a call names by the arguments for a folder (if it has one) and for a path; nothing where
    /// that does not concern us.
    fn named(&self, call: &Call, folder: Option<usize>, path: usize) -> Result<Option<(Inode, Vec<u8>)>> {
        let path = call.bytes(path).ok_or_else(|| unknown(call, "a path that is not shown whole"))?;
        let whole = if path.starts_with(b"/") {
            path
        } else {
            let place = folder.and_then(|index| call.place(index)).map(|place| place.path);
            let place = place.or_else(|| self.working.get(&call.thread).cloned());
            [place.ok_or_else(|| unknown(call, "a path that begins nowhere"))?.as_slice(), b"/", path.as_slice()].concat()
        };
        let whole = tidy(&whole);
        let Some(below) = self.below(&whole).filter(|below| !below.is_empty()) else { return Ok(None) };
        let (above, name) = split(below);
        let above = self.inode(above).ok_or_else(|| unknown(call, "a folder that is not there"))?;
        match self.history.kind(above) {
            Kind::Folder => Ok(Some((above, name.to_vec()))),
            _ => Err(unknown(call, "a path through a link")),
        }
    }

    fn step(&mut self, call: &Call, change: Change, durable: bool) {
        match &change {
            Change::Names(entries) => {
                for (folder, name, inode) in entries {
                    match inode {
                        Some(inode) => self.names.insert((*folder, name.clone()), *inode),
                        None => self.names.remove(&(*folder, name.clone())),
                    };
                }
            }
            Change::Bytes { file, at, bytes } => {
                let length = self.lengths.entry(*file).or_default();
                *length = (*length).max(at + bytes.len() as u64);
            }
            Change::Length { file, length } => {
                self.lengths.insert(*file, *length);
            }
        }
        let told = match &change {
            Change::Names(entries) => {
                let names: Vec<_> = entries.iter().map(|(_, name, _)| String::from_utf8_lossy(name)).collect();
                format!("{} {}", call.name, names.join(" "))
            }
            Change::Bytes { file, at, bytes } => format!("{} of {} bytes at {at} of {}", call.name, bytes.len(), self.title(*file)),
            Change::Length { file, length } => format!("{} of {} to {length}", call.name, self.title(*file)),
        };
        self.history.steps.push(Step { change, told, line: call.ended, durable: durable.then_some(call.ended), written_through: durable });
    }

    /// A file's last name, for people.
    pub(super) fn title(&self, inode: Inode) -> String {
        let named = self.names.iter().find(|(_, candidate)| **candidate == inode);
        named.map_or_else(|| "a file without a name".to_owned(), |((_, name), _)| String::from_utf8_lossy(name).into_owned())
    }

    fn names(&mut self, call: &Call, entries: Vec<Entry>) {
        self.step(call, Change::Names(entries), false);
    }

    fn take(&mut self, call: &Call, files: &mut OpenFiles, answer: &impl Fn(&[u8]) -> Option<String>) -> Result<()> {
        if call.result < 0 {
            return Ok(());
        }
        match call.name.as_str() {
            "open" => self.open(call, files, 1),
            "creat" => Err(unknown(call, "creat")),
            "openat" => self.open(call, files, 2),
            "dup" | "dup2" | "dup3" => self.copy(call, files),
            "fcntl" if call.argument(1).starts_with("F_DUPFD") => self.copy(call, files),
            "close" => {
                if let Some(place) = call.place(0) {
                    files.close(call.thread, place.number, call.begun);
                }
                Ok(())
            }
            "rename" => self.rename(call, (None, 0), (None, 1)),
            "renameat2" if call.argument(4).contains("EXCHANGE") => Err(unknown(call, "an exchange")),
            "renameat" | "renameat2" => self.rename(call, (Some(0), 1), (Some(2), 3)),
            "link" => self.link(call, (None, 0), (None, 1)),
            "linkat" => self.link(call, (Some(0), 1), (Some(2), 3)),
            "symlink" => self.symlink(call, None, 1),
            "symlinkat" => self.symlink(call, Some(1), 2),
            "unlink" | "rmdir" => self.unlink(call, None, 0),
            "unlinkat" => self.unlink(call, Some(0), 1),
            "mkdir" => self.mkdir(call, None, 0),
            "mkdirat" => self.mkdir(call, Some(0), 1),
            "chmod" => self.chmod(call, None, 0),
            "fchmodat" | "fchmodat2" => self.chmod(call, Some(0), 1),
            "truncate" => Err(unknown(call, "truncate by path")),
            "sync" => {
                self.history.sync(None, call.name.clone(), call.begun, call.ended);
                Ok(())
            }
            "io_uring_setup" => Err(unknown(call, "io_uring")),
            _ => {
                if let Some((open, place)) = self.held(call, files)? {
                    self.work(call, &open, &place)
                } else {
                    self.hear(call, answer);
                    Ok(())
                }
            }
        }
    }

    /// What was said to somebody else.
    fn hear(&mut self, call: &Call, answer: &impl Fn(&[u8]) -> Option<String>) {
        if matches!(call.name.as_str(), "write" | "writev" | "sendto" | "sendmsg")
            && let Some(name) = answer(&call.all_bytes())
        {
            self.answers.push(Answer { line: call.begun, name });
        }
    }

    /// The file of ours that a call is about: its first argument, or the one that it writes to.
    fn held(&self, call: &Call, files: &mut OpenFiles) -> Result<Option<(Rc<RefCell<Open>>, Place)>> {
        let index = match call.name.as_str() {
            "mmap" => 4,
            "copy_file_range" | "splice" => 2,
            _ => 0,
        };
        let Some(place) = call.place(index) else { return Ok(None) };
        let Some(below) = self.below(&place.path) else { return Ok(None) };
        let open = files.get(call.thread, place.number).ok_or_else(|| unknown(call, "a file that was not seen opened"))?;
        if !place.deleted && self.inode(below) != Some(open.borrow().inode) {
            return Err(unknown(call, "a file that is not the one that was opened"));
        }
        Ok(Some((open, place)))
    }
}

/// A path without `.`, `..` and doubled slashes. No folder of ours is reached through a link, so names alone decide.
fn tidy(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut whole = vec![b'/'];
    whole.extend(parts.join(&b'/'));
    whole
}
