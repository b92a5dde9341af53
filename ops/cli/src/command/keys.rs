//! `signalbox keys`.

use anyhow::Result;
use signalbox_service::auth::{KeyError, init_keys, publish_next_key, rotate_keys};

use crate::arguments::KeysCommand;
use crate::mistake::Mistake;
use crate::output::Output;

/// Makes, publishes or changes keys.
pub(crate) fn keys(command: &KeysCommand, output: Output) -> Result<u8> {
    let (kid, words) = match command {
        KeysCommand::Init { folder } => (told(init_keys(folder))?, "signs; give its public half, public.json, to each worker"),
        KeysCommand::Next { folder } => (
            told(publish_next_key(folder))?,
            "is published in public.json and signs nothing yet; bring the workers' copies up to date, then run `signalbox keys rotate`",
        ),
        KeysCommand::Rotate { folder } => (
            told(rotate_keys(folder))?,
            "signs from now on; the controller takes it up by itself. What the last key signed stays valid until the next rotation",
        ),
    };
    output.show(&serde_json::json!({ "kid": kid }), |_| format!("the key {kid} {words}"))?;
    Ok(0)
}

fn told(result: Result<String, KeyError>) -> Result<String> {
    result.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Mistake::setup(format!("{error}{cause}")).into()
    })
}
