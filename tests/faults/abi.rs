//! Every exported function, called as C calls it, on a store that is there.
//!
//! The declarations are those of `include/holdfast.h`, as far as they are needed here; that the header
//! is the library's is what `tests/capi` and `header.rs` are for.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "here C is us: every pointer is NULL or to memory that outlives the call"
)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

use crate::stage::{After, KEY};
use holdfast_tests::content;

type Opaque = *mut c_void;

#[repr(C)]
pub struct Buffer {
    data: *mut u8,
    len: usize,
    capacity: usize,
}

/// Any struct of the library that begins with its size, as a later version would have it: with room
/// behind it, all zero.
#[repr(C)]
struct Struct([usize; 128]);

impl Struct {
    fn new() -> Struct {
        let mut words = [0; 128];
        words[0] = size_of::<Struct>();
        Struct(words)
    }

    fn at(&mut self) -> Opaque {
        self.0.as_mut_ptr().cast()
    }
}

#[rustfmt::skip]
unsafe extern "C" {
    fn holdfast_options_init(options: Opaque);
    fn holdfast_open(address: *const c_char, options: Opaque, store: *mut Opaque) -> c_int;
    fn holdfast_close(store: Opaque);
    fn holdfast_buffer_free(buffer: *mut Buffer);
    fn holdfast_expire(s: Opaque, max: u64, expired: *mut u64) -> c_int;
    fn holdfast_compact(s: Opaque, given_back: *mut u64) -> c_int;
    fn holdfast_sync(s: Opaque) -> c_int;
    fn holdfast_get(s: Opaque, k: *const u8, n: usize, value: *mut Buffer, item: Opaque) -> c_int;
    fn holdfast_get_touch(s: Opaque, k: *const u8, n: usize, ttl: i64, value: *mut Buffer, item: Opaque) -> c_int;
    fn holdfast_exists(s: Opaque, k: *const u8, n: usize, item: Opaque) -> c_int;
    fn holdfast_set(s: Opaque, k: *const u8, n: usize, v: *const u8, len: usize, flags: u32, ttl: i64, lock: Opaque, version: *mut u64) -> c_int;
    fn holdfast_add(s: Opaque, k: *const u8, n: usize, v: *const u8, len: usize, flags: u32, ttl: i64, version: *mut u64) -> c_int;
    fn holdfast_replace(s: Opaque, k: *const u8, n: usize, v: *const u8, len: usize, flags: u32, ttl: i64, version: *mut u64) -> c_int;
    fn holdfast_cas(s: Opaque, k: *const u8, n: usize, v: *const u8, len: usize, flags: u32, ttl: i64, expected: u64, version: *mut u64) -> c_int;
    fn holdfast_touch(s: Opaque, k: *const u8, n: usize, ttl: i64, lock: Opaque) -> c_int;
    fn holdfast_delete(s: Opaque, k: *const u8, n: usize, lock: Opaque) -> c_int;
    fn holdfast_delete_version(s: Opaque, k: *const u8, n: usize, expected: u64) -> c_int;
    fn holdfast_write(s: Opaque, k: *const u8, n: usize, v: *const u8, len: usize, options: Opaque, version: *mut u64) -> c_int;
    fn holdfast_increment(s: Opaque, k: *const u8, n: usize, by: u64, initial: *const u64, options: Opaque, value: *mut u64, version: *mut u64) -> c_int;
    fn holdfast_decrement(s: Opaque, k: *const u8, n: usize, by: u64, initial: *const u64, options: Opaque, value: *mut u64, version: *mut u64) -> c_int;
    fn holdfast_append(s: Opaque, k: *const u8, n: usize, v: *const u8, len: usize, lock: Opaque, flags: u32, version: *mut u64) -> c_int;
    fn holdfast_prepend(s: Opaque, k: *const u8, n: usize, v: *const u8, len: usize, lock: Opaque, flags: u32, version: *mut u64) -> c_int;
    fn holdfast_update(s: Opaque, k: *const u8, n: usize, lock: Opaque, flags: u32, compute: Option<unsafe extern "C" fn(Opaque, *const u8, usize, Opaque, Opaque) -> c_int>, context: Opaque, version: *mut u64) -> c_int;
    fn holdfast_get_many(s: Opaque, keys: *const [usize; 2], count: usize, found: Option<unsafe extern "C" fn(Opaque, usize, c_int, *const u8, usize, Opaque)>, context: Opaque) -> c_int;
    fn holdfast_set_many(s: Opaque, items: Opaque, count: usize) -> c_int;
    fn holdfast_scan(s: Opaque, cursor: *mut u64, options: Opaque, visit: Option<unsafe extern "C" fn(Opaque, Opaque) -> c_int>, context: Opaque, page: Opaque) -> c_int;
    fn holdfast_range(s: Opaque, options: Opaque, visit: Option<unsafe extern "C" fn(Opaque, Opaque) -> c_int>, context: Opaque, next: *mut Buffer, page: Opaque) -> c_int;
    fn holdfast_count_keys(s: Opaque, prefix: *const u8, n: usize, count: *mut u64) -> c_int;
    fn holdfast_set_owner(s: Opaque, k: *const u8, n: usize, owner: *const u8, m: usize, lock: Opaque, version: *mut u64) -> c_int;
    fn holdfast_owner_of(s: Opaque, k: *const u8, n: usize, owner: *mut Buffer) -> c_int;
    fn holdfast_owner_keys(s: Opaque, owner: *const u8, m: usize, each: Option<unsafe extern "C" fn(Opaque, *const u8, usize) -> c_int>, context: Opaque, count: *mut u64) -> c_int;
    fn holdfast_end_owner(s: Opaque, owner: *const u8, m: usize) -> c_int;
    fn holdfast_lock_acquire(s: Opaque, k: *const u8, n: usize, cookie: u64, wait: Opaque, lock: *mut [u64; 4], holder: Opaque) -> c_int;
    fn holdfast_lock_renew(s: Opaque, k: *const u8, n: usize, lock: *mut [u64; 4], lease: i64) -> c_int;
    fn holdfast_lock_release(s: Opaque, k: *const u8, n: usize, lock: *mut [u64; 4]) -> c_int;
    fn holdfast_session_open(s: Opaque, k: *const u8, n: usize, cookie: u64, wait: Opaque, value: *mut Buffer, item: Opaque, lock: *mut [u64; 4], holder: Opaque) -> c_int;
    fn holdfast_locks(s: Opaque, out: Opaque, capacity: usize, count: *mut usize) -> c_int;
    fn holdfast_key_hash(s: Opaque, k: *const u8, n: usize) -> u64;
    fn holdfast_config_get(s: Opaque, out: Opaque) -> c_int;
    fn holdfast_config_set(s: Opaque, change: Opaque, out: Opaque) -> c_int;
    fn holdfast_flush(s: Opaque, delay: i64) -> c_int;
    fn holdfast_verify(s: Opaque, care: Opaque, out: Opaque) -> c_int;
    fn holdfast_backup(s: Opaque, to: *const c_char, care: Opaque, out: Opaque) -> c_int;
    fn holdfast_restore(from: *const c_char, to: *const c_char, care: Opaque, out: Opaque) -> c_int;
    fn holdfast_repair(address: *const c_char, care: Opaque, out: Opaque) -> c_int;
    fn holdfast_reclaimable(s: Opaque, exact: c_int, out: Opaque) -> c_int;
    fn holdfast_stats_get(s: Opaque, out: Opaque) -> c_int;
    fn holdfast_trim_memory(s: Opaque, bytes: *mut u64) -> c_int;
}

