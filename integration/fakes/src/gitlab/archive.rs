//! Archives: zip as jobs' artifacts are kept, made and read. As little of the format as that needs.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};

/// The largest single file that is read from an archive.
const LARGEST: u64 = 512 * 1024 * 1024;

/// The most entries that are looked at.
const ENTRIES: usize = 100_000;

/// Packs bytes as gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// Unpacks gzip; bytes that are none stay as they are.
pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match GzDecoder::new(bytes).take(LARGEST).read_to_end(&mut plain) {
        Ok(_) => plain,
        Err(_) => bytes.to_vec(),
    }
}

/// Packs files into a zip archive.
pub(crate) fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for (name, bytes) in files {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        let _ = encoder.write_all(bytes);
        let packed = encoder.finish().unwrap_or_default();
        let mut sum = flate2::Crc::new();
        sum.update(bytes);
        let mut fields = Vec::new();
        // Version 2.0, names in UTF-8, deflate, the first of January 1980.
        for half in [20_u16, 0x0800, 8, 0, 0x0021] {
            fields.extend(half.to_le_bytes());
        }
        for word in [sum.sum(), length(packed.len()), length(bytes.len())] {
            fields.extend(word.to_le_bytes());
        }
        fields.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        fields.extend(0_u16.to_le_bytes());
        let at = length(archive.len());
        archive.extend(b"PK\x03\x04");
        archive.extend(&fields);
        archive.extend(name.as_bytes());
        archive.extend(&packed);
        directory.extend(b"PK\x01\x02");
        // Made by version 2.0 on Unix, so that the permissions below are read.
        directory.extend([20, 3]);
        directory.extend(&fields);
        for half in [0_u16, 0, 0] {
            directory.extend(half.to_le_bytes());
        }
        directory.extend((0o100_644_u32 << 16).to_le_bytes());
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let at = length(archive.len());
    let count = u16::try_from(files.len()).unwrap_or(u16::MAX);
    let size = length(directory.len());
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend(count.to_le_bytes());
    archive.extend(count.to_le_bytes());
    archive.extend(size.to_le_bytes());
    archive.extend(at.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The file at `path` in a zip archive. What is no archive, or damaged, has none.
pub(crate) fn file_of(archive: &[u8], path: &str) -> Option<Vec<u8>> {
    let end = archive.len().checked_sub(22)?;
    // The comment at the end is 64 KiB at most.
    let end = (end.saturating_sub(65_536)..=end).rev().find(|at| archive[*at..].starts_with(b"PK\x05\x06"))?;
    let mut at = word(archive, end + 16)?;
    for _ in 0..ENTRIES {
        if !archive.get(at..)?.starts_with(b"PK\x01\x02") {
            return None;
        }
        let (method, packed) = (half(archive, at + 10)?, word(archive, at + 20)?);
        let (name, extra, comment) = (half(archive, at + 28)?, half(archive, at + 30)?, half(archive, at + 32)?);
        let local = word(archive, at + 42)?;
        if archive.get(at + 46..at + 46 + name)? == path.as_bytes() {
            let start = local + 30 + half(archive, local + 26)? + half(archive, local + 28)?;
            let bytes = archive.get(start..start + packed)?;
            return match method {
                0 => Some(bytes.to_vec()),
                8 => {
                    let mut plain = Vec::new();
                    DeflateDecoder::new(bytes).take(LARGEST).read_to_end(&mut plain).ok()?;
                    Some(plain)
                }
                _ => None,
            };
        }
        at += 46 + name + extra + comment;
    }
    None
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 2)?;
    Some(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?;
    usize::try_from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_found_again_and_damage_finds_nothing() {
        let files = vec![("a.txt".to_owned(), b"hello".to_vec()), ("out/hello".to_owned(), vec![7; 10_000])];
        let archive = zip(&files);
        for (name, bytes) in &files {
            assert_eq!(file_of(&archive, name).as_ref(), Some(bytes));
        }
        assert_eq!(file_of(&archive, "b"), None);
        for cut in 0..archive.len() {
            // Whatever is cut off, there is an answer and no panic.
            let _ = file_of(&archive[..cut], "out/hello");
        }
    }
}
