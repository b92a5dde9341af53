//! The VCS worker: `POST /repo`, `POST /refs`, `POST /sources/examine`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::git::RepoPath;
use crate::{CommitSha, Failure, MirrorName, RefName, RepoName, SourceUrl};

/// How many files a request may ask for.
pub const MAX_FILES: usize = 8;

/// How many bytes of one file are answered.
pub const MAX_FILE: u64 = 64 * 1024;

/// `POST /repo`: fetch this ref from its source and prove that it is what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepoRequest {
    /// Where the source is.
    pub git: SourceUrl,
    /// What to fetch.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// The repository's name on this side.
    pub name: RepoName,
    /// The commit that the ref must point to. Without it, whatever it points to now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<CommitSha>,
    /// Whether a forge has told of this ref. Then a source that does not show it yet, or still shows an older commit, may be a
    /// replica that lags behind, and is worth asking again; else a ref that is not there is an answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub announced: bool,
    /// Files to answer from that commit, eight at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<RepoPath>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What came of `POST /repo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RepoResult {
    /// The commit, read back from the worker's own copy.
    pub sha: CommitSha,
    /// The full name of the ref that was meant, as the source has it.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// The files that were asked for.
    pub files: BTreeMap<RepoPath, FileContent>,
    /// How much was transferred; nothing at all if the commit was here already.
    pub transferred: Transferred,
    /// How long the parts took.
    pub timings: Timings,
}

/// A file at a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FileContent {
    /// Its text.
    Text {
        /// The text, UTF-8.
        text: String,
    },
    /// It is not there, or is no plain file.
    Missing,
    /// It has more bytes than are answered.
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// It is not UTF-8.
    NotText {
        /// The line of the first byte that is not, from 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
        /// Its column, from 1, in characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        column: Option<usize>,
    },
}

impl FileContent {
    /// What these bytes are: text, or the place where they are none.
    pub fn of(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(
            |error| {
                let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
                let line = good.rsplit('\n').next().unwrap_or_default();
                Self::NotText { line: Some(good.matches('\n').count() + 1), column: Some(line.chars().count() + 1) }
            },
            |text| Self::Text { text },
        )
    }
}

/// How much a fetch moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Transferred {
    /// Git objects that are new here.
    pub objects: u64,
    /// Bytes that the worker's copy grew by.
    pub bytes: u64,
}

/// How long the parts of a fetch took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Timings {
    /// Waiting for other work on the same repository.
    pub wait_ms: u64,
    /// Finding out what the ref points to.
    pub resolve_ms: u64,
    /// Fetching.
    pub fetch_ms: u64,
    /// Reading back what was fetched, and the files.
    pub proof_ms: u64,
}

/// How many sources a request may have examined.
pub const MAX_SOURCES: usize = 20;

/// `POST /sources/examine`: say of each of these sources whether it may be read and can be, under its name. Nothing is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExamineSources {
    /// The sources, twenty at most.
    pub sources: Vec<NamedSource>,
}

/// A source, and the name that it is to have on this side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedSource {
    /// The repository's name.
    pub name: RepoName,
    /// Where its source is.
    pub source: SourceUrl,
}

/// What was found of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SourceFinding {
    /// The repository's name.
    pub name: RepoName,
    /// The source.
    pub source: SourceUrl,
    /// Why it cannot be read, or not under this name; absent where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// `POST /refs`: show a proven commit where the executor can read it, or take it away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefsRequest {
    /// The repository's name on this side.
    pub name: RepoName,
    /// The commit.
    pub sha: CommitSha,
    /// What to do.
    pub action: RefsAction,
    /// The configured mirror that it is pushed to. Without it the worker's own, which it serves itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorName>,
    /// Under which name it is shown.
    #[serde(default)]
    pub naming: Naming,
    /// The full ref at the source, which [`Naming::Same`] and [`Naming::Replace`] need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<RefName>,
}

/// Under which name a commit is shown where it is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// `cd/KEY`, for this attempt alone; pushing it starts nothing.
    #[default]
    Run,
    /// The name that it has at its source, so that definitions with rules on branch names do what their authors meant.
    /// The push itself starts the build, and one push at a time is made for a ref.
    Same,
    /// As `master`, the only branch of a project that replaces the one there was.
    Replace,
}

/// What to do with an attempt's ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefsAction {
    /// Publish it.
    Publish,
    /// Remove it; that it is gone already is as good.
    Remove,
}

/// What came of `POST /refs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RefsResult {
    /// Where the repository can be cloned from, with a capability for it.
    pub url: Url,
    /// The full name of the ref there.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// What it points to, read back.
    pub sha: CommitSha,
    /// The project at the mirror, in the mirror's own words, where it has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Whether the ref was moved there by this: what was there already starts nothing.
    #[serde(default)]
    pub moved: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_say_where() {
        assert_eq!(FileContent::of(b"a\n".to_vec()), FileContent::Text { text: "a\n".to_owned() });
        for (bytes, line, column) in [
            (&b"\xff"[..], 1, 1),
            (b"a\nb\n\xff", 3, 1),
            ("a: \u{e9}".as_bytes().split_last().expect("bytes").1, 1, 4),
            (b"a\n\xc3\xa9\xff", 2, 2),
        ] {
            assert_eq!(FileContent::of(bytes.to_vec()), FileContent::NotText { line: Some(line), column: Some(column) }, "{bytes:?}");
        }
        // A worker of an older version does not say where.
        let older: FileContent = serde_json::from_str(r#"{"kind":"not_text"}"#).expect("a file");
        assert_eq!(older, FileContent::NotText { line: None, column: None });
    }
}
