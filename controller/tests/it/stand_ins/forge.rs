//! A forge. It says what it is told to say, and keeps what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use http::HeaderMap;
use serde::Deserialize;
use signalbox_adapters::forge::{
    Admitted, Closing, Finding, Forge, ForgeError, Forged, Fut, Glance, Happening, Knock, Proposal, Review, Severity, Standing, Streamed,
    Told, Untranslated, Watched,
};
use signalbox_contract::change::{ChangeId, ReviewHead};
use signalbox_contract::{CommitSha, ForgeName, RefName};
use tokio::sync::broadcast;

/// What a delivery of it must carry.
pub(crate) const SECRET: &str = "open sesame";

pub(crate) struct StandInForge {
    name: ForgeName,
    state: Mutex<State>,
    lines: broadcast::Sender<Streamed>,
}

#[derive(Default)]
struct State {
    away: bool,
    /// The projects of which it does not say now what is there.
    silent: BTreeSet<String>,
    told: Vec<(u64, Standing, String)>,
    remarks: Vec<String>,
    heads: Vec<Happening>,
    findings: Vec<Finding>,
    asked: u32,
    closed: BTreeMap<u64, Closing>,
    merges: BTreeMap<CommitSha, u64>,
}

/// What it says. The fields that do not matter to a kind are left out.
#[derive(Debug, Deserialize)]
struct Said {
    id: String,
    kind: String,
    #[serde(default)]
    change: u64,
    #[serde(default)]
    patch_set: u32,
    #[serde(default)]
    wip: bool,
    /// Whether it counts no patch sets, as some do.
    #[serde(default)]
    uncounted: bool,
    /// The patch set that was the newest before, where it counts none and says that.
    #[serde(default)]
    follows: Option<u32>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    topic: Option<String>,
    #[serde(default)]
    hashtags: Vec<String>,
    #[serde(default)]
    branch: Option<String>,
    #[serde(default)]
    sha: Option<CommitSha>,
}

impl Default for StandInForge {
    fn default() -> Self {
        Self { name: "forge".parse().expect("a name"), state: Mutex::default(), lines: broadcast::channel(64).0 }
    }
}

/// The commit of a change's patch set.
pub(crate) fn commit(change: u64, patch_set: u32) -> CommitSha {
    format!("{change:038x}{patch_set:02x}").parse().expect("a commit")
}

/// A change of `team/hello`, as it stands.
pub(crate) fn proposed(change: u64, patch_set: u32, proposal: Proposal, wip: bool) -> Happening {
    let head = ReviewHead {
        change: id(change),
        patch_set: Some(patch_set),
        sha: commit(change, patch_set),
        ref_name: format!("refs/changes/{:02}/{change}/{patch_set}", change % 100).parse().expect("a ref"),
        branch: "main".parse().expect("a branch"),
        topic: Some("tidy".to_owned()),
        url: format!("https://review.example.org/c/team/hello/+/{change}").parse().ok(),
    };
    Happening::Proposed { head, proposal, wip, private: false, hashtags: Vec::new(), follows: None }
}

/// The same, at a forge that counts no patch sets.
pub(crate) fn uncounted(change: u64, patch_set: u32, proposal: Proposal) -> Happening {
    let mut happening = proposed(change, patch_set, proposal, false);
    if let Happening::Proposed { head, .. } = &mut happening {
        head.patch_set = None;
    }
    happening
}

/// The same in another project.
pub(crate) fn elsewhere(project: &str, mut happening: Happening) -> Happening {
    if let Happening::Proposed { head, .. } = &mut happening {
        project.clone_into(&mut head.change.project);
    }
    happening
}

/// A tag of `team/hello`.
pub(crate) fn tagged(tag: &str, sha: CommitSha) -> Happening {
    let ref_name = format!("refs/tags/{tag}").parse().expect("a ref");
    Happening::Moved { project: "team/hello".to_owned(), ref_name, sha: Some(sha), merged: None }
}

/// A branch of `team/hello` that points to a commit.
pub(crate) fn moved(branch: &str, sha: CommitSha, merged: Option<u64>) -> Happening {
    let ref_name = format!("refs/heads/{branch}").parse().expect("a ref");
    Happening::Moved { project: "team/hello".to_owned(), ref_name, sha: Some(sha), merged: merged.map(id) }
}

