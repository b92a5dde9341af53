//! The services, each a process that can be killed and started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use signalbox_contract::token::Service;
use signalbox_service::process::{Program, Running};
use signalbox_service::testing::eventually;

/// How long a service may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every service, in the order in which they are started.
pub const ALL: [Service; 5] =
    [Service::ArtifactStore, Service::VcsWorker, Service::DeployWorker, Service::LocalExecutor, Service::Controller];

/// The services of a world.
#[derive(Debug)]
pub struct Services {
    program: PathBuf,
    folder: PathBuf,
    pub(crate) listen: BTreeMap<&'static str, SocketAddr>,
    running: BTreeMap<&'static str, Running>,
}

impl Services {
    pub(crate) fn new(program: &Path, folder: &Path, listen: BTreeMap<&'static str, SocketAddr>) -> Self {
        Self { program: program.to_owned(), folder: folder.to_owned(), listen, running: BTreeMap::new() }
    }

    /// Starts a service, and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(&mut self, service: Service) {
        self.launch(service);
        self.listens(service).await;
    }

    /// Starts a service, and waits for nothing.
    ///
    /// # Panics
    /// When it cannot be started.
    #[expect(clippy::expect_used, reason = "a test whose service does not start cannot go on")]
    pub fn launch(&mut self, service: Service) {
        let name = service.as_str();
        let log = self.folder.join(format!("{name}.log"));
        let running = Program::new("/bin/sh")
            .args(["-c", "exec \"$0\" \"$1\" --config \"$2\" >>\"$3\" 2>&1"])
            .args([&self.program, &PathBuf::from(name), &self.folder.join(format!("{name}.toml")), &log])
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SIGNALBOX_LOG", std::env::var("SIGNALBOX_LOG").unwrap_or_else(|_| "debug".to_owned()))
            .start()
            .expect("the service starts");
        self.running.insert(name, running);
    }

    /// Waits until a service listens.
    ///
    /// # Panics
    /// When it does not.
    pub async fn listens(&self, service: Service) {
        let address = self.listen[service.as_str()];
        let log = self.folder.join(format!("{service}.log"));
        let listening = || async move { tokio::net::TcpStream::connect(address).await.ok() };
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let ready = tokio::time::timeout(PATIENCE, eventually(service.as_str(), PATIENCE * 2, listening)).await;
        assert!(ready.is_ok(), "the {service} does not listen:\n{}", crate::world::tail(&said()));
    }

    /// Kills a service: no warning, no clean-up.
    ///
    /// # Panics
    /// When it does not run.
    #[expect(clippy::expect_used, reason = "killing what does not run is a mistake in the test")]
    pub async fn kill(&mut self, service: Service) {
        let mut running = self.running.remove(service.as_str()).expect("it runs");
        // The process alone, as a crash would: what it started is not told.
        signal(&running, Signal::KILL);
        let _ = running.wait().await;
    }

    /// Kills a service and starts it again.
    ///
    /// # Panics
    /// When it does not come back.
    pub async fn crash(&mut self, service: Service) {
        self.kill(service).await;
        self.start(service).await;
    }

    /// Ends a service as an operator would, and tells whether it ended well.
    ///
    /// # Panics
    /// When it does not end.
    #[expect(clippy::expect_used, reason = "a service that does not end is what the test is about")]
    pub async fn stop(&mut self, service: Service) -> bool {
        let Some(mut running) = self.running.remove(service.as_str()) else { return true };
        signal(&running, Signal::TERM);
        let ended = tokio::time::timeout(PATIENCE, running.wait()).await;
        ended.unwrap_or_else(|_| panic!("the {service} does not end")).expect("its end is seen").success()
    }

    /// What a service has written to its log.
    pub fn log(&self, service: Service) -> String {
        std::fs::read_to_string(self.folder.join(format!("{service}.log"))).unwrap_or_default()
    }
}

fn signal(running: &Running, signal: Signal) {
    if let Some(pid) = i32::try_from(running.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}
