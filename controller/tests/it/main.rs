//! The controller from its public border: a real one, with real tokens, on a real socket; what it calls are stand-ins.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and ends")]

mod arriving;
mod asking;
mod browser;
mod captured;
mod choosing;
mod clock;
mod compared;
mod configured;
mod corpus;
mod damaged;
mod delivered_pages;
mod deliveries;
mod doctor;
mod documented;
mod elsewhere;
mod entries;
mod environments;
mod exchanges;
mod follow;
mod forged;
mod hostile;
mod house;
mod keeping;
mod leases;
mod lists;
mod logs;
mod migrating;
mod mirrors;
mod operations;
mod pages;
mod parts;
mod refusals;
mod restarts;
mod rights;
mod stand_ins;
mod stopping;
mod tokens;
mod unwell;
mod whole;
