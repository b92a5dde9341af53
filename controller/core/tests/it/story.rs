//! One run, told step by step.

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_contract::api::run::{Outcome, RerunFrom};
use signalbox_contract::api::vcs::{Timings, Transferred};
use signalbox_contract::build::{BuildState, Observation, Stamp};
use signalbox_contract::job::JobFile;
use signalbox_contract::{AttemptKey, FailureCode, RunId, Verdict};
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::plan::{Request, resolve, resolve_native};
use signalbox_controller_core::{Act, Attempt, Event, Phase, Refusal, Run};

use crate::desk::Desk;
use crate::sample::{failure, host, job_file, made, named, published, sha};

pub(crate) const MIRROR: u16 = 0;
pub(crate) const BUILD: u16 = 1;
pub(crate) const DEPLOY: u16 = 2;

#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) desk: Desk,
    /// The run that is told of.
    pub(crate) id: Option<RunId>,
    stamp: u64,
}

impl Story {
    pub(crate) fn of(request: Request) -> Self {
        let mut story = Self::default();
        story.another(request);
        story
    }

    /// Accepts one more run, and goes on to tell of that.
    pub(crate) fn another(&mut self, request: Request) -> RunId {
        self.desk.seconds += 1;
        let id = self.desk.accept(request);
        self.id = Some(id);
        id
    }

    pub(crate) fn id(&self) -> RunId {
        self.id.expect("a run was accepted")
    }

    pub(crate) fn run(&self) -> &Run {
        self.desk.run(self.id())
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.run().outcome
    }

    pub(crate) fn key(&self, step: u16) -> AttemptKey {
        self.run().latest_key(step).expect("the step has begun")
    }

    pub(crate) fn attempt(&self, step: u16) -> &Attempt {
        self.run().steps[usize::from(step)].latest().expect("the step has begun")
    }

