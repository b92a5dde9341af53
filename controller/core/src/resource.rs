//! What runs share: an executor's capacity, an environment. Each attempt that needs one has a *claim* in its queue.
//!
//! Fairness: when there is room, the most urgent claim goes first; among equally urgent ones the repository that holds
//! the least, then the one that was served longest ago, then the one that asked first. So a repository that asks a
//! thousand times waits behind its own claims, not in front of everybody else's. One that comes anew stands behind those
//! that wait already and before the one that was served just now: were it to count as never served, two that come and go
//! in turn would keep a third waiting for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use signalbox_contract::{AttemptKey, EnvironmentName, ExecutorName, MirrorName, PublishedName, RefName, RepoName, RunId};

/// Which resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "resource", content = "name", rename_all = "snake_case")]
pub enum ResourceKey {
    /// The capacity of an executor.
    Executor(ExecutorName),
    /// The right to change an environment.
    Environment(EnvironmentName),
    /// A name at a mirror where a push starts builds: one attempt at a time may move it, until its build has ended. Else
    /// nobody could say whose build is whose.
    Ref {
        /// The mirror.
        mirror: MirrorName,
        /// The repository.
        repo: RepoName,
        /// The full ref there.
        #[serde(rename = "ref")]
        ref_name: RefName,
    },
}

impl ResourceKey {
    /// Whether nothing need be kept of it while nobody claims it. There are as many of these as there were refs.
    pub const fn passing(&self) -> bool {
        matches!(self, Self::Ref { .. })
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Executor(name) => write!(f, "executor/{name}"),
            Self::Environment(name) => write!(f, "environment/{name}"),
            // Neither a repository's name nor a ref holds a colon.
            Self::Ref { mirror, repo, ref_name } => write!(f, "ref/{mirror}:{repo}:{ref_name}"),
        }
    }
}

/// What a run tells a resource. Settled in the transaction in which it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The attempt asks for a place.
    Ask {
        /// Of which resource.
        resource: ResourceKey,
        /// For whom, and how urgently.
        claim: Claim,
    },
    /// The attempt needs its place no longer, or no longer waits for one.
    Release {
        /// Of which resource.
        resource: ResourceKey,
        /// The attempt.
        holder: AttemptKey,
    },
    /// The run has changed what an environment shows under a name. An environment's alone.
    Deployed {
        /// The environment.
        resource: ResourceKey,
        /// The name.
        name: PublishedName,
        /// The run.
        run: RunId,
    },
}

impl Message {
    /// The resource that it is for.
    pub const fn resource(&self) -> &ResourceKey {
        match self {
            Self::Ask { resource, .. } | Self::Release { resource, .. } | Self::Deployed { resource, .. } => resource,
        }
    }
}

/// A place in a resource's queue, or in the resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The attempt.
    pub holder: AttemptKey,
    /// Its repository, for fairness. What has none shares a turn.
    pub repo: Option<RepoName>,
    /// The published name that it is to change, for environments.
    pub name: Option<PublishedName>,
    /// More urgent ones go first.
    pub priority: i32,
    /// When it asked.
    pub asked_at: Timestamp,
    /// Its number, once it was granted; until then it waits.
    pub fence: Option<u64>,
}

/// A resource tells an attempt that it has a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The attempt.
    pub key: AttemptKey,
    /// Of which resource.
    pub resource: ResourceKey,
    /// The grant's number in its resource. It rises: an environment's is the sequence of the activation.
    pub fence: u64,
    /// The newest run that has changed what the claim's published name shows.
    pub newest: Option<RunId>,
}

/// A resource, with all its claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Which.
    pub key: ResourceKey,
    /// How many claims may hold it at a time.
    pub capacity: u32,
    /// The number of the last grant.
    pub fence: u64,
    /// When each repository was served last, by the number of that grant; or when it came, if it was not served since.
    /// Only of those that wait or hold.
    served: BTreeMap<Option<RepoName>, u64>,
    /// The newest run that changed each published name.
    newest: BTreeMap<PublishedName, RunId>,
    claims: BTreeMap<AttemptKey, Claim>,
    /// Those that wait, by repository; the first of each is that repository's next.
    waiting: BTreeMap<Option<RepoName>, BTreeSet<Place>>,
    /// How many each repository holds.
    held: BTreeMap<Option<RepoName>, u32>,
}

/// The order of the claims of one repository: most urgent first, then in the order in which they asked.
type Place = (std::cmp::Reverse<i32>, Timestamp, AttemptKey);

/// What is kept of a resource beside its claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which.
    pub key: ResourceKey,
    /// How many claims may hold it at a time.
    pub capacity: u32,
    /// The number of the last grant.
    pub fence: u64,
    /// When each repository was served last.
    pub served: Vec<(Option<RepoName>, u64)>,
    /// The newest run that changed each published name.
    pub newest: BTreeMap<PublishedName, RunId>,
}

