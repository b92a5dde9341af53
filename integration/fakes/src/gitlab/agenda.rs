//! What is due later, in the order in which it is due: one task keeps it, however many jobs wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::fake::Fake;
use super::git::Pushed;
use super::state::Chore;
use super::state::status::Status;

/// Something that is due.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// Something that the state put off.
    Chore(Chore),
    /// What follows from a push.
    Push(Box<Pushed>, bool),
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    due: BTreeMap<(Instant, u64), Task>,
}

/// What is due later.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: Mutex<Entries>,
    changed: Notify,
}

impl Agenda {
    /// Adds something.
    pub(crate) fn add(&self, after: Duration, task: Task) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.next += 1;
        let number = entries.next;
        entries.due.insert((Instant::now() + after.min(Fake::FAR), number), task);
        drop(entries);
        self.changed.notify_one();
    }

    /// What is due by now, and when the next is.
    fn take(&self) -> (Vec<Task>, Option<Instant>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let later = entries.due.split_off(&(Instant::now(), u64::MAX));
        let due = std::mem::replace(&mut entries.due, later).into_values().collect();
        (due, entries.due.keys().next().map(|(at, _)| *at))
    }

    /// Does what is due, until the end.
    pub(crate) async fn keep(fake: Arc<Fake>) {
        loop {
            let (due, next) = fake.agenda.take();
            let idle = due.is_empty();
            for task in due {
                perform(&fake, task);
            }
            if !idle {
                continue;
            }
            let wait = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = fake.shutdown.requested() => return,
                () = fake.agenda.changed.notified() => {}
                () = wait => {}
            }
        }
    }
}

fn perform(fake: &Arc<Fake>, task: Task) {
    match task {
        Task::Chore(Chore::Begin(job)) => fake.begin_scripted(job),
        Task::Chore(Chore::End(job)) => fake.end_scripted(job),
        Task::Chore(Chore::Due(job)) => fake.change(|state| {
            if let Some((Status::Scheduled, user)) = state.jobs.get(&job).map(|job| (job.status, job.user)) {
                state.play_job(job, user, []);
            }
        }),
        Task::Chore(Chore::Destroy(project)) => spawn(fake, move |fake| async move { fake.destroy(project).await }),
        Task::Chore(Chore::Bridge(job)) => spawn(fake, move |fake| async move { fake.cross(job).await }),
        Task::Push(pushed, hung) => spawn(fake, move |fake| async move { fake.follow(*pushed, hung).await }),
    }
}

fn spawn<F>(fake: &Arc<Fake>, task: impl FnOnce(Arc<Fake>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let task = task(Arc::clone(fake));
    let end = fake.shutdown.clone();
    fake.shutdown.spawn("agenda.task", async move {
        tokio::select! {
            () = task => {}
            () = end.requested() => {}
        }
    });
}
