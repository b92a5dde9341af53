//! `signalbox up`: all services of a folder in one process. The local executor alone runs as a child, so that nothing of
//! a build can come near the others' memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::select_all;
use signalbox_contract::token::Service;
use signalbox_service::client::Client;
use signalbox_service::config::{Common, ConfigErrors};
use signalbox_service::http::bind;
use signalbox_service::shutdown::Shutdown;

use crate::child;
use crate::install::{config_file, is_ours_or_empty};
use crate::mistake::Mistake;
use crate::output::Output;
use crate::services::{ALL, Configured, asked_to_end, drain, set_up_process};

/// How long the local executor may take until it answers.
const READY: Duration = Duration::from_secs(30);

/// How long the controller may take to end, and then the workers.
const END_CONTROLLER: Duration = Duration::from_secs(25);
const END_WORKERS: Duration = Duration::from_secs(30);

/// Runs all services until the process is asked to end.
pub(crate) async fn up(folder: &Path, end_with_input: bool, output: Output) -> Result<u8> {
    set_up_process("signalbox");
    let configured = load(folder)?;
    let addresses: Vec<(Service, String)> =
        configured.iter().map(|one| (one.service(), one.common().url().map(String::from).unwrap_or_default())).collect();
    free(&configured)?;
    // The controller ends first, so that it calls nobody who is ending.
    let (controller, workers) = (Shutdown::new(), Shutdown::new());
    let started = start(configured, folder, &controller, &workers).await;
    if let Err(error) = started {
        end(&controller, &workers).await;
        return Err(error);
    }
    say_ready(&addresses, output)?;
    let ended_by_itself = tokio::select! {
        () = asked_to_end(end_with_input) => false,
        _ = select_all([Box::pin(controller.requested()) as futures_util::future::BoxFuture<'_, ()>, Box::pin(workers.requested())]) => true,
    };
    end(&controller, &workers).await;
    if ended_by_itself {
        return Err(Mistake::setup("a service ended by itself; the log says which and why").into());
    }
    Ok(0)
}

/// Reads all configurations, and reports what is wrong with any of them at once.
fn load(folder: &Path) -> Result<Vec<Configured>> {
    let missing: Vec<PathBuf> = ALL.iter().map(|service| config_file(folder, *service)).filter(|path| !path.is_file()).collect();
    if missing.len() == ALL.len() {
        return Err(unconfigured(folder)?.into());
    }
    let mut errors = Vec::new();
    let mut configured = Vec::new();
    for service in ALL {
        match Configured::load(service, &config_file(folder, service)) {
            Ok(one) => configured.push(one),
            Err(ConfigErrors(found)) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(configured) } else { Err(Mistake::setup(ConfigErrors(errors).to_string()).into()) }
}

/// What to do about a path where no configuration is.
///
/// # Errors
/// When the folder cannot be read.
fn unconfigured(given: &Path) -> Result<Mistake> {
    let shown = given.display();
    if given.is_file() {
        let parent = given.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let configured = ALL.iter().any(|service| config_file(parent, *service).is_file());
        let example = if configured { format!(": `signalbox up {}`", parent.display()) } else { String::new() };
        return Ok(Mistake::setup(format!("{shown} is a file; give the folder that holds the configurations{example}")));
    }
    // A folder that `init` would refuse is no place to recommend for it.
    Ok(Mistake::setup(if is_ours_or_empty(given)? {
        format!("{shown} holds no configuration; `signalbox init {shown}` makes one")
    } else {
        format!("{shown} holds other things and no configuration; give the folder that `signalbox init` made, or have it make a new one")
    }))
}

/// Whether all addresses are to be had: those that are taken are named at once. Nothing is held; whoever takes one in the
/// next moment is met by the service itself.
fn free(configured: &[Configured]) -> Result<()> {
    let mut taken = Vec::new();
    for one in configured {
        let Common { listen, metrics, .. } = *one.common();
        let all = [("listen", Some(listen)), ("metrics_listen", metrics)];
        for (key, address) in all.into_iter().filter_map(|(key, address)| Some((key, address?))) {
            if let Err(error) = bind(address) {
                taken.push(format!("\n  {address} ({}.toml: {key}): {error}", one.service()));
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    let words = "cannot be listened on; is it running already? End what has them, or give others";
    let number = taken.len();
    let addresses = if number == 1 { "address" } else { "addresses" };
    Err(Mistake::setup(format!("{number} {addresses} {words}:{}", taken.concat())).into())
}

async fn start(configured: Vec<Configured>, folder: &Path, controller: &Shutdown, workers: &Shutdown) -> Result<()> {
    let mut executor = None;
    for one in configured {
        match one.service() {
            Service::LocalExecutor => {
                executor = Some(one.common().clone());
                let (path, end) = (config_file(folder, Service::LocalExecutor), workers.clone());
                workers.spawn("local-executor", async move { child::supervise(Service::LocalExecutor, &path, &end).await });
            }
            Service::Controller => one.start(controller).await?,
            Service::VcsWorker | Service::ArtifactStore | Service::DeployWorker => one.start(workers).await?,
        }
    }
    match executor {
        Some(common) => await_ready(Service::LocalExecutor, &common).await,
        None => Ok(()),
    }
}

/// Waits until a service in another process answers that it is ready.
async fn await_ready(service: Service, common: &Common) -> Result<()> {
    let begun = Instant::now();
    let mut last = String::new();
    while begun.elapsed() < READY {
        match ask_ready(common).await {
            Ok(()) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let words = format!("the {service} did not get ready within {} s: {last}. Its lines in the log say why", READY.as_secs());
    Err(Mistake::setup(words).into())
}

async fn ask_ready(common: &Common) -> Result<()> {
    if common.tls.is_some() {
        // Its certificate names the address by which others know it, which need not be one that leads back here.
        tokio::net::TcpStream::connect(common.listen).await?;
        return Ok(());
    }
    let client = Client::new(format!("http://{}/", common.listen).parse()?, None)?;
    let path = "/health/ready";
    let _: serde::de::IgnoredAny = client.json::<(), _>(http::Method::GET, path, None, http::HeaderMap::new(), None).await?;
    Ok(())
}

fn say_ready(addresses: &[(Service, String)], output: Output) -> Result<()> {
    let document: serde_json::Map<String, serde_json::Value> =
        addresses.iter().map(|(service, address)| (service.to_string(), address.clone().into())).collect();
    output.show_ready(&serde_json::json!({ "ready": true, "services": document }), |_| {
        let pages = addresses.iter().find(|(service, _)| *service == Service::Controller).map_or("", |(_, address)| address);
        format!("signalbox is ready: {pages} (Ctrl-C ends it)")
    })
}

async fn end(controller: &Shutdown, workers: &Shutdown) {
    drain("controller", controller, END_CONTROLLER).await;
    drain("workers", workers, END_WORKERS).await;
}