impl Resource {
    /// A resource that nobody has claimed.
    pub const fn new(key: ResourceKey, capacity: u32) -> Self {
        Self {
            key,
            capacity,
            fence: 0,
            served: BTreeMap::new(),
            newest: BTreeMap::new(),
            claims: BTreeMap::new(),
            waiting: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// The resource that was kept as `record` and `claims`.
    pub fn restore(record: Record, claims: impl IntoIterator<Item = Claim>) -> Self {
        let mut resource = Self::new(record.key, record.capacity);
        resource.fence = record.fence;
        resource.served = record.served.into_iter().collect();
        resource.newest = record.newest;
        for claim in claims {
            resource.insert(claim);
        }
        resource
    }

    /// What is to be kept of it beside its claims.
    pub fn record(&self) -> Record {
        Record {
            key: self.key.clone(),
            capacity: self.capacity,
            fence: self.fence,
            served: self.served.iter().map(|(repo, fence)| (repo.clone(), *fence)).collect(),
            newest: self.newest.clone(),
        }
    }

    /// Its claims, waiting and granted.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values()
    }

    /// The claim of an attempt.
    pub fn claim(&self, holder: &AttemptKey) -> Option<&Claim> {
        self.claims.get(holder)
    }

    /// How many hold it.
    pub fn holders(&self) -> u32 {
        self.held.values().sum()
    }

    /// Takes in what a run said, and tells who has been given a place by it.
    pub fn take(&mut self, message: &Message) -> Vec<Granted> {
        match message {
            // Asking twice is asking once: the claim keeps its place.
            Message::Ask { claim, .. } if self.claims.contains_key(&claim.holder) => Vec::new(),
            Message::Ask { claim, .. } => {
                self.served.entry(claim.repo.clone()).or_insert(self.fence.saturating_sub(1));
                self.insert(Claim { fence: None, ..claim.clone() });
                self.grant()
            }
            Message::Release { holder, .. } => {
                self.remove(holder);
                self.grant()
            }
            Message::Deployed { name, run, .. } => {
                self.newest.entry(name.clone()).and_modify(|newest| *newest = (*newest).max(*run)).or_insert(*run);
                Vec::new()
            }
        }
    }

    /// Changes how many may hold it, and tells who has been given a place by it. Nobody loses one.
    pub fn resize(&mut self, capacity: u32) -> Vec<Granted> {
        self.capacity = capacity;
        self.grant()
    }

    /// Has the numbers of all grants to come be above `to`, and so above any that was given before a backup was restored.
    pub fn raise(&mut self, to: u64) {
        self.fence = self.fence.max(to);
    }

    fn insert(&mut self, claim: Claim) {
        if claim.fence.is_some() {
            *self.held.entry(claim.repo.clone()).or_default() += 1;
        } else {
            self.waiting.entry(claim.repo.clone()).or_default().insert(place(&claim));
        }
        self.claims.insert(claim.holder, claim);
    }

    fn remove(&mut self, holder: &AttemptKey) {
        let Some(claim) = self.claims.remove(holder) else { return };
        if claim.fence.is_some() {
            if let Some(count) = self.held.get_mut(&claim.repo) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.held.remove(&claim.repo);
                }
            }
        } else {
            self.leave_queue(&claim);
        }
    }

    fn leave_queue(&mut self, claim: &Claim) {
        if let Some(queue) = self.waiting.get_mut(&claim.repo) {
            queue.remove(&place(claim));
            if queue.is_empty() {
                self.waiting.remove(&claim.repo);
            }
        }
    }

    /// Gives places while there is room.
    fn grant(&mut self) -> Vec<Granted> {
        let mut granted = Vec::new();
        while self.holders() < self.capacity {
            let Some(holder) = self.next() else { break };
            let Some(mut claim) = self.claims.remove(&holder) else { break };
            self.leave_queue(&claim);
            self.fence += 1;
            claim.fence = Some(self.fence);
            self.served.insert(claim.repo.clone(), self.fence);
            let newest = claim.name.as_ref().and_then(|name| self.newest.get(name)).copied();
            granted.push(Granted { key: holder, resource: self.key.clone(), fence: self.fence, newest });
            self.insert(claim);
        }
        // Whoever neither waits nor holds has no turn to remember.
        let (waiting, held) = (&self.waiting, &self.held);
        self.served.retain(|repo, _| waiting.contains_key(repo) || held.contains_key(repo));
        granted
    }

    /// Whose turn it is.
    fn next(&self) -> Option<AttemptKey> {
        self.waiting
            .iter()
            .filter_map(|(repo, queue)| {
                let (urgency, asked, holder) = queue.first()?;
                let holds = self.held.get(repo).copied().unwrap_or_default();
                let served = self.served.get(repo).copied().unwrap_or_default();
                Some(((*urgency, holds, served, *asked), *holder))
            })
            .min()
            .map(|(_, holder)| holder)
    }
}

const fn place(claim: &Claim) -> Place {
    (std::cmp::Reverse(claim.priority), claim.asked_at, claim.holder)
}
