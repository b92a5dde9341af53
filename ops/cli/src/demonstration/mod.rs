//! `signalbox try`: the whole way of a commit to a host, on an example of its own.
//!
//! Everything is real: `signalbox up` as a process, a git repository behind http, the sandbox, an `sshd` as the host. All
//! of it is on loopback, below one folder, and ends with this program.

mod place;
mod repository;

use std::io::IsTerminal as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signalbox_contract::api::run::RunView;
use signalbox_contract::token::Service;
use signalbox_deploy_worker::testing::Host;
use signalbox_service::folder::DataFolder;
use signalbox_service::git::testing::GitServer;
use signalbox_service::http::{ServeOptions, bind, finish, serve};
use signalbox_service::process::{self, Bounds, Program};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::Telemetry;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tower_http::services::ServeDir;

use crate::arguments::{CdArguments, ClientArguments};
use crate::child;
use crate::command::cd;
use crate::connection::Connection;
use crate::follow::{exit_code, follow};
use crate::install::admin_token;
use crate::mistake::{Mistake, code};
use crate::output::{self, Output, duration};
use crate::settings;
use place::Place;
use repository::Example;

/// How long the services may take until they are ready.
const READY: Duration = Duration::from_mins(1);

/// How long looking at the deployed file may take.
const LOOK: Duration = Duration::from_secs(20);

/// Shows the main job, in `folder`.
pub(crate) async fn show(folder: &Path, keep: bool, output: Output) -> Result<u8> {
    let teller = Teller { begun: Instant::now(), output };
    // It holds keys and tokens: others may have no look at it, whatever the umask says.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| format!("making {}", folder.display()))?;
    let folder = folder.canonicalize().with_context(|| format!("finding {}", folder.display()))?;
    let _claim = DataFolder::claim(&folder, "signalbox try")?;
    let place = Place::open(&folder)?;
    let end = Shutdown::new();
    let result = tokio::select! {
        result = demonstrate(&place, teller, &end) => result,
        () = Shutdown::asked_by_the_system() => Err(Mistake::new(code::INTERRUPTED, "interrupted").into()),
    };
    let result = match result {
        Ok(running) => running.stay(&place, keep).await,
        Err(error) => Err(error),
    };
    end.drained(Duration::from_secs(5)).await;
    result
}

/// Who is told what happens: people as it happens, line by line; a program in one document, once all is there.
#[derive(Debug, Clone, Copy)]
struct Teller {
    begun: Instant,
    output: Output,
}

impl Teller {
    fn line(self, text: &str) -> Result<()> {
        if self.output.json { Ok(()) } else { output::line(text) }
    }

    /// Says what was done, and how long after the beginning.
    fn say(self, text: &str) -> Result<()> {
        self.line(&format!("[{:>8}] {text}", duration(self.begun.elapsed())))
    }
}

/// What goes on after the demonstration, until it is asked to end.
struct Running {
    services: process::Running,
    /// How the run ended, as an exit code.
    code: u8,
    teller: Teller,
    _host: Host,
    _forge: GitServer,
}

async fn demonstrate(place: &Place, teller: Teller, end: &Shutdown) -> Result<Running> {
    let example = Example::prepare(&place.repositories()).await?;
    let forge = GitServer::start_at(&place.repositories(), place.git()).await;
    teller.say(&format!("a repository: {} at {}, commit {}", example.folder.display(), place.source(), example.commit))?;

    let host = Host::start(&place.hosts()?, "example-host").await.context("starting the example host")?;
    publish(&host.files, place, end)?;
    teller.say(&format!("a host: sshd on 127.0.0.1:{} publishes what is in {}", host.port, host.files.display()))?;

    place.write_site(&host)?;
    let services = start_services(place).await?;
    teller.say(&format!("the services: signalbox up {}", place.site().display()))?;

    let (code, run) = deploy(place, teller).await?;
    if code == 0 {
        look(place, teller).await?;
        explain(place, teller, &example)?;
    } else {
        teller.line(&format!("It did not work. The services' log is {}.", place.log().display()))?;
    }
    if let Some(run) = run {
        teller.output.show(&document(place, &example, &run)?, |_| String::new())?;
    }
    Ok(Running { services, code, teller, _host: host, _forge: forge })
}

impl Running {
    /// Goes on until Ctrl-C where somebody looks on, and ends the services. The rest ends with this value.
    async fn stay(mut self, place: &Place, keep: bool) -> Result<u8> {
        let watched = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        if self.code == 0 && (keep || watched) {
            self.teller.line("\nEverything runs until Ctrl-C.")?;
            tokio::select! {
                () = Shutdown::asked_by_the_system() => self.teller.line("ending …")?,
                _ = self.services.wait() => self.teller.line(&format!("the services ended by themselves; {} says why", place.log().display()))?,
            }
        } else if self.code == 0 {
            self.teller.line("\nNobody looks on at a terminal, so everything ends now; with --keep it goes on until it is interrupted.")?;
        }
        child::end(&mut self.services).await;
        Ok(self.code)
    }
}

/// Serves what the host publishes over http, as a web server on it would.
fn publish(files: &Path, place: &Place, end: &Shutdown) -> Result<()> {
    let listener = bind(place.published()).with_context(|| format!("listening on {}", place.published()))?;
    let options = ServeOptions::new("published");
    let router = axum::Router::new().fallback_service(ServeDir::new(files));
    let router = finish(router, &options, &Telemetry::new("published"));
    let until = end.clone();
    end.spawn("published", async move { serve(listener, router, options, until).await });
    Ok(())
}