/// An open store and what a function may want beside it.
pub struct C {
    pub store: Opaque,
    path: CString,
    copy: CString,
    new: CString,
    value: Vec<u8>,
    pub buffer: Buffer,
    lock: [u64; 4],
}

impl C {
    pub fn new(path: &Path, value_len: usize) -> C {
        let named = |name: &str| {
            let path = path.with_file_name(name);
            CString::new(path.to_str().expect("UTF-8")).expect("no NUL")
        };
        let (path, copy, new) = (named("s"), named("copy"), named("new"));
        let value = content(2, value_len);
        let buffer = Buffer { data: null_mut(), len: 0, capacity: 0 };
        C { store: null_mut(), path, copy, new, value, buffer, lock: [0; 4] }
    }

    pub fn open(&mut self) -> c_int {
        let mut options = Struct::new();
        unsafe {
            holdfast_options_init(options.at());
            // Flags and sync are the second word: NO_THREAD, SYNC_NONE.
            options.0[1] |= 8 | 1 << 32;
            holdfast_open(self.path.as_ptr(), options.at(), &mut self.store)
        }
    }

    pub fn close(&mut self) {
        unsafe {
            holdfast_close(std::mem::replace(&mut self.store, null_mut()));
            holdfast_buffer_free(&mut self.buffer);
        }
    }

