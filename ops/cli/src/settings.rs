//! Where the services are and which token to show them: from the command line, the environment, or
//! `~/.config/signalbox/cli.toml`, in that order.

use std::path::{Path, PathBuf};

use anyhow::Result;
use signalbox_contract::token::Service;
use signalbox_service::client::is_here;
use signalbox_service::config::Reader;
use signalbox_service::secret::{ExposeSecret as _, SecretFileError, SecretString, read_secret};
use url::Url;

use crate::arguments::ClientArguments;
use crate::mistake::Mistake;

/// One service, and who asks it.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) service: Service,
    pub(crate) url: Url,
    pub(crate) token: SecretString,
    pub(crate) ca: Option<PathBuf>,
}

/// Completes what was typed with what the user's file says.
pub(crate) fn complete(typed: &ClientArguments) -> Result<ClientArguments> {
    let Some(path) = file().filter(|path| path.is_file()) else {
        return Ok(typed.clone());
    };
    let mut reader = Reader::open(&path).map_err(|errors| Mistake::setup(errors.to_string()))?;
    let saved = ClientArguments {
        url: reader.optional("url"),
        token_file: reader.optional("token_file"),
        store_url: reader.optional("store_url"),
        store_token_file: reader.optional("store_token_file"),
        ca: reader.optional("ca"),
    };
    reader.finish().map_err(|errors| Mistake::setup(errors.to_string()))?;
    Ok(ClientArguments {
        url: typed.url.clone().or(saved.url),
        token_file: typed.token_file.clone().or(saved.token_file),
        store_url: typed.store_url.clone().or(saved.store_url),
        store_token_file: typed.store_token_file.clone().or(saved.store_token_file),
        ca: typed.ca.clone().or(saved.ca),
    })
}

/// The user's file.
fn file() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("signalbox/cli.toml"))
}

/// The controller.
pub(crate) fn controller(settings: &ClientArguments) -> Result<Destination> {
    let url = settings.url.clone();
    destination(Service::Controller, url, "http://127.0.0.1:7480/", settings.token_file.as_deref(), settings.ca.clone())
}

/// The artifact store.
pub(crate) fn store(settings: &ClientArguments) -> Result<Destination> {
    let url = settings.store_url.clone();
    destination(Service::ArtifactStore, url, "http://127.0.0.1:7482/", settings.store_token_file.as_deref(), settings.ca.clone())
}

fn destination(service: Service, url: Option<Url>, default: &str, token: Option<&Path>, ca: Option<PathBuf>) -> Result<Destination> {
    let (option, variable, example) = match service {
        Service::ArtifactStore => ("--store-token-file", "SIGNALBOX_STORE_TOKEN_FILE", "tokens/admin-store"),
        _ => ("--token-file", "SIGNALBOX_TOKEN_FILE", "tokens/admin"),
    };
    let url = match url {
        Some(url) => url,
        None => default.parse()?,
    };
    if !safe_for_a_token(&url) {
        let words = "a token sent there could be read on the way: use https://, or http:// on this machine alone";
        return Err(Mistake::setup(format!("{} is not an address for the {service}; {words}", harmless_url(&url))).into());
    }
    let Some(path) = token else {
        let words = format!(
            "no token for the {service} was given: set {variable} (or {option}) to a file that holds one. \
             `signalbox init` writes an administrator's to {example} in its folder; `signalbox token create` makes others"
        );
        return Err(Mistake::setup(words).into());
    };
    Ok(Destination { service, url, token: read_token(path)?, ca })
}

/// The token in a file, without the white space that editors and other systems' line ends leave behind it.
fn read_token(path: &Path) -> Result<SecretString> {
    let unusable = |error: SecretFileError| {
        let why = match &error {
            SecretFileError::Unreadable { source, .. } => format!(": {source}"),
            _ => String::new(),
        };
        Mistake::setup(format!("{error}{why}"))
    };
    let secret = read_secret(path).map_err(unusable)?;
    let token = secret.expose_secret().trim_end();
    if token.is_empty() {
        return Err(unusable(SecretFileError::NotASecret { path: path.to_owned() }).into());
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let words = "holds characters that no token has: a token is one line of plain letters, digits and signs, without white space";
        return Err(Mistake::setup(format!("{} {words}; was more saved in it, or in another encoding?", path.display())).into());
    }
    Ok(SecretString::from(token))
}

/// Whether a token may be sent to this address: over TLS, or without leaving the machine.
fn safe_for_a_token(url: &Url) -> bool {
    let plain = url.username().is_empty() && url.password().is_none();
    plain && url.host().is_some() && (url.scheme() == "https" || (url.scheme() == "http" && is_here(url)))
}

/// The address without what may be a secret in it.
fn harmless_url(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| format!("{}://{host}", url.scheme()), |port| format!("{}://{host}:{port}", url.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_in_clear_text_to_this_machine_alone() {
        let safe = |url: &str| safe_for_a_token(&url.parse().expect("a URL"));
        for url in ["http://127.0.0.1:7480", "http://[::1]:7480", "http://localhost:7480", "https://ci.example.org"] {
            assert!(safe(url), "{url}");
        }
        for url in
            ["http://ci.example.org", "http://10.0.0.1", "http://localhost.example.org", "https://me:pw@ci.example.org", "ftp://127.0.0.1"]
        {
            assert!(!safe(url), "{url}");
        }
    }
}