/// Starts `signalbox up` and waits until it says that it is ready.
async fn start_services(place: &Place) -> Result<process::Running> {
    let arguments =
        ["up".as_ref(), place.site().as_os_str(), "--end-with-input".as_ref(), "--json".as_ref()].map(std::ffi::OsStr::to_owned);
    let mut running = child::program(arguments)?.start()?;
    let (Some(stdout), Some(mut stderr)) = (running.stdout.take(), running.stderr.take()) else {
        anyhow::bail!("the services have no output");
    };
    let mut log = tokio::fs::File::create(place.log()).await.with_context(|| format!("writing {}", place.log().display()))?;
    tokio::spawn(async move {
        // It ends with the process that writes.
        let _ = tokio::io::copy(&mut stderr, &mut log).await;
    });
    let mut lines = BufReader::new(stdout).lines();
    let ready = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("\"ready\": true") {
                return true;
            }
        }
        false
    };
    if tokio::time::timeout(READY, ready).await != Ok(true) {
        running.kill().await;
        let said = std::fs::read_to_string(place.log()).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(10).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        let words = format!("the services did not start; the end of {} is:\n{}", place.log().display(), output::harmless(&last));
        return Err(Mistake::setup(words).into());
    }
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(running)
}

/// The main job, as anybody would ask for it.
async fn deploy(place: &Place, teller: Teller) -> Result<(u8, Option<RunView>)> {
    teller.line("\n$ signalbox cd hello --ref main --artifact hello.txt --follow")?;
    let client = ClientArguments {
        url: Some(place.url(Service::Controller)?),
        token_file: Some(admin_token(&place.site(), Service::Controller)),
        ..ClientArguments::default()
    };
    let connection = Connection::new(settings::controller(&client)?)?;
    let request = CdArguments {
        repo: "hello".to_owned(),
        ref_name: "main".parse()?,
        artifact: Some("hello.txt".parse()?),
        job: None,
        environment: None,
        published_name: None,
        executor: None,
        inputs: Vec::new(),
        follow: true,
        idempotency_key: None,
    };
    let accepted = cd::ask(&connection, request).await?;
    if !teller.output.json {
        return Ok((cd::go_on(&connection, accepted, true, teller.output).await?, None));
    }
    let view = follow(&connection, accepted.run, teller.output).await?;
    Ok((exit_code(&view), Some(view)))
}

/// Fetches the deployed file from the host.
async fn look(place: &Place, teller: Teller) -> Result<()> {
    let address = format!("http://{}/hello.txt", place.published());
    teller.line(&format!("\n$ curl {address}"))?;
    let curl = Program::new("curl")
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*", &address])
        .env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let shown = curl.run(Bounds::new(LOOK)).await?;
    if !shown.status.success() {
        anyhow::bail!("the host does not show the file: {}", output::harmless(&String::from_utf8_lossy(&shown.stderr)));
    }
    teller.line(output::harmless(&String::from_utf8_lossy(&shown.stdout)).trim_end())?;
    teller.line("")?;
    teller.say("a commit became a file on a host")
}

/// The same for a program: where everything is, and how the run ended.
fn document(place: &Place, example: &Example, run: &RunView) -> Result<serde_json::Value> {
    Ok(serde_json::json!({
        "controller": place.url(Service::Controller)?,
        "token_file": admin_token(&place.site(), Service::Controller),
        "store": place.url(Service::ArtifactStore)?,
        "store_token_file": admin_token(&place.site(), Service::ArtifactStore),
        "published": format!("http://{}/", place.published()),
        "repository": example.folder,
        "log": place.log(),
        "folder": place.folder(),
        "run": run,
    }))
}

fn explain(place: &Place, teller: Teller, example: &Example) -> Result<()> {
    let controller = place.url(Service::Controller)?;
    let token = admin_token(&place.site(), Service::Controller);
    let program = std::env::current_exe().context("finding this program's own file")?;
    let programs = program.parent().unwrap_or(Path::new("/usr/local/bin"));
    teller.line(&format!(
        "\nDone in {took}. Where to look:\n  \
         pages        {controller}  (sign in with the token in {token})\n  \
         deployed     http://{published}/hello.txt, on the host {host}\n  \
         repository   {repository}  (commit there, and deploy again)\n  \
         log          {log}\n\n\
         From another terminal, while it runs:\n  \
         export PATH={programs}:$PATH\n  \
         export SIGNALBOX_URL={base} SIGNALBOX_TOKEN_FILE={token}\n  \
         export SIGNALBOX_STORE_URL={store} SIGNALBOX_STORE_TOKEN_FILE={store_token}\n  \
         signalbox status\n  \
         signalbox cd hello --ref main --artifact hello.txt --follow\n  \
         signalbox rollback test hello.txt --follow\n\n\
         Run `ops/try` again for another commit. Remove {folder} to begin anew.",
        programs = programs.display(),
        // Whoever appends a path to it does not want two slashes.
        store = place.url(Service::ArtifactStore)?.as_str().trim_end_matches('/'),
        store_token = admin_token(&place.site(), Service::ArtifactStore).display(),
        base = controller.as_str().trim_end_matches('/'),
        took = duration(teller.begun.elapsed()),
        token = token.display(),
        published = place.published(),
        host = place.hosts()?.join("example-host/root").display(),
        repository = example.folder.display(),
        log = place.log().display(),
        folder = place.folder().display(),
    ))
}
