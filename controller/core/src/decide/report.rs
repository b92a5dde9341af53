//! Telling the forge: one effect a run, replaced when something else is to be told.

use signalbox_contract::{AttemptKey, Failure};

use super::change::Change;
use crate::effect::Act;
use crate::reporting::{Reporting, standing};

impl Change {
    /// Has the forge told how the run stands, if that is something else than what was wanted before.
    pub(super) fn report(&mut self) {
        let Some(wanted) = standing(&self.run) else { return };
        let serial = match &mut self.run.reporting {
            Some(reporting) if reporting.wanted == wanted => return,
            Some(reporting) => {
                reporting.wanted = wanted;
                reporting.serial = reporting.serial.saturating_add(1);
                reporting.failure = None;
                reporting.serial
            }
            none => none.insert(Reporting::new(wanted)).serial,
        };
        self.perform(self.spokesman(), Act::Report { serial });
    }

    /// The attempt that stands for the run: a run has its first one from the beginning to the end.
    const fn spokesman(&self) -> AttemptKey {
        AttemptKey { run: self.run.id, step: 0, attempt: 1 }
    }

    /// The forge was told. What was told before something else was wanted is told again.
    pub(super) fn reported(&mut self, key: &AttemptKey, serial: u32, remarks: &[String]) -> bool {
        let (spokesman, now) = (self.spokesman(), self.now);
        let current = |reporting: &&mut Reporting| *key == spokesman && reporting.serial == serial;
        let Some(reporting) = self.run.reporting.as_mut().filter(current) else { return false };
        if reporting.told_as == serial {
            return false;
        }
        reporting.told = Some(reporting.wanted);
        reporting.told_as = serial;
        reporting.told_at = Some(now);
        reporting.remarks = remarks.to_vec();
        reporting.failure = None;
        true
    }

    /// The forge refused, or could not be reached for as long as it is tried.
    pub(super) fn not_reported(&mut self, key: &AttemptKey, failure: &Failure) -> bool {
        let spokesman = self.spokesman();
        let waiting = |reporting: &&mut Reporting| *key == spokesman && !reporting.settled();
        let Some(reporting) = self.run.reporting.as_mut().filter(waiting) else { return false };
        reporting.failure = Some(failure.clone());
        true
    }
}
