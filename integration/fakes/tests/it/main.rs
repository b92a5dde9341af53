//! Stories about the fakes, told through their public borders.

mod gitlab;
