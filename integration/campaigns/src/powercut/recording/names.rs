//! What calls do to names.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::disk::{Change, Kind};
use super::super::files::{Open, OpenFiles};
use super::super::trace::Call;
use super::{Recording, Result, unknown};

/// What every program of ours takes away from the permissions of what it makes.
const UMASK: u32 = 0o022;

/// Where the arguments for a folder, if there is one, and for a path stand.
type At = (Option<usize>, usize);

fn permissions(call: &Call, index: usize) -> u32 {
    u32::from_str_radix(call.argument(index), 8).unwrap_or(0o777)
}

impl Recording {
    pub(super) fn open(&mut self, call: &Call, files: &mut OpenFiles, flags: usize) -> Result<()> {
        let Some(place) = call.opened.as_ref() else { return Ok(()) };
        files.close(call.thread, place.number, call.begun);
        let Some(below) = self.below(&place.path).filter(|_| !place.deleted) else { return Ok(()) };
        let (below, words) = (below.to_vec(), call.argument(flags));
        let has = |word: &str| words.split('|').any(|flag| flag == word);
        if has("O_TMPFILE") {
            return Err(unknown(call, "a file without a name"));
        }
        let inode = match self.inode(&below) {
            Some(inode) => inode,
            None if has("O_CREAT") => {
                let (above, name) = super::split(&below);
                let above = self.inode(above).ok_or_else(|| unknown(call, "a folder that is not there"))?;
                let inode = self.history.make(Kind::File, permissions(call, flags + 1) & !UMASK);
                self.names(call, vec![(above, name.to_vec(), Some(inode))]);
                inode
            }
            None => return Err(unknown(call, "a file that is not there")),
        };
        if has("O_TRUNC") && self.lengths.get(&inode).is_some_and(|length| *length > 0) {
            self.step(call, Change::Length { file: inode, length: 0 }, false);
        }
        let open = Open { inode, at: 0, append: has("O_APPEND"), synced: has("O_SYNC") || has("O_DSYNC") };
        files.set(call.thread, place.number, Rc::new(RefCell::new(open)), call.ended);
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "all that is done to names is asked in the same way")]
    pub(super) fn copy(&mut self, call: &Call, files: &mut OpenFiles) -> Result<()> {
        let ours = call.place(0).filter(|place| self.below(&place.path).is_some());
        match ours.and_then(|place| files.get(call.thread, place.number)) {
            Some(open) => files.set(call.thread, call.result, open, call.ended),
            None => files.close(call.thread, call.result, call.begun),
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, call: &Call, from: At, to: At) -> Result<()> {
        let (from, to) = (self.named(call, from.0, from.1)?, self.named(call, to.0, to.1)?);
        let (from, to) = match (from, to) {
            (Some(from), Some(to)) => (from, to),
            (None, None) => return Ok(()),
            _ => return Err(unknown(call, "a rename across the border of the folder")),
        };
        let inode = self.names.get(&from).copied().ok_or_else(|| unknown(call, "a name that is not there"))?;
        // Two names of one file: the kernel does nothing.
        if self.names.get(&to) != Some(&inode) {
            self.names(call, vec![(from.0, from.1, None), (to.0, to.1, Some(inode))]);
        }
        Ok(())
    }

    pub(super) fn link(&mut self, call: &Call, from: At, to: At) -> Result<()> {
        let Some(to) = self.named(call, to.0, to.1)? else { return Ok(()) };
        let from = self.named(call, from.0, from.1)?.ok_or_else(|| unknown(call, "a link from outside"))?;
        let inode = self.names.get(&from).copied().ok_or_else(|| unknown(call, "a name that is not there"))?;
        self.names(call, vec![(to.0, to.1, Some(inode))]);
        Ok(())
    }

    pub(super) fn symlink(&mut self, call: &Call, folder: Option<usize>, path: usize) -> Result<()> {
        let Some((above, name)) = self.named(call, folder, path)? else { return Ok(()) };
        let target = call.bytes(0).ok_or_else(|| unknown(call, "a target that is not shown whole"))?;
        let inode = self.history.make(Kind::Link(target), 0o777);
        self.names(call, vec![(above, name, Some(inode))]);
        Ok(())
    }

    pub(super) fn unlink(&mut self, call: &Call, folder: Option<usize>, path: usize) -> Result<()> {
        if let Some((above, name)) = self.named(call, folder, path)? {
            self.names(call, vec![(above, name, None)]);
        }
        Ok(())
    }

    pub(super) fn mkdir(&mut self, call: &Call, folder: Option<usize>, path: usize) -> Result<()> {
        if let Some((above, name)) = self.named(call, folder, path)? {
            let inode = self.history.make(Kind::Folder, permissions(call, path + 1) & !UMASK);
            self.names(call, vec![(above, name, Some(inode))]);
        }
        Ok(())
    }

    pub(super) fn chmod(&mut self, call: &Call, folder: Option<usize>, path: usize) -> Result<()> {
        if let Some(named) = self.named(call, folder, path)? {
            let inode = self.names.get(&named).copied().ok_or_else(|| unknown(call, "a name that is not there"))?;
            self.history.permit(inode, permissions(call, path + 1));
        }
        Ok(())
    }
}
