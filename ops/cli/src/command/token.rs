//! `signalbox token`.

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};
use signalbox_contract::api::Page;
use signalbox_contract::api::token::{Revoked, TokenCreated, TokenInfo, TokenRequest};
use signalbox_contract::grant::{Action, Glob, Grant};
use signalbox_contract::token::{ISSUER, OperatorClaims, Service};
use signalbox_service::auth::Signer;
use signalbox_service::clock::{SharedClock, SystemClock};
use signalbox_service::secret::{read_secret, write_secret};
use uuid::Uuid;

use crate::arguments::{AllowedAction, Audience, TokenArguments};
use crate::connection::{Connection, path, with_query};
use crate::mistake::Mistake;
use crate::output::{Output, moment, table};

const DAY: u32 = 24 * 3600;

/// `POST /tokens`, by the controller that `connect` reaches; or a token that is signed here.
pub(crate) async fn create(connect: impl FnOnce() -> Result<Connection>, arguments: &TokenArguments, output: Output) -> Result<u8> {
    if let Some(file) = &arguments.output {
        // Before there is a token that nobody would hold.
        refuse_place(file)?;
    }
    let request = TokenRequest {
        principal: arguments.principal.clone(),
        audience: match arguments.audience {
            Audience::Controller => Service::Controller,
            Audience::ArtifactStore => Service::ArtifactStore,
        },
        lifetime: arguments.days * DAY,
        grants: vec![grant(arguments)?],
    };
    let (token, info) = if let Some(folder) = &arguments.keys {
        let (token, claims) = sign(folder, &SystemClock::shared(), &request)?;
        let expires_at = jiff::Timestamp::from_second(claims.exp)?;
        let TokenRequest { principal, audience, grants, .. } = request;
        (token, TokenInfo { jti: claims.jti, principal, audience, grants, expires_at, revoked_at: None })
    } else {
        let created: TokenCreated = connect()?.post("/tokens", HeaderMap::new(), &request).await?;
        (SecretString::from(created.token), created.info)
    };
    let Some(file) = &arguments.output else {
        let created = TokenCreated { token: token.expose_secret().to_owned(), info };
        output.show(&created, |created| created.token.clone())?;
        return Ok(0);
    };
    write_secret(file, &token).map_err(|error| {
        let undo = if arguments.keys.is_some() { String::new() } else { format!("; revoke it: signalbox token revoke {}", info.jti) };
        Mistake::setup(format!("the token was made and cannot be written to {}: {error}{undo}", file.display()))
    })?;
    output.show(&info, |info| {
        format!("token {} for {} is in {}, until {}", info.jti, info.principal, file.display(), moment(info.expires_at))
    })?;
    Ok(0)
}

