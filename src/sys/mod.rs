//! The operating system and shared memory: with `ffi`, the only home of `unsafe`.
//!
//! Nothing here knows what a key, a record or a session is. Everything above works on [`map::Map`]
//! (words and bytes of a shared mapping), [`latch`] (mutual exclusion that survives the death of
//! its owner), [`peers::Peers`] (who is alive), [`clock::Clock`], [`dir::Dir`] and [`disk::Disk`].

pub(crate) mod clock;
pub(crate) mod dir;
pub(crate) mod disk;
pub mod fault;
pub(crate) mod fork;
pub(crate) mod futex;
mod gate;
pub(crate) mod latch;
pub(crate) mod map;
pub(crate) mod peers;
pub(crate) mod thread;
pub mod words;
