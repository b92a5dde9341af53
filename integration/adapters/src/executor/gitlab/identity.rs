//! What a job's ID token says of the job, and whether that can be true.
//!
//! Architecture invariant: nothing that a token says is believed before its signature is right. The algorithm is ours, not
//! the token's; the key is GitLab's, by its name; and a header with anything else in it is no header of GitLab's.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;
use signalbox_contract::{CommitSha, RefName, RepoName};
use signalbox_service::secret::{ExposeSecret as _, SecretString};

use super::GitLabExecutor;
use super::keyring::Keyring;
use super::place::PipelineRef;
use crate::executor::{BuildIdentity, Unidentified};

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 16 << 10;

/// By how many seconds GitLab's clock and ours may differ.
pub(super) const LEEWAY: i64 = 30;

/// How many seconds a token may live at most. GitLab's live as long as their job may take.
const LIFETIME: i64 = 24 * 3600;

/// Whose tokens are taken, and for whom they must be.
#[derive(Debug)]
pub(super) struct Identities {
    /// What GitLab calls itself: the issuer.
    issuer: String,
    /// What the tokens must be for.
    audience: String,
    keyring: Keyring,
}

/// What GitLab writes into an ID token, as far as it is used. Numbers come as texts.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: i64,
    iat: i64,
    #[serde(default)]
    nbf: Option<i64>,
    project_id: Number,
    project_path: String,
    namespace_path: String,
    pipeline_id: Number,
    job_id: Number,
    #[serde(rename = "ref")]
    ref_name: String,
    ref_type: String,
    sha: String,
}

/// For whom a token is.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    /// Whether it is this one and no other: whoever else a token is for could come here with it.
    fn is(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => matches!(several.as_slice(), [one] if one == audience),
        }
    }
}

/// A number above zero, as a number or as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
struct Number(u64);

impl TryFrom<Value> for Number {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, &'static str> {
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| *number > 0).map(Self).ok_or("must be a number above zero")
    }
}

impl Identities {
    /// The tokens of the GitLab at `url` for `audience`. GitLab names itself as its `external_url` does, without a slash at
    /// the end.
    pub(super) fn new(url: &url::Url, audience: &str, keyring: Keyring) -> Self {
        Self { issuer: url.as_str().trim_end_matches('/').to_owned(), audience: audience.to_owned(), keyring }
    }

    /// The name of the key, and when the token was made, as its header and its unproven claims have it. Whatever is wrong here
    /// costs us nothing: only what claims to be for us makes us look at keys.
    fn screen(&self, token: &str) -> Result<(String, Timestamp), Unidentified> {
        if token.len() > LONGEST {
            return Err(Unidentified::Unverifiable);
        }
        let claims: Claims = unproven(token).ok_or(Unidentified::Unverifiable)?;
        if claims.iss != self.issuer || !claims.aud.is(&self.audience) {
            return Err(Unidentified::Elsewhere);
        }
        let header = decode_header(token).map_err(|_| Unidentified::Unverifiable)?;
        // With another algorithm, or with `crit`, `jku`, `jwk`, `x5u`, `x5c`, it is no longer equal to this one.
        let plain = Header { typ: header.typ.clone(), kid: header.kid.clone(), ..Header::new(Algorithm::RS256) };
        if header != plain || header.typ.as_deref().is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(Unidentified::Unverifiable);
        }
        let made = Timestamp::from_second(claims.iat).map_err(|_| Unidentified::Unverifiable)?;
        header.kid.filter(|kid| !kid.is_empty()).map(|kid| (kid, made)).ok_or(Unidentified::Unverifiable)
    }

    /// What the token says, once this key's signature on it is right.
    fn proven(&self, token: &str, key: &DecodingKey, group: &str, now: Timestamp) -> Result<BuildIdentity, Unidentified> {
        let claims = decode::<Claims>(token, key, &signature_alone()).map_err(|_| Unidentified::Unverifiable)?.claims;
        if claims.iss != self.issuer || !claims.aud.is(&self.audience) {
            return Err(Unidentified::Elsewhere);
        }
        identity(&claims, group, now)
    }
}

impl GitLabExecutor {
    /// The build whose job holds the token.
    pub(super) async fn recognise(&self, token: &SecretString) -> Result<BuildIdentity, Unidentified> {
        let Some(identities) = &self.identities else { return Err(Unidentified::Elsewhere) };
        let token = token.expose_secret();
        let (kid, made) = identities.screen(token)?;
        let key = identities.keyring.find(&kid, made).await?;
        identities.proven(token, &key, &self.group, self.clock.now())
    }
}

/// The claims as they stand there, whoever wrote them.
fn unproven(token: &str) -> Option<Claims> {
    jsonwebtoken::dangerous::insecure_decode::<Claims>(token).ok().map(|data| data.claims)
}

/// Nothing but the signature, with the one algorithm: everything else is checked here, by our clock and strictly. The
/// library takes a token without an audience for one with the right audience.
fn signature_alone() -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_required_spec_claims(&["exp", "aud", "iss"]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// The build that genuine claims tell of, if it is in our group and if they hold now.
fn identity(claims: &Claims, group: &str, now: Timestamp) -> Result<BuildIdentity, Unidentified> {
    check_times(claims, now)?;
    let unfit = |what: &str| Unidentified::Unfit(what.to_owned());
    let path = &claims.project_path;
    let inside = if group.is_empty() { Some(path.as_str()) } else { path.strip_prefix(group).and_then(|rest| rest.strip_prefix('/')) };
    let is_there = path.rsplit_once('/').is_some_and(|(namespace, _)| namespace == claims.namespace_path);
    let (Some(repo), true) = (inside.and_then(|repo| repo.parse::<RepoName>().ok()), is_there) else {
        return Err(unfit("the token is of a project outside of the executor's group"));
    };
    let whole = match claims.ref_type.as_str() {
        "branch" => format!("refs/heads/{}", claims.ref_name),
        "tag" => format!("refs/tags/{}", claims.ref_name),
        _ => return Err(unfit("the token is of a pipeline that is of no branch and of no tag")),
    };
    let ref_name: RefName = whole.parse().map_err(|_| unfit("the token names a ref that cannot be"))?;
    let sha: CommitSha = claims.sha.parse().map_err(|_| unfit("the token names no commit"))?;
    let pipeline = PipelineRef { project: claims.project_id.0, pipeline: claims.pipeline_id.0 };
    let build = pipeline.build().map_err(|_| unfit("the token names no pipeline"))?;
    Ok(BuildIdentity { build, repo, ref_name, sha, part: claims.job_id.0.to_string() })
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), Unidentified> {
    let now = now.as_second();
    let early = now.saturating_add(LEEWAY);
    if claims.exp.saturating_add(LEEWAY) <= now {
        return Err(Unidentified::Untimely("the token has expired"));
    }
    if claims.iat > early || claims.nbf.is_some_and(|nbf| nbf > early) {
        return Err(Unidentified::Untimely("the token is not valid yet; do the machines' clocks agree?"));
    }
    if claims.iat < 0 || claims.exp <= claims.iat {
        return Err(Unidentified::Unverifiable);
    }
    if claims.exp.saturating_sub(claims.iat) > LIFETIME {
        return Err(Unidentified::Untimely("the token lives for more than a day; give its job a shorter timeout"));
    }
    Ok(())
}
