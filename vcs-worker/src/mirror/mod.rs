//! The places where mirrors live: our own, and those that are configured.
//!
//! Invariants: nothing is shown that was not proven here. For one repository at one place, one thing is done at a time. A
//! place is spoken with at addresses that were checked.

mod collect;
mod entry;
mod served;
mod spots;
mod survey;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use signalbox_adapters::mirror::{Mirror, MirrorError, Note, Order, Shown, Target};
use signalbox_contract::api::vcs::{RefsAction, RefsRequest, RefsResult};
use signalbox_contract::{AttemptKey, CommitSha, Failure, FailureCode, MirrorName, RepoName};
use signalbox_service::clock::SharedClock;
use signalbox_service::git::{Git, GitError};
use signalbox_service::ledger::Ledger;
use signalbox_service::telemetry::causes;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use url::Url;

pub use collect::Retention;
pub use entry::Entry;
use served::Served;

use crate::cache::{Cache, Copy};
use crate::names::Names;
use crate::remote::usable_addresses;
use spots::Spots;

/// A place, and whether its server may have private addresses.
struct Place {
    mirror: Box<dyn Mirror>,
    private: bool,
}

/// A repository at a place.
type Spot = (Option<MirrorName>, RepoName);

/// All places.
pub(crate) struct Places {
    names: Arc<Names>,
    cache: Arc<Cache>,
    git: Git,
    /// Our own come under no name.
    known: BTreeMap<Option<MirrorName>, Place>,
    /// Where it is written down what refs were before they were pushed.
    notes: PathBuf,
    /// Where empty repositories lie, from which refs are taken away when the copy is gone.
    scratch: PathBuf,
    scratching: Turn<()>,
    turns: Mutex<HashMap<Spot, Arc<Turn<()>>>>,
    /// What was ever shown at configured mirrors.
    spots: Spots,
    collecting: Turn<()>,
    retention: Retention,
    /// What is known of when refs were shown.
    ledger: Ledger,
    clock: SharedClock,
}

/// The folders of ours that places need.
pub(crate) struct Folders {
    pub(crate) notes: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) spots: PathBuf,
}

/// What places share with the rest of the worker.
pub(crate) struct Shared {
    pub(crate) names: Arc<Names>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) git: Git,
    pub(crate) ledger: Ledger,
    pub(crate) clock: SharedClock,
}

