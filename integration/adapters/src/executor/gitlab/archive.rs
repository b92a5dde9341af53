//! What is in a job's archive, without reading the archive: a zip file has its directory at its end, which is asked for by
//! range. Reading that little takes no crate; its format is fixed. Where GitLab knows no ranges, the archive is streamed
//! past, and only its end is kept.

use bytes::BytesMut;

use super::part::JobRef;
use crate::gitlab::{Download, GitLab, GitLabError, Span};

/// How much of an archive's end is asked for first. It holds the directory of most.
const TAIL: u64 = 256 << 10;

/// The largest directory that is read.
const DIRECTORY: usize = 16 << 20;

/// The largest archive that is streamed past.
const STREAMED: u64 = 8 << 30;

/// How many files of one archive are looked at.
const ENTRIES: usize = 200_000;

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) checksum: u32,
}

/// The files of a job's archive; none if it has no archive any more.
pub(super) async fn entries(gitlab: &GitLab, at: JobRef) -> Result<Vec<Entry>, GitLabError> {
    let project = at.reference();
    let download = match gitlab.archive(&project, at.job, Span::Last(TAIL)).await {
        Ok(Some(download)) => download,
        Ok(None) => return Ok(Vec::new()),
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let end = End::read(download).await?;
    let directory = Directory::locate(&end).ok_or_else(|| broken("it has no end"))?;
    if directory.size > DIRECTORY as u64 {
        return Err(broken("its directory is too large; name fewer files in the job's artifacts"));
    }
    if let Some(bytes) = end.slice(directory.offset, directory.size) {
        return list(bytes);
    }
    let rest = gitlab.archive(&project, at.job, Span::From(directory.offset)).await?;
    let rest = rest.filter(|rest| rest.offset() == directory.offset).ok_or_else(|| broken("its directory cannot be read apart"))?;
    list(&first(rest, usize::try_from(directory.size).unwrap_or(DIRECTORY)).await?)
}

fn broken(what: &str) -> GitLabError {
    GitLabError::Unreadable { what: format!("the archive of artifacts cannot be used: {what}") }
}

/// The end of an archive.
struct End {
    /// Where in the archive its first byte is.
    begins: u64,
    bytes: BytesMut,
}

impl End {
    async fn read(mut download: Download) -> Result<Self, GitLabError> {
        let mut end = Self { begins: download.offset(), bytes: BytesMut::new() };
        while let Some(chunk) = download.chunk().await? {
            end.bytes.extend_from_slice(&chunk);
            let surplus = end.bytes.len().saturating_sub(DIRECTORY + usize::try_from(TAIL).unwrap_or(0));
            if surplus > 0 {
                let _ = end.bytes.split_to(surplus);
                end.begins += surplus as u64;
            }
            if end.begins > STREAMED {
                return Err(broken("it is too large"));
            }
        }
        Ok(end)
    }

    fn slice(&self, offset: u64, size: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.begins)?).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }
}

/// The first so many bytes of a stream.
async fn first(mut download: Download, size: usize) -> Result<BytesMut, GitLabError> {
    let mut bytes = BytesMut::new();
    while bytes.len() < size {
        let Some(chunk) = download.chunk().await? else { return Err(broken("its directory is cut")) };
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(size);
    Ok(bytes)
}

/// Where the directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Directory {
    offset: u64,
    size: u64,
}

impl Directory {
    fn locate(end: &End) -> Option<Self> {
        const LENGTH: usize = 22;
        let bytes = &end.bytes;
        // The record is last, but for a comment of up to 64 KiB.
        let last = bytes.len().checked_sub(LENGTH)?;
        let at = (last.saturating_sub(0xffff)..=last).rev().find(|at| bytes[*at..].starts_with(b"PK\x05\x06"))?;
        let size = u32_at(bytes, at + 12)?;
        let offset = u32_at(bytes, at + 16)?;
        if size != u32::MAX && offset != u32::MAX {
            return Some(Self { offset: offset.into(), size: size.into() });
        }
        // Archives of more than 4 GiB say it in a record of their own, to which a locator right before points.
        let locator = at.checked_sub(20).filter(|at| bytes[*at..].starts_with(b"PK\x06\x07"))?;
        let record = end.slice(u64_at(bytes, locator + 8)?, 56).filter(|record| record.starts_with(b"PK\x06\x06"))?;
        Some(Self { offset: u64_at(record, 48)?, size: u64_at(record, 40)? })
    }
}

