//! The controller from its public border: a real one, with real tokens, on a real socket; what it calls are stand-ins.

mod house;
mod stand_ins;
mod whole;
