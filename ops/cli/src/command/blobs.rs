//! `signalbox blobs`: the artifact store.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use signalbox_contract::ArtifactName;
use signalbox_contract::api::Page;
use signalbox_contract::api::store::BlobInfo;
use tokio_util::io::ReaderStream;

use crate::arguments::BlobsCommand;
use crate::connection::{Connection, with_query};
use crate::mistake::Mistake;
use crate::output::{Output, moment, size, table};

/// Lists, fetches, stores or deletes blobs.
pub(crate) async fn blobs(connection: &Connection, command: BlobsCommand, output: Output) -> Result<u8> {
    match command {
        BlobsCommand::List { prefix, cursor } => {
            let query = [("prefix", Some(prefix)), ("cursor", cursor)];
            let page: Page<BlobInfo> = connection.get(&with_query("/blobs", query)).await?;
            output.show(&page, list)?;
        }
        BlobsCommand::Get { name, output: file } => get(connection, &name, file, output).await?,
        BlobsCommand::Put { name, file, content_type } => {
            let info = put(connection, &name, &file, content_type).await?;
            output.show(&info, |info| format!("{} version {}: {}, {}", info.name, info.version, size(info.size), info.digest))?;
        }
        BlobsCommand::Delete { name } => {
            connection.delete(&address(&name)).await?;
            output.show(&serde_json::json!({ "name": name, "deleted": true }), |_| format!("{name} is deleted"))?;
        }
    }
    Ok(0)
}

/// A name may have several parts; the store's paths have them too.
fn address(name: &ArtifactName) -> String {
    crate::connection::path(std::iter::once("blobs").chain(name.as_str().split('/')))
}

fn list(page: &Page<BlobInfo>) -> String {
    if page.items.is_empty() {
        return "no blobs".to_owned();
    }
    let rows = page
        .items
        .iter()
        .map(|blob| [blob.name.to_string(), size(blob.size), blob.version.to_string(), moment(blob.stored_at), blob.digest.to_string()]);
    let text = table(["NAME", "SIZE", "VERSION", "STORED (UTC)", "DIGEST"], rows);
    page.next.as_ref().map_or_else(|| text.clone(), |next| format!("{text}\nmore: signalbox blobs list --cursor {next}"))
}

async fn get(connection: &Connection, name: &ArtifactName, file: Option<PathBuf>, output: Output) -> Result<()> {
    if file.is_none() && std::io::stdout().is_terminal() {
        return Err(
            Mistake::usage("a blob may hold anything, so it is not printed on a terminal; give --output FILE, or redirect it").into()
        );
    }
    let mut answer = connection.stream(&address(name), HeaderMap::new()).await.map_err(|error| connection.explain(error))?;
    let Some(file) = file else {
        while let Some(chunk) = answer.chunk().await.map_err(|error| connection.explain(error))? {
            crate::output::bytes(&chunk)?;
        }
        return Ok(());
    };
    // Beside the file first: a download that breaks off leaves what was there.
    let mut part = file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let cannot = || format!("writing {}", part.display());
    let mut target = std::fs::File::create(&part).with_context(cannot)?;
    let mut bytes = 0_u64;
    while let Some(chunk) = answer.chunk().await.map_err(|error| connection.explain(error))? {
        target.write_all(&chunk).with_context(cannot)?;
        bytes += chunk.len() as u64;
    }
    target.sync_all().with_context(cannot)?;
    std::fs::rename(&part, &file).with_context(|| format!("writing {}", file.display()))?;
    output.show(&serde_json::json!({ "name": name, "file": file, "bytes": bytes }), |_| format!("{}: {}", file.display(), size(bytes)))
}

async fn put(connection: &Connection, name: &ArtifactName, file: &Path, content_type: Option<String>) -> Result<BlobInfo> {
    let unreadable = |error: std::io::Error| Mistake::setup(format!("{} cannot be read: {error}", file.display()));
    let source = tokio::fs::File::open(file).await.map_err(unreadable)?;
    let length = source.metadata().await.map_err(unreadable)?.len();
    let mut headers = HeaderMap::new();
    if let Some(content_type) = content_type {
        let value = HeaderValue::try_from(content_type).map_err(|_| Mistake::usage("--content-type is not a media type"))?;
        headers.insert(CONTENT_TYPE, value);
    }
    connection.upload(&address(name), headers, length, ReaderStream::with_capacity(source, 256 * 1024)).await
}
