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

type Table = Rc<RefCell<HashMap<i64, Rc<RefCell<Open>>>>>;

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
        self.table(thread).borrow().get(&number).cloned()
    }

    /// A thread has opened something, or copied a descriptor.
    pub(super) fn set(&mut self, thread: u32, number: i64, open: Rc<RefCell<Open>>) {
        self.table(thread).borrow_mut().insert(number, open);
    }

    /// A thread has closed a number, or uses it for what does not concern us.
    pub(super) fn close(&mut self, thread: u32, number: i64) {
        self.table(thread).borrow_mut().remove(&number);
    }
}
