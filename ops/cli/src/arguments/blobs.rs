//! The artifact store: what can be typed about it.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Subcommand;
use signalbox_contract::{ArtifactName, Digest};

/// The artifact store.
#[derive(Debug, Subcommand)]
pub(crate) enum BlobsCommand {
    /// List blobs
    List {
        /// Only those whose names begin so
        #[arg(default_value = "")]
        prefix: String,
        /// The next page: what the last answer gave as `next`
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show what a name has pointed to, newest first
    Versions {
        /// The name
        name: ArtifactName,
        /// The next page: what the last answer gave as `next`
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Fetch a blob, and check that its bytes are those that the store keeps
    Get {
        /// Its name, or its digest: an older version, or what a certain run made
        #[arg(value_name = "NAME|DIGEST")]
        blob: WantedBlob,
        /// Where to write it [default: standard output]
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Store a file
    Put {
        /// The name to store it under
        name: ArtifactName,
        /// The file
        file: PathBuf,
        /// Its media type
        #[arg(long)]
        content_type: Option<String>,
    },
    /// Read everything that is stored and prove it; what rotted is named, and served no more until it is uploaded again
    Scrub,
    /// Delete a blob
    Delete {
        /// Its name
        name: ArtifactName,
    },
}

/// A blob as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WantedBlob {
    /// What a name points to now.
    Named(ArtifactName),
    /// These bytes, whatever they are called.
    Exact(Digest),
}

impl FromStr for WantedBlob {
    type Err = signalbox_contract::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("sha256:") { text.parse().map(Self::Exact) } else { text.parse().map(Self::Named) }
    }
}
