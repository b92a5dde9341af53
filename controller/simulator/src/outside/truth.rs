//! What must be true of the world outside, whatever the controller believes.

use signalbox_contract::api::run::Outcome;
use signalbox_controller_core::Run;
use signalbox_controller_core::reporting::standing;

use super::Outside;
use crate::build::Build;
use crate::database::Database;
use crate::law::{Broken, must};

impl Outside {
    /// What goes on outside is known inside: a build of an attempt that is over does not go on, unless nobody could be sure.
    pub(crate) fn check(&self, database: &Database) -> Result<(), Broken> {
        for build in self.builds.iter().filter(|build| !build.over() && !build.hidden) {
            let Some(attempt) = database.attempt(&build.key) else {
                return Err(Broken::new(format!("{} was never begun, and is built", build.key)));
            };
            // One that is not the one that counts is found, and stopped, when the attempt is searched for or fenced.
            let counts = attempt.build.as_ref() == Some(&build.name);
            must(!attempt.ended() || !counts || self.unfenced.contains(&build.key), || {
                format!("{} is over as {:?} , and its build goes on", build.key, attempt.verdict)
            })?;
        }
        Ok(())
    }

    /// What must be true when everything has come to its end.
    pub(crate) fn at_rest(&self, database: &Database) -> Result<(), Broken> {
        for build in &self.builds {
            must(build.over() || self.unfenced.contains(&build.key), || format!("{} is still built when all is over", build.key))?;
        }
        for key in self.refs.difference(&self.forgotten) {
            must(false, || format!("the ref of {key} is left over"))?;
        }
        for (run, outcome) in database.outcomes() {
            self.is_told(run)?;
            let stopped = run.stopped_by.is_some() || self.aborted.contains(&run.id);
            must(outcome != Outcome::Stopped || stopped, || format!("{} was stopped by nobody", run.id))?;
            if outcome == Outcome::Passed {
                self.is_true(run)?;
            }
        }
        Ok(())
    }

    /// What is said to have passed has: its build did, what it made was published once, and its hosts were switched once.
    fn is_true(&self, run: &Run) -> Result<(), Broken> {
        for (index, step) in (0_u16..).zip(&run.steps) {
            let (Some(key), Some(attempt)) = (run.latest_key(index), step.latest()) else { continue };
            if let Some(name) = &attempt.build {
                let build = self.builds.iter().find(|build| build.name == *name);
                let passed = build.is_some_and(Build::passed);
                must(passed, || format!("{key} passed, and its build did not"))?;
                must(build.is_some_and(|build| Some(&build.sha) == run.sha.as_ref()), || format!("{key} passed with another commit"))?;
                must(self.closed.contains_key(&key), || format!("{key} passed, and what it made was not kept"))?;
            }
            if !attempt.hosts.is_empty() {
                let switched = ["host-1", "host-2"].iter().all(|host| self.switches.contains_key(&(key, host)));
                must(switched, || format!("{key} passed, and its hosts were not switched"))?;
            }
        }
        Ok(())
    }

    /// At the end each forge shows how each run stands, unless telling it was given up.
    fn is_told(&self, run: &Run) -> Result<(), Broken> {
        let wanted = standing(run);
        let Some(reporting) = &run.reporting else { return must(wanted.is_none(), || format!("nobody is told of {}", run.id)) };
        must(Some(reporting.wanted) == wanted && reporting.settled(), || format!("{} is not told as it stands", run.id))?;
        let shown = self.told.get(&run.id) == wanted.as_ref();
        must(reporting.failure.is_some() || shown, || format!("the forge shows something else of {} than is so", run.id))
    }
}