    pub(crate) fn phase(&self, step: u16) -> &'static str {
        self.attempt(step).phase.word()
    }

    pub(crate) fn verdict(&self, step: u16) -> Option<Verdict> {
        self.run().steps[usize::from(step)].verdict()
    }

    /// The act of this kind that is to be done for the step's latest attempt.
    pub(crate) fn act(&self, step: u16, kind: Kind) -> Option<&Act> {
        self.desk.pending(self.key(step), kind).map(|pending| &pending.effect.act)
    }

    pub(crate) fn tell(&mut self, event: &Event) -> bool {
        let done = outcome_of(event).and_then(|(key, kinds)| {
            let pending = kinds.iter().find_map(|kind| self.desk.pending(key, *kind))?;
            Some((pending.effect.id(), pending.serial))
        });
        self.desk.commit(self.id(), event, done.as_ref()).expect("no command")
    }

    pub(crate) fn stop(&mut self) -> Result<bool, Refusal> {
        self.desk.commit(self.id(), &Event::StopRequested { by: "bob".to_owned(), reason: None }, None)
    }

    pub(crate) fn rerun(&mut self, from: RerunFrom) -> Result<bool, Refusal> {
        self.rerun_with(from, &["*"])
    }

    /// Reruns it for somebody who may publish only what these patterns cover.
    pub(crate) fn rerun_with(&mut self, from: RerunFrom, patterns: &[&str]) -> Result<bool, Refusal> {
        self.desk.seconds += 1;
        let artifacts = patterns.iter().map(|pattern| named(pattern)).collect();
        self.desk.commit(self.id(), &Event::RerunRequested { by: "bob".to_owned(), from, artifacts }, None)
    }

    pub(crate) fn fetched_with(&mut self, file: JobFile) -> bool {
        let Request::Cd(order) = self.run().request.clone() else { panic!("only /cd fetches") };
        let ref_name = named("refs/heads/main");
        let plan = match &order.route.native {
            None => resolve(&order, &ref_name, file),
            Some(native) => resolve_native(&order, &ref_name, native),
        };
        let (transferred, timings) = (Transferred::default(), Timings::default());
        self.tell(&Event::Fetched { key: self.key(MIRROR), sha: sha(7), ref_name, plan, transferred, timings })
    }

    pub(crate) fn fetched(&mut self) {
        assert!(self.fetched_with(job_file(&["cd"])));
    }

    pub(crate) fn published(&mut self) {
        assert!(self.tell(&Event::Published { key: self.key(BUILD), at: published() }));
    }

    pub(crate) fn prepared(&mut self) {
        assert!(self.tell(&Event::Prepared { key: self.key(BUILD), anchor: "41".to_owned() }));
    }

    pub(crate) fn started(&mut self) {
        assert!(self.tell(&Event::Started { key: self.key(BUILD), build: Some("42".to_owned()) }));
    }

    /// Mirrored, and handed to the executor, which has not answered yet.
    pub(crate) fn starting(&mut self) {
        self.fetched();
        self.prepared();
        self.published();
    }

    /// The executor has it.
    pub(crate) fn tracking(&mut self) {
        self.starting();
        self.started();
    }

    pub(crate) fn observed(&mut self, stamp: u64, state: BuildState) -> bool {
        let observation = Observation::new(self.key(BUILD), "42", Stamp(stamp), state);
        self.tell(&Event::Observed(observation))
    }

    pub(crate) fn ended(&mut self, verdict: Verdict) {
        self.stamp += 1;
        assert!(self.observed(self.stamp, BuildState::Ended { verdict, class: None, reason: String::new() }));
    }

    pub(crate) fn sealed(&mut self) {
        assert!(self.tell(&Event::Sealed { key: self.key(BUILD), artifacts: vec![made("hello", 5)], remarks: Vec::new() }));
    }

    /// Built and stored: waits for the environment, or is being deployed.
    pub(crate) fn built(&mut self) {
        self.tracking();
        self.ended(Verdict::Success);
        self.sealed();
    }

    pub(crate) fn deployed(&mut self, step: u16, outcomes: &[HostOutcome]) {
        let hosts = (1..).zip(outcomes).map(|(n, outcome)| host(&format!("host-{n}"), outcome.clone())).collect();
        assert!(self.tell(&Event::Deployed { key: self.key(step), hosts }));
    }

    /// The main job, with nothing in its way.
    pub(crate) fn passes(&mut self) {
        self.built();
        self.deployed(DEPLOY, &[HostOutcome::Switched]);
        assert_eq!(self.outcome(), Some(Outcome::Passed));
    }

    pub(crate) fn fails(&mut self, step: u16, kind: Kind, code: FailureCode) -> bool {
        self.tell(&Event::EffectFailed { key: self.key(step), kind, failure: failure(code) })
    }

    pub(crate) fn fenced(&mut self) -> bool {
        self.tell(&Event::Fenced { key: self.key(BUILD) })
    }

    /// The time of the step's latest attempt passes.
    pub(crate) fn late(&mut self, step: u16) {
        let deadline = self.attempt(step).deadline;
        self.desk.seconds = deadline.as_second() - crate::sample::at(0).as_second();
        assert!(self.tell(&Event::DeadlinePassed { key: self.key(step) }));
    }

    /// Nothing is held, waited for or left to do.
    pub(crate) fn is_over(&self) {
        assert!(self.outcome().is_some(), "{:?}", self.run());
        for resource in self.desk.resources.values() {
            assert_eq!(resource.claims().count(), 0, "{} is still claimed", resource.key);
        }
        assert_eq!(self.desk.wanted(), Vec::<&String>::new());
    }

    /// Brings a run of the main job into the phase.
    pub(crate) fn reach(phase: &Phase) -> (Self, u16) {
        let mut story = Self::of(crate::sample::main_job());
        let step = match phase {
            Phase::Fetching => MIRROR,
            Phase::Deploying => DEPLOY,
            _ => BUILD,
        };
        match phase {
            Phase::Fetching => {}
            Phase::Preparing => story.fetched(),
            Phase::Publishing => {
                story.fetched();
                story.prepared();
            }
            Phase::Starting => story.starting(),
            Phase::Finding { .. } => {
                story.starting();
                let key = story.key(BUILD);
                assert!(story.tell(&Event::StartUnclear { key }));
            }
            Phase::Tracking { .. } => story.tracking(),
            Phase::Fencing { .. } => {
                story.starting();
                let key = story.key(BUILD);
                assert!(story.tell(&Event::StartUnclear { key }));
                assert!(story.tell(&Event::Found { key, build: None, surplus: Vec::new() }));
            }
            Phase::Sealing { verdict, .. } => {
                story.tracking();
                story.ended(*verdict);
            }
            Phase::Deploying => story.built(),
            Phase::Claiming { .. } | Phase::Resolving | Phase::Ended => panic!("has a story of its own"),
        }
        assert_eq!(story.phase(step), phase.word());
        (story, step)
    }
}

/// What an event is the outcome of.
pub(crate) fn outcome_of(event: &Event) -> Option<(AttemptKey, Vec<Kind>)> {
    Some(match event {
        Event::Fetched { key, .. } => (*key, vec![Kind::Fetch]),
        Event::Published { key, .. } => (*key, vec![Kind::Publish]),
        Event::Prepared { key, .. } => (*key, vec![Kind::Prepare]),
        Event::Started { key, .. } | Event::StartUnclear { key } => (*key, vec![Kind::Start]),
        Event::Found { key, .. } => (*key, vec![Kind::Find]),
        Event::Fenced { key } => (*key, vec![Kind::Fence]),
        Event::Sealed { key, .. } => (*key, vec![Kind::Seal]),
        Event::Resolved { key, .. } => (*key, vec![Kind::Resolve]),
        Event::Deployed { key, .. } => (*key, vec![Kind::Deploy, Kind::Activate]),
        Event::EffectFailed { key, kind, .. } => (*key, vec![*kind]),
        Event::DeadlinePassed { key } => (*key, vec![Kind::Deadline]),
        Event::Reported { key, .. } => (*key, vec![Kind::Report]),
        Event::Swept { key, .. } => (*key, vec![Kind::Sweep, Kind::Forget]),
        // What is tried again is not done.
        Event::Troubled { .. } | Event::StopRequested { .. } | Event::RerunRequested { .. } | Event::Granted(_) | Event::Observed(_) => {
            return None;
        }
    })
}
