//! Holdfast: a session store that many processes share, with no server between them.
#![deny(unsafe_code)]

mod arena;
pub mod backend;
pub mod error;
#[allow(unsafe_code)]
mod ffi;
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
pub use key::HashKind;
pub use lock::{Acquired, Held, Holder, LockInfo, Wait};
pub use options::{Options, Sync, Ttl};
pub use store::{Expect, Item, Stats, Store, Stored};
pub use sys::clock::Clock;
pub use sys::disk::{Disk, FileKind};
#[cfg(feature = "faults")]
pub use sys::fault;
