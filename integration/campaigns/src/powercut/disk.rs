//! A model of a file system: what a program changed, when, and since when a power cut cannot take it away.
//!
//! It promises no more than POSIX does. A file's bytes are durable once the file was synced after they were written; a name
//! is durable once its folder was synced. Nothing else is: not a new file's name when the file is synced, not a folder made
//! within another one, no order between two changes. A rename is one change: both names or none. A change of permissions
//! and owners is taken as durable at once.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// A file, folder or link, whatever it is called.
pub type Inode = usize;

/// The folder that is looked at.
pub const ROOT: Inode = 0;

/// What an inode is, which never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A plain file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, which is durable with its name.
    Link(Vec<u8>),
}

/// A name in a folder, and what it leads to from then on.
pub type Entry = (Inode, Vec<u8>, Option<Inode>);

/// One change that reaches the disk or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Names, all at once.
    Names(Vec<Entry>),
    /// Bytes of a file.
    Bytes {
        /// The file.
        file: Inode,
        /// Where they begin.
        at: u64,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// A file's length.
    Length {
        /// The file.
        file: Inode,
        /// Its length from then on.
        length: u64,
    },
}

/// A change, and when it happened.
#[derive(Debug, Clone)]
pub struct Step {
    /// What was changed.
    pub change: Change,
    /// The call that did it, for people.
    pub told: String,
    /// The line of the recording in which it was done.
    pub line: usize,
    /// The line from which on nothing can take it away.
    pub durable: Option<usize>,
    /// Whether it was durable as soon as it was done.
    pub written_through: bool,
}

/// A call that made something durable.
#[derive(Debug, Clone)]
pub struct Sync {
    /// What was synced; none, where it was everything.
    pub inode: Option<Inode>,
    /// The call, for people.
    pub told: String,
    begun: usize,
    ended: usize,
}

impl Step {
    /// Whether a sync of this inode makes it durable.
    pub fn concerns(&self, inode: Inode) -> bool {
        match &self.change {
            Change::Names(entries) => entries.iter().any(|(folder, ..)| *folder == inode),
            Change::Bytes { file, .. } | Change::Length { file, .. } => *file == inode,
        }
    }
}

/// A folder as it was when the recording began, and all that was changed since.
#[derive(Debug, Clone, Default)]
pub struct History {
    kinds: Vec<(Kind, u32)>,
    before: HashMap<Inode, Vec<u8>>,
    names_before: Vec<Entry>,
    /// What was changed, in order.
    pub steps: Vec<Step>,
    /// What was synced, in order.
    pub syncs: Vec<Sync>,
}

/// What can be found on the disk: paths below the folder, and what is there.
pub type Tree = BTreeMap<Vec<u8>, Found>;

/// What is found under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A file with these bytes and permissions.
    File(Vec<u8>, u32),
    /// A folder with these permissions.
    Folder(u32),
    /// A link to there.
    Link(Vec<u8>),
}

