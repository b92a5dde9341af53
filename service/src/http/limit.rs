//! How many entries of a list are asked for.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// How many entries a page is to have: from 1 to `MOST`. It is bounded while it is read, so that what is wrong with it is told
/// beside all else that is wrong with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<const MOST: u32>(u32);

impl<const MOST: u32> Limit<MOST> {
    /// How many.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<'de, const MOST: u32> Deserialize<'de> for Limit<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            limit if (1..=MOST).contains(&limit) => Ok(Self(limit)),
            _ => Err(D::Error::custom(format_args!("must be between 1 and {MOST}"))),
        }
    }
}