/// The files that a directory names. Folders, and names that are not text, are none that somebody could ask for.
fn list(mut bytes: &[u8]) -> Result<Vec<Entry>, GitLabError> {
    const LENGTH: usize = 46;
    let mut entries = Vec::new();
    while bytes.starts_with(b"PK\x01\x02") {
        let cut = || broken("its directory is cut");
        let length = |at| u16_at(bytes, at).map(usize::from).ok_or_else(cut);
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        let size = u32_at(bytes, 24).ok_or_else(cut)?;
        let checksum = u32_at(bytes, 16).ok_or_else(cut)?;
        let path = bytes.get(LENGTH..LENGTH + name).ok_or_else(cut)?;
        let more = bytes.get(LENGTH + name..LENGTH + name + extra).ok_or_else(cut)?;
        let size = if size == u32::MAX { large_size(more).ok_or_else(cut)? } else { size.into() };
        if let Ok(path) = std::str::from_utf8(path)
            && !path.ends_with('/')
        {
            entries.push(Entry { path: path.to_owned(), size, checksum });
        }
        if entries.len() > ENTRIES {
            return Err(broken("it has too many files"));
        }
        bytes = bytes.get(LENGTH + name + extra + comment..).ok_or_else(cut)?;
    }
    Ok(entries)
}

/// The size of a file of more than 4 GiB: the first number in the extra field 1.
fn large_size(mut extra: &[u8]) -> Option<u64> {
    loop {
        let (kind, length) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        if kind == 1 && length >= 8 {
            return u64_at(extra, 4);
        }
        extra = extra.get(4 + length..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
pub(in crate::executor::gitlab) mod testing {
    //! Archives for tests, whose files are not packed.

    /// A zip file of these.
    pub(in crate::executor::gitlab) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut body, mut directory) = (Vec::new(), Vec::new());
        for (path, bytes) in files {
            let offset = u32::try_from(body.len()).expect("small");
            let (size, name) = (u32::try_from(bytes.len()).expect("small"), u16::try_from(path.len()).expect("short"));
            // No reader of these looks at the checksum but to compare it with another one.
            let checksum = bytes.iter().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
            let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            common.extend(checksum.to_le_bytes());
            common.extend(size.to_le_bytes());
            common.extend(size.to_le_bytes());
            common.extend(name.to_le_bytes());
            common.extend([0, 0]);
            body.extend(b"PK\x03\x04");
            body.extend(&common);
            body.extend(path.as_bytes());
            body.extend(*bytes);
            directory.extend(b"PK\x01\x02\x14\0");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(offset.to_le_bytes());
            directory.extend(path.as_bytes());
        }
        let (offset, size) = (u32::try_from(body.len()).expect("small"), u32::try_from(directory.len()).expect("small"));
        body.extend(&directory);
        body.extend(b"PK\x05\x06\0\0\0\0\0\0\0\0");
        body.extend(size.to_le_bytes());
        body.extend(offset.to_le_bytes());
        body.extend([0, 0]);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::testing::zip;
    use super::*;

    fn read(archive: &[u8]) -> Option<Result<Vec<Entry>, GitLabError>> {
        let end = End { begins: 0, bytes: BytesMut::from(archive) };
        let directory = Directory::locate(&end)?;
        Some(list(end.slice(directory.offset, directory.size)?))
    }

    #[test]
    fn an_archives_files_are_read_from_its_directory() {
        let archive = zip(&[("out/hello", b"hello"), ("out/", b""), ("empty", b"")]);
        let entries = read(&archive).expect("located").expect("listed");
        let names: Vec<(&str, u64)> = entries.iter().map(|entry| (entry.path.as_str(), entry.size)).collect();
        assert_eq!(names, [("out/hello", 5), ("empty", 0)]);
    }

    // Threat 48.
    #[test]
    fn an_archive_that_is_cut_or_garbled_anywhere_is_no_panic() {
        let archive = zip(&[("out/hello", b"hello"), ("b", b"x")]);
        for length in 0..archive.len() {
            let _ = read(&archive[..length]);
            let mut garbled = archive.clone();
            garbled[length] = 0xff;
            let _ = read(&garbled);
        }
    }
}
