//! What the tests share: stores in temporary directories, a clock that is moved by hand, random
//! numbers that can be had again, and processes that are made to die.

pub mod clients;
mod device;
mod disk;
pub mod history;
pub mod killing;
pub mod layout;
pub mod linear;
#[cfg(test)]
mod linear_tests;
pub mod measure;
mod mount;
pub mod process;
mod random;
mod signed;
pub mod single_step;
pub mod specimen;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod tracer;
pub mod wire;
mod wire_binary;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast::{Clock, Mark, Options, Store, Ttl, Update};

pub use device::Device;
pub use disk::{CutDisk, Images, Luck, SECTOR};
pub use mount::Mount;
pub use random::{Rng, content, seed, size};
pub use signed::{signature, signed};

/// A private directory that goes away with the value.
pub fn dir() -> tempfile::TempDir {
    dir_in(std::env::temp_dir())
}

/// The same in a place of the caller's choice.
pub fn dir_in(parent: impl AsRef<Path>) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(parent).expect("a temporary directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("chmod");
    dir
}

/// The same in memory, for tests that open and recover thousands of times and need no disk.
pub fn memory_dir() -> tempfile::TempDir {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return dir() };
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("chmod");
    dir
}

/// Small, created when missing.
pub fn small() -> Options {
    Options { create: true, max_bytes: Some(16 << 20), ..Options::default() }
}

/// An update that writes a value as most writers do: without a mark, with the next version.
pub fn plain(value: Vec<u8>, flags: u32, ttl: Option<Ttl>) -> Update {
    Update::Write { value, flags, ttl, mark: Mark::None, version: None }
}

/// Opens, or says why not.
pub fn open(path: &Path, options: &Options) -> Store {
    Store::open(path, options).unwrap_or_else(|e| panic!("opening {}: {e}", path.display()))
}

/// A clock that stands still until it is moved.
pub struct HandClock {
    boot: AtomicU64,
    wall: AtomicU64,
}

impl HandClock {
    /// Starts in 2026, a minute after a boot.
    pub fn new() -> Arc<HandClock> {
        Arc::new(HandClock {
            boot: AtomicU64::new(60_000),
            wall: AtomicU64::new(1_790_000_000_000),
        })
    }

    /// Time passes.
    pub fn pass(&self, ms: u64) {
        self.boot.fetch_add(ms, Ordering::SeqCst);
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&self, ms: u64) {
        self.wall.store(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn boot_ms(&self) -> u64 {
        self.boot.load(Ordering::SeqCst)
    }

    fn wall_ms(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }
}
