//! The VCS worker.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use signalbox_contract::api::Page;
use signalbox_contract::api::mirrors::{CollectRequest, CollectResult, CollectedRef, MirrorFinding, MirrorInfo, MirrorRef};
use signalbox_contract::api::vcs::{
    ExamineSources, FileContent, NamedSource, RefsAction, RefsRequest, RefsResult, RepoRequest, RepoResult, SourceFinding, Timings,
    Transferred,
};
use signalbox_contract::{AttemptKey, Code, CommitSha, Failure, FailureCode, Problem, SourceUrl};
use signalbox_service::auth::{Act, sha256};
use signalbox_service::http::Query;

use super::Desk;

/// A job that passes and makes what it declares.
pub(crate) const PASSES: &str = "version: 1\njobs:\n  cd:\n    script: pass\n    artifacts:\n      site/hello: out/hello\n";

/// What the sources hold, by branch.
pub(crate) struct Sources {
    definitions: BTreeMap<String, FileContent>,
    /// Refs that are published now.
    pub(crate) shown: BTreeMap<AttemptKey, CommitSha>,
    /// What was pushed to mirrors elsewhere, ever.
    pub(crate) pushed: BTreeMap<AttemptKey, RefsRequest>,
    /// How many commits each branch has seen.
    commits: BTreeMap<String, u32>,
    /// What is at the mirrors, in the order of names.
    pub(crate) mirrored: Vec<MirrorInfo>,
    /// Whether the mirrors are being cleaned.
    pub(crate) collecting: bool,
    /// What is found when the mirrors are examined.
    pub(crate) findings: Vec<MirrorFinding>,
    /// From where it was asked to fetch.
    pub(crate) fetched: Vec<String>,
    /// Which sources cannot be read, and why.
    pub(crate) unreadable: BTreeMap<SourceUrl, Failure>,
}

impl Default for Sources {
    fn default() -> Self {
        let definitions = [("main".to_owned(), FileContent::Text { text: PASSES.to_owned() })].into();
        Self {
            definitions,
            shown: BTreeMap::new(),
            pushed: BTreeMap::new(),
            commits: BTreeMap::new(),
            mirrored: Vec::new(),
            collecting: false,
            findings: Vec::new(),
            fetched: Vec::new(),
            unreadable: BTreeMap::new(),
        }
    }
}

impl Sources {
    /// From now on the branch has this job file.
    pub(crate) fn commit(&mut self, branch: &str, definition: &str) {
        self.holds(branch, FileContent::Text { text: definition.to_owned() });
    }

    /// The same, with a job `cd` that runs `script` and declares `site/hello`.
    pub(crate) fn script(&mut self, branch: &str, script: &str) {
        self.commit(branch, &PASSES.replace("script: pass", &format!("script: {script}")));
    }

    /// The same, with whatever the VCS worker may find there.
    pub(crate) fn holds(&mut self, branch: &str, file: FileContent) {
        self.definitions.insert(branch.to_owned(), file);
        *self.commits.entry(branch.to_owned()).or_default() += 1;
    }

    fn sha(&self, branch: &str) -> CommitSha {
        let count = self.commits.get(branch).copied().unwrap_or_default();
        sha256(format!("{branch} {count}").as_bytes()).hex()[..40].parse().expect("a commit")
    }
}

pub(super) fn router() -> Router<Desk> {
    let told = Router::new().route("/mirrors", get(mirrors)).route("/mirrors/collect", post(collect)).route("/mirrors/doctor", get(doctor));
    let told = told.route("/sources/examine", post(examine));
    told.route("/repo", post(repo)).route("/refs", post(refs))
}

#[derive(Debug, Deserialize)]
struct MirrorsQuery {
    cursor: Option<String>,
    limit: usize,
}

