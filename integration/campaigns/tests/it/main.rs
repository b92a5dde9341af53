//! The campaigns, as far as they are run with all other tests; and that they find what they look for.

mod crash;
mod flips;
mod lossy;
mod powercut;