/// Refuses a place for a token's file that cannot be one: a secret is written to a new file only.
fn refuse_place(file: &Path) -> Result<(), Mistake> {
    if file.symlink_metadata().is_ok() {
        return Err(Mistake::setup(format!("{} is there already: name a new file, or remove that one; no token was made", file.display())));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() { Ok(()) } else { Err(Mistake::setup(format!("{} is no folder; no token was made", folder.display()))) }
}

/// `GET /tokens`.
pub(crate) async fn list(connection: &Connection, cursor: Option<String>, output: Output) -> Result<u8> {
    let page: Page<TokenInfo> = connection.get(&with_query("/tokens", [("cursor", cursor)])).await?;
    output.show(&page, |page| {
        let rows = page.items.iter().map(|token| {
            let state =
                token.revoked_at.map_or_else(|| format!("until {}", moment(token.expires_at)), |at| format!("revoked {}", moment(at)));
            let actions: Vec<&str> = token.grants.iter().flat_map(|grant| &grant.actions).map(|action| action.as_str()).collect();
            [token.jti.to_string(), token.principal.clone(), token.audience.to_string(), state, actions.join(" ")]
        });
        let mut text = table(["ID", "FOR", "SERVICE", "STATE", "MAY"], rows);
        if let Some(next) = &page.next {
            text = format!("{text}\nmore: signalbox token list --cursor {next}");
        }
        text
    })?;
    Ok(0)
}

/// `DELETE /tokens/{jti}`.
pub(crate) async fn revoke(
    connect: impl FnOnce() -> Result<Connection>,
    id: Option<&str>,
    file: Option<&Path>,
    output: Output,
) -> Result<u8> {
    let id = match (id, file) {
        (Some(id), _) => id_typed(id)?,
        (None, Some(file)) => id_in(file)?,
        (None, None) => return Err(Mistake::usage("name the token's id, or a file with the token by --file").into()),
    };
    let revoked: Revoked = connect()?.remove(&path(["tokens", &id.to_string()])).await?;
    output.show(&revoked, |revoked| {
        if revoked.listed {
            return format!("token {id} is revoked");
        }
        format!(
            "no token {id} is on the list; one with this id is refused from now on\n\
             Tokens that were made with the keys at hand are not on the list. If this one was, compare the id: with `--file` it is read from the token."
        )
    })?;
    Ok(0)
}

/// The id that was typed. It is not repeated where it is none: it may be the token itself.
fn id_typed(text: &str) -> Result<Uuid> {
    let words = if text.split('.').count() == 3 {
        "that looks like a token itself, which has no place on a command line: revoke it by `--file FILE`, from which its id is read"
    } else {
        "that is no token's id, which looks like 01890a5d-ac96-774b-bcce-b302099a8057 (`jti`): `signalbox token list` shows the ids, \
         and `--file FILE` reads it from a file with the token"
    };
    text.parse().map_err(|_| Mistake::usage(words).into())
}

/// The id that a token names in itself. Nothing is believed of it but that it is the one that is to be refused.
fn id_in(file: &Path) -> Result<Uuid> {
    let token = read_secret(file).map_err(|error| Mistake::setup(format!("{} cannot be read: {error}", file.display())))?;
    let id = token.expose_secret().split('.').nth(1).and_then(|claims| {
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        serde_json::from_slice::<serde_json::Value>(&claims).ok()?.get("jti")?.as_str()?.parse().ok()
    });
    id.ok_or_else(|| Mistake::usage(format!("{} holds no token", file.display())).into())
}

/// Signs an operator's token here, with the controller's own keys.
pub(crate) fn sign(keys: &Path, clock: &SharedClock, request: &TokenRequest) -> Result<(SecretString, OperatorClaims)> {
    let signer = Signer::open(keys, clock.clone()).with_context(|| format!("the keys in {} cannot be used", keys.display()))?;
    let iat = clock.now().as_second();
    let claims = OperatorClaims {
        iss: ISSUER.to_owned(),
        sub: request.principal.clone(),
        aud: request.audience,
        jti: clock.uuid(),
        iat,
        exp: iat + i64::from(request.lifetime),
        grants: request.grants.clone(),
    };
    Ok((signer.operator(&claims)?, claims))
}

fn grant(arguments: &TokenArguments) -> Result<Grant> {
    let mut actions = Vec::new();
    for allowed in &arguments.allow {
        match allowed {
            AllowedAction::Read => actions.push(Action::Read),
            AllowedAction::Start => actions.push(Action::Start),
            AllowedAction::Stop => actions.push(Action::Stop),
            AllowedAction::Rerun => actions.push(Action::Rerun),
            AllowedAction::Deploy => actions.push(Action::Deploy),
            AllowedAction::Rollback => actions.push(Action::Rollback),
            AllowedAction::BlobRead => actions.push(Action::BlobRead),
            AllowedAction::BlobWrite => actions.push(Action::BlobWrite),
            AllowedAction::Tokens => actions.push(Action::Tokens),
            AllowedAction::Deliveries => actions.push(Action::Deliveries),
            AllowedAction::Operate => actions.push(Action::Operate),
            AllowedAction::All => actions.extend(Action::ALL),
        }
    }
    actions.sort_unstable();
    actions.dedup();
    let grant = Grant {
        actions,
        repos: globs("--repos", &arguments.repos)?,
        artifacts: globs("--artifacts", &arguments.artifacts)?,
        environments: globs("--environments", &arguments.environments)?,
        names: globs("--names", &arguments.names)?,
    };
    let nothing = [&grant.repos, &grant.artifacts, &grant.environments, &grant.names].into_iter().all(Vec::is_empty);
    // Tokens are about nothing that has a name.
    if nothing && !grant.actions.contains(&Action::Tokens) {
        let words = "such a token could do nothing, since it names nothing to do it with: add --repos, --artifacts, --environments or --names, \
                     each a list of names or patterns ('*' covers all); no token was made";
        return Err(Mistake::usage(words).into());
    }
    Ok(grant)
}

fn globs(option: &str, texts: &[String]) -> Result<Vec<Glob>> {
    texts.iter().map(|text| text.parse().map_err(|error| Mistake::usage(format!("{option} {text}: {error}")).into())).collect()
}
