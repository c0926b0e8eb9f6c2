//! The real code in every order: what several threads do to one store, under explorers that decide
//! who goes on and what weak memory lets each of them read.
//!
//! `cargo test -p holdfast-orders --features orders`. With that feature the library
//! tells of each access to shared memory, with the order that it asks for (`src/sys/words.rs`).
//! `weak.rs` answers in the memory's place, by loom: every interleaving, and every value that the
//! language's memory model allows. `schedules.rs` only chooses who goes on, by shuttle: larger
//! scenes, by chance. `scenes.rs` and `crowds.rs` are what they play.
//!
//! What it would catch: a Relaxed where an Acquire or a Release is needed, a fence that is missing,
//! stores in the wrong order, a change outside of its latch, a wake-up that gets lost. What each
//! explorer cannot show stands at the top of its file.

mod crowds;
#[allow(dead_code, reason = "others use the rest of it")]
#[path = "../support/random.rs"]
mod random;
mod scenes;
mod schedules;
mod stage;
mod weak;
