//! Faults to order: how this GitLab misbehaves, reproducibly.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;

/// What an answer is instead of the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerFault {
    /// This status, with the body that GitLab gives with it.
    Status(u16),
    /// Too many requests; come again after this long.
    TooMany(Duration),
    /// The right answer, later.
    Slow(Duration),
    /// The right head, half of the body, and then the connection is cut.
    Cut,
    /// What was asked for is done, and the connection is cut before a byte of the answer.
    Lost,
    /// The connection is cut and nothing is done.
    Refused,
    /// A page for people, with status 200.
    Html,
    /// This many bytes of JSON that never ends.
    Huge(u64),
    /// Valid JSON of quite another type.
    WrongType,
    /// This redirect.
    Redirect(u16, String),
}

/// Which requests a fault is for.
#[derive(Debug, Clone)]
struct AnswerRule {
    method: Option<Method>,
    path: String,
    fault: AnswerFault,
    left: Option<u32>,
    share: f64,
}

/// How hooks go wrong, each a share between 0 and 1 of all deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HookFaults {
    /// Never sent.
    pub dropped: f64,
    /// Sent twice.
    pub doubled: f64,
    /// Sent late, so that later ones come before.
    pub delayed: f64,
    /// How late.
    pub delay: Duration,
    /// Nothing is sent at all.
    pub off: bool,
}

/// How pipelines go wrong that pushes should make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PipelineFault {
    /// Not at all.
    #[default]
    None,
    /// They appear this much later.
    Late(Duration),
    /// They never appear.
    Never,
    /// They appear, and then nothing ever happens in them.
    Hung,
}

#[derive(Debug, Default)]
struct Ordered {
    answers: Vec<AnswerRule>,
    hooks: HookFaults,
    pipelines: PipelineFault,
    dice: u64,
}

/// What happens to one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) times: u32,
    pub(crate) delay: Duration,
}

/// The faults that are ordered. Clones order from the same list.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<Ordered>>);

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero would stay zero for ever.
        Self(Arc::new(Mutex::new(Ordered { dice: seed | 1 << 40, ..Ordered::default() })))
    }

    fn with<R>(&self, change: impl FnOnce(&mut Ordered) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers the next `times` requests whose path holds `path` wrongly; of no method in particular if none is said.
    pub fn answer(&self, method: Option<Method>, path: &str, fault: AnswerFault, times: u32) {
        let rule = AnswerRule { method, path: path.to_owned(), fault, left: Some(times), share: 1.0 };
        self.with(|ordered| ordered.answers.push(rule));
    }

    /// Answers that share of all requests whose path holds `path` wrongly, until the faults are cleared.
    pub fn answer_some(&self, method: Option<Method>, path: &str, fault: AnswerFault, share: f64) {
        let rule = AnswerRule { method, path: path.to_owned(), fault, left: None, share };
        self.with(|ordered| ordered.answers.push(rule));
    }

    /// Lets hooks go wrong.
    pub fn hooks(&self, faults: HookFaults) {
        self.with(|ordered| ordered.hooks = faults);
    }

    /// Lets pipelines of pushes go wrong.
    pub fn pipelines(&self, fault: PipelineFault) {
        self.with(|ordered| ordered.pipelines = fault);
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        self.with(|ordered| *ordered = Ordered { dice: ordered.dice, ..Ordered::default() });
    }

    /// What is wrong with the answer to this request.
    pub(crate) fn of_answer(&self, method: &Method, path: &str) -> Option<AnswerFault> {
        self.with(|ordered| {
            for at in 0..ordered.answers.len() {
                let rule = &ordered.answers[at];
                if rule.method.as_ref().is_some_and(|wanted| wanted != method) || !path.contains(&rule.path) || rule.left == Some(0) {
                    continue;
                }
                let share = rule.share;
                if share < 1.0 && ordered.throw() >= share {
                    continue;
                }
                let rule = &mut ordered.answers[at];
                rule.left = rule.left.map(|left| left - 1);
                return Some(rule.fault.clone());
            }
            None
        })
    }

    /// What becomes of the next delivery.
    pub(crate) fn of_hook(&self) -> Fate {
        self.with(|ordered| {
            let faults = ordered.hooks;
            if faults.off || ordered.throw() < faults.dropped {
                return Fate { times: 0, delay: Duration::ZERO };
            }
            let times = if ordered.throw() < faults.doubled { 2 } else { 1 };
            let delay = if ordered.throw() < faults.delayed { faults.delay } else { Duration::ZERO };
            Fate { times, delay }
        })
    }

    /// What becomes of the next push's pipelines.
    pub(crate) fn of_pipelines(&self) -> PipelineFault {
        self.with(|ordered| ordered.pipelines)
    }
}

impl Ordered {
    /// The next number between 0 and 1.
    fn throw(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        f64::from(u32::try_from(self.dice >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_orders_the_same_fate() {
        let fates = |seed| {
            let faults = Faults::new(seed);
            faults.hooks(HookFaults { dropped: 0.3, doubled: 0.3, delayed: 0.3, delay: Duration::from_secs(1), off: false });
            (0..50).map(|_| faults.of_hook()).collect::<Vec<_>>()
        };
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
        assert!(fates(7).iter().any(|fate| fate.times == 0) && fates(7).iter().any(|fate| fate.times == 2));
    }

    #[test]
    fn a_fault_is_answered_as_often_as_ordered_and_to_whom() {
        let faults = Faults::new(1);
        faults.answer(Some(Method::POST), "/pipeline", AnswerFault::Status(502), 2);
        assert_eq!(faults.of_answer(&Method::GET, "/api/v4/projects/1/pipeline"), None);
        assert_eq!(faults.of_answer(&Method::POST, "/api/v4/projects/1/pipeline"), Some(AnswerFault::Status(502)));
        assert_eq!(faults.of_answer(&Method::POST, "/api/v4/projects/1/pipeline"), Some(AnswerFault::Status(502)));
        assert_eq!(faults.of_answer(&Method::POST, "/api/v4/projects/1/pipeline"), None);
    }
}