fn id(number: u64) -> ChangeId {
    ChangeId { forge: "forge".parse().expect("a name"), project: "team/hello".to_owned(), number }
}

impl StandInForge {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can be reached.
    pub(crate) fn is_away(&self, away: bool) {
        self.state().away = away;
    }

    /// Whether it says what is there in a project, while it does of others.
    pub(crate) fn is_silent(&self, project: &str, silent: bool) {
        let mut state = self.state();
        if silent {
            state.silent.insert(project.to_owned())
        } else {
            state.silent.remove(project)
        };
    }

    /// What it was told, oldest first: of which change, how it stands, and in which words.
    pub(crate) fn told(&self) -> Vec<(u64, Standing, String)> {
        self.state().told.clone()
    }

    /// What it remarks on whatever it is told.
    pub(crate) fn remarks(&self, remark: &str) {
        self.state().remarks = vec![remark.to_owned()];
    }

    /// What is there now.
    pub(crate) fn has(&self, heads: Vec<Happening>) {
        self.state().heads = heads;
    }

    /// A change is closed, if it is asked for that one.
    pub(crate) fn closes(&self, change: u64, closing: Closing) {
        self.state().closed.insert(change, closing);
    }

    /// A commit came to its branch by the merge of a change, if it is asked that.
    pub(crate) fn merges(&self, sha: CommitSha, change: u64) {
        self.state().merges.insert(sha, change);
    }

    /// What is found when it is examined, beside the projects that it is asked for.
    pub(crate) fn ails(&self, finding: Finding) {
        self.state().findings.push(finding);
    }

    /// How often it was asked what is there.
    pub(crate) fn asked(&self) -> u32 {
        self.state().asked
    }

    /// Whether somebody listens to its stream.
    pub(crate) fn is_heard(&self) -> bool {
        self.lines.receiver_count() > 0
    }

    /// Something comes by its stream. Nobody may be listening.
    pub(crate) fn streams(&self, streamed: Streamed) {
        let _ = self.lines.send(streamed);
    }
}

impl Forge for StandInForge {
    fn name(&self) -> &ForgeName {
        &self.name
    }

    fn glance(&self, headers: &HeaderMap, path: &str) -> Result<Glance, Forged> {
        let known = headers.get("x-secret").is_some_and(|value| value == SECRET) || path == "in/the/path";
        if known { Ok(Glance::Known) } else { headers.get("x-signature").map(|_| Glance::Signed).ok_or(Forged::Unsigned) }
    }

    fn admit(&self, knock: &Knock<'_>) -> Result<Admitted, Forged> {
        let header = knock.headers.get("x-secret").is_some_and(|value| value == SECRET);
        if !header && knock.path != "in/the/path" {
            return Err(Forged::Unsigned);
        }
        self.admit_streamed(knock.body)
    }

    fn admit_streamed(&self, line: &[u8]) -> Result<Admitted, Forged> {
        let said: Said = serde_json::from_slice(line).map_err(|_| Forged::Unreadable)?;
        Ok(Admitted { id: said.id, kind: said.kind, headers: vec![("x-kept".to_owned(), "yes".to_owned())], body: line.to_vec() })
    }

