//! Who kills: without warning, at moments that the dice say, and has what died come back at once or after a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::fault::AnswerFault;
use signalbox_scenarios::{Gitlab, SERVICES, World};

use crate::dice::Dice;

/// What can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// One of our services: its process alone, as a crash would.
    Service(Service),
    /// The GitLab. The fake one keeps in memory what a real one has in its database, so that its process lives on; but each
    /// connection is cut, at first after what was asked was done, and nobody is let in.
    Gitlab,
    /// A process of an ssh session on a host.
    Session,
}

impl Victim {
    fn word(self) -> String {
        match self {
            Self::Service(service) => service.as_str().to_owned(),
            Self::Gitlab => "gitlab".to_owned(),
            Self::Session => "ssh session".to_owned(),
        }
    }
}

/// How often, and how long.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Between two kills, in milliseconds.
    pub(crate) gap: std::ops::Range<u64>,
    /// How long what does not come back at once stays away, in milliseconds.
    pub(crate) away: std::ops::Range<u64>,
}

/// Who kills.
#[derive(Debug)]
pub(crate) struct Reaper {
    dice: Dice,
    pace: Pace,
    away: Vec<(Instant, Victim)>,
    /// When somebody was killed.
    pub(crate) moments: Vec<Instant>,
    /// Who was, how often.
    pub(crate) killed: BTreeMap<String, u64>,
}

impl Reaper {
    pub(crate) const fn new(dice: Dice, pace: Pace) -> Self {
        Self { dice, pace, away: Vec::new(), moments: Vec::new(), killed: BTreeMap::new() }
    }

    /// Waits for the next moment, meanwhile has come back what is to, and kills somebody.
    pub(crate) async fn strike(&mut self, world: &mut World, gitlab: Option<&Gitlab>) {
        let next = Instant::now() + self.dice.millis(self.pace.gap.clone());
        loop {
            let first = self.away.iter().map(|(back, _)| *back).min().filter(|back| *back < next);
            tokio::time::sleep_until(first.unwrap_or(next).into()).await;
            if first.is_none() {
                break;
            }
            self.bring_back(world, gitlab, Instant::now());
        }
        let mut victims: Vec<Victim> = SERVICES.into_iter().map(Victim::Service).chain([Victim::Session]).collect();
        victims.extend(gitlab.map(|_| Victim::Gitlab));
        victims.retain(|victim| !self.away.iter().any(|(_, away)| away == victim));
        let sessions: Vec<u32> = world.hosts.iter().flat_map(signalbox_deploy_worker::testing::Host::session_processes).collect();
        if sessions.is_empty() {
            victims.retain(|victim| *victim != Victim::Session);
        }
        if victims.is_empty() {
            return;
        }
        let victim = *self.dice.pick(&victims);
        let back = Instant::now() + if self.dice.percent(50) { Duration::ZERO } else { self.dice.millis(self.pace.away.clone()) };
        match victim {
            Victim::Service(service) => {
                world.services.kill(service).await;
                self.away.push((back, victim));
            }
            Victim::Gitlab => {
                if let Some(gitlab) = gitlab {
                    gitlab.fake.faults().answer_some(None, "/", AnswerFault::Lost, 0.5);
                    gitlab.fake.faults().answer_some(Some(Method::POST), "/", AnswerFault::Lost, 0.5);
                    gitlab.down();
                }
                self.away.push((back.max(Instant::now() + Duration::from_millis(100)), victim));
            }
            Victim::Session => {
                let process = i32::try_from(*self.dice.pick(&sessions)).ok().and_then(Pid::from_raw);
                if let Some(process) = process {
                    // It may have ended by itself.
                    let _ = kill_process(process, Signal::KILL);
                }
            }
        }
        self.moments.push(Instant::now());
        *self.killed.entry(victim.word()).or_default() += 1;
        self.bring_back(world, gitlab, Instant::now());
    }

    /// Has everything come back, and waits until it is there.
    pub(crate) async fn relent(&mut self, world: &mut World, gitlab: Option<&Gitlab>) {
        let last = self.away.iter().map(|(back, _)| *back).max();
        self.bring_back(world, gitlab, last.unwrap_or_else(Instant::now));
        for service in SERVICES {
            world.services.listens(service).await;
        }
    }

    fn bring_back(&mut self, world: &mut World, gitlab: Option<&Gitlab>, now: Instant) {
        let (back, away): (Vec<_>, Vec<_>) = std::mem::take(&mut self.away).into_iter().partition(|(back, _)| *back <= now);
        self.away = away;
        for (_, victim) in back {
            match victim {
                // Nothing is waited for: it may be killed again while it starts.
                Victim::Service(service) => world.services.launch(service),
                Victim::Gitlab => gitlab.iter().for_each(|gitlab| gitlab.up()),
                Victim::Session => {}
            }
        }
    }
}
