//! How news gets to hooks: once, without a second try, and with a note of what was answered.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::gitlab::fake::Fake;
use crate::gitlab::state::hook::{Delivery, Hook, Topic};
use crate::gitlab::state::project::matches;
use crate::gitlab::state::{News, State};

/// How many deliveries wait at most; what comes on top is lost, as on a GitLab whose queue was flushed.
const WAITING: usize = 65_536;

/// How many are under way at a time.
const UNDER_WAY: usize = 64;

/// The largest body that is sent.
const LARGEST: usize = 25 * 1024 * 1024;

/// The most of an answer that is remembered.
const REMEMBERED: usize = 8 * 1024;

/// One delivery that is to be made.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) project: u64,
    pub(crate) hook: u64,
    pub(crate) topic: Topic,
    pub(crate) url: String,
    pub(crate) token: Option<SecretString>,
    pub(crate) signing_token: Option<SecretString>,
    pub(crate) custom_headers: Vec<(String, String)>,
    /// Whether the receiver's certificate is looked at.
    pub(crate) verifies: bool,
    pub(crate) body: String,
    pub(crate) key: String,
}

impl Parcel {
    /// What a hook is to be sent.
    pub(crate) fn new(state: &State, project: u64, hook: &Hook, topic: Topic, body: String, key: Option<String>) -> Self {
        Self {
            project,
            hook: hook.id,
            topic,
            url: hook.url.clone(),
            token: hook.token.clone(),
            signing_token: hook.signing_token.clone(),
            custom_headers: hook.custom_headers.clone(),
            verifies: hook.verifies,
            body,
            key: key.unwrap_or_else(|| state.uuid()),
        }
    }
}

/// What carries deliveries.
#[derive(Debug, Clone)]
pub(crate) struct Courier(mpsc::Sender<Parcel>, watch::Sender<usize>);

impl Courier {
    /// A courier, and what it is handed.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Parcel>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender, watch::Sender::new(0)), receiver)
    }

    /// Hands it a delivery.
    pub(crate) fn hand(&self, parcel: Parcel) {
        self.1.send_modify(|count| *count += 1);
        if self.0.try_send(parcel).is_err() {
            self.done();
            tracing::warn!(limit = WAITING, "fake_gitlab.hook_lost");
        }
    }

    fn done(&self) {
        self.1.send_modify(|count| *count = count.saturating_sub(1));
    }

    /// Waits until nothing waits to be delivered, or is under way.
    pub(crate) async fn idle(&self) {
        // The sender lives as long as the courier, so the wait cannot fail.
        let _ = self.1.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Carries until the end.
    pub(crate) async fn carry(mut receiver: mpsc::Receiver<Parcel>, fake: Arc<Fake>) {
        let room = Arc::new(Semaphore::new(UNDER_WAY));
        loop {
            let parcel = tokio::select! {
                () = fake.shutdown.requested() => return,
                parcel = receiver.recv() => parcel,
            };
            let Some(parcel) = parcel else {
                return;
            };
            let fate = fake.faults.of_hook();
            for _ in 1..fate.times {
                fake.courier.1.send_modify(|count| *count += 1);
            }
            if fate.times == 0 {
                fake.courier.done();
            }
            for _ in 0..fate.times {
                let (fake, parcel, room) = (Arc::clone(&fake), parcel.clone(), Arc::clone(&room));
                let shutdown = fake.shutdown.clone();
                let task = async move {
                    tokio::time::sleep(fate.delay).await;
                    let Ok(_place) = room.acquire().await else {
                        return;
                    };
                    deliver(&fake, parcel).await;
                    fake.courier.done();
                };
                fake_spawn(&shutdown, task);
            }
        }
    }
}

fn fake_spawn(shutdown: &signalbox_service::shutdown::Shutdown, task: impl Future<Output = ()> + Send + 'static) {
    let end = shutdown.clone();
    shutdown.spawn("hook", async move {
        tokio::select! {
            () = task => {}
            () = end.requested() => {}
        }
    });
}

/// The deliveries that news makes.
pub(crate) fn parcels(state: &State, news: &News) -> Vec<Parcel> {
    let Some(project) = state.projects.get(&news.project) else {
        return Vec::new();
    };
    let body = news.payload.to_string();
    if body.len() > LARGEST {
        return Vec::new();
    }
    let now = state.now();
    let wants = |hook: &&Hook| {
        let branch = match (&hook.branch_filter, &news.branch) {
            (Some(pattern), Some(branch)) => matches(pattern, branch),
            _ => true,
        };
        hook.topics.contains(&news.topic) && hook.alert_status(now) == "executable" && branch
    };
    project.hooks.iter().filter(wants).map(|hook| Parcel::new(state, news.project, hook, news.topic, body.clone(), None)).collect()
}