    fn translate(&self, kind: &str, body: &[u8]) -> Result<Vec<Happening>, Untranslated> {
        let malformed = |_| Untranslated::Malformed { field: "body".to_owned(), what: "is not right".to_owned() };
        let said: Said = serde_json::from_slice(body).map_err(malformed)?;
        let patch_set = |proposal| {
            let mut happening = proposed(said.change, said.patch_set, proposal, said.wip);
            if let Happening::Proposed { head, follows, private, hashtags, .. } = &mut happening {
                head.patch_set = head.patch_set.filter(|_| !said.uncounted);
                if said.topic.is_some() {
                    head.topic.clone_from(&said.topic);
                }
                *follows = said.follows.map(|before| commit(said.change, before));
                *private = said.private;
                hashtags.clone_from(&said.hashtags);
            }
            vec![happening]
        };
        let branch = said.branch.clone().unwrap_or_else(|| "main".to_owned());
        let sha = || said.sha.clone().unwrap_or_else(|| commit(said.change, said.patch_set));
        Ok(match kind {
            "uploaded" => patch_set(Proposal::Uploaded),
            "ready" => patch_set(Proposal::Ready),
            "recheck" => patch_set(Proposal::Recheck { by: "alice".to_owned(), mark: said.id.clone() }),
            "touched" => patch_set(Proposal::Seen),
            "deleted" => vec![Happening::Closed { change: id(said.change), closing: Closing::Deleted }],
            "abandoned" => vec![Happening::Closed { change: id(said.change), closing: Closing::Abandoned }],
            "merged" => {
                vec![Happening::Closed { change: id(said.change), closing: Closing::Merged }, moved(&branch, sha(), Some(said.change))]
            }
            "moved" => vec![moved(&branch, sha(), None)],
            "built" => vec![Happening::BuildChanged { project: "7".to_owned(), build: "1".to_owned() }],
            "missed" => vec![Happening::Missed],
            "bomb" => panic!("a translator that is not right"),
            other => return Err(Untranslated::NotNeeded(other.to_owned())),
        })
    }

    fn heads<'a>(&'a self, watched: &'a [Watched]) -> Fut<'a, Vec<Happening>> {
        async {
            let mut state = self.state();
            state.asked += 1;
            let tags = watched.iter().any(|one| one.tags);
            let asked = |project: &str| watched.iter().any(|one| one.project == project);
            let wanted = |one: &Happening| match one {
                Happening::Moved { project, ref_name, .. } => asked(project) && (tags || !ref_name.as_str().starts_with("refs/tags/")),
                Happening::Proposed { head, .. } => asked(&head.change.project),
                _ => true,
            };
            if state.away {
                Err(ForgeError::Unreachable("it is away".into()))
            } else if watched.iter().any(|one| state.silent.contains(&one.project)) {
                Err(ForgeError::Retry { after: None })
            } else {
                Ok(state.heads.iter().filter(|one| wanted(one)).cloned().collect())
            }
        }
        .boxed()
    }

    fn change<'a>(&'a self, change: &'a ChangeId) -> Fut<'a, Option<Happening>> {
        async {
            let state = self.state();
            let is = |one: &&Happening| matches!(one, Happening::Proposed { head, .. } if head.change == *change);
            let closed = state.closed.get(&change.number).map(|closing| Happening::Closed { change: change.clone(), closing: *closing });
            if state.away { Err(ForgeError::Unreachable("it is away".into())) } else { Ok(state.heads.iter().find(is).cloned().or(closed)) }
        }
        .boxed()
    }

    fn merged_as<'a>(&'a self, _: &'a str, _: &'a RefName, sha: &'a CommitSha) -> Fut<'a, Option<ChangeId>> {
        async { Ok(self.state().merges.get(sha).copied().map(id)) }.boxed()
    }

    fn tell<'a>(&'a self, review: &'a Review) -> Fut<'a, Told> {
        async {
            let mut state = self.state();
            if state.away {
                return Err(ForgeError::Unreachable("it is away".into()));
            }
            let number = review.origin.review().map_or(0, |head| head.change.number);
            // What is so already is not written again.
            let written = state.told.iter().rfind(|(change, ..)| *change == number).is_none_or(|(_, last, _)| *last != review.standing);
            if written {
                state.told.push((number, review.standing, review.summary.clone()));
            }
            Ok(Told { written, remarks: state.remarks.clone() })
        }
        .boxed()
    }

    fn examine<'a>(&'a self, projects: &'a [String]) -> BoxFuture<'a, Vec<Finding>> {
        async {
            let seen = projects.iter().map(|project| Finding::new(Severity::Fine, format!("{project} can be used."), ""));
            seen.chain(self.state().findings.clone()).collect()
        }
        .boxed()
    }

    fn stream(&self) -> Option<BoxStream<'static, Streamed>> {
        let lines = self.lines.subscribe();
        Some(stream::unfold(lines, async |mut lines| lines.recv().await.ok().map(|line| (line, lines))).boxed())
    }
}
