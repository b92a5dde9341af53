//! A real Gerrit's events by webhook. The plugin that would send them comes with release wars alone; this sends what the real
//! server says on its stream as the plugin does: one request an event, the project as an object, the secret in the path.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// What sends the events. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    task: JoinHandle<()>,
    _stream: Running,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gerrit {
    /// Has all events delivered to the controller of a world, at this path. It delivers when this returns.
    ///
    /// # Panics
    /// When it does not come to deliver.
    #[expect(clippy::expect_used, reason = "a test without its events cannot go on")]
    pub async fn deliver(&self, world: &World, path: &str) -> Relay {
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
        let delivered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&delivered);
        let task = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(mut event) = serde_json::from_str::<Value>(&line) else { continue };
                if let Some(project) = event["project"].as_str().map(str::to_owned) {
                    event["project"] = json!({ "name": project });
                }
                for _ in 0..TRIES {
                    let answer = client.post(&url).json(&event).send().await;
                    if answer.is_ok_and(|answer| matches!(answer.status().as_u16(), 200 | 201 | 202 | 204)) {
                        count.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        // Nothing tells that the stream stands but what comes through it.
        let probes = AtomicUsize::new(0);
        let stands = || async {
            let probe = format!("projects/demo/tags/probe-{}", probes.fetch_add(1, Ordering::SeqCst));
            self.ask(Account::Admin, Method::PUT, &probe, Some(&json!({ "revision": "master" }))).await;
            (delivered.load(Ordering::SeqCst) > 0).then_some(())
        };
        tokio::time::timeout(PATIENCE, eventually("events are delivered", PATIENCE, stands)).await.expect("events are delivered");
        Relay { task, _stream: stream }
    }
}
