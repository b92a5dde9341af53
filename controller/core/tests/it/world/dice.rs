//! Choices, drawn from one number.

#[derive(Debug)]
pub(crate) struct Dice {
    state: u64,
    calm: bool,
}

impl Dice {
    pub(crate) fn of(number: u32) -> Self {
        Self { state: u64::from(number), calm: false }
    }

    /// Dice with which nothing goes wrong: always the highest.
    pub(crate) const fn calm() -> Self {
        Self { state: 0, calm: true }
    }

    pub(crate) const fn is_calm(&self) -> bool {
        self.calm
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if self.calm {
            return bound - 1;
        }
        // Small numbers give the first choices, so that a smaller number is a simpler story.
        let value = self.state % bound;
        self.state = (self.state / bound).wrapping_mul(6_364_136_223_846_793_005).rotate_right(29) ^ (self.state / bound);
        value
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// One time in `n`; never, if calm.
    pub(crate) fn chance(&mut self, n: u64) -> bool {
        self.below(n) == 0 && !self.calm
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }
}
