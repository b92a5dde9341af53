//! What a disk can hold after a power cut: every moment of a recording, and for each what may be there of all that was not
//! durable yet.
//!
//! All subsets would be too many. For each moment these are looked at: nothing of it, all of it, the names without the
//! bytes, the bytes without the names, each change alone, each one missing, and the last bytes torn.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::disk::{Change, Step, Tree};
use super::recording::Recording;

/// What of all that was not durable is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// Everything: this is also what a process leaves that was killed.
    Everything,
    /// Names, but no bytes.
    Names,
    /// Bytes, but no names.
    Bytes,
    /// This step alone.
    Only(usize),
    /// All but this step.
    Without(usize),
    /// All, but of the bytes of this step only those before a place in the file.
    Before(usize, u64),
    /// All, but of the bytes of this step only those from a place in the file on.
    After(usize, u64),
}

/// What a disk holds: a moment, and what is there of what was not durable then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The line of the recording before which the power was cut.
    pub line: usize,
    /// What is there.
    pub kept: Kept,
    /// How much is expected of it: those that are more likely to show a fault come first.
    rank: u8,
}

/// The states of a recording, each once.
#[derive(Debug)]
pub struct States<'a> {
    recording: &'a Recording,
    states: Vec<State>,
}

/// How many of the last changes that were not durable are tried alone, and left out alone.
const ALONE: usize = 32;

/// A file system's page, and a disk's sector: bytes are torn at these.
const TEARS: [u64; 2] = [4096, 512];

impl<'a> States<'a> {
    /// All states of a recording.
    pub fn of(recording: &'a Recording) -> Self {
        let mut states = Self { recording, states: Vec::new() };
        let (mut seen, mut told) = (HashSet::new(), BTreeSet::new());
        for line in states.moments() {
            let promised = states.acknowledged(line).len();
            // Where more was promised than a moment before, every state counts again.
            let fresh = told.insert(promised);
            for (kept, rank) in states.possible(line) {
                let state = State { line, kept, rank: if fresh { 0 } else { rank } };
                if seen.insert(states.identity(&state, promised)) {
                    states.states.push(state);
                }
            }
        }
        states
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// So many of them: those from which most is expected, and of equal ones some from everywhere in the recording.
    pub fn choose(&self, bound: usize) -> Vec<State> {
        let mut chosen = Vec::new();
        let ranks: BTreeSet<u8> = self.states.iter().map(|state| state.rank).collect();
        let shares = ranks.len();
        for (index, rank) in ranks.into_iter().enumerate() {
            let equal: Vec<State> = self.states.iter().copied().filter(|state| state.rank == rank).collect();
            // Each rank gets its share of what is left, so that no kind of state is left out.
            let room = (bound - chosen.len()).div_ceil(shares - index).min(equal.len());
            chosen.extend((0..room).map(|place| equal[place * equal.len() / room]));
        }
        chosen.sort_by_key(|state| state.line);
        chosen
    }

    /// What had been answered before the power was cut.
    pub fn acknowledged(&self, line: usize) -> BTreeSet<&'a str> {
        self.recording.answers.iter().filter(|answer| answer.line < line).map(|answer| answer.name.as_str()).collect()
    }

