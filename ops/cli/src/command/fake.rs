//! `signalbox fake`.

use anyhow::Result;
use secrecy::ExposeSecret as _;
use signalbox_fakes::gitlab::state::hook::{Hook, Topic};
use signalbox_fakes::gitlab::{FakeGitlab, Options, Outcome};
use signalbox_service::shutdown::Shutdown;

use crate::arguments::FakeCommand;
use crate::mistake::Mistake;
use crate::output::Output;

/// Runs a fake until it is asked to end.
pub(crate) async fn fake(command: FakeCommand, output: Output) -> Result<u8> {
    let FakeCommand::Gitlab { listen, data, projects, hook_to, pass } = command;
    let mut options = Options::new(data);
    options.listen = listen;
    let gitlab = FakeGitlab::start(options).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Mistake::setup(format!("the fake GitLab does not start: {error}{cause}"))
    })?;
    if pass {
        gitlab.script(|_, _| Some(Outcome::success()));
    }
    for path in &projects {
        let id = gitlab.create_project(path).await.map_err(|error| Mistake::setup(format!("{path} cannot be made: {}", error.said)))?;
        if let Some(url) = &hook_to {
            gitlab.with(|state| {
                let hook = Hook::new(state, url.as_str(), Topic::ALL);
                if let Some(project) = state.projects.get_mut(&id) {
                    project.hooks.push(hook);
                }
            });
        }
    }
    let shown = serde_json::json!({ "url": gitlab.url(), "token": gitlab.root_token().expose_secret(), "projects": projects });
    output.show(&shown, |_| {
        format!(
            "GitLab's fake listens at {}\nits administrator's token is {}\nIt forgets what it knows when it ends: Ctrl-C.",
            gitlab.url(),
            gitlab.root_token().expose_secret()
        )
    })?;
    Shutdown::asked_by_the_system().await;
    gitlab.stop().await;
    Ok(0)
}
