//! How much goes wrong in one history.

use crate::dice::Dice;

/// How often what goes wrong, in a thousand. Each history draws its own: in one only answers are lost, in another
/// everything happens at once. A world in which every fault is always about would hide those that need a calm day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// A request never arrives.
    pub unsent: u64,
    /// An answer is lost: what was asked for was done.
    pub unanswered: u64,
    /// A request arrives a second time, perhaps long after.
    pub doubled: u64,
    /// A receiver is still at it.
    pub slow: u64,
    /// A receiver refuses, or fails at what it was asked for.
    pub refused: u64,
    /// The controller dies.
    pub crash: u64,
    /// What came of something cannot be written.
    pub unwritten: u64,
    /// An executor cannot be asked, shows what was true before, or does not show yet what is true.
    pub blind: u64,
    /// Builds do not pass, are forgotten, or die with their executor.
    pub misfortune: u64,
    /// Somebody else pushes to our refs, starts or stops what is ours.
    pub meddling: u64,
    /// People stop and rerun.
    pub people: u64,
    /// The clock jumps.
    pub clock: u64,
    /// An event is told twice, late, or of an attempt that it is not about.
    pub stale: u64,
    /// Executors have switched off the hooks by which they say that there is something new.
    pub hookless: bool,
    /// Two controllers work on the same store.
    pub two: bool,
    /// How many runs there are at most: few go far, many get in each other's way.
    pub runs: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        unsent: 0,
        unanswered: 0,
        doubled: 0,
        slow: 0,
        refused: 0,
        crash: 0,
        unwritten: 0,
        blind: 0,
        misfortune: 0,
        meddling: 0,
        people: 0,
        clock: 0,
        stale: 0,
        hookless: false,
        two: false,
        runs: 8,
    };

    /// The weather that belongs to a number.
    pub fn drawn(dice: &mut Dice) -> Self {
        let mut level = || dice.pick(&[0, 0, 20, 80, 250]);
        Self {
            unsent: level(),
            unanswered: level(),
            doubled: level(),
            slow: level(),
            refused: level() / 4,
            crash: level() / 4,
            unwritten: level(),
            blind: level(),
            // Now and then nothing goes well for anybody.
            misfortune: level() * 3,
            meddling: level() / 4,
            people: level(),
            clock: level() / 2,
            stale: level(),
            hookless: dice.chance(250),
            two: dice.chance(300),
            runs: 1 + dice.below(8),
        }
    }
}
