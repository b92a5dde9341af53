//! Proving everything that is stored, a slice at a time: what rotted is found before somebody needs it.
//!
//! It reads what a reader would be sent, by the same way, and past the cache. Nothing is remembered between two slices but what the
//! caller brings along, so that it survives a restart and nobody waits for it.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signalbox_contract::api::store::Damage;

use crate::blob::{Blob, CHUNK, Keeping, ReadError, Reading};
use crate::catalog::CatalogError;
use crate::store::Store;

/// How long one slice may take, give or take a chunk.
const SLICE: Duration = Duration::from_secs(2);

/// How many blobs that rotted a slice names at most.
const NAMED: usize = 100;

/// Where to go on: at this chunk of this blob, or at the first blob after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    blob: i64,
    chunk: u64,
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (blob, chunk) = text.split_once('-').ok_or(())?;
        let place = Self { blob: blob.parse().map_err(drop)?, chunk: chunk.parse().map_err(drop)? };
        // A chunk that no blob can have is none that was given out.
        if place.blob < 0 || place.chunk > u64::MAX / CHUNK as u64 { Err(()) } else { Ok(place) }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.blob, self.chunk)
    }
}

/// What a slice came to.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// How many blobs were looked at to their end.
    pub(crate) blobs: u64,
    /// How many bytes were read.
    pub(crate) bytes: u64,
    /// Those that are not what was stored.
    pub(crate) rotten: Vec<(Arc<Blob>, Damage)>,
    /// Where to go on; none at the end.
    pub(crate) next: Option<Place>,
}

/// Proves what is stored from `from` on, for a while.
pub(crate) async fn scrub(store: &Store, from: Place) -> Result<Slice, CatalogError> {
    let begun = Instant::now();
    let (mut slice, mut at) = (Slice::default(), from);
    loop {
        let some = store.catalog.stored_from(at.blob).await?;
        if some.is_empty() {
            return Ok(slice);
        }
        for (number, blob) in some {
            if number != at.blob {
                at = Place { blob: number, chunk: 0 };
            }
            if begun.elapsed() > SLICE || slice.rotten.len() >= NAMED {
                slice.next = Some(at);
                return Ok(slice);
            }
            let blob = Arc::new(blob);
            match prove(store, &blob, at.chunk, begun, &mut slice.bytes).await {
                Ok(None) => slice.blobs += 1,
                Ok(Some(chunk)) => {
                    slice.next = Some(Place { blob: number, chunk });
                    return Ok(slice);
                }
                Err(error) => {
                    slice.blobs += 1;
                    if let Some(damage) = damage(store, &blob, &error).await? {
                        slice.rotten.push((blob, damage));
                    }
                }
            }
            at = Place { blob: number.saturating_add(1), chunk: 0 };
        }
    }
}

/// Reads a blob from a chunk on, as a reader would be sent it. Answers the chunk at which the time was over; none at its end.
async fn prove(store: &Store, blob: &Arc<Blob>, chunk: u64, begun: Instant, bytes: &mut u64) -> Result<Option<u64>, ReadError> {
    let from = (chunk * CHUNK as u64).min(blob.size);
    let mut reading = Reading::open(&store.files, Arc::clone(blob), from, blob.size).await?;
    let mut read = from;
    while let Some(part) = reading.next().await {
        let count = part?.len() as u64;
        (read, *bytes) = (read + count, *bytes + count);
        if begun.elapsed() > SLICE && read < blob.size {
            return Ok(Some(read / CHUNK as u64));
        }
    }
    Ok(None)
}

/// What is wrong with a blob that could not be read; rot is noted. Nothing is where it was collected meanwhile.
async fn damage(store: &Store, blob: &Blob, error: &ReadError) -> Result<Option<Damage>, CatalogError> {
    let damage = match error {
        ReadError::Corrupt => Damage::Changed,
        ReadError::Missing if store.catalog.holds(&blob.digest).await? => Damage::Missing,
        ReadError::Missing => return Ok(None),
        ReadError::Disk(error) => {
            tracing::error!(digest = %blob.digest, %error, "a blob cannot be read");
            return Ok(Some(Damage::Unreadable));
        }
    };
    if !matches!(blob.keeping, Keeping::Corrupt { noted: true }) {
        store.meters.rot_found.inc();
        store.catalog.mark_corrupt(blob.digest);
    }
    Ok(Some(damage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is_one() {
        let place = Place { blob: 7, chunk: 9 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "-", "7", "7-", "-7-9", "7-x", "7-9-1", "7-18446744073709551615"] {
            assert_eq!(text.parse::<Place>(), Err(()), "{text}");
        }
    }
}
