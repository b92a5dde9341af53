//! Examining everything that the controller depends on: other services, executors, forges, mirrors, environments.
//!
//! Nothing is changed by it. All is looked at at the same time, each thing within a time of its own; what does not answer
//! is a finding like any other.

mod look;
mod service;

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use signalbox_adapters::forge::{Finding, Severity};
use signalbox_contract::api::doctor::{DoctorFinding, DoctorReport};
use signalbox_service::clock::SharedClock;
use signalbox_service::http::Readiness;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::engine::{Executors, Forges, Workers};
use crate::store::Store;
use look::Look;

/// How long one thing may take, and all of them together.
#[derive(Debug, Clone, Copy)]
struct Patience {
    each: Duration,
    all: Duration,
}

/// All together may take less than a handler may.
const PATIENCE: Patience = Patience { each: Duration::from_secs(40), all: Duration::from_secs(50) };

/// How many are looked at at a time.
const AT_ONCE: usize = 16;

/// How many findings are told of one thing, and how many characters one has.
const MOST: usize = 100;
const LONGEST: usize = 500;

/// Examines what the controller depends on. Clones are handles on the same.
#[derive(Clone)]
pub(crate) struct Doctor {
    pub(crate) config: Arc<Config>,
    pub(crate) workers: Workers,
    pub(crate) executors: Executors,
    pub(crate) forges: Forges,
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) readiness: Readiness,
    /// Held by whoever examines: once at a time is enough for everybody outside.
    pub(crate) turn: Arc<Mutex<()>>,
}

impl Doctor {
    /// Looks at everything. None while that is being done already.
    pub(crate) async fn examine(&self) -> Option<DoctorReport> {
        let _turn = self.turn.try_lock().ok()?;
        let findings = gather(self.looks(), AT_ONCE, PATIENCE).await;
        let worst = findings.iter().map(|found| found.severity).max().unwrap_or(Severity::Fine);
        Some(DoctorReport { worst, at: self.clock.now(), findings })
    }
}

/// Lets all of them look, and puts together what they found, in their order.
async fn gather(looks: Vec<Look>, at_once: usize, patience: Patience) -> Vec<DoctorFinding> {
    let until = Instant::now() + patience.all;
    let looked = stream::iter(looks).map(|Look { about, findings }| async move {
        let begun = Instant::now();
        let found = timeout_at(until.min(begun + patience.each), findings).await.unwrap_or_else(|_| {
            let words = format!("It did not end within {} seconds.", begun.elapsed().as_secs());
            let hint = "Look whether it hangs, is overloaded, or cannot be reached from the controller.";
            vec![of(&about, Finding::new(Severity::Error, words, hint))]
        });
        bounded(&about, found)
    });
    looked.buffered(at_once).concat().await
}

/// A finding about something.
fn of(about: &str, Finding { severity, detail, hint }: Finding) -> DoctorFinding {
    DoctorFinding { about: about.to_owned(), severity, detail, hint }
}

/// The worst of what was found, and no more than people read. Words of others lose their control characters.
fn bounded(about: &str, mut found: Vec<DoctorFinding>) -> Vec<DoctorFinding> {
    found.sort_by_key(|finding| Reverse(finding.severity));
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    if more > 0 {
        let words = format!("{more} more findings are not shown.");
        found.push(of(about, Finding::new(Severity::Warning, words, "Mend first what is shown.")));
    }
    let plain = |text: &str| text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LONGEST).collect();
    for finding in &mut found {
        (finding.detail, finding.hint) = (plain(&finding.detail), plain(&finding.hint));
    }
    found
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn look(about: &str, severity: Severity, words: &str) -> Look {
        let finding = of(about, Finding::new(severity, words, ""));
        Look { about: about.to_owned(), findings: async move { vec![finding] }.boxed() }
    }

    #[tokio::test]
    async fn one_that_hangs_is_a_finding_and_holds_up_nobody_for_longer_than_allowed() {
        let patience = Patience { each: Duration::from_millis(100), all: Duration::from_millis(150) };
        let hanging = || Look { about: "stuck".to_owned(), findings: std::future::pending().boxed() };
        let looks = vec![hanging(), look("well", Severity::Fine, "It answers."), hanging()];
        let found = gather(looks, 2, patience).await;
        let told: Vec<_> = found.iter().map(|finding| (finding.about.as_str(), finding.severity)).collect();
        let stuck = ("stuck", Severity::Error);
        assert_eq!(told, [stuck, ("well", Severity::Fine), stuck]);
        assert!(found[0].detail.starts_with("It did not end within") && !found[0].hint.is_empty(), "{found:?}");
    }

    #[tokio::test]
    async fn many_long_and_hostile_findings_are_cut_and_the_worst_comes_first() {
        let mut many: Vec<_> = (0..300).map(|_| of("x", Finding::new(Severity::Fine, "a\u{1b}[31m".repeat(1000), "b\n"))).collect();
        many.push(of("x", Finding::new(Severity::Error, "broken", "mend it")));
        let found = bounded("x", many);
        assert_eq!((found.len(), found[0].severity), (MOST + 1, Severity::Error));
        assert!(found.iter().all(|finding| finding.detail.chars().count() <= LONGEST && !finding.detail.contains(char::is_control)));
        assert!(found[MOST].detail.contains("201 more"), "{:?}", found[MOST]);
    }
}
