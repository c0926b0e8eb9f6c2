//! The protocols of the store, small enough that every state can be looked at. README.md says how
//! to read this, and what it does not show.

pub mod lock;
pub mod power;
pub mod reads;
pub mod rules;
pub mod search;
pub mod write_path;
