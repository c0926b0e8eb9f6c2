//! A store that is played on again and again: what a play stored is taken back, so that the next one
//! begins with the same bytes. And plain memory, for the words that an explorer leaves alone.

use std::cell::{Cell, RefCell};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use holdfast::words::{self, Access, Act, Observer};
use holdfast::{Options, Store, Sync};

/// Of the smallest size, and without a thread that nobody explores.
pub fn options() -> Options {
    let size = Some(8 << 20);
    let mode = Some(Sync::None);
    Options { create: true, thread: false, sync: mode, max_bytes: size, ..Options::default() }
}

/// A store and the directory that it is in.
pub struct Stage {
    pub store: Store,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub fn new(options: &Options) -> Stage {
        let mut private = tempfile::Builder::new();
        private.permissions(std::fs::Permissions::from_mode(0o700));
        let dir = private.tempdir_in("/dev/shm").or_else(|_| private.tempdir());
        let dir = dir.expect("a directory, in memory if there is that");
        Stage { store: Store::open(dir.path(), options).expect("a store"), _dir: dir }
    }

    /// Another process does some work and dies just before its n-th store; false: it came to the end.
    pub fn dies_before(&self, store: u64, work: impl FnOnce(&Store)) -> bool {
        // SAFETY: the child works on the store, which is made for that, and ends here.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let attached = self.store.exists(b"no such key").is_ok();
            words::observe(Some(Box::leak(Box::new(Mortal(Cell::new(store))))));
            work(&self.store);
            // SAFETY: ends the child, which has nothing to clean up.
            unsafe { libc::_exit(if attached { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: our own child, and a status of our own.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status), "{status:x}");
        match libc::WEXITSTATUS(status) {
            0 => false,
            DEATH => true,
            other => panic!("the child ended with {other}"),
        }
    }
}

/// Ends its process before a store.
struct Mortal(Cell<u64>);

const DEATH: i32 = 9;

impl Observer for Mortal {
    fn access(&self, access: Access) -> Option<Result<u64, u64>> {
        if access.act != Act::Load {
            self.0.set(self.0.get() - 1);
        }
        if self.0.get() == 0 {
            // SAFETY: ends the process, as a SIGKILL would.
            unsafe { libc::_exit(DEATH) };
        }
        None
    }

    fn fence(&self, _: Ordering) {}

    fn pause(&self) {
        std::thread::yield_now();
    }

    fn sleep(&self, limit: Duration) -> Duration {
        std::thread::sleep(limit);
        limit
    }
}

/// Memory that remembers what was there before each store.
#[derive(Default)]
pub struct Memory {
    before: RefCell<Vec<(Access, u64)>>,
}

impl Memory {
    pub fn apply(&self, access: Access) -> Result<u64, u64> {
        let old = peek(access);
        let new = match access.act {
            Act::Load => return Ok(old),
            Act::Exchange(expected, _, _) if expected != old => return Err(old),
            Act::Exchange(_, new, _) | Act::Store(new) | Act::Swap(new) => new,
            Act::Add(amount) => old.wrapping_add(amount),
            Act::Max(value) => old.max(value),
            Act::Min(value) => old.min(value),
        };
        self.before.borrow_mut().push((access, old));
        poke(access, new);
        Ok(old)
    }

    /// Puts everything back.
    pub fn undo(&self) {
        for (access, old) in self.before.borrow_mut().drain(..).rev() {
            poke(access, old);
        }
    }
}

/// What is in a word now.
pub fn peek(access: Access) -> u64 {
    // SAFETY: the library is in the middle of an access to this word, or was and has the store open;
    // its accesses are atomic and of this size.
    unsafe {
        match access.short {
            true => (*(access.at as *const AtomicU32)).load(Ordering::SeqCst) as u64,
            false => (*(access.at as *const AtomicU64)).load(Ordering::SeqCst),
        }
    }
}

fn poke(access: Access, value: u64) {
    // SAFETY: as in `peek`.
    unsafe {
        match access.short {
            true => (*(access.at as *const AtomicU32)).store(value as u32, Ordering::SeqCst),
            false => (*(access.at as *const AtomicU64)).store(value, Ordering::SeqCst),
        }
    }
}
