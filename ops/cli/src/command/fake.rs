//! `signalbox fake`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use secrecy::SecretString;
use signalbox_fakes::gitlab::options::{RateLimit, Version};
use signalbox_fakes::gitlab::orders::Orders;
use signalbox_fakes::gitlab::state::hook::{Hook, Topic};
use signalbox_fakes::gitlab::{FakeGitlab, Options, Outcome};
use signalbox_service::secret::{read_secret, write_secret};
use signalbox_service::shutdown::Shutdown;
use signalbox_service::telemetry::causes;

use crate::arguments::FakeCommand;
use crate::mistake::Mistake;
use crate::output::Output;

/// The administrator's token, in the folder of the repositories.
const TOKEN: &str = "root-token";

/// Runs a fake until it is asked to end.
pub(crate) async fn fake(command: FakeCommand, output: Output) -> Result<u8> {
    let FakeCommand::Gitlab { listen, data, projects, hook_to, root_token_file, pass, manner } = command;
    let orders = manner.orders.as_deref().map(ordered).transpose()?;
    let secret = manner.hook_secret_file.as_deref().map(secret).transpose()?;
    let file = root_token_file.unwrap_or_else(|| data.join(TOKEN));
    let mut options = Options::new(data);
    options.listen = listen;
    options.root_token = kept(&file)?;
    options.version = version(&manner.version)?;
    options.seed = manner.seed;
    options.disables_hooks = manner.disable_hooks;
    options.rate_limit = manner.rate_limit.map(|requests| RateLimit { requests: requests.get(), period: Duration::from_mins(1) });
    let gitlab = FakeGitlab::start(options).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Mistake::setup(format!("the fake GitLab does not start: {error}{cause}"))
    })?;
    keep(&file, gitlab.root_token())?;
    if let Some(orders) = &orders {
        orders.order(gitlab.faults());
    }
    let orders = orders.unwrap_or_default();
    gitlab.script(move |job, _| orders.outcome(&job.plan.name).or_else(|| pass.then(Outcome::success)));
    for path in &projects {
        let id = gitlab.create_project(path).await.map_err(|error| Mistake::setup(format!("{path} cannot be made: {}", error.said)))?;
        if let Some(url) = &hook_to {
            gitlab.with(|state| {
                let mut hook = Hook::new(state, url.as_str(), Topic::ALL);
                (hook.token, hook.verifies) = (secret.clone(), !manner.hook_unverified);
                if let Some(project) = state.projects.get_mut(&id) {
                    project.hooks.push(hook);
                }
            });
        }
    }
    let file = std::path::absolute(&file)?;
    let shown = serde_json::json!({ "url": gitlab.url(), "token_file": file, "projects": projects });
    output.show(&shown, |_| told(&gitlab.url(), &file, &projects))?;
    Shutdown::asked_by_the_system().await;
    gitlab.stop().await;
    Ok(0)
}

/// Where it is and how it is used.
fn told(url: &str, file: &Path, projects: &[String]) -> String {
    let file = file.display();
    let mut text = format!(
        "GitLab's fake listens at {url}\n\
         its administrator's token is in {file}, and stays the same as long as that file does:\n  \
         curl -H \"PRIVATE-TOKEN: $(cat {file})\" {url}/api/v4/projects\n  \
         token_file = \"{file}\"   # in [executors.NAME] of controller.toml, and in [mirrors.NAME] of vcs-worker.toml\n  \
         private = true   # in [mirrors.NAME] and [[sources]] of vcs-worker.toml, where its address is a private one\n"
    );
    if !projects.is_empty() {
        text.push_str("its projects are private, so git asks for a name, which is root, and a password, which is the token:\n");
    }
    for project in projects {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  git clone {}/{project}.git", url.replacen("://", "://root@", 1));
    }
    text + "It forgets what else it knows when it ends: Ctrl-C."
}

/// What a file orders.
fn ordered(file: &Path) -> Result<Orders> {
    let text = std::fs::read_to_string(file).map_err(|error| Mistake::setup(format!("{} cannot be read: {error}", file.display())))?;
    Ok(Orders::read(&text).map_err(|wrong| Mistake::setup(format!("{} is wrong: {wrong}", file.display())))?)
}

fn secret(file: &Path) -> Result<SecretString> {
    Ok(read_secret(file).map_err(|error| Mistake::setup(format!("the hooks' secret cannot be used: {}", causes(&error))))?)
}

/// A version that is modelled.
fn version(text: &str) -> Result<Version> {
    let read = || {
        let (major, minor) = text.split_once('.')?;
        Some(Version(major.parse().ok()?, minor.parse().ok()?))
    };
    let known = read().filter(|version| (Version(15, 0)..Version(20, 0)).contains(version));
    Ok(known.ok_or_else(|| Mistake::setup(format!("{text} is no version that is modelled; write one from 15.0 to 19.9")))?)
}

/// The token of the last time.
fn kept(file: &Path) -> Result<Option<SecretString>> {
    if !file.exists() {
        return Ok(None);
    }
    let unreadable =
        |error| Mistake::setup(format!("the fake's token cannot be used: {}; remove that file to have a new one", causes(&error)));
    Ok(Some(read_secret(file).map_err(unreadable)?))
}

fn keep(file: &Path, token: &SecretString) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    write_secret(file, token).map_err(|error| Mistake::setup(format!("the token cannot be written to {}: {error}", file.display())).into())
}
