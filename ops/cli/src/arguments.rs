//! The command line: what can be typed.

mod blobs;
mod choice;
mod deliveries;
mod examples;
mod mirrors;
mod token;

use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use signalbox_contract::{ArtifactName, Digest, EnvironmentName, ExecutorName, JobName, PublishedName, RefName, RunId};
use url::Url;

pub(crate) use blobs::{BlobsCommand, WantedBlob};
pub(crate) use choice::{AllowedAction, Audience, FromWhere, ServiceName, StateFilter};
pub(crate) use deliveries::{DeliveriesArguments, DeliveriesCommand};
pub(crate) use examples::{missing, no_command};
pub(crate) use mirrors::MirrorsCommand;
pub(crate) use token::{TokenArguments, TokenCommand};

/// The controller in front of the CI executors that you already run.
#[derive(Debug, Parser)]
#[command(name = "signalbox", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) client: ClientArguments,
    /// Print JSON for programs: one document, of a log an object a line; and errors as JSON on standard error
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Shorten no digests in tables
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) wide: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// What was typed. A variable that is set to nothing counts as not set: scripts and service files write `X=` to say so.
    pub(crate) fn typed() -> Result<Self, clap::Error> {
        let mut command = whole().mut_args(|argument| {
            let value = argument.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) { argument.env(Resettable::Reset) } else { argument }
        });
        let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// All that can be typed.
fn whole() -> clap::Command {
    examples::shown_in(Arguments::command())
}

const EXIT_CODES: &str = "\
Exit codes:
    0  done, or the run passed
    1  the run failed, was lost or took too long; something is wrong (doctor) or did not work (mirrors gc)
    2  the command line is wrong
    3  the run was unstable
    4  the run was stopped or superseded
    5  the service refused
    6  the service cannot be reached, or a file or a setting is missing or wrong
  130  interrupted";

