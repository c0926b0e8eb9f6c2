//! Every command against a real store, with a clock that is moved by hand, and the session locks with
//! connections and an in-process handle beside them.
#![allow(clippy::unwrap_used, reason = "a test ends where it finds what it did not expect")]

mod lists;
mod locks;
mod reads;
mod stats;
mod world;
mod writes;