    /// What the disk holds.
    pub fn tree(&self, state: &State) -> Tree {
        let steps = self.steps(state);
        let mut tree = self.recording.history.tree(&steps.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        // SQLite's index of its log is changed through memory. It is made anew after a crash, and nothing durable is in it.
        tree.retain(|path, _| !path.ends_with(b"-shm"));
        tree
    }

    /// The state, for people.
    pub fn describe(&self, state: &State) -> String {
        let told = |step: usize| &self.recording.history.steps[step].told;
        let kept = match state.kept {
            Kept::Nothing => "nothing that was not synced is there".to_owned(),
            Kept::Everything => "everything is there".to_owned(),
            Kept::Names => "of what was not synced, names are there and bytes are not".to_owned(),
            Kept::Bytes => "of what was not synced, bytes are there and names are not".to_owned(),
            Kept::Only(step) => format!("of what was not synced, only this is there: {}", told(step)),
            Kept::Without(step) => format!("only this is not there: {}", told(step)),
            Kept::Before(step, at) => format!("this is torn before byte {at}: {}", told(step)),
            Kept::After(step, at) => format!("this is torn, and there from byte {at} on: {}", told(step)),
        };
        let last = self.recording.history.steps.iter().rfind(|step| step.line < state.line);
        let last = last.map_or("before anything was done", |step| step.told.as_str());
        format!("cut at line {} (the last change was: {last}): {kept}", state.line)
    }

    /// The moments that differ: after each change, and after each answer.
    fn moments(&self) -> BTreeSet<usize> {
        let steps = self.recording.history.steps.iter().map(|step| step.line + 1);
        let synced = self.recording.history.steps.iter().filter_map(|step| step.durable).map(|line| line + 1);
        let answers = self.recording.answers.iter().map(|answer| answer.line + 1);
        std::iter::once(0).chain(steps).chain(synced).chain(answers).collect()
    }

    /// The steps that had been done, and whether each was durable.
    fn done(&self, line: usize) -> impl Iterator<Item = (usize, &'a Step, bool)> {
        let steps = self.recording.history.steps.iter().enumerate().take_while(move |(_, step)| step.line < line);
        steps.map(move |(index, step)| (index, step, step.durable.is_some_and(|durable| durable < line)))
    }

    fn possible(&self, line: usize) -> Vec<(Kept, u8)> {
        let loose: Vec<(usize, &Step)> = self.done(line).filter(|(.., durable)| !durable).map(|(index, step, _)| (index, step)).collect();
        let mut possible = vec![(Kept::Nothing, 1), (Kept::Everything, 1), (Kept::Names, 1), (Kept::Bytes, 2)];
        if let Some((index, Change::Bytes { at, bytes, .. })) = loose.last().map(|(index, step)| (*index, &step.change)) {
            let end = at + bytes.len() as u64;
            for size in TEARS {
                // The first and the last place within these bytes where they can be torn.
                let places = BTreeSet::from([(at / size + 1) * size, (end - 1) / size * size]);
                for place in places.into_iter().filter(|place| *at < *place && *place < end) {
                    possible.extend([(Kept::Before(index, place), 2), (Kept::After(index, place), 2)]);
                }
            }
        }
        for (index, _) in loose.iter().rev().take(ALONE) {
            possible.extend([(Kept::Only(*index), 3), (Kept::Without(*index), 3)]);
        }
        possible
    }

    fn steps(&self, state: &State) -> Vec<Shown<'a>> {
        let whole = |(_, step, _): (usize, &'a Step, bool)| Shown::Whole(step);
        let names = |step: &Step| matches!(step.change, Change::Names(_));
        let done = self.done(state.line);
        match state.kept {
            Kept::Nothing => done.filter(|(.., durable)| *durable).map(whole).collect(),
            Kept::Everything => done.map(whole).collect(),
            Kept::Names => done.filter(|(_, step, durable)| *durable || names(step)).map(whole).collect(),
            Kept::Bytes => done.filter(|(_, step, durable)| *durable || !names(step)).map(whole).collect(),
            Kept::Only(only) => done.filter(|(index, _, durable)| *durable || *index == only).map(whole).collect(),
            Kept::Without(missing) => done.filter(|(index, ..)| *index != missing).map(whole).collect(),
            Kept::Before(torn, place) => done.map(|(index, step, _)| torn_if(index == torn, step, 0..place)).collect(),
            Kept::After(torn, place) => done.map(|(index, step, _)| torn_if(index == torn, step, place..u64::MAX)).collect(),
        }
    }

    /// What tells this state from all others: what can be reached, which changes it shows, and what was promised.
    fn identity(&self, state: &State, promised: usize) -> u64 {
        let steps = self.steps(state);
        let history = &self.recording.history;
        let paths = history.paths(&history.names(steps.iter().map(AsRef::as_ref)));
        let mut hasher = DefaultHasher::new();
        promised.hash(&mut hasher);
        paths.hash(&mut hasher);
        let reached: HashSet<usize> = paths.into_values().collect();
        for step in &steps {
            match &AsRef::<Step>::as_ref(step).change {
                Change::Bytes { file, at, bytes } if reached.contains(file) => (file, at, bytes.len(), step.line()).hash(&mut hasher),
                Change::Length { file, length } if reached.contains(file) => (file, length, step.line()).hash(&mut hasher),
                _ => {}
            }
        }
        hasher.finish()
    }
}

/// A step as it is on the disk.
enum Shown<'a> {
    Whole(&'a Step),
    Torn(Box<Step>),
}

impl AsRef<Step> for Shown<'_> {
    fn as_ref(&self) -> &Step {
        match self {
            Self::Whole(step) => step,
            Self::Torn(step) => step,
        }
    }
}

impl Shown<'_> {
    fn line(&self) -> usize {
        AsRef::<Step>::as_ref(self).line
    }
}

/// The step, with only those of its bytes that lie between these places in the file.
fn torn_if(torn: bool, step: &Step, places: std::ops::Range<u64>) -> Shown<'_> {
    let Change::Bytes { file, at, bytes } = &step.change else { return Shown::Whole(step) };
    if !torn {
        return Shown::Whole(step);
    }
    let within = |place: u64| usize::try_from(place.saturating_sub(*at)).unwrap_or(usize::MAX).min(bytes.len());
    let (from, until) = (within(places.start), within(places.end));
    let change = Change::Bytes { file: *file, at: at + from as u64, bytes: Arc::from(&bytes[from..until]) };
    Shown::Torn(Box::new(Step { change, ..step.clone() }))
}
