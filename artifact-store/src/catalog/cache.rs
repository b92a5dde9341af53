//! What was lately asked for, so that a busy name costs no question to the database.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signalbox_contract::api::store::BlobInfo;

use crate::blob::Blob;

/// What a name shows.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) info: BlobInfo,
    pub(crate) blob: Arc<Blob>,
}

/// Something that the cache keeps: under a name what it shows, under a digest (which no name can look like) the blob.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    Name(Arc<Shown>),
    Blob(Arc<Blob>),
}

impl Kept {
    fn weight(&self) -> usize {
        match self {
            Self::Name(shown) => 512 + super::weight(&shown.blob),
            Self::Blob(blob) => super::weight(blob),
        }
    }
}

const SHARDS: usize = 16;

/// How much memory one shard may take. What is older is dropped by half, so that nothing needs to be kept in order of use.
const SHARD_WEIGHT: usize = 4 * 1024 * 1024;

/// The cache.
pub(super) struct Cache {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    young: HashMap<Box<str>, Kept>,
    old: HashMap<Box<str>, Kept>,
    weight: usize,
    /// Rises when something is forgotten: what was read before that is not kept.
    epoch: u64,
}

/// When a question to the database began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch(u64);

impl Default for Cache {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: Default::default() }
    }
}

impl Cache {
    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept under `key`, or else the moment, to be given when the database has answered.
    pub(super) fn get(&self, key: &str) -> Result<Kept, Epoch> {
        let mut shard = self.shard(key);
        if let Some(kept) = shard.young.get(key) {
            return Ok(kept.clone());
        }
        let Some((key, kept)) = shard.old.remove_entry(key) else {
            return Err(Epoch(shard.epoch));
        };
        shard.insert(key, kept.clone());
        Ok(kept)
    }

    /// Keeps what the database answered, unless something was forgotten since the question was asked.
    pub(super) fn keep(&self, key: &str, kept: Kept, asked: Epoch) {
        let mut shard = self.shard(key);
        if shard.epoch == asked.0 {
            shard.insert(key.into(), kept);
        }
    }

    /// Forgets a key. To be called after the change is committed and before anybody is told.
    pub(super) fn forget(&self, key: &str) {
        let mut shard = self.shard(key);
        shard.epoch += 1;
        shard.young.remove(key);
        shard.old.remove(key);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.epoch += 1;
            shard.young.clear();
            shard.old.clear();
            shard.weight = 0;
        }
    }
}

impl Shard {
    fn insert(&mut self, key: Box<str>, kept: Kept) {
        self.weight += kept.weight() + key.len();
        if self.weight > SHARD_WEIGHT / 2 {
            self.weight = kept.weight() + key.len();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, kept);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::blob::Keeping;

    fn blob(size: usize) -> Kept {
        let digest = signalbox_contract::Digest::from_bytes([1; 32]);
        Kept::Blob(Arc::new(Blob { digest, size: size as u64, keeping: Keeping::Small(Bytes::from(vec![0; size])) }))
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let cache = Cache::default();
        let asked = cache.get("x").expect_err("nothing yet");
        cache.forget("x");
        cache.keep("x", blob(1), asked);
        let asked = cache.get("x").expect_err("the answer was too old");
        cache.keep("x", blob(1), asked);
        assert!(cache.get("x").is_ok());
    }

    #[test]
    fn the_cache_does_not_grow_without_bound() {
        let cache = Cache::default();
        for index in 0..20_000 {
            let key = index.to_string();
            let asked = cache.get(&key).expect_err("new");
            cache.keep(&key, blob(16 * 1024), asked);
        }
        let held: usize = cache
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().expect("whole");
                shard.young.values().chain(shard.old.values()).map(Kept::weight).sum::<usize>()
            })
            .sum();
        assert!(held <= SHARDS * SHARD_WEIGHT, "{held}");
        assert!(cache.get("19999").is_ok(), "the youngest is still there");
    }
}
