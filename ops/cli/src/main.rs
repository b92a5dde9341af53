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
mod trouble;
mod up;
mod words;

use std::process::ExitCode;

use anyhow::Result;
use arguments::{Arguments, ClientArguments, Command, MirrorsCommand, ServiceArguments, TokenCommand};
use clap::error::ErrorKind;
use command::{blobs, cd, check_config, deliveries, doctor, environments, fake, keys, mirrors, runs, show, token};
use connection::Connection;
use mistake::{Mistake, exit_code};
use output::Output;
use signalbox_contract::api::run::RollbackRequest;
use signalbox_contract::token::Service;

fn main() -> ExitCode {
    signalbox_service::auth::install_crypto();
    let arguments = match Arguments::typed() {
        Ok(arguments) => arguments,
        Err(error) => return untyped(&error),
    };
    let output = Output { json: arguments.json, wide: arguments.wide };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report(&Mistake::setup(format!("the program cannot be set up: {error}")).into(), output);
            return ExitCode::from(mistake::code::SETUP);
        }
    };
    match runtime.block_on(run(arguments, output)) {
        Ok(code) => ExitCode::from(code),
        // Whoever read our output has seen enough.
        Err(error) if output::reader_went_away(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error, output);
            ExitCode::from(exit_code(&error))
        }
    }
}

fn report(error: &anyhow::Error, output: Output) {
    // A mistake says everything in its own sentence; anything else is told with its causes.
    let words = if error.is::<Mistake>() { error.to_string() } else { format!("{error:#}") };
    if output.json {
        let mut document = serde_json::json!({ "error": words, "exit_code": exit_code(error) });
        if let Some(problem) = error.downcast_ref::<Mistake>().and_then(|mistake| mistake.problem.as_deref()) {
            document["problem"] = serde_json::json!(problem);
        }
        eprintln!("{document}");
    } else {
        eprintln!("error: {words}");
    }
}

/// What is said instead, where what was typed makes no command: help, the version, or what is wrong with it.
fn untyped(error: &clap::Error) -> ExitCode {
    let typed = std::env::args_os().skip(1).take_while(|argument| argument != "--");
    let output = Output { json: typed.into_iter().any(|argument| argument == "--json"), wide: false };
    // A value that is wrong says itself what would be right, and one that is missing what it would look like; usage says nothing more.
    let says_all = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::MissingRequiredArgument | ErrorKind::MissingSubcommand);
    if !error.use_stderr() || !(output.json || says_all) {
        // Whoever does not read it any more has seen enough.
        let _ = error.print();
        return if error.use_stderr() { ExitCode::from(mistake::code::USAGE) } else { ExitCode::SUCCESS };
    }
    let words = std::env::args_os().skip(1).filter_map(|word| word.into_string().ok());
    let words = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => arguments::no_command(words),
        ErrorKind::MissingRequiredArgument => arguments::missing(error, words).unwrap_or_else(|| in_a_line(&error.to_string())),
        _ => in_a_line(&error.to_string()),
    };
    report(&Mistake::usage(words).into(), output);
    ExitCode::from(mistake::code::USAGE)
}

/// What the parser of the command line says, without the usage that follows, in one line.
fn in_a_line(said: &str) -> String {
    let said = said.trim_start_matches("error: ");
    let told = said.split("\n\nUsage:").next().unwrap_or(said);
    let told = told.split("\n\nFor more information").next().unwrap_or(told);
    told.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ").replace(":; ", ": ")
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
        Command::Token(TokenCommand::Revoke { id, file }) => {
            token::revoke(|| controller(&typed), id.as_deref(), file.as_deref(), output).await
        }
        Command::Keys(command) => keys::keys(&command, output),
        Command::Fake(command) => fake::fake(command, output).await,
        Command::Completions { shell } => {
            let script = String::from_utf8(completions::script(shell))?;
            output.show(&serde_json::json!({ "shell": shell.to_string(), "script": script }), |_| script.clone())?;
            Ok(0)
        }
        Command::Init { folder } => install::init(&folder, output),
        Command::Up { folder, end_with_input } => up::up(&folder, end_with_input, output).await,
        Command::Controller(alone) => run_alone(Service::Controller, &alone, output).await,
        Command::VcsWorker(alone) => run_alone(Service::VcsWorker, &alone, output).await,
        Command::ArtifactStore(alone) => run_alone(Service::ArtifactStore, &alone, output).await,
        Command::DeployWorker(alone) => run_alone(Service::DeployWorker, &alone, output).await,
        Command::LocalExecutor(alone) => run_alone(Service::LocalExecutor, &alone, output).await,
        Command::CheckConfig { paths, service } => check_config::check_config(&paths, service.map(Into::into), output),
        Command::Try { folder, keep } => demonstration::show(&folder, keep, output).await,
        Command::Openapi { service } => {
            output::line(&services::openapi(service.into()).to_pretty_json()?)?;
            Ok(0)
        }
        Command::Schema => {
            output::line(&serde_json::to_string_pretty(&signalbox_controller::job_schema())?)?;
            Ok(0)
        }
    }
}

async fn run_alone(service: Service, alone: &ServiceArguments, output: Output) -> Result<u8> {
    services::run_alone(service, &alone.config, alone.end_with_input, output).await
}

fn controller(typed: &ClientArguments) -> Result<Connection> {
    Connection::new(settings::controller(&settings::complete(typed)?)?)
}
