//! Identities of jobs: tokens that others can check, signed with RS256.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::fake::Fake;
use super::state::State;
use super::state::user::level;

/// How long a token of a job without a timeout is good.
const USUAL: i64 = 300;

/// The key that signs, and its name.
pub(crate) struct Identity {
    pair: KeyPair,
    name: String,
}

impl Identity {
    /// A new one. None when the system has no randomness.
    fn new() -> Option<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).ok()?;
        let der = pair.public_key().as_der().ok()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der.as_ref());
        Some(Self { pair, name: BASE64.encode(digest) })
    }

    /// The public half, as it is given out.
    fn public(&self) -> Value {
        let parts = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        json!({ "kty": "RSA", "kid": self.name, "use": "sig", "alg": "RS256", "n": BASE64.encode(parts.n), "e": BASE64.encode(parts.e) })
    }

    fn sign(&self, claims: &Value) -> Option<SecretString> {
        let head = json!({ "kid": self.name, "typ": "JWT", "alg": "RS256" });
        let text = format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(claims.to_string()));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).ok()?;
        Some(SecretString::from(format!("{text}.{}", BASE64.encode(signature))))
    }
}

impl Fake {
    /// The key that signs, made when it is first needed.
    fn identity(&self) -> Option<&Identity> {
        self.identity.get_or_init(Identity::new).as_ref()
    }

    /// The public keys.
    pub(crate) fn public_keys(&self) -> Value {
        json!({ "keys": self.identity().map(Identity::public).into_iter().collect::<Vec<_>>() })
    }

    /// A job's identity for somebody. None when there is no such job.
    pub(crate) fn identify(&self, job: u64, audience: &Value) -> Option<SecretString> {
        let claims = self.change(|state| claims(state, job, audience))?;
        self.identity()?.sign(&claims)
    }
}

/// The word for a role.
fn role(access: u32) -> Option<&'static str> {
    let words =
        [(level::OWNER, "owner"), (level::MAINTAINER, "maintainer"), (level::DEVELOPER, "developer"), (level::REPORTER, "reporter")];
    let word = words.iter().find(|(least, _)| access >= *least).map(|(_, word)| *word);
    word.or((access > level::NONE).then_some("guest"))
}

/// What a job's identity says. Numbers are written as texts, and so is whether the ref is protected.
fn claims(state: &State, job: u64, audience: &Value) -> Option<Value> {
    let job = state.jobs.get(&job)?;
    let pipeline = state.pipelines.get(&job.pipeline)?;
    let project = state.projects.get(&job.project)?;
    let group = state.groups.get(&project.namespace)?;
    let user = state.users.get(&job.user)?;
    let path = state.path_of(project);
    let kind = if pipeline.tag { "tag" } else { "branch" };
    let ref_path = if pipeline.tag { format!("refs/tags/{}", pipeline.ref_name) } else { format!("refs/heads/{}", pipeline.ref_name) };
    let protected = project.protects(&pipeline.ref_name, pipeline.tag);
    let now = state.now().as_second();
    let lasts = job.plan.timeout.map_or(USUAL, |timeout| i64::try_from(timeout.as_secs()).unwrap_or(USUAL));
    let host = state.url.split_once("://").map_or(state.url.as_str(), |(_, host)| host);
    let access = state.level(user.id, project);
    let mut claims = json!({
        "iss": state.url,
        "sub": format!("project_path:{path}:ref_type:{kind}:ref:{}", pipeline.ref_name),
        "aud": audience,
        "iat": now,
        "nbf": now - 5,
        "exp": now + lasts,
        "jti": state.uuid(),
        "namespace_id": group.id.to_string(),
        "namespace_path": group.full_path,
        "project_id": project.id.to_string(),
        "project_path": path,
        "user_id": user.id.to_string(),
        "user_login": user.username,
        "user_email": user.email,
        "user_access_level": role(access),
        "pipeline_id": pipeline.id.to_string(),
        "pipeline_source": pipeline.source,
        "job_id": job.id.to_string(),
        "ref": pipeline.ref_name,
        "ref_type": kind,
        "ref_path": ref_path,
        "ref_protected": protected.to_string(),
        "runner_id": job.runner,
        "runner_environment": "self-hosted",
        "sha": pipeline.sha,
        "project_visibility": project.visibility.word(),
        "ci_config_ref_uri": format!("{host}/{path}//.gitlab-ci.yml@{ref_path}"),
        "ci_config_sha": pipeline.sha,
    });
    if let Some(environment) = &job.plan.environment {
        let tier = state
            .environments
            .values()
            .find(|found| found.project == project.id && found.name == *environment)
            .map(|found| found.tier.clone());
        claims["environment"] = json!(environment);
        claims["environment_protected"] = json!("false");
        claims["environment_action"] = json!("start");
        claims["deployment_tier"] = json!(tier);
    }
    Some(claims)
}
