//! Which files programs hold open, and where in them they are.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::disk::Inode;
use super::trace::Call;

/// An open file, which several descriptors of several programs may share.
#[derive(Debug)]
pub(super) struct Open {
    /// What is open.
    pub(super) inode: Inode,
    /// Where the next byte is read or written.
    pub(super) at: u64,
    /// Whether everything is written at the end.
    pub(super) append: bool,
    /// Whether everything is synced while it is written.
    pub(super) synced: bool,
}

/// Under each number, what is open, and since which line.
type Table = Rc<RefCell<HashMap<i64, (Rc<RefCell<Open>>, usize)>>>;

/// The open files of all threads. Those below the folder that is looked at are kept, no others.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    /// Each thread's, which it may share with others.
    tables: HashMap<u32, Table>,
    parents: HashMap<u32, (u32, bool)>,
}

impl OpenFiles {
    /// Learns from a whole recording which thread began which, since a child may be seen before its parent is told of it.
    pub(super) fn learn(&mut self, calls: &[Call]) {
        for call in calls {
            if matches!(call.name.as_str(), "clone" | "clone3" | "fork" | "vfork")
                && let Ok(child) = u32::try_from(call.result)
            {
                let shared = call.arguments.iter().any(|argument| argument.contains("CLONE_FILES"));
                self.parents.insert(child, (call.thread, shared));
            }
        }
    }

    /// The thread that began a thread.
    pub(super) fn parent(&self, thread: u32) -> Option<u32> {
        self.parents.get(&thread).map(|(parent, _)| *parent)
    }

    fn table(&mut self, thread: u32) -> Table {
        if let Some(table) = self.tables.get(&thread) {
            return Rc::clone(table);
        }
        let table = match self.parents.get(&thread).copied() {
            Some((parent, true)) => self.table(parent),
            Some((parent, false)) => Rc::new(RefCell::new(self.table(parent).borrow().clone())),
            None => Table::default(),
        };
        self.tables.insert(thread, Rc::clone(&table));
        table
    }

    /// What a thread has open under a number.
    pub(super) fn get(&mut self, thread: u32, number: i64) -> Option<Rc<RefCell<Open>>> {
        self.table(thread).borrow().get(&number).map(|(open, _)| Rc::clone(open))
    }

    /// A thread has opened something, or copied a descriptor.
    pub(super) fn set(&mut self, thread: u32, number: i64, open: Rc<RefCell<Open>>, line: usize) {
        self.table(thread).borrow_mut().insert(number, (open, line));
    }

    /// A thread has closed a number, or uses it for what does not concern us, in a call that began in the line `begun`.
    pub(super) fn close(&mut self, thread: u32, number: i64, begun: usize) {
        let table = self.table(thread);
        let mut table = table.borrow_mut();
        // The kernel gives a number to another thread before the one that closed it is told so.
        if table.get(&number).is_some_and(|(_, since)| *since < begun) {
            table.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(inode: Inode) -> Rc<RefCell<Open>> {
        Rc::new(RefCell::new(Open { inode, at: 0, append: false, synced: false }))
    }

    #[test]
    fn a_number_that_another_thread_got_meanwhile_is_not_closed() {
        let mut files = OpenFiles::default();
        files.set(1, 3, open(7), 10);
        // The close began in line 12 and ended in line 20; in between the number was given away again.
        files.set(1, 3, open(8), 15);
        files.close(1, 3, 12);
        assert_eq!(files.get(1, 3).expect("open").borrow().inode, 8);
        files.close(1, 3, 21);
        assert!(files.get(1, 3).is_none());
    }
}
