//! Holdfast: a session store that many processes share, with no server between them.
//!
//! A store is a directory. Any number of processes of one kernel open it and keep values there
//! under keys, each with a lifetime, in a log that all of them have mapped. A process may be killed
//! at any instruction: what it was told to be stored is stored, what it was doing is done or not
//! done, its session locks are free, and nobody waits for it. See [`Store`] for the verbs and
//! [`Options`] for what a store is made with; C programs read `include/holdfast.h`.
//!
//! # The rooms
//!
//! Arrows run one way: a room names only rooms of a lower rank.
//!
//! | rank | room | what it is |
//! |---|---|---|
//! | 0 | [`error`], `limits` | every failure with its number and sentence; every maximum |
//! | 1 | `sys` | the operating system and shared memory: mapping, latch, liveness, clock, disk |
//! | 1 | `histogram` | how long something took, in buckets |
//! | 2 | `key` | keys, checked once at the edge, with their hash |
//! | 3 | `options` | how a store is made and opened, checked once |
//! | 4 | `arena` | the mapped files of a store and where each word of them lies |
//! | 5 | `index` | hash of a key -> where its record is |
//! | 5 | `log` | records, segments, lanes: append, read, walk |
//! | 5 | `lock` | session locks: who has them, who waits, fences |
//! | 6 | `store` | the verbs, and what they need: attach, recover, grow, sweep, sync, take care |
//! | 7 | [`backend`] | the seam between those who keep sessions and the engine that keeps them |
//! | 8 | `ffi` | the C ABI: every pointer, length, panic and code is converted there |
//!
//! `index`, `log` and `lock` do not know each other; `store` brings them together. `unsafe` is in
//! `sys` and `ffi` only, and denied everywhere else. A test holds both.
//!
//! How a write comes to be: [`Store::write`] makes a `key`, latches its stripe of the `index`, lets
//! the `lock` room confirm the fence, appends a record to a lane of the `log`, publishes it by one
//! store to the slot, and, as the sync mode says, waits for the disk. A read takes nothing and
//! waits for nobody: it copies, then looks whether anything moved.
//!
//! Where space comes from: a segment of the log in which little is alive is emptied, record by record,
//! by the same path with the same numbers (`store/sweep`), and is free after two rounds of sync.
//! Where slots come from: a stripe's table is copied into a larger one and one store moves the stripe
//! there (`store/growth`). What ends a value without touching it, its lifetime, a flush or its owner's
//! end, is decided in one place (`store/life`).
//!
//! # What is deliberately not here
//!
//! - No server, and no process that must run for the others to work.
//! - No pthread object and no process id in shared memory: neither survives namespaces and death.
//! - No reference into the mapping: other processes write there at any time. Bytes are copied out
//!   and checked before they are believed.
//! - No list of readers: a reader that dies or stops costs nobody anything.
//! - No journal and no undo: a record proves itself by its checksum, and index and meta can be
//!   rebuilt from the log.
//! - No logger, no signal handler, no allocator of its own, and nothing at all before the first
//!   open: it lives in other people's processes.
#![deny(unsafe_code)]

mod arena;
pub mod backend;
pub mod error;
#[allow(unsafe_code)]
mod ffi;
mod histogram;
mod index;
mod key;
mod limits;
mod lock;
mod log;
mod options;
mod store;
#[allow(unsafe_code)]
mod sys;

pub use error::{Error, Result};
pub use histogram::Histogram;
pub use key::HashKind;
pub use lock::{Acquired, Held, Holder, LockInfo, Wait};
pub use options::{Config, ConfigChange, Options, Sync, Ttl};
pub use store::{
    Amount, BackedUp, BatchItem, Compute, Condition, Counted, Each, Entry, Expect, Filter, Finding,
    Item, Mark, Page, Progress, Range, Reclaimable, RepairOptions, Repaired, Restored, SCAN_DONE,
    Scan, Soon, Stats, Store, Stored, Update, Verified, Visit, Write, number,
};
pub use sys::clock::Clock;
pub use sys::disk::{Disk, FileKind};
#[cfg(feature = "faults")]
pub use sys::fault;
#[cfg(feature = "orders")]
pub use sys::words;
