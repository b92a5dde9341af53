//! What comes of an effect, when somebody performs it.

use signalbox_contract::api::deploy::HostOutcome;
use signalbox_contract::api::vcs::{Naming, RefsRequest, Timings, Transferred};
use signalbox_contract::build::BuildState;
use signalbox_contract::{AttemptKey, EnvironmentName, FailureCode, PublishedName, Verdict};
use signalbox_controller_core::attempt::Published;
use signalbox_controller_core::effect::Kind;
use signalbox_controller_core::plan::{resolve, resolve_native};
use signalbox_controller_core::{Act, Effect, Event};

use super::dice::Dice;
use super::outside::Outside;
use crate::desk::Desk;
use crate::sample::{digest, failure, host, job_file, made, named, published, sha};

impl Outside {
    /// Performs it. The answer is the event that tells of it; none where there is nothing to tell.
    pub(crate) fn perform(&mut self, desk: &Desk, effect: &Effect, dice: &mut Dice) -> Option<Event> {
        let key = effect.key;
        let kind = effect.act.kind();
        if self.refused.contains(&(key, kind.word())) {
            return Some(Event::EffectFailed { key, kind, failure: failure(FailureCode::ExecutorRefused) });
        }
        Some(match &effect.act {
            Act::Fetch { order, .. } => {
                let ref_name = named("refs/heads/main");
                let jobs: &[&str] = if dice.chance(8) { &["a", "b"] } else { &["cd"] };
                let plan = match &order.route.native {
                    None => resolve(order, &ref_name, job_file(jobs)),
                    Some(native) => resolve_native(order, &ref_name, native),
                };
                // Whoever asks again is answered the same, unless it is another attempt: the ref may have moved on.
                let sha = sha(u8::try_from(10 + key.attempt % 80).unwrap_or(1));
                Event::Fetched { key, sha, ref_name, plan, transferred: Transferred::default(), timings: Timings::default() }
            }
            Act::Publish(request) => self.publish(key, request, dice),
            Act::Prepare(_) => Event::Prepared { key, anchor: "41".to_owned() },
            Act::Start(order) if order.work.begins_by_push() && order.published.moved => {
                if self.fenced.contains(&key) {
                    return Some(Event::EffectFailed { key, kind, failure: failure(FailureCode::ExecutorRefused) });
                }
                Event::Started { key, build: None }
            }
            Act::Start(_) => self.start(key, dice),
            Act::Find(_) => {
                // What is still on its way may come, and nobody says never.
                if self.late.contains(&key) {
                    return None;
                }
                let build = self.builds.get(&key).filter(|build| build.state != BuildState::Gone).map(|build| build.name.clone());
                let surplus = if build.is_some() && dice.chance(12) { vec!["another".to_owned()] } else { Vec::new() };
                Event::Found { key, build, surplus }
            }
            Act::Cancel(_) => {
                self.end(key, Verdict::Aborted);
                return None;
            }
            Act::Fence(_) => {
                self.fenced.insert(key);
                self.end(key, Verdict::Aborted);
                Event::Fenced { key }
            }
            Act::Seal { publish, .. } => {
                let success = matches!(self.builds[&key].state, BuildState::Ended { verdict: Verdict::Success, .. });
                assert!(!publish || success, "{key} is published, and has not passed");
                let artifacts = if dice.chance(10) { Vec::new() } else { vec![made("hello", 5)] };
                Event::Sealed { key, artifacts, remarks: Vec::new() }
            }
            Act::Resolve { .. } => Event::Resolved { key, digest: digest(9) },
            Act::Deploy(request) => {
                assert!(matches!(request.digest, d if d == digest(5) || d == digest(9)));
                self.switch(desk, key, (&request.environment, &request.published_name), request.sequence, dice)
            }
            Act::Activate(request) => self.switch(desk, key, (&request.environment, &request.published_name), request.sequence, dice),
            Act::Report { serial } => {
                self.tell(desk.run(key.run));
                Event::Reported { key, serial: *serial, remarks: Vec::new() }
            }
            Act::Deadline => Event::DeadlinePassed { key },
            Act::Unpublish(_) | Act::Forget(_) | Act::Sweep(_) => return None,
        })
    }

