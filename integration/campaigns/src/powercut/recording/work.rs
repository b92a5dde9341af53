//! What calls do to open files.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::super::disk::Change;
use super::super::files::Open;
use super::super::trace::{Call, Place};
use super::{Recording, Result, unknown};

impl Recording {
    pub(super) fn work(&mut self, call: &Call, open: &Rc<RefCell<Open>>, place: &Place) -> Result<()> {
        let inode = open.borrow().inode;
        match call.name.as_str() {
            "write" | "writev" => {
                let mut open = open.borrow_mut();
                if open.append {
                    open.at = self.lengths.get(&inode).copied().unwrap_or_default();
                }
                let written = self.write(call, &open, open.at)?;
                open.at += written;
                Ok(())
            }
            "pwrite64" | "pwritev" | "pwritev2" => {
                let at = call.number(3).filter(|_| call.name == "pwrite64");
                let at = at.ok_or_else(|| unknown(call, "where it is written"))?;
                self.write(call, &open.borrow(), at).map(|_| ())
            }
            "read" | "readv" | "getdents64" => {
                open.borrow_mut().at += call.result.unsigned_abs();
                Ok(())
            }
            "lseek" => {
                open.borrow_mut().at = call.result.unsigned_abs();
                Ok(())
            }
            "sendfile" => Err(unknown(call, "bytes that are not shown")),
            "copy_file_range" | "splice" if call.result > 0 => Err(unknown(call, "bytes that are not shown")),
            "ftruncate" => {
                let length = call.number(1).ok_or_else(|| unknown(call, "its length"))?;
                if self.lengths.get(&inode).copied().unwrap_or_default() != length {
                    self.step(call, Change::Length { file: inode, length }, false);
                }
                Ok(())
            }
            "fallocate" if call.argument(1).contains("KEEP_SIZE") => Ok(()),
            "fallocate" => {
                let (at, more) = (call.number(2), call.number(3));
                let length = at.zip(more).map(|(at, more)| at + more).filter(|_| call.argument(1) == "0");
                let length = length.ok_or_else(|| unknown(call, "what it reserves"))?;
                if self.lengths.get(&inode).copied().unwrap_or_default() < length {
                    self.step(call, Change::Length { file: inode, length }, false);
                }
                Ok(())
            }
            "fchmod" => {
                self.history.permit(inode, u32::from_str_radix(call.argument(1), 8).unwrap_or(0o777));
                Ok(())
            }
            "fsync" | "fdatasync" => {
                let told = format!("{} of {}", call.name, self.title(inode));
                self.history.sync(Some(inode), told, call.begun, call.ended);
                Ok(())
            }
            "syncfs" => {
                self.history.sync(None, call.name.clone(), call.begun, call.ended);
                Ok(())
            }
            "mmap" if call.argument(2).contains("PROT_WRITE") && call.argument(3).contains("MAP_SHARED") => {
                if let Some(path) = self.below(&place.path) {
                    self.mapped.insert(path.to_vec());
                }
                Ok(())
            }
            // Reading elsewhere, locking, looking: nothing changes.
            _ => Ok(()),
        }
    }

    fn write(&mut self, call: &Call, open: &Open, at: u64) -> Result<u64> {
        let mut bytes = call.bytes(1).ok_or_else(|| unknown(call, "bytes that are not shown whole"))?;
        bytes.truncate(usize::try_from(call.result).unwrap_or_default());
        let written = bytes.len() as u64;
        if written != call.result.unsigned_abs() {
            return Err(unknown(call, "bytes that are not shown whole"));
        }
        if written > 0 {
            self.step(call, Change::Bytes { file: open.inode, at, bytes: Arc::from(bytes) }, open.synced);
        }
        Ok(written)
    }
}
