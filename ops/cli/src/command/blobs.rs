//! `signalbox blobs`: the artifact store.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aws_lc_rs::digest::{Context, SHA256};
use http::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use indicatif::{ProgressBar, ProgressStyle};
use signalbox_contract::api::Page;
use signalbox_contract::api::store::{BlobInfo, Damage, ScrubRequest, ScrubResult};
use signalbox_contract::{ArtifactName, Digest};
use signalbox_service::client::Download;
use tokio_util::io::ReaderStream;

use crate::arguments::{BlobsCommand, WantedBlob};
use crate::connection::{Connection, with_query};
use crate::mistake::{Mistake, code};
use crate::output::{Output, moment, size, table};

/// Lists, shows the history of, fetches, stores or deletes blobs.
pub(crate) async fn blobs(connection: &Connection, command: BlobsCommand, output: Output) -> Result<u8> {
    match command {
        BlobsCommand::List { prefix, cursor } => {
            let query = [("prefix", Some(prefix)), ("cursor", cursor)];
            let page: Page<BlobInfo> = connection.get(&with_query("/blobs", query)).await?;
            output.show(&page, |page| list(page, output))?;
        }
        BlobsCommand::Versions { name, cursor } => {
            let path = crate::connection::path(std::iter::once("versions").chain(name.as_str().split('/')));
            let page: Page<BlobInfo> = connection.get(&with_query(&path, [("cursor", cursor)])).await?;
            output.show(&page, |page| history(page, &name, output))?;
        }
        BlobsCommand::Get { blob, output: file } => get(connection, &blob, file, output).await?,
        BlobsCommand::Put { name, file, content_type } => {
            let info = put(connection, &name, &file, content_type).await?;
            output.show(&info, |info| format!("{} version {}: {}, {}", info.name, info.version, size(info.size), info.digest))?;
        }
        BlobsCommand::Scrub => return scrub(connection, output).await,
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

/// `POST /scrub`, again and again until everything was looked at.
async fn scrub(connection: &Connection, output: Output) -> Result<u8> {
    let bar = bar(output);
    let mut all = ScrubResult::default();
    let mut request = ScrubRequest::default();
    loop {
        let slice: ScrubResult = connection.post("/scrub", HeaderMap::new(), &request).await?;
        (all.blobs, all.bytes, all.stored) = (all.blobs + slice.blobs, all.bytes + slice.bytes, slice.stored);
        all.rotten.extend(slice.rotten);
        bar.set_length(all.stored.max(all.bytes));
        bar.set_position(all.bytes);
        if slice.next.is_none() || slice.next == request.cursor {
            break;
        }
        request.cursor = slice.next;
    }
    bar.finish_and_clear();
    output.show(&all, scrubbed)?;
    Ok(if all.rotten.is_empty() { 0 } else { code::RUN_FAILED })
}

/// How far a long look is, on a terminal.
fn bar(output: Output) -> ProgressBar {
    if output.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("reading [{bar:30}] {bytes}/{total_bytes} [{elapsed}, {eta} left]") {
        bar.set_style(style);
    }
    bar
}

fn scrubbed(all: &ScrubResult) -> String {
    let what = format!("{} blobs, {}, were read and proven", all.blobs, size(all.bytes));
    if all.rotten.is_empty() {
        return format!("{what}; all of them are what was stored");
    }
    let rows = all.rotten.iter().map(|blob| {
        let damage = match blob.damage {
            Damage::Changed => "changed",
            Damage::Missing => "missing",
            Damage::Unreadable => "unreadable",
        };
        let names = blob.names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
        [blob.digest.to_string(), size(blob.size), damage.to_owned(), if names.is_empty() { "-".to_owned() } else { names }]
    });
    let advice = "They are served no more. Uploading the same bytes again mends them: from a host that shows them, a backup, or a rerun \
                  that makes the same.";
    format!("{}\n{what}; {} of them are damaged. {advice}", table(["DIGEST", "SIZE", "DAMAGE", "NAMES"], rows), all.rotten.len())
}

fn list(page: &Page<BlobInfo>, output: Output) -> String {
    if page.items.is_empty() {
        return "no blobs".to_owned();
    }
    let rows = page.items.iter().map(|blob| {
        [blob.name.to_string(), size(blob.size), blob.version.to_string(), moment(blob.stored_at), output.digest(&blob.digest)]
    });
    let text = table(["NAME", "SIZE", "VERSION", "STORED (UTC)", "DIGEST"], rows);
    page.next.as_ref().map_or_else(|| text.clone(), |next| format!("{text}\nmore: signalbox blobs list --cursor {next}"))
}

fn history(page: &Page<BlobInfo>, name: &ArtifactName, output: Output) -> String {
    let rows = page.items.iter().map(|blob| {
        let run = blob.run.map_or_else(|| "-".to_owned(), |run| run.to_string());
        [blob.version.to_string(), size(blob.size), moment(blob.stored_at), run, output.digest(&blob.digest)]
    });
    let text = table(["VERSION", "SIZE", "STORED (UTC)", "BY RUN", "DIGEST"], rows);
    page.next.as_ref().map_or_else(|| text.clone(), |next| format!("{text}\nmore: signalbox blobs versions {name} --cursor {next}"))
}

async fn get(connection: &Connection, wanted: &WantedBlob, file: Option<PathBuf>, output: Output) -> Result<()> {
    if file.is_none() && output.json {
        return Err(Mistake::usage("a blob may hold anything, so it is no JSON document; give --output FILE").into());
    }
    if file.is_none() && std::io::stdout().is_terminal() {
        return Err(
            Mistake::usage("a blob may hold anything, so it is not printed on a terminal; give --output FILE, or redirect it").into()
        );
    }
    let path = match wanted {
        WantedBlob::Named(name) => address(name),
        WantedBlob::Exact(digest) => crate::connection::path(["digests", &digest.to_string()]),
    };
    let mut answer = connection.download(&path).await?;
    let announced = announced(answer.headers(), wanted)?;
    let Some(file) = file else {
        let mut hash = Context::new(&SHA256);
        while let Some(chunk) = answer.chunk().await.map_err(|error| connection.explain(error))? {
            hash.update(&chunk);
            crate::output::bytes(&chunk)?;
        }
        return compare(hash, &announced, "what was printed is not to be used");
    };
    // Beside the file first: a download that breaks off, or brings other bytes, leaves what was there.
    let mut part = file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let fetched = write(connection, &mut answer, &part, &announced).await;
    let bytes = fetched.inspect_err(|_| {
        // What is left of it is of no use; that it was there is no reason to fail otherwise.
        let _ = std::fs::remove_file(&part);
    })?;
    std::fs::rename(&part, &file).with_context(|| format!("writing {}", file.display()))?;
    let document = serde_json::json!({ "file": file, "bytes": bytes, "digest": announced });
    output.show(&document, |_| format!("{}: {}, {announced}", file.display(), size(bytes)))
}

/// Writes what comes to a file, and answers how much it was if it is what was announced.
async fn write(connection: &Connection, answer: &mut Download, part: &Path, announced: &Digest) -> Result<u64> {
    let cannot = || format!("writing {}", part.display());
    let mut target = std::fs::File::create(part).with_context(cannot)?;
    let (mut hash, mut bytes) = (Context::new(&SHA256), 0_u64);
    while let Some(chunk) = answer.chunk().await.map_err(|error| connection.explain(error))? {
        target.write_all(&chunk).with_context(cannot)?;
        hash.update(&chunk);
        bytes += chunk.len() as u64;
    }
    target.sync_all().with_context(cannot)?;
    compare(hash, announced, "nothing was kept")?;
    Ok(bytes)
}

/// The digest that the store names for what it sends. Where it is one that was asked for, it must be that one.
fn announced(headers: &HeaderMap, wanted: &WantedBlob) -> Result<Digest> {
    let named = headers.get(ETAG).and_then(|value| value.to_str().ok()?.trim_matches('"').parse::<Digest>().ok());
    let Some(named) = named else {
        return Err(Mistake::setup(
            "the answer names no digest, so that nothing can be compared and nothing was kept; is that address the artifact store's?",
        )
        .into());
    };
    match wanted {
        WantedBlob::Exact(digest) if *digest != named => {
            Err(Mistake::setup(format!("the store answered {named} instead of what was asked for; nothing was kept")).into())
        }
        _ => Ok(named),
    }
}

/// Whether the bytes that came are those that were announced.
fn compare(hash: Context, announced: &Digest, otherwise: &str) -> Result<()> {
    let mut came = [0; 32];
    came.copy_from_slice(hash.finish().as_ref());
    let came = Digest::from_bytes(came);
    if came == *announced {
        return Ok(());
    }
    Err(Mistake::setup(format!("other bytes came than the store announced: {came} instead of {announced}; {otherwise}. Fetch it again"))
        .into())
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