async fn mirrors(State(desk): State<Desk>, Query(query): Query<MirrorsQuery>, _act: Act<()>) -> Response {
    desk.look_in_passing(|world| {
        let sources = world.sources();
        let after = sources.mirrored.iter().filter(|info| query.cursor.as_deref().is_none_or(|cursor| info.name.as_str() > cursor));
        let mut items: Vec<MirrorInfo> = after.take(query.limit + 1).cloned().collect();
        let more = items.len() > query.limit;
        items.truncate(query.limit);
        Ok(Page { next: items.last().filter(|_| more).map(|info| info.name.to_string()), items })
    })
    .await
}

async fn collect(State(desk): State<Desk>, act: Act<CollectRequest>) -> Response {
    desk.look_in_passing(|world| {
        let mut sources = world.sources();
        if sources.collecting {
            return Err(Problem::new(Code::Unavailable).detail("The mirrors are being cleaned already.").retry_after(7));
        }
        let of = |info: &MirrorInfo| {
            let gone = |shown: &MirrorRef| CollectedRef {
                mirror: info.mirror.clone(),
                name: info.name.clone(),
                ref_name: shown.ref_name.clone(),
                since: shown.since,
            };
            info.refs.iter().map(gone).collect::<Vec<_>>()
        };
        let refs = sources.mirrored.iter().flat_map(of).collect();
        if !act.body.dry_run {
            sources.mirrored.iter_mut().for_each(|info| info.refs.clear());
        }
        Ok(CollectResult { dry_run: act.body.dry_run, refs, ..CollectResult::default() })
    })
    .await
}

async fn doctor(State(desk): State<Desk>, _act: Act<()>) -> Response {
    desk.look_in_passing(|world| Ok(world.sources().findings.clone())).await
}

async fn examine(State(desk): State<Desk>, act: Act<ExamineSources>) -> Response {
    desk.look_in_passing(|world| {
        let sources = world.sources();
        let of = |asked: &NamedSource| SourceFinding {
            name: asked.name.clone(),
            source: asked.source.clone(),
            failure: sources.unreadable.get(&asked.source).cloned(),
        };
        Ok(act.body.sources.iter().map(of).collect::<Vec<_>>())
    })
    .await
}

async fn repo(State(desk): State<Desk>, act: Act<RepoRequest>) -> Response {
    desk.once("fetch", act, |world, _, request| {
        let mut sources = world.sources();
        sources.fetched.push(request.git.to_string());
        // What is reviewed has the definition of its own ref, else that of the branch that all begin with.
        let review = request.ref_name.as_str().starts_with("refs/changes/");
        let tag = request.ref_name.as_str().starts_with("refs/tags/");
        let own = request.ref_name.short().to_owned();
        let branch = if review && !sources.definitions.contains_key(&own) { "main".to_owned() } else { own };
        let Some(file) = sources.definitions.get(&branch) else {
            return Err(Failure::new(FailureCode::RefNotFound, format!("The source has no ref {branch}.")).hint("Push it first."));
        };
        Ok(RepoResult {
            sha: request.sha.unwrap_or_else(|| sources.sha(&branch)),
            ref_name: if review || tag { request.ref_name } else { format!("refs/heads/{branch}").parse().expect("a ref") },
            files: request.files.into_iter().map(|path| (path, file.clone())).collect(),
            transferred: Transferred::default(),
            timings: Timings::default(),
        })
    })
    .await
}

async fn refs(State(desk): State<Desk>, act: Act<RefsRequest>) -> Response {
    let what = match act.body.action {
        RefsAction::Publish => "publish",
        RefsAction::Remove => "unpublish",
    };
    desk.once(what, act, |world, key, request| {
        let mut sources = world.sources();
        if request.mirror.is_some() && request.action == RefsAction::Publish {
            sources.pushed.insert(key, request.clone());
        }
        let project = request.mirror.as_ref().map(|_| "7".to_owned());
        match request.action {
            RefsAction::Publish => sources.shown.insert(key, request.sha.clone()),
            RefsAction::Remove => sources.shown.remove(&key),
        };
        Ok(RefsResult {
            url: format!("http://127.0.0.1:9/{}", request.name).parse().expect("a URL"),
            ref_name: format!("refs/heads/cd/{key}").parse().expect("a ref"),
            sha: request.sha,
            project,
            moved: true,
        })
    })
    .await
}
