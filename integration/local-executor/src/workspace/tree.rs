//! Trees of files that a build made: measured, handed over and removed without trust in any of it.
//!
//! Nothing here follows a symbolic link, recurses, or builds a path: a build can nest folders deeper than a path, a stack
//! or a table of open files can be.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// What an entry costs on its own, so that a million empty files are not free.
const ENTRY: u64 = 4096;

/// How deep a tree is measured; deeper is as good as too large.
const DEEPEST: usize = 256;

/// What a tree takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// So many bytes of disk.
    Bytes(u64),
    /// It is nested so deep that it is not measured.
    TooDeep,
}

/// How many bytes of disk a tree takes. What disappears meanwhile is not counted.
pub(crate) fn measure(root: &Path) -> io::Result<Measure> {
    let mut bytes = 0_u64;
    let mut open = vec![Dir::new(open_dir(CWD, root)?)?];
    loop {
        let depth = open.len();
        let Some(dir) = open.last_mut() else { break };
        let Some(entry) = dir.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if is_dots(name) {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
        bytes = bytes.saturating_add(blocks.max(ENTRY));
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if depth >= DEEPEST {
                return Ok(Measure::TooDeep);
            }
            // One that cannot be opened now (the build may have locked itself out) is measured by what holds it.
            let opened = dir.fd().and_then(|fd| open_dir_raw(fd, name)).and_then(Dir::new);
            if let Ok(inner) = opened {
                open.push(inner);
            }
        }
    }
    Ok(Measure::Bytes(bytes))
}

/// Gives a tree that nobody else touches yet to another user.
pub(crate) fn give(root: &Path, user: u32) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(user)));
    let mut open = vec![Dir::new(open_dir(CWD, root)?)?];
    rustix::fs::chownat(CWD, root, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    while let Some(dir) = open.last_mut() {
        let Some(entry) = dir.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if is_dots(name) {
            continue;
        }
        let fd = dir.fd()?;
        rustix::fs::chownat(fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind(fd, &entry)? == FileType::Directory {
            let inner = Dir::new(open_dir_raw(fd, name)?)?;
            open.push(inner);
        }
    }
    Ok(())
}

/// Removes a tree, whatever a build made of it. That there is none is as good.
///
/// Folders are emptied two levels at a time: what lies deeper is first moved up. So no depth is too deep.
pub(crate) fn remove(root: &Path) -> io::Result<()> {
    let top = match open_dir(CWD, root) {
        Ok(top) => top,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut moved = 0_u64;
    loop {
        let mut empty = true;
        for entry in Dir::read_from(&top)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            empty = false;
            if kind(top.as_fd(), &entry)? == FileType::Directory {
                empty_out(&top, name, &mut moved)?;
                rustix::fs::unlinkat(&top, name, AtFlags::REMOVEDIR)?;
            } else {
                rustix::fs::unlinkat(&top, name, AtFlags::empty())?;
            }
        }
        if empty {
            break;
        }
    }
    std::fs::remove_dir(root)
}

/// Empties the folder `name` of `top`: files are unlinked, folders are moved up beside it.
fn empty_out(top: &OwnedFd, name: &CStr, moved: &mut u64) -> io::Result<()> {
    let dir = open_locked(top.as_fd(), name)?;
    loop {
        let mut empty = true;
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let inner = entry.file_name();
            if is_dots(inner) {
                continue;
            }
            empty = false;
            if kind(dir.as_fd(), &entry)? != FileType::Directory {
                rustix::fs::unlinkat(&dir, inner, AtFlags::empty())?;
                continue;
            }
            // A folder is moved only by those who may write to it: its `..` changes.
            drop(open_locked(dir.as_fd(), inner)?);
            loop {
                *moved += 1;
                match rustix::fs::renameat(&dir, inner, top, format!(".removed-{moved}")) {
                    Ok(()) => break,
                    // The build made something of this name.
                    Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if empty {
            return Ok(());
        }
    }
}

/// Opens a folder that the build may have locked against its own user, which can be ours.
fn open_locked(at: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let mode = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
    if mode & 0o700 != 0o700 {
        rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
    }
    Ok(open_dir_raw(at, name)?)
}

fn open_dir(at: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

fn open_dir_raw(at: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn kind(at: BorrowedFd<'_>, entry: &rustix::fs::DirEntry) -> io::Result<FileType> {
    match entry.file_type() {
        FileType::Unknown => {
            let stat = rustix::fs::statat(at, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode))
        }
        known => Ok(known),
    }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Makes a chain of folders that is deeper than any path.
    fn deep(root: &Path, depth: usize) {
        let mut at = open_dir(CWD, root).expect("opens");
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).expect("made");
            at = open_dir_raw(at.as_fd(), c"d").expect("opens");
        }
    }

    #[test]
    fn a_tree_deeper_than_a_path_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("tree");
        std::fs::create_dir(&root).expect("made");
        deep(&root, 2500);
        std::fs::write(root.join(".removed-1"), "in the way").expect("written");
        assert_eq!(measure(&root).expect("measured"), Measure::TooDeep);
        remove(&root).expect("removed");
        assert!(!root.exists());
        remove(&root).expect("removed already");
    }

    #[test]
    fn links_are_removed_and_what_they_point_to_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, other) = (folder.path().join("tree"), folder.path().join("other"));
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        std::fs::create_dir(&other).expect("made");
        std::fs::write(other.join("kept"), "kept").expect("written");
        symlink(&other, root.join("a/b/link")).expect("linked");
        symlink("loop", root.join("loop")).expect("linked");
        std::fs::set_permissions(root.join("a/b"), PermissionsExt::from_mode(0o000)).expect("locked");
        remove(&root).expect("removed");
        assert!(!root.exists() && other.join("kept").exists());
    }

    #[test]
    fn empty_files_are_not_free() {
        let folder = tempfile::tempdir().expect("a folder");
        for n in 0..100 {
            std::fs::write(folder.path().join(n.to_string()), "").expect("written");
        }
        std::fs::write(folder.path().join("large"), vec![1; 1_000_000]).expect("written");
        let Measure::Bytes(bytes) = measure(folder.path()).expect("measured") else { panic!("not deep") };
        assert!((1_400_000..1_500_000).contains(&bytes), "{bytes}");
    }
}