    pub fn unlock(&mut self) {
        if self.lock != [0; 4] {
            unsafe { holdfast_lock_release(self.store, KEY.as_ptr(), KEY.len(), &mut self.lock) };
            self.lock = [0; 4];
        }
    }
}

pub struct Function {
    pub name: &'static str,
    pub after: After,
    /// The store is closed when it is called.
    pub closed: bool,
    pub call: fn(&mut C) -> c_int,
}

unsafe extern "C" fn append_to(
    _: Opaque,
    v: *const u8,
    n: usize,
    _: Opaque,
    change: Opaque,
) -> c_int {
    // The same value again: its place and length are the second and the third word.
    unsafe {
        change.cast::<usize>().add(1).write(v as usize);
        change.cast::<usize>().add(2).write(n);
    }
    1
}

unsafe extern "C" fn found(_: Opaque, _: usize, _: c_int, _: *const u8, _: usize, _: Opaque) {}

unsafe extern "C" fn visit(_: Opaque, _: Opaque) -> c_int {
    0
}

unsafe extern "C" fn each(_: Opaque, _: *const u8, _: usize) -> c_int {
    0
}

const N: usize = KEY.len();
const ANNA: &[u8] = b"anna";

fn k() -> *const u8 {
    KEY.as_ptr()
}

