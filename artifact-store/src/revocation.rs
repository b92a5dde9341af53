//! Which operators' tokens are revoked: the controller says so, and the last good answer is kept.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use signalbox_contract::api::token::Revocations;
use signalbox_service::auth::Verifier;
use signalbox_service::client::{CallError, Client};
use signalbox_service::shutdown::Shutdown;
use tokio::fs;
use tokio::time::Instant;

/// How often the controller is asked.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// How long the controller, which is started at the same time or a little later, may take until its silence is told.
const STARTING: Duration = Duration::from_secs(20);

/// How often it is asked meanwhile.
const SOON: Duration = Duration::from_millis(500);

/// The file that keeps the last good answer.
const FILE: &str = "revocations.json";

/// Asks the controller now and then until the end.
pub(crate) async fn run(controller: Client, verifier: Arc<Verifier>, data: PathBuf, shutdown: Shutdown) {
    if let Some(known) = last_known(&data).await {
        verifier.set_revoked(known.revoked.into_iter().collect());
    }
    let begun = Instant::now();
    let (mut answered, mut reached) = (false, true);
    loop {
        let asked = tokio::select! {
            asked = ask(&controller) => asked,
            () = shutdown.requested() => return,
        };
        let mut pause = ASK_EVERY;
        match asked {
            Ok(answer) => {
                let revoked: HashSet<_> = answer.revoked.iter().copied().collect();
                verifier.set_revoked(revoked);
                if let Err(error) = remember(&data, &answer).await {
                    tracing::warn!(%error, "the revocations could not be kept");
                }
                (answered, reached) = (true, true);
            }
            Err(_) if !answered && begun.elapsed() < STARTING => pause = SOON,
            Err(error) => {
                // Said once, not every half minute.
                if reached {
                    tracing::warn!(%error, "the controller does not say which tokens are revoked; what it said last still holds");
                }
                reached = false;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => return,
        }
    }
}

/// All of them, page by page. Half of them would be as good as none, so nothing is believed before the last page is there.
async fn ask(controller: &Client) -> Result<Revocations, CallError> {
    let mut all: Revocations = controller.json::<(), _>(Method::GET, "/revocations", None, HeaderMap::new(), None).await?;
    while let Some(after) = all.next.take() {
        let path = format!("/revocations?cursor={after}");
        let page: Revocations = controller.json::<(), _>(Method::GET, &path, None, HeaderMap::new(), None).await?;
        all.revoked.extend(page.revoked);
        // A page that leads back would never end.
        all.next = page.next.filter(|next| *next > after);
    }
    Ok(all)
}

async fn last_known(data: &Path) -> Option<Revocations> {
    let text = fs::read(data.join(FILE)).await.ok()?;
    serde_json::from_slice(&text).inspect_err(|_| tracing::warn!("the kept revocations cannot be read")).ok()
}

async fn remember(data: &Path, answer: &Revocations) -> std::io::Result<()> {
    let text = serde_json::to_vec(answer).map_err(std::io::Error::other)?;
    let path = data.join(FILE);
    if fs::read(&path).await.is_ok_and(|before| before == text) {
        return Ok(());
    }
    let new = data.join("revocations.json.new");
    fs::write(&new, text).await?;
    fs::rename(new, path).await
}
