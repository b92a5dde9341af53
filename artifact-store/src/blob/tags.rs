//! What proves a chunk of a large blob while it is read.
//!
//! A tag is a GMAC (AES-256-GCM over no plaintext, the chunk as associated data) under a key that is drawn for each
//! upload and kept in the catalog; the nonce is the chunk's number. It is as good a proof against rot as a hash for each
//! chunk, and ten times as quick: proving costs a small part of what reading costs, so every read can afford it. Who can
//! write both the catalog and the files could forge it, and could as well exchange the digests.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use bytes::Bytes;

/// The length of a tag in bytes.
pub(crate) const TAG: usize = 16;

/// Makes the tags of a file's chunks while they are written.
pub(super) struct Tagger {
    key: LessSafeKey,
    raw: [u8; 32],
    tags: Vec<u8>,
}

/// The tags of a blob.
#[derive(Debug)]
pub(crate) struct Tags {
    key: LessSafeKey,
    tags: Bytes,
}

/// The machine gave no random bytes, or the key does not have 32 bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the key that proves chunks cannot be made")]
pub(crate) struct NoKey;

fn nonce(index: usize) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&(index as u64).to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn key(raw: &[u8]) -> Result<LessSafeKey, NoKey> {
    UnboundKey::new(&AES_256_GCM, raw).map(LessSafeKey::new).map_err(|_| NoKey)
}

impl Tagger {
    pub(super) fn new() -> Result<Self, NoKey> {
        let mut raw = [0; 32];
        rand::fill(&mut raw).map_err(|_| NoKey)?;
        Ok(Self { key: key(&raw)?, raw, tags: Vec::new() })
    }

    /// Adds the tag of the next chunk.
    pub(super) fn add(&mut self, chunk: &[u8]) -> Result<(), NoKey> {
        let index = self.tags.len() / TAG;
        let tag = self.key.seal_in_place_separate_tag(nonce(index), Aad::from(chunk), &mut []).map_err(|_| NoKey)?;
        self.tags.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The key and the tags.
    pub(super) fn finish(self) -> ([u8; 32], Bytes) {
        (self.raw, Bytes::from(self.tags))
    }
}

impl Tags {
    /// The tags as the catalog keeps them.
    pub(crate) fn new(raw_key: &[u8], tags: Bytes) -> Result<Self, NoKey> {
        Ok(Self { key: key(raw_key)?, tags })
    }

    /// Whether these are the bytes of the chunk with this number.
    pub(super) fn prove(&self, index: usize, chunk: &[u8]) -> bool {
        let Some(tag) = self.tags.get(index * TAG..(index + 1) * TAG) else {
            return false;
        };
        let mut tag: [u8; TAG] = tag.try_into().unwrap_or_default();
        self.key.open_in_place(nonce(index), Aad::from(chunk), &mut tag).is_ok()
    }

    /// How much memory they take.
    pub(crate) fn weight(&self) -> usize {
        self.tags.len() + size_of::<LessSafeKey>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_proven_only_in_its_place_and_whole() {
        let mut tagger = Tagger::new().expect("a key");
        tagger.add(b"first").expect("tagged");
        tagger.add(b"second").expect("tagged");
        let (key, tags) = tagger.finish();
        let tags = Tags::new(&key, tags).expect("a key");
        assert!(tags.prove(0, b"first") && tags.prove(1, b"second"));
        assert!(!tags.prove(0, b"second") && !tags.prove(1, b"secons") && !tags.prove(1, b"secon") && !tags.prove(2, b""));
    }
}
