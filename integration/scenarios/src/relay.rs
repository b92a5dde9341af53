//! A real Gerrit's events by webhook. The plugin that would send them comes with release wars alone; this sends what the real
//! server says on its stream as the plugin does: one request an event, the project as an object, the secret in the path. Where that is
//! wanted, it loses some of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use signalbox_contract::token::Service;
use signalbox_service::client::authority;
use signalbox_service::process::{Program, Running};
use signalbox_service::testing::eventually;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinHandle;

use crate::gerrit::{Account, Gerrit};
use crate::world::{PATIENCE, World};

/// How often a delivery is tried, and how long is waited in between: as the plugin does it when nothing else is configured.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What becomes of events on their way, each a share of a hundred.
#[derive(Debug, Clone, Copy, Default)]
pub struct Losses {
    /// Never delivered.
    pub dropped: u64,
    /// Delivered twice.
    pub doubled: u64,
    /// Delivered late, so that later ones come before.
    pub late: u64,
    /// How late at most.
    pub most_late: Duration,
    /// Where chance begins.
    pub seed: u64,
}

/// What became of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// How many there were.
    pub events: u64,
    /// How many were never delivered.
    pub dropped: u64,
    /// How many were delivered twice.
    pub doubled: u64,
    /// How many were delivered late.
    pub late: u64,
}

/// What sends the events. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    task: JoinHandle<()>,
    /// None until events are lost.
    counted: Arc<Mutex<Option<Delivered>>>,
    _stream: Running,
}

impl Relay {
    /// What became of the events so far.
    pub fn counted(&self) -> Delivered {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where events go.
#[derive(Debug, Clone)]
struct Receiver {
    client: reqwest::Client,
    url: String,
    delivered: Arc<AtomicU64>,
}

impl Receiver {
    async fn deliver(&self, event: &Value) {
        for _ in 0..TRIES {
            let answer = self.client.post(&self.url).json(event).send().await;
            if answer.is_ok_and(|answer| matches!(answer.status().as_u16(), 200 | 201 | 202 | 204)) {
                self.delivered.fetch_add(1, Ordering::SeqCst);
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Gerrit {
    /// Has all events delivered to the controller of a world, at this path. It delivers when this returns.
    ///
    /// # Panics
    /// When it does not come to deliver.
    pub async fn deliver(&self, world: &World, path: &str) -> Relay {
        self.deliver_badly(world, path, Losses::default()).await
    }

    /// The same, but of what comes after this returns, some is lost, doubled and late.
    ///
    /// # Panics
    /// When it does not come to deliver.
    #[expect(clippy::expect_used, reason = "a test without its events cannot go on")]
    pub async fn deliver_badly(&self, world: &World, path: &str, losses: Losses) -> Relay {
        let mut stream = Program::new("ssh")
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
            .arg(self.key(Account::Robot))
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.known_hosts().display()))
            .args(["-p", &self.ssh().port().to_string(), "robot@127.0.0.1", "gerrit stream-events"])
            .env("PATH", "/usr/bin:/bin")
            .start()
            .expect("ssh starts");
        let mut lines = BufReader::new(stream.stdout.take().expect("it prints")).lines();
        let certificates = authority(&world.site().join("ca.pem")).expect("an authority");
        let client = reqwest::Client::builder().no_proxy().tls_certs_only(certificates).build().expect("a client");
        let url = format!("https://{}{path}", world.services.listen[Service::Controller.as_str()]);
        let delivered = Arc::new(AtomicU64::new(0));
        let receiver = Receiver { client, url, delivered: Arc::clone(&delivered) };
        let counted: Arc<Mutex<Option<Delivered>>> = Arc::default();
        let counts = Arc::clone(&counted);
        let task = tokio::spawn(async move {
            let mut chance = losses.seed;
            let mut share = move |cases: u64| {
                // SplitMix64.
                chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = (chance ^ (chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed = (mixed ^ (mixed >> 31)) % 10_000;
                (mixed < cases * 100, mixed)
            };
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(mut event) = serde_json::from_str::<Value>(&line) else { continue };
                if let Some(project) = event["project"].as_str().map(str::to_owned) {
                    event["project"] = json!({ "name": project });
                }
                let (mut times, mut wait) = (1, None);
                if let Some(counted) = counts.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    let ((drop, _), (double, _), (late, number)) = (share(losses.dropped), share(losses.doubled), share(losses.late));
                    times = if drop { 0 } else { 1 + u32::from(double) };
                    let most = u64::try_from(losses.most_late.as_millis()).unwrap_or_default();
                    wait = (late && !drop).then(|| Duration::from_millis(most * (number % 100) / 100));
                    counted.events += 1;
                    counted.dropped += u64::from(drop);
                    counted.doubled += u64::from(double && !drop);
                    counted.late += u64::from(late && !drop);
                }
                let receiver = receiver.clone();
                let deliver = async move {
                    for _ in 0..times {
                        receiver.deliver(&event).await;
                    }
                };
                match wait {
                    None => deliver.await,
                    Some(wait) => drop(tokio::spawn(async move {
                        tokio::time::sleep(wait).await;
                        deliver.await;
                    })),
                }
            }
        });
        // Nothing tells that the stream stands but what comes through it.
        let probes = AtomicU64::new(0);
        let stands = || async {
            let probe = format!("projects/demo/tags/probe-{}", probes.fetch_add(1, Ordering::SeqCst));
            self.ask(Account::Admin, Method::PUT, &probe, Some(&json!({ "revision": "master" }))).await;
            (delivered.load(Ordering::SeqCst) > 0).then_some(())
        };
        tokio::time::timeout(PATIENCE, eventually("events are delivered", PATIENCE, stands)).await.expect("events are delivered");
        *counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Delivered::default());
        Relay { task, counted, _stream: stream }
    }
}