/// Makes a delivery and notes what was answered. The status, or none if there was no answer.
pub(crate) async fn deliver(fake: &Arc<Fake>, parcel: Parcel) -> Option<u16> {
    let headers = headers(fake, &parcel);
    let begun = Instant::now();
    let answer = send(fake, &parcel, &headers).await;
    let (status, response_headers, response_body) = match answer {
        Ok((status, headers, body)) => (Some(status), headers, body),
        Err(why) => (None, Vec::new(), why),
    };
    let version = fake.options.version;
    let auto_disable = fake.options.disables_hooks;
    fake.change(|state| {
        let (now, id) = (state.now(), state.id());
        let project = state.projects.get_mut(&parcel.project);
        let Some(hook) = project.and_then(|project| project.hooks.iter_mut().find(|hook| hook.id == parcel.hook)) else {
            return;
        };
        hook.judge(status, now, auto_disable, version.disables_at_once());
        // The secret itself is shown to nobody.
        let shown = |(name, value): &(String, String)| {
            (name.clone(), if name == "X-Gitlab-Token" { "[REDACTED]".to_owned() } else { value.clone() })
        };
        hook.remember(Delivery {
            id,
            topic: parcel.topic,
            url: parcel.url.clone(),
            request_headers: headers.iter().map(shown).collect(),
            body: parcel.body.clone(),
            key: parcel.key.clone(),
            response_headers: response_headers.clone(),
            response_body: response_body.clone(),
            response_status: status.map_or_else(|| "internal error".to_owned(), |status| status.to_string()),
            duration: begun.elapsed().as_secs_f64(),
            at: now,
        });
    });
    status
}

fn headers(fake: &Fake, parcel: &Parcel) -> Vec<(String, String)> {
    let (now, version) = (fake.options.clock.now(), fake.options.version);
    let mut headers = vec![
        ("Content-Type".to_owned(), "application/json".to_owned()),
        ("User-Agent".to_owned(), format!("GitLab/{version}")),
        ("Accept-Encoding".to_owned(), "gzip;q=1.0,deflate;q=0.6,identity;q=0.3".to_owned()),
        ("Connection".to_owned(), "close".to_owned()),
        ("X-Gitlab-Event".to_owned(), parcel.topic.header().to_owned()),
        // Random for each delivery, whatever its name says.
        ("X-Gitlab-Webhook-UUID".to_owned(), fake.options.clock.uuid().to_string()),
        ("X-Gitlab-Instance".to_owned(), fake.url()),
        ("X-Gitlab-Event-UUID".to_owned(), fake.options.clock.uuid().to_string()),
    ];
    if version.sends_keys() {
        headers.push(("Idempotency-Key".to_owned(), parcel.key.clone()));
    }
    if let Some(token) = &parcel.token {
        headers.push(("X-Gitlab-Token".to_owned(), token.expose_secret().to_owned()));
    }
    if let Some(signature) = parcel.signing_token.as_ref().and_then(|token| sign(token, parcel, now.as_second())) {
        headers.push(("webhook-id".to_owned(), parcel.key.clone()));
        headers.push(("webhook-timestamp".to_owned(), now.as_second().to_string()));
        headers.push(("webhook-signature".to_owned(), signature));
    }
    headers.extend(parcel.custom_headers.iter().cloned());
    headers
}

/// The signature of Standard Webhooks.
fn sign(token: &SecretString, parcel: &Parcel, seconds: i64) -> Option<String> {
    let key = STANDARD.decode(token.expose_secret().strip_prefix("whsec_")?).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{}.{seconds}.{}", parcel.key, parcel.body).as_bytes());
    Some(format!("v1,{}", STANDARD.encode(tag)))
}

type Answer = (u16, Vec<(String, String)>, String);

async fn send(fake: &Fake, parcel: &Parcel, headers: &[(String, String)]) -> Result<Answer, String> {
    if !fake.options.hooks_to_local_network && is_local(&parcel.url) {
        return Err("URL is blocked: Requests to the local network are not allowed".to_owned());
    }
    let http = if parcel.verifies { fake.http.lock().unwrap_or_else(PoisonError::into_inner).clone() } else { fake.trusting.clone() };
    let mut request = http.post(&parcel.url).timeout(fake.options.hook_timeout.max(Duration::from_millis(1))).body(parcel.body.clone());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut response = request.send().await.map_err(|error| error.without_url().to_string())?;
    let status = response.status().as_u16();
    let shown = response.headers().iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = shown.collect();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= REMEMBERED {
            body.truncate(REMEMBERED);
            break;
        }
    }
    Ok((status, headers, String::from_utf8_lossy(&body).into_owned()))
}

/// Whether an address is one of this machine or its network.
pub(crate) fn is_local(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else {
        return false;
    };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.rsplit('.').next() == Some("local"),
        Some(url::Host::Ipv4(address)) => {
            address.is_loopback() || address.is_private() || address.is_link_local() || address.is_unspecified()
        }
        Some(url::Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified() || address.is_unique_local(),
        None => false,
    }
}
