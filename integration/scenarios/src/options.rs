//! What is special about a world.

use std::collections::BTreeMap;
use std::path::PathBuf;

use signalbox_contract::token::Service;
use signalbox_service::git::testing::GitServer;
use signalbox_service::secret::ExposeSecret as _;

use crate::gerrit::{Account, Gerrit};
use crate::gitlab::{GROUP, Gitlab};

/// What is special about a world.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// How many hosts its environment `test` has.
    pub hosts: usize,
    /// The hosts run this program instead of what they are told to run.
    pub force_command: Option<PathBuf>,
    /// Repositories on the world's own git server besides `hello`, with lines that say more of them.
    pub repositories: Vec<(&'static str, String)>,
    /// Lines for configurations, by service.
    pub besides: BTreeMap<&'static str, String>,
    /// Files that only their owner may read, by their names in the folder `secrets` beside the configurations.
    pub secrets: BTreeMap<&'static str, String>,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self { hosts: 2, force_command: None, repositories: Vec::new(), besides: BTreeMap::new(), secrets: BTreeMap::new() }
    }
}

impl WorldOptions {
    /// The same, with more lines in a service's configuration.
    #[must_use]
    pub fn with(mut self, service: Service, lines: &str) -> Self {
        self.besides.entry(service.as_str()).or_default().push_str(lines);
        self
    }

    /// The same, with a Gerrit in front, as the forge `gerrit`: sources come from it by our account's password.
    #[must_use]
    pub fn with_gerrit(mut self, gerrit: &Gerrit) -> Self {
        let (user, password) = Account::Robot.login();
        self.secrets.insert("gerrit", password.to_owned());
        let (url, ssh) = (gerrit.url(), gerrit.ssh());
        let (key, known_hosts) = (gerrit.key(Account::Robot), gerrit.known_hosts());
        self.with(
            Service::Controller,
            &format!(
                "[forges.gerrit]\nkind = \"gerrit\"\nurl = \"{url}\"\nuser = \"{user}\"\npassword_file = \"secrets/gerrit\"\n\
                 resync = \"5s\"\n[forges.gerrit.ssh]\nhost = \"{}\"\nport = {}\nkey_file = \"{}\"\nknown_hosts = \"{}\"\n",
                ssh.ip(),
                ssh.port(),
                key.display(),
                known_hosts.display()
            ),
        )
        .with(
            Service::VcsWorker,
            &format!("[[sources]]\nurl = \"{url}\"\nprivate = true\nusername = \"{user}\"\ncredential = \"secrets/gerrit\"\n"),
        )
    }

    /// The same, with the same Gerrit once more, as the forge `hooked`: it is not listened to, but tells what happens by webhook
    /// with this secret. Nothing is compared for long, so that nothing but the webhooks tells of it.
    #[must_use]
    pub fn with_gerrit_hooks(mut self, gerrit: &Gerrit, secret: &str) -> Self {
        let user = Account::Robot.login().0;
        self.secrets.insert("gerrit-hooks", secret.to_owned());
        self.with(
            Service::Controller,
            &format!(
                "[forges.hooked]\nkind = \"gerrit\"\nurl = \"{}\"\nuser = \"{user}\"\npassword_file = \"secrets/gerrit\"\n\
                 resync = \"1h\"\nsecret_files = [\"secrets/gerrit-hooks\"]\n",
                gerrit.url()
            ),
        )
    }

    /// The same, with a GitLab that builds from this mirror, as the executor `gitlab`; and both its tokens as secrets.
    #[must_use]
    pub fn with_gitlab_behind(mut self, mirror: &str, gitlab: &Gitlab) -> Self {
        self.secrets.insert("gitlab-worker", gitlab.worker.expose_secret().to_owned());
        self.secrets.insert("gitlab-controller", gitlab.controller.expose_secret().to_owned());
        let url = gitlab.fake.url();
        self.with(
            Service::Controller,
            &format!(
                "[executors.gitlab]\nkind = \"gitlab\"\nurl = \"{url}\"\ntoken_file = \"secrets/gitlab-controller\"\n\
                 mirror = \"{mirror}\"\ngroup = \"{GROUP}\"\nbudget = 6000\n"
            ),
        )
    }

    /// The same, with a GitLab that builds, as the executor and the mirror `gitlab`.
    #[must_use]
    pub fn with_gitlab(self, gitlab: &Gitlab) -> Self {
        let url = gitlab.fake.url();
        self.with_gitlab_behind("gitlab", gitlab).with(
            Service::VcsWorker,
            &format!(
                "[mirrors.gitlab]\nkind = \"gitlab\"\nurl = \"{url}\"\nprivate = true\ntoken_file = \"secrets/gitlab-worker\"\n\
                 group = \"{GROUP}\"\nbudget = 6000\n"
            ),
        )
    }

    /// The same as [`Self::with_gitlab`], and GitLab tells by webhooks of how builds go, as the forge `lab`: they are made, and
    /// looked at every other second.
    #[must_use]
    pub fn with_telling_gitlab(self, gitlab: &Gitlab) -> Self {
        let mut options = self.with_gitlab(gitlab);
        options.secrets.insert("gitlab-hooks", "the-secret-of-the-webhooks".to_owned());
        let url = gitlab.fake.url();
        options.with(
            Service::Controller,
            &format!(
                "hook = true\nhook_check = \"2s\"\nhook_forge = \"lab\"\n[forges.lab]\nkind = \"gitlab\"\nurl = \"{url}\"\n\
                 token_file = \"secrets/gitlab-controller\"\nsecret_files = [\"secrets/gitlab-hooks\"]\n"
            ),
        )
    }

    /// The same, with one more repository of this source. It is deployed to `test`; `lines` say more of it.
    #[must_use]
    pub fn with_repository(self, name: &str, source: &str, lines: &str) -> Self {
        let text = format!("[repositories.{name}]\nsource = \"{source}\"\nenvironment = \"test\"\n{lines}\n");
        self.with(Service::Controller, &text)
    }

    /// The same, with one more repository on the world's own git server. It is deployed to `test`; `lines` say more of it.
    #[must_use]
    pub fn with_own_repository(mut self, name: &'static str, lines: &str) -> Self {
        self.repositories.push((name, lines.to_owned()));
        self
    }

    /// The same, knowing where the world's own git server is.
    pub(crate) fn on(mut self, git: &GitServer) -> Self {
        for (name, lines) in std::mem::take(&mut self.repositories) {
            self = self.with_repository(name, git.url(name).as_str(), &lines);
        }
        self
    }
}
