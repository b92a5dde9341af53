//! What the histories are about: four executors, two environments, a few repositories.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use signalbox_contract::change::{ChangeId, ReviewHead};
use signalbox_contract::grant::Glob;
use signalbox_contract::job::{JobFile, JobSpec};
use signalbox_contract::{CommitSha, Digest, ExecutorName, MirrorName, Origin, RefName, RunId};
use signalbox_controller_core::plan::{CdOrder, DeployTarget, Native, Request, Route};
use uuid::Uuid;

use crate::dice::Dice;

/// How an executor of the model begins builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manner {
    /// It takes our keys: the local executor.
    Keyed,
    /// A call begins a build, and knows nothing of keys: pipelines that the API starts.
    Called,
    /// A call waits in a queue, where one that asks for the same is taken for the same; and what it builds it fetches only when
    /// its turn comes: Jenkins.
    Queued,
    /// A push begins a build, and nobody calls.
    Pushed,
}

impl Manner {
    pub(crate) const ALL: [Self; 4] = [Self::Keyed, Self::Called, Self::Queued, Self::Pushed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Keyed => "local",
            Self::Called => "called",
            Self::Queued => "queued",
            Self::Pushed => "pushed",
        }
    }

    pub(crate) fn of(executor: &ExecutorName) -> Self {
        Self::ALL.into_iter().find(|manner| manner.name() == executor.as_str()).unwrap_or(Self::Keyed)
    }
}

/// A name, a ref, a URL that is known to be right.
#[expect(clippy::expect_used, reason = "every sample is a constant of this module")]
pub(crate) fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a valid sample")
}

/// So many milliseconds after the histories begin.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap_or(Timestamp::MAX)
}

pub(crate) fn run_id(number: u64) -> RunId {
    RunId::from_uuid(Uuid::from_u128(u128::from(number)))
}

/// The commit of a run that names none.
pub(crate) fn sha(run: RunId) -> CommitSha {
    let text = run.to_string();
    let last = &text.as_bytes()[text.len().saturating_sub(20)..];
    let mut hex = String::with_capacity(40);
    for byte in last {
        // The characters of a run's id are few enough that this tells them apart.
        let _ = write!(hex, "{byte:02x}");
    }
    named(&format!("{hex:a<40}"))
}

/// What a build of a run makes.
pub(crate) fn digest(run: RunId) -> Digest {
    let mut bytes = [7; 32];
    for (byte, letter) in bytes.iter_mut().zip(run.to_string().bytes()) {
        *byte = letter;
    }
    Digest::from_bytes(bytes)
}

pub(crate) fn everything() -> Vec<Glob> {
    vec![named("*")]
}

fn target(dice: &mut Dice) -> DeployTarget {
    DeployTarget { environment: named(dice.pick(&["test", "stage"])), name: named(dice.pick(&["hello", "site"])) }
}

/// What somebody asks for.
pub(crate) fn request(dice: &mut Dice) -> Request {
    match dice.below(8) {
        0 => Request::Deploy { artifact: named("hello"), target: target(dice) },
        1 => Request::Rollback { target: target(dice), digest: None },
        _ => Request::Cd(Box::new(order(dice))),
    }
}

fn order(dice: &mut Dice) -> CdOrder {
    let repo = dice.pick(&["a", "b", "c"]);
    let manner = dice.pick(&Manner::ALL);
    let review = manner != Manner::Pushed && dice.chance(400);
    let native = Native { file: None, picks: Vec::new() };
    let route = match manner {
        Manner::Keyed => Route::default(),
        Manner::Called | Manner::Queued | Manner::Pushed => {
            Route { mirror: Some(named::<MirrorName>("far")), naming: None, native: Some(native) }
        }
    };
    let number = 1 + dice.below(3);
    let head = ReviewHead {
        change: ChangeId { forge: named("gerrit"), project: repo.to_owned(), number },
        patch_set: Some(1),
        sha: named(&format!("{:0>40x}", u128::from(dice.roll()) << 32 | 1)),
        ref_name: named("refs/changes/01/1/1"),
        branch: named("main"),
        topic: None,
        url: None,
    };
    CdOrder {
        repo: named(repo),
        source: named(&format!("https://git.example.org/{repo}")),
        ref_name: named("main"),
        job: None,
        executor: named(manner.name()),
        inputs: BTreeMap::new(),
        artifacts: everything(),
        deploy: (!review && dice.chance(700)).then(|| (named("hello"), target(dice))),
        origin: if review { Origin::Review(head) } else { Origin::Api },
        publish: !review,
        vote: review,
        route,
    }
}

/// The ref of an order, as its source has it.
pub(crate) fn full_ref(order: &CdOrder) -> RefName {
    // What is called by the API is under review or at no branch; a push moves a branch.
    match Manner::of(&order.executor) {
        Manner::Called | Manner::Queued => named("refs/changes/01/1/1"),
        Manner::Keyed | Manner::Pushed => named("refs/heads/main"),
    }
}

/// The job file of every commit.
pub(crate) fn job_file() -> JobFile {
    let job = JobSpec {
        script: "make".to_owned(),
        env: BTreeMap::new(),
        artifacts: BTreeMap::from([(named("hello"), named("out/file"))]),
        timeout: None,
    };
    JobFile { version: 1, jobs: BTreeMap::from([(named("cd"), job)]) }
}
