//! Files that a build made and that somebody asked for.
//!
//! The build chose what lies at their paths. A link that leads out of the workspace, a device, a pipe: none of them is
//! opened, and the kernel itself keeps the look-up inside.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use signalbox_contract::git::RepoPath;

/// Why a declared file cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// There is none.
    #[error("the job did not make it")]
    Missing,
    /// Its path leads out of the workspace.
    #[error("its path leads out of the workspace through a symbolic link")]
    Escapes,
    /// It is a folder, a pipe, a device, a socket.
    #[error("it is not a regular file")]
    NotAFile,
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
}

/// Opens a declared file, and tells its size.
pub(crate) fn open(workspace: &Path, path: &RepoPath) -> Result<(File, u64), ArtifactError> {
    let unreadable = |error: Errno| ArtifactError::Unreadable(error.into());
    let folder =
        rustix::fs::openat(CWD, workspace, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(unreadable)?;
    // Without NONBLOCK opening a pipe would wait for somebody to write to it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let opened = rustix::fs::openat2(&folder, path.as_str(), flags, Mode::empty(), inside);
    let file = match opened {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(ArtifactError::Missing),
        Err(Errno::XDEV | Errno::LOOP) => return Err(ArtifactError::Escapes),
        Err(Errno::NXIO) => return Err(ArtifactError::NotAFile),
        Err(error) => return Err(unreadable(error)),
    };
    let metadata = file.metadata().map_err(ArtifactError::Unreadable)?;
    if !metadata.is_file() {
        return Err(ArtifactError::NotAFile);
    }
    Ok((file, metadata.len()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RepoPath {
        text.parse().expect("valid")
    }

    #[test]
    fn only_regular_files_inside_are_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let (work, outside) = (folder.path().join("work"), folder.path().join("secret"));
        std::fs::create_dir_all(work.join("dir")).expect("made");
        std::fs::write(&outside, "secret").expect("written");
        std::fs::write(work.join("dir/file"), "four").expect("written");
        symlink("dir/file", work.join("inner")).expect("linked");
        symlink("dir", work.join("way")).expect("linked");
        symlink(&outside, work.join("absolute")).expect("linked");
        symlink("../secret", work.join("relative")).expect("linked");
        symlink("..", work.join("dir/up")).expect("linked");
        symlink("loop", work.join("loop")).expect("linked");
        rustix::fs::mknodat(CWD, work.join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).expect("made");

        for inside in ["dir/file", "inner", "way/file", "dir/up/dir/file"] {
            assert_eq!(open(&work, &path(inside)).expect(inside).1, 4, "{inside}");
        }
        for escaping in ["absolute", "relative", "dir/up/relative", "loop"] {
            assert!(matches!(open(&work, &path(escaping)), Err(ArtifactError::Escapes)), "{escaping}");
        }
        assert!(matches!(open(&work, &path("dir")), Err(ArtifactError::NotAFile)));
        assert!(matches!(open(&work, &path("pipe")), Err(ArtifactError::NotAFile)));
        assert!(matches!(open(&work, &path("none")), Err(ArtifactError::Missing)));
        assert!(matches!(open(&work, &path("dir/file/below")), Err(ArtifactError::Missing)));
    }
}