    /// The ref is pushed. Where that begins builds, ours comes now, late, or never; and somebody else may push over it.
    fn publish(&mut self, key: AttemptKey, request: &RefsRequest, dice: &mut Dice) -> Event {
        let begins = request.mirror.is_some() && request.naming == Naming::Same;
        // Whoever asks again is answered the same.
        if begins && !self.moved.contains(&key) && dice.chance(6) {
            self.unmoved.insert(key);
        }
        let moved = !self.unmoved.contains(&key);
        if begins && moved && self.moved.insert(key) {
            match dice.below(5) {
                0 => {}
                1 => {
                    self.late.insert(key);
                }
                _ => self.arrive(key),
            }
            if let Some(build) = self.builds.get_mut(&key).filter(|_| dice.chance(6)) {
                build.sha = Some(sha(99));
            }
        }
        Event::Published { key, at: Published { moved, ..published() } }
    }

    fn start(&mut self, key: AttemptKey, dice: &mut Dice) -> Event {
        if self.fenced.contains(&key) {
            return Event::EffectFailed { key, kind: Kind::Start, failure: failure(FailureCode::ExecutorRefused) };
        }
        // Perhaps it never arrives, perhaps late.
        if dice.chance(6) {
            if dice.chance(2) {
                self.late.insert(key);
            }
            return Event::StartUnclear { key };
        }
        self.arrive(key);
        if dice.chance(4) {
            return Event::StartUnclear { key };
        }
        // Some executors know only later how they call it.
        Event::Started { key, build: (!dice.chance(4)).then(|| format!("build-{key}")) }
    }

    fn end(&mut self, key: AttemptKey, verdict: Verdict) {
        if let Some(build) = self.builds.get_mut(&key).filter(|build| !build.over()) {
            build.become_(BuildState::Ended { verdict, class: None, reason: String::new() });
        }
    }

    fn switch(
        &mut self,
        desk: &Desk,
        key: AttemptKey,
        (environment, name): (&EnvironmentName, &PublishedName),
        sequence: u64,
        dice: &mut Dice,
    ) -> Event {
        // Nothing arrives, and nobody knows that.
        if dice.chance(10) {
            let kind = Kind::Deploy;
            return Event::EffectFailed { key, kind, failure: failure(FailureCode::WorkerUnavailable) };
        }
        if !self.activate(desk, key, environment, name, sequence) {
            return Event::Deployed { key, hosts: vec![host("host-1", HostOutcome::Superseded)] };
        }
        let failed = HostOutcome::Failed { failure: failure(FailureCode::WorkerUnavailable) };
        let second = if dice.chance(6) { failed } else { HostOutcome::Switched };
        Event::Deployed { key, hosts: vec![host("host-1", HostOutcome::Switched), host("host-2", second)] }
    }

    /// Whether it has been done, so that nobody would say that it was refused.
    pub(crate) fn has_done(&self, effect: &Effect) -> bool {
        match &effect.act {
            Act::Start(_) => self.builds.contains_key(&effect.key) || self.late.contains(&effect.key),
            Act::Publish(_) => self.moved.contains(&effect.key) || self.unmoved.contains(&effect.key),
            Act::Deploy(_) | Act::Activate(_) => self.deployed.contains(&effect.key),
            _ => false,
        }
    }

    pub(crate) fn refuse(&mut self, effect: &Effect) {
        if matches!(effect.act, Act::Publish(_) | Act::Start(_) | Act::Deploy(_) | Act::Activate(_)) {
            self.refused.insert((effect.key, effect.act.kind().word()));
        }
    }
}