/// Where the services are and who asks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection (also from ~/.config/signalbox/cli.toml)")]
pub(crate) struct ClientArguments {
    /// The controller [default: this machine, port 7480]
    #[arg(long, global = true, hide_short_help = true, env = "SIGNALBOX_URL", value_name = "URL", value_parser = choice::address)]
    pub(crate) url: Option<Url>,
    /// A file with your token for the controller; only you may read it
    #[arg(long, global = true, hide_short_help = true, env = "SIGNALBOX_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The artifact store, for `blobs` [default: this machine, port 7482]
    #[arg(long, global = true, hide_short_help = true, env = "SIGNALBOX_STORE_URL", value_name = "URL", value_parser = choice::address)]
    pub(crate) store_url: Option<Url>,
    /// A file with your token for the artifact store
    #[arg(long, global = true, hide_short_help = true, env = "SIGNALBOX_STORE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) store_token_file: Option<PathBuf>,
    /// A file with the certificate of the authority to trust, in PEM, instead of the system's
    #[arg(long, global = true, hide_short_help = true, env = "SIGNALBOX_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Mirror, build and, with --artifact, deploy a commit
    Cd(CdArguments),
    /// What is queued, at work and finished
    Status {
        /// Older finished runs: what the last answer gave as `next`
        #[arg(long)]
        cursor: Option<String>,
    },
    /// List runs, newest first
    Runs {
        /// Only of this repository: its name or its source URL
        #[arg(long)]
        repo: Option<String>,
        /// Only of this ref
        #[arg(long = "ref")]
        ref_name: Option<RefName>,
        /// Only in this state
        #[arg(long)]
        state: Option<StateFilter>,
        /// How many at most
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        /// Older ones: what the last answer gave as `next`
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show a run: its steps, attempts, artifacts and hosts
    Show {
        /// The run's id; `signalbox runs` lists them
        run: RunId,
        /// Also list its events
        #[arg(long)]
        events: bool,
    },
    /// Print the log of a run's build
    Logs {
        /// The run's id; `signalbox runs` lists them
        run: RunId,
        /// The step [default: the build]
        step: Option<String>,
        /// Go on until the log is complete
        #[arg(short, long)]
        follow: bool,
        /// Which attempt [default: the last]
        #[arg(long, value_name = "N")]
        attempt: Option<u16>,
        /// Which part of the build, by its id or its name [default: all]
        #[arg(long, value_name = "PART")]
        part: Option<String>,
        /// Only the last bytes
        #[arg(long, value_name = "BYTES", conflicts_with = "follow")]
        tail: Option<u64>,
        /// Print the bytes as they are, control characters included
        #[arg(long)]
        raw: bool,
    },
    /// Stop a run
    Stop {
        /// The run's id
        run: RunId,
    },
    /// Run a finished run again, from the step that did not pass
    Rerun {
        /// The run's id
        run: RunId,
        /// Where to begin
        #[arg(long, default_value = "failed")]
        from: FromWhere,
        /// Show its progress and its log until it ends
        #[arg(short, long)]
        follow: bool,
    },
    /// The artifact store
    #[command(subcommand)]
    Blobs(BlobsCommand),
    /// List environments, or show what the hosts of one run
    ///
    /// SHOWS is what a host publishes, and KEPT how many older releases of it the host still has, to which `signalbox rollback` can go;
    /// with --wide it lists their digests.
    Environments {
        /// Only this one, with its hosts
        name: Option<EnvironmentName>,
    },
    /// Deploy an artifact that is in the store already
    Deploy {
        /// Where to
        environment: EnvironmentName,
        /// The artifact's name in the store
        artifact: ArtifactName,
        /// The name to publish it under [default: the last part of the artifact's name]
        #[arg(long)]
        published_name: Option<PublishedName>,
        /// Show its progress until it ends
        #[arg(short, long)]
        follow: bool,
    },
    /// Go back to a release that the hosts of an environment still have
    ///
    /// Without --digest that is the one that was active before the present one. So a second rollback goes forward again, to the one that
    /// the first came from. For any other, name its digest: `signalbox environments NAME --wide` lists those that the hosts keep.
    Rollback {
        /// Where
        environment: EnvironmentName,
        /// The published name
        published_name: PublishedName,
        /// The release to go back to [default: the one that was active before the present one]
        #[arg(long)]
        digest: Option<Digest>,
        /// Show its progress until it ends
        #[arg(short, long)]
        follow: bool,
    },
    /// List what forges delivered, show one delivery, or have it acted on again
    Deliveries(DeliveriesArguments),
    /// Examine everything that Signalbox depends on, and say what to do where something is wrong
    Doctor,
    /// List what is at the mirrors, or clean them
    Mirrors {
        #[command(subcommand)]
        command: Option<MirrorsCommand>,
        /// Further ones: what the last answer gave as `next`
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Make, list and revoke tokens
    #[command(subcommand)]
    Token(TokenCommand),

    /// Make a folder with everything that `signalbox up` needs: configuration, keys, an administrator's tokens
    Init {
        /// The folder; it is made
        folder: PathBuf,
    },
    /// Run all services in one process. Their log is on standard error; `SIGNALBOX_LOG_FORMAT` is text or json
    Up {
        /// The folder that `signalbox init` made
        folder: PathBuf,
        /// End when standard input ends, so that whoever started it cannot leave it behind
        #[arg(long, hide = true)]
        end_with_input: bool,
    },
    /// Run the controller alone
    Controller(ServiceArguments),
    /// Run the VCS worker alone
    VcsWorker(ServiceArguments),
    /// Run the artifact store alone
    ArtifactStore(ServiceArguments),
    /// Run the deployment worker alone
    DeployWorker(ServiceArguments),
    /// Run the local executor alone
    LocalExecutor(ServiceArguments),
    /// Check configuration files, and report everything that is wrong with all of them
    CheckConfig {
        /// Files, or folders as `signalbox init` makes them
        #[arg(default_value = ".")]
        paths: Vec<PathBuf>,
        /// The service that the files are for, where their names do not say it
        #[arg(long)]
        service: Option<ServiceName>,
    },
    /// Make and change the keys with which the controller signs
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show the main job on an example of its own: a repository, a host, a commit that becomes a file there
    Try {
        /// Where to keep what it makes
        #[arg(long, default_value = ".signalbox-try", value_name = "FOLDER")]
        folder: PathBuf,
        /// Go on until Ctrl-C even without a terminal
        #[arg(long)]
        keep: bool,
    },
    /// Run a fake of a foreign system, to try a set-up before it is pointed at the real one
    #[command(subcommand)]
    Fake(FakeCommand),
    /// Print the completions for a shell
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Print the OpenAPI document of a service
    #[command(hide = true)]
    Openapi {
        /// Which
        service: ServiceName,
    },
    /// Print the JSON Schema of .signalbox.yaml
    #[command(hide = true)]
    Schema,
}

/// `POST /cd`.
#[derive(Debug, Args)]
pub(crate) struct CdArguments {
    /// The repository: a name that the server knows, or the URL of one
    pub(crate) repo: String,
    /// The branch, tag or full ref
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) ref_name: RefName,
    /// The artifact to deploy; without it nothing is deployed
    #[arg(long)]
    pub(crate) artifact: Option<ArtifactName>,
    /// The job in .signalbox.yaml [default: cd, else the only one]
    #[arg(long)]
    pub(crate) job: Option<JobName>,
    /// Where to deploy [default: as the server is configured]
    #[arg(long)]
    pub(crate) environment: Option<EnvironmentName>,
    /// The name to publish under [default: the artifact's]
    #[arg(long)]
    pub(crate) published_name: Option<PublishedName>,
    /// Where to build [default: as the server is configured]
    #[arg(long)]
    pub(crate) executor: Option<ExecutorName>,
    /// A value for the build; may be given again
    #[arg(long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,
    /// Show its progress and its log until it ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Asked again with the same key within a day, no second run is started
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

/// Fakes of foreign systems.
#[derive(Debug, Subcommand)]
pub(crate) enum FakeCommand {
    /// A GitLab: projects, git, pipelines, hooks. It forgets everything but its repositories' bytes when it ends
    Gitlab {
        /// Where it listens
        #[arg(long, default_value = "127.0.0.1:7490", value_name = "ADDRESS")]
        listen: std::net::SocketAddr,
        /// Where its repositories are kept
        #[arg(long, value_name = "FOLDER")]
        data: PathBuf,
        /// A private project to begin with, by its whole path; may be given again
        #[arg(long = "project", value_name = "GROUP/PROJECT", value_parser = choice::project)]
        projects: Vec<String>,
        /// Where the hooks of those projects go
        #[arg(long, value_name = "URL")]
        hook_to: Option<Url>,
        /// Where the administrator's token is kept: read if it is there, else written, so that it stays the same [default: in the
        /// folder of its repositories]
        #[arg(long, value_name = "FILE")]
        root_token_file: Option<PathBuf>,
        /// Let every job pass at once, instead of waiting for a runner
        #[arg(long)]
        pass: bool,
        #[command(flatten)]
        manner: FakeManner,
    },
}

/// How the fake GitLab behaves.
#[derive(Debug, Args)]
pub(crate) struct FakeManner {
    /// The version that it is: 15.0 to 19.9
    #[arg(long = "gitlab-version", value_name = "MAJOR.MINOR", default_value = "18.5")]
    pub(crate) version: String,
    /// What goes wrong, and how jobs go that no runner does: a file in YAML
    #[arg(long, value_name = "FILE")]
    pub(crate) orders: Option<PathBuf>,
    /// Where chance begins: the same number has the same go wrong
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,
    /// How many calls a minute each user may make [default: any number]
    #[arg(long, value_name = "CALLS")]
    pub(crate) rate_limit: Option<std::num::NonZeroU32>,
    /// A file with the secret that the hooks of `--hook-to` carry
    #[arg(long, value_name = "FILE", requires = "hook_to")]
    pub(crate) hook_secret_file: Option<PathBuf>,
    /// Do not look at the certificates of where those hooks go
    #[arg(long, requires = "hook_to")]
    pub(crate) hook_unverified: bool,
    /// Turn hooks off that fail, as GitLab.com does
    #[arg(long)]
    pub(crate) disable_hooks: bool,
}

/// A service that is run alone.
#[derive(Debug, Args)]
pub(crate) struct ServiceArguments {
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// End when standard input ends, so that whoever started it cannot leave it behind
    #[arg(long, hide = true)]
    pub(crate) end_with_input: bool,
}

/// Keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a first pair of keys
    Init {
        /// The folder of keys
        folder: PathBuf,
    },
    /// Publish the next public key, so that copies can be brought up to date before it signs
    Next {
        /// The folder of keys
        folder: PathBuf,
    },
    /// Sign with the next key from now on; what the last one signed stays valid
    Rotate {
        /// The folder of keys
        folder: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