/// Those that have something to do with a store: what they give, and what becomes of the key.
#[rustfmt::skip]
pub fn functions() -> Vec<Function> {
    use After::{Flushed, Others, Same};
    let f = |name, after, call| Function { name, after, closed: false, call };
    let mut all = vec![
        f("expire", Same, |c| unsafe { holdfast_expire(c.store, 0, null_mut()) }),
        f("compact", Same, |c| unsafe { holdfast_compact(c.store, null_mut()) }),
        f("sync", Same, |c| unsafe { holdfast_sync(c.store) }),
        f("get", Same, |c| unsafe { holdfast_get(c.store, k(), N, &mut c.buffer, null_mut()) }),
        f("get_touch", Same, |c| unsafe { holdfast_get_touch(c.store, k(), N, 90_000_000, &mut c.buffer, null_mut()) }),
        f("exists", Same, |c| unsafe { holdfast_exists(c.store, k(), N, null_mut()) }),
        f("set", Others, |c| unsafe { holdfast_set(c.store, k(), N, c.value.as_ptr(), c.value.len(), 0, -1, null_mut(), null_mut()) }),
        f("add", Same, |c| unsafe { holdfast_add(c.store, k(), N, c.value.as_ptr(), c.value.len(), 0, -1, null_mut()) }),
        f("replace", Others, |c| unsafe { holdfast_replace(c.store, k(), N, c.value.as_ptr(), c.value.len(), 0, -1, null_mut()) }),
        f("cas", Same, |c| unsafe { holdfast_cas(c.store, k(), N, c.value.as_ptr(), c.value.len(), 0, -1, 1, null_mut()) }),
        f("touch", Same, |c| unsafe { holdfast_touch(c.store, k(), N, 90_000_000, null_mut()) }),
        f("delete", Others, |c| unsafe { holdfast_delete(c.store, k(), N, null_mut()) }),
        f("delete_version", Same, |c| unsafe { holdfast_delete_version(c.store, k(), N, 1) }),
        f("write", Others, |c| unsafe { holdfast_write(c.store, k(), N, c.value.as_ptr(), c.value.len(), null_mut(), null_mut()) }),
        f("increment", Same, |c| unsafe { holdfast_increment(c.store, b"n".as_ptr(), 1, 1, &1, null_mut(), null_mut(), null_mut()) }),
        f("decrement", Same, |c| unsafe { holdfast_decrement(c.store, b"n".as_ptr(), 1, 1, &1, null_mut(), null_mut(), null_mut()) }),
        f("append", Others, |c| unsafe { holdfast_append(c.store, k(), N, c.value.as_ptr(), 40, null_mut(), 0, null_mut()) }),
        f("prepend", Others, |c| unsafe { holdfast_prepend(c.store, k(), N, c.value.as_ptr(), 40, null_mut(), 0, null_mut()) }),
        f("update", Same, |c| unsafe { holdfast_update(c.store, k(), N, null_mut(), 0, Some(append_to), null_mut(), null_mut()) }),
        f("get_many", Same, |c| {
            let keys = vec![[k() as usize, N]; 20];
            unsafe { holdfast_get_many(c.store, keys.as_ptr(), keys.len(), Some(found), null_mut()) }
        }),
        f("set_many", Others, |c| {
            let mut items = [[64, k() as usize, N, c.value.as_ptr() as usize, c.value.len(), 0, 0, 0]; 3];
            unsafe { holdfast_set_many(c.store, items.as_mut_ptr().cast(), 3) }
        }),
        f("scan", Same, |c| unsafe { holdfast_scan(c.store, &mut 0, null_mut(), Some(visit), null_mut(), null_mut()) }),
        f("range", Same, |c| unsafe { holdfast_range(c.store, null_mut(), Some(visit), null_mut(), &mut c.buffer, null_mut()) }),
        f("count_keys", Same, |c| unsafe { holdfast_count_keys(c.store, null(), 0, &mut 0) }),
        f("set_owner", Same, |c| unsafe { holdfast_set_owner(c.store, k(), N, ANNA.as_ptr(), 4, null_mut(), null_mut()) }),
        f("owner_of", Same, |c| unsafe { holdfast_owner_of(c.store, k(), N, &mut c.buffer) }),
        f("owner_keys", Same, |c| unsafe { holdfast_owner_keys(c.store, ANNA.as_ptr(), 4, Some(each), null_mut(), &mut 0) }),
        f("end_owner", Same, |c| unsafe { holdfast_end_owner(c.store, ANNA.as_ptr(), 4) }),
        f("lock_acquire", Same, |c| unsafe { holdfast_lock_acquire(c.store, k(), N, 1, Struct::new().at(), &mut c.lock, null_mut()) }),
        f("lock_renew", Same, |c| unsafe {
            let taken = holdfast_lock_acquire(c.store, k(), N, 1, Struct::new().at(), &mut c.lock, null_mut());
            if taken == 0 { holdfast_lock_renew(c.store, k(), N, &mut c.lock, 10_000) } else { taken }
        }),
        f("lock_release", Same, |c| unsafe {
            let taken = holdfast_lock_acquire(c.store, k(), N, 1, Struct::new().at(), &mut c.lock, null_mut());
            if taken == 0 { holdfast_lock_release(c.store, k(), N, &mut c.lock) } else { taken }
        }),
        f("session_open", Same, |c| unsafe { holdfast_session_open(c.store, k(), N, 1, Struct::new().at(), &mut c.buffer, null_mut(), &mut c.lock, null_mut()) }),
        f("locks", Same, |c| unsafe { holdfast_locks(c.store, null_mut(), 0, &mut 0) }),
        f("key_hash", Same, |c| unsafe { -((holdfast_key_hash(c.store, k(), N) == 0) as c_int) }),
        f("config_get", Same, |c| unsafe { holdfast_config_get(c.store, Struct::new().at()) }),
        f("config_set", Same, |c| unsafe {
            let mut config = Struct::new();
            let got = holdfast_config_get(c.store, config.at());
            // Compression is the second half of the ninth word: 1 or 2.
            config.0[8] ^= 3 << 32;
            if got == 0 { holdfast_config_set(c.store, config.at(), null_mut()) } else { got }
        }),
        f("flush", Flushed, |c| unsafe { holdfast_flush(c.store, 0) }),
        f("verify", Same, |c| unsafe { holdfast_verify(c.store, null_mut(), null_mut()) }),
        f("backup", Same, |c| unsafe { holdfast_backup(c.store, c.copy.as_ptr(), null_mut(), null_mut()) }),
        f("reclaimable", Same, |c| unsafe { holdfast_reclaimable(c.store, 1, Struct::new().at()) }),
        f("stats_get", Same, |c| unsafe { holdfast_stats_get(c.store, Struct::new().at()) }),
        f("trim_memory", Same, |c| unsafe { holdfast_trim_memory(c.store, null_mut()) }),
        f("close", Same, |c| { c.close(); 0 }),
    ];
    let f = |name, call| Function { name, after: Same, closed: true, call };
    all.push(f("open", |c| c.open()));
    all.push(f("repair", |c| unsafe { holdfast_repair(c.path.as_ptr(), null_mut(), null_mut()) }));
    all.push(f("restore", |c| unsafe { holdfast_restore(c.copy.as_ptr(), c.new.as_ptr(), null_mut(), null_mut()) }));
    all
}
