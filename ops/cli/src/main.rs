//! The command line of Signalbox, and all of its services in one program.
//!
//! Architecture invariant: what is decided is decided in the services. This program starts them, asks them, and shows
//! what they answer.

mod arguments;
mod child;
mod command;
mod completions;
mod connection;
mod demonstration;
mod follow;
mod install;
mod log;
mod mistake;
mod output;
mod services;
mod settings;
mod up;
mod words;

use std::process::ExitCode;

use anyhow::Result;
use arguments::{Arguments, ClientArguments, Command, MirrorsCommand, ServiceArguments, TokenCommand};
use clap::Parser as _;
use command::{blobs, cd, check_config, deliveries, doctor, environments, fake, keys, mirrors, runs, show, token};
use connection::Connection;
use mistake::{Mistake, exit_code};
use output::Output;
use signalbox_contract::api::run::RollbackRequest;
use signalbox_contract::token::Service;

fn main() -> ExitCode {
    signalbox_service::auth::install_crypto();
    let arguments = Arguments::parse();
    let output = Output { json: arguments.json };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the program cannot be set up: {error}");
            return ExitCode::from(mistake::code::SETUP);
        }
    };
    match runtime.block_on(run(arguments, output)) {
        Ok(code) => ExitCode::from(code),
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error, output);
            ExitCode::from(exit_code(&error))
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn report(error: &anyhow::Error, output: Output) {
    // A mistake says everything in its own sentence; anything else is told with its causes.
    let words = if error.is::<Mistake>() { error.to_string() } else { format!("{error:#}") };
    if output.json {
        eprintln!("{}", serde_json::json!({ "error": words, "exit_code": exit_code(error) }));
    } else {
        eprintln!("error: {words}");
    }
}

async fn run(arguments: Arguments, output: Output) -> Result<u8> {
    let typed = arguments.client;
    match arguments.command {
        Command::Cd(request) => cd::cd(&controller(&typed)?, request, output).await,
        Command::Status { cursor } => runs::status(&controller(&typed)?, cursor, output).await,
        Command::Runs { repo, ref_name, state, limit, cursor } => {
            runs::runs(&controller(&typed)?, runs::Filter { repo, ref_name, state, limit, cursor }, output).await
        }
        Command::Show { run, events } => show::show(&controller(&typed)?, run, events, output).await,
        Command::Logs { run, step, follow, attempt, part, tail, raw } => {
            show::logs(&controller(&typed)?, run, show::Wanted { step, attempt, part, follow, tail, raw }, output).await
        }
        Command::Stop { run } => runs::stop(&controller(&typed)?, run, output).await,
        Command::Rerun { run, from, follow } => cd::rerun(&controller(&typed)?, run, from, follow, output).await,
        Command::Blobs(command) => {
            let store = Connection::new(settings::store(&settings::complete(&typed)?)?)?;
            blobs::blobs(&store, command, output).await
        }
        Command::Environments { name } => environments::environments(&controller(&typed)?, name, output).await,
        Command::Deploy { environment, artifact, published_name, follow } => {
            cd::deploy(&controller(&typed)?, &environment, artifact, published_name, follow, output).await
        }
        Command::Rollback { environment, published_name, digest, follow } => {
            let request = RollbackRequest { published_name, digest };
            cd::rollback(&controller(&typed)?, &environment, &request, follow, output).await
        }
        Command::Deliveries(request) => deliveries::deliveries(&controller(&typed)?, request, output).await,
        Command::Doctor => doctor::doctor(&controller(&typed)?, output).await,
        Command::Mirrors { command: None, cursor } => mirrors::list(&controller(&typed)?, cursor, output).await,
        Command::Mirrors { command: Some(MirrorsCommand::Gc { yes, .. }), .. } => mirrors::collect(&controller(&typed)?, yes, output).await,
        Command::Token(TokenCommand::Create(request)) => token::create(|| controller(&typed), &request, output).await,
        Command::Token(TokenCommand::List { cursor }) => token::list(&controller(&typed)?, cursor, output).await,
        Command::Token(TokenCommand::Revoke { id, file }) => token::revoke(&controller(&typed)?, id, file.as_deref(), output).await,
        Command::Keys(command) => keys::keys(&command, output),
        Command::Fake(command) => fake::fake(command, output).await,
        Command::Completions { shell } => {
            output::bytes(&completions::script(shell))?;
            Ok(0)
        }
        Command::Init { folder } => install::init(&folder, output),
        Command::Up { folder, end_with_input } => up::up(&folder, end_with_input, output).await,
        Command::Controller(alone) => run_alone(Service::Controller, &alone).await,
        Command::VcsWorker(alone) => run_alone(Service::VcsWorker, &alone).await,
        Command::ArtifactStore(alone) => run_alone(Service::ArtifactStore, &alone).await,
        Command::DeployWorker(alone) => run_alone(Service::DeployWorker, &alone).await,
        Command::LocalExecutor(alone) => run_alone(Service::LocalExecutor, &alone).await,
        Command::CheckConfig { paths, service } => check_config::check_config(&paths, service.map(Into::into), output),
        Command::Try { folder, keep } => demonstration::show(&folder, keep, output).await,
        Command::Openapi { service } => {
            output::line(&services::openapi(service.into()).to_pretty_json()?)?;
            Ok(0)
        }
    }
}

async fn run_alone(service: Service, alone: &ServiceArguments) -> Result<u8> {
    services::run_alone(service, &alone.config, alone.end_with_input).await
}

fn controller(typed: &ClientArguments) -> Result<Connection> {
    Connection::new(settings::controller(&settings::complete(typed)?)?)
}
