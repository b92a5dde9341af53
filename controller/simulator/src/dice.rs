//! Choices, drawn from one number.

/// A row of numbers that one number determines: `SplitMix64` (Steele, Lea and Flood, 2014), which passes the usual tests of
/// randomness and whose state is one word.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The row that belongs to a number.
    pub const fn of(number: u64) -> Self {
        Self(number)
    }

    /// The next number of the row.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// A place in something of this length, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// So many times in a thousand.
    pub const fn chance(&mut self, in_a_thousand: u64) -> bool {
        self.below(1000) < in_a_thousand
    }

    /// One of several, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }
}