impl History {
    /// A folder as it is now, all of it durable.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut history = Self { kinds: vec![(Kind::Folder, mode(&folder.metadata()?))], ..Self::default() };
        let mut inodes = HashMap::from([(Vec::new(), ROOT)]);
        for (path, found) in look(folder)? {
            let (kind, mode, bytes) = match found {
                Found::File(bytes, mode) => (Kind::File, mode, Some(bytes)),
                Found::Folder(mode) => (Kind::Folder, mode, None),
                Found::Link(target) => (Kind::Link(target), 0o777, None),
            };
            let inode = history.make(kind, mode);
            if let Some(bytes) = bytes {
                history.before.insert(inode, bytes);
            }
            let (above, name) = split(&path);
            history.names_before.push((inodes[above], name.to_vec(), Some(inode)));
            inodes.insert(path, inode);
        }
        Ok(history)
    }

    /// A new inode, which has no name yet.
    pub fn make(&mut self, kind: Kind, mode: u32) -> Inode {
        self.kinds.push((kind, mode));
        self.kinds.len() - 1
    }

    /// What an inode is.
    pub fn kind(&self, inode: Inode) -> &Kind {
        &self.kinds[inode].0
    }

    /// Gives an inode other permissions.
    pub fn permit(&mut self, inode: Inode, mode: u32) {
        self.kinds[inode].1 = mode;
    }

    /// Everything about an inode, or everything at all, that was done before the line `begun` is durable from the line `ended` on.
    pub fn sync(&mut self, inode: Option<Inode>, told: String, begun: usize, ended: usize) {
        let sync = Sync { inode, told, begun, ended };
        self.settle(&sync);
        self.syncs.push(sync);
    }

    fn settle(&mut self, sync: &Sync) {
        for step in &mut self.steps {
            if step.line < sync.begun && step.durable.is_none() && sync.inode.is_none_or(|inode| step.concerns(inode)) {
                step.durable = Some(sync.ended);
            }
        }
    }

    /// The same history, of a program that does not sync what is not kept here; and how often it does not.
    #[must_use]
    pub fn syncing_only(mut self, kept: impl Fn(&Sync) -> bool) -> (Self, usize) {
        for step in &mut self.steps {
            step.durable = step.written_through.then_some(step.line);
        }
        let (kept, left_out): (Vec<Sync>, Vec<Sync>) = std::mem::take(&mut self.syncs).into_iter().partition(kept);
        for sync in &kept {
            self.settle(sync);
        }
        self.syncs = kept;
        (self, left_out.len())
    }

    /// The names that there are when these steps are on the disk.
    pub fn names<'a>(&'a self, steps: impl Iterator<Item = &'a Step>) -> BTreeMap<(Inode, &'a [u8]), Inode> {
        let mut names = BTreeMap::new();
        let before = self.names_before.iter();
        let after = steps.filter_map(|step| match &step.change {
            Change::Names(entries) => Some(entries),
            Change::Bytes { .. } | Change::Length { .. } => None,
        });
        for (folder, name, inode) in before.chain(after.flatten()) {
            match inode {
                Some(inode) => names.insert((*folder, name.as_slice()), *inode),
                None => names.remove(&(*folder, name.as_slice())),
            };
        }
        names
    }

    /// Where names lead to that can be reached from the folder.
    pub fn paths(&self, names: &BTreeMap<(Inode, &[u8]), Inode>) -> BTreeMap<Vec<u8>, Inode> {
        let mut paths = BTreeMap::new();
        let mut folders = vec![(ROOT, Vec::new())];
        while let Some((folder, above)) = folders.pop() {
            for ((_, name), inode) in names.range((folder, [].as_slice())..(folder + 1, [].as_slice())) {
                let mut path = above.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                if *self.kind(*inode) == Kind::Folder {
                    folders.push((*inode, path.clone()));
                }
                paths.insert(path, *inode);
            }
        }
        paths
    }

    /// What is on the disk when these steps are.
    pub fn tree<'a>(&'a self, steps: &[&'a Step]) -> Tree {
        let names = self.names(steps.iter().copied());
        let mut tree = Tree::new();
        for (path, inode) in self.paths(&names) {
            let (kind, mode) = &self.kinds[inode];
            let found = match kind {
                Kind::Folder => Found::Folder(*mode),
                Kind::Link(target) => Found::Link(target.clone()),
                Kind::File => Found::File(self.bytes(inode, steps), *mode),
            };
            tree.insert(path, found);
        }
        tree
    }

    fn bytes(&self, inode: Inode, steps: &[&Step]) -> Vec<u8> {
        let mut whole = self.before.get(&inode).cloned().unwrap_or_default();
        for step in steps {
            match &step.change {
                Change::Bytes { file, at, bytes } if *file == inode => {
                    let from = usize::try_from(*at).unwrap_or(usize::MAX);
                    let until = from + bytes.len();
                    if whole.len() < until {
                        whole.resize(until, 0);
                    }
                    whole[from..until].copy_from_slice(bytes);
                }
                Change::Length { file, length } if *file == inode => whole.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0),
                _ => {}
            }
        }
        whole
    }
}

/// The path's folder, and its last name.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

fn mode(metadata: &std::fs::Metadata) -> u32 {
    metadata.permissions().mode() & 0o7777
}

/// A folder's contents, as they really are.
///
/// # Errors
/// When they cannot be read.
pub fn look(folder: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut folders = vec![(folder.to_owned(), Vec::new())];
    while let Some((folder, above)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let mut path: Vec<u8> = above.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.file_name().as_bytes());
            let metadata = entry.metadata()?;
            let found = if metadata.is_dir() {
                folders.push((entry.path(), path.clone()));
                Found::Folder(mode(&metadata))
            } else if metadata.is_symlink() {
                Found::Link(std::fs::read_link(entry.path())?.as_os_str().as_bytes().to_vec())
            } else if metadata.is_file() {
                Found::File(std::fs::read(entry.path())?, mode(&metadata))
            } else {
                // Sockets and pipes hold nothing.
                continue;
            };
            tree.insert(path, found);
        }
    }
    Ok(tree)
}

/// Makes a folder what a tree says; it must be empty.
///
/// # Errors
/// When it cannot be written.
pub fn build(tree: &Tree, folder: &Path) -> io::Result<()> {
    for (path, found) in tree {
        let path = folder.join(OsStr::from_bytes(path));
        match found {
            Found::Folder(_) => std::fs::create_dir(&path)?,
            Found::Link(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), &path)?,
            Found::File(bytes, mode) => {
                std::fs::write(&path, bytes)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode))?;
            }
        }
    }
    // Last, so that a folder that nobody may write can be filled.
    for (path, found) in tree.iter().rev() {
        if let Found::Folder(mode) = found {
            std::fs::set_permissions(folder.join(OsStr::from_bytes(path)), std::fs::Permissions::from_mode(*mode))?;
        }
    }
    Ok(())
}
