//! `signalbox token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::choice::{AllowedAction, Audience};

/// Tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token that can do no more than your own
    Create(Box<TokenArguments>),
    /// List tokens
    List {
        /// The next page: what the last answer gave as `next`
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Revoke a token
    Revoke {
        /// Its id (`jti`); `signalbox token list` shows it
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        id: Option<String>,
        /// A file with the token itself, from which its id is read
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// What a new token says.
#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    /// Who it is for: a name that the audit shows
    pub(crate) principal: String,
    /// What it may do
    #[arg(long, value_delimiter = ',', required = true, value_name = "ACTION,…")]
    pub(crate) allow: Vec<AllowedAction>,
    /// To which repositories; patterns with * and **
    #[arg(long, value_delimiter = ',')]
    pub(crate) repos: Vec<String>,
    /// With which artifacts
    #[arg(long, value_delimiter = ',')]
    pub(crate) artifacts: Vec<String>,
    /// In which environments
    #[arg(long, value_delimiter = ',')]
    pub(crate) environments: Vec<String>,
    /// Under which published names
    #[arg(long, value_delimiter = ',')]
    pub(crate) names: Vec<String>,
    /// The service that it is for
    #[arg(long, default_value = "controller")]
    pub(crate) audience: Audience,
    /// How many days it lasts
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub(crate) days: u32,
    /// Write it to this new file, which only you may read, instead of printing it
    #[arg(short, long)]
    pub(crate) output: Option<PathBuf>,
    /// Sign it here, with the keys in this folder, without asking the controller: for when no token is left
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keys: Option<PathBuf>,
}