impl Places {
    /// Opens all places.
    pub(crate) fn open(entries: &[Entry], retention: Retention, shared: Shared, folders: Folders, base: Url) -> std::io::Result<Self> {
        let Shared { names, cache, git, ledger, clock } = shared;
        let own = Served::new(Arc::clone(&names), Arc::clone(&cache), base);
        let mut known = BTreeMap::from([(None, Place { mirror: Box::new(own), private: true })]);
        for entry in entries {
            let mirror = entry.open(&git, &clock).map_err(|why| std::io::Error::other(format!("the mirror {}: {why}", entry.name)))?;
            known.insert(Some(entry.name.clone()), Place { mirror, private: entry.private });
        }
        for file in std::fs::read_dir(&folders.notes)?.flatten() {
            // What a crash left of a note that was being written.
            if file.path().extension().is_some_and(|extension| extension == "new") {
                std::fs::remove_file(file.path())?;
            }
        }
        Ok(Self {
            names,
            cache,
            git,
            known,
            notes: folders.notes,
            scratch: folders.scratch,
            scratching: Turn::default(),
            turns: Mutex::default(),
            spots: Spots::open(folders.spots)?,
            collecting: Turn::default(),
            retention,
            ledger,
            clock,
        })
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Shows an attempt's commit, or takes its ref away.
    pub(crate) async fn change(&self, key: &AttemptKey, request: &RefsRequest) -> Result<RefsResult, MirrorError> {
        let place = self.place(request.mirror.as_ref())?;
        let copy = self.copy(&request.name);
        let showing = request.action == RefsAction::Publish;
        if showing {
            if let Some(copy) = &copy {
                copy.note_use(self.clock.now());
            }
            self.prove(copy.as_deref(), &request.name, &request.sha).await?;
            self.note_spot(request)?;
        }
        let path = match copy {
            Some(copy) => copy.path().to_owned(),
            None => self.scratch(request.sha.as_str().len()).await?,
        };
        let _turn = self.turn(&(request.mirror.clone(), request.name.clone())).await;
        let addresses = self.addresses(place).await?;
        let note = Note::new(self.notes.join(format!("{key}.json")));
        let order = Order {
            target: Target { name: &request.name, copy: &path, addresses: &addresses },
            key,
            sha: &request.sha,
            naming: request.naming,
            original: request.original.as_ref(),
            note: &note,
        };
        let Shown { url, ref_name, sha, project, moved } =
            if showing { place.mirror.show(&order).await? } else { place.mirror.hide(&order).await? };
        if !showing && let Err(error) = note.discard() {
            // It is small, and thrown away with the old ones.
            tracing::warn!(error = %causes(&error), "mirror.note_kept");
        }
        Ok(RefsResult { url, ref_name, sha, project, moved })
    }

    /// Whatever is pushed somewhere can be found there again, and cleaned.
    fn note_spot(&self, request: &RefsRequest) -> Result<(), MirrorError> {
        let Some(mirror) = &request.mirror else { return Ok(()) };
        self.spots.note(mirror, &request.name, self.clock.now()).map_err(|error| {
            tracing::error!(error = %causes(&error), "mirror.spot_not_written");
            let failure = Failure::new(FailureCode::Internal, "It cannot be written down where the commit is shown.");
            MirrorError::Passing(failure.hint("Make room on the VCS worker's disk, and see its log."))
        })
    }

    fn place(&self, name: Option<&MirrorName>) -> Result<&Place, MirrorError> {
        self.known.get(&name.cloned()).ok_or_else(|| {
            let detail = format!("The VCS worker has no mirror {}.", name.map_or("of its own", MirrorName::as_str));
            MirrorError::Final(
                Failure::new(FailureCode::MirrorUnknown, detail).configure("Add it to the VCS worker's configuration, as [mirrors.NAME]."),
            )
        })
    }

    fn copy(&self, name: &RepoName) -> Option<Arc<Copy>> {
        let binding = self.names.get(name)?;
        Some(self.cache.copy(&binding.copy)).filter(|copy| copy.exists())
    }

    /// Only what was fetched from the name's source, and proven, is shown.
    async fn prove(&self, copy: Option<&Copy>, name: &RepoName, sha: &CommitSha) -> Result<(), MirrorError> {
        let proven = async {
            match copy {
                Some(copy) => copy.inspect()?.proven(sha).await,
                None => Ok(false),
            }
        };
        if proven.await.map_err(|error: GitError| served::ours(&error))? {
            return Ok(());
        }
        let detail = format!("The commit {sha} was not fetched for {name} and proven here.");
        Err(MirrorError::Final(Failure::new(FailureCode::CommitNotFound, detail).hint("Mirror it first, by POST /repo.")))
    }

    /// An empty repository for objects of this length of id.
    async fn scratch(&self, digits: usize) -> Result<PathBuf, MirrorError> {
        let path = self.scratch.join(format!("{digits}.git"));
        let _turn = self.scratching.lock().await;
        if !path.join("HEAD").is_file() {
            let new = path.with_extension("new");
            let made = async {
                let _ = std::fs::remove_dir_all(&new);
                self.git.init_bare(&new, digits).await?;
                std::fs::rename(&new, &path).map_err(|error| GitError::new(signalbox_service::git::Fault::Local, error.to_string()))
            };
            made.await.map_err(|error| served::ours(&error))?;
        }
        Ok(path)
    }

    async fn addresses(&self, place: &Place) -> Result<Vec<IpAddr>, MirrorError> {
        let Some(server) = place.mirror.server() else { return Ok(Vec::new()) };
        usable_addresses(server, place.private).await.map_err(|trouble| {
            let failure = trouble.failure(FailureCode::MirrorUnreachable, "If that is meant, say private = true in the mirror's entry.");
            if trouble.passes { MirrorError::Passing(failure) } else { MirrorError::Final(failure) }
        })
    }

    /// Waits until nobody else is at work on this repository at this place.
    async fn turn(&self, spot: &Spot) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(spot.clone()).or_default())
        };
        turn.lock_owned().await
    }
}
