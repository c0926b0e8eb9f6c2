//! The rules of the boundary that C programs cannot show: panics, structs of other versions, and
//! sentences that do not fit.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "here C is us: every pointer is NULL or to memory of the test that passes it"
)]

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use super::boundary::{self, Versioned, VersionedOut};
use super::failure::{guarded, hook, sentence};
use super::results::*;
use super::types::*;
use super::{info, locks, many, store, values, writes};
use crate::error::Error;

fn last_sentence() -> String {
    unsafe { CStr::from_ptr(sentence()) }.to_str().expect("UTF-8").to_owned()
}

/// Every function that can run anything at all catches a panic. The arguments do not matter: the
/// panic comes first. (`abi_version`, `version`, `result_name` and `last_error` only give a
/// constant.)
#[test]
fn every_function_turns_a_panic_into_a_code() {
    let (s, k, v) = (null_mut(), null(), null());
    let (buffer, item, lock, holder) = (null_mut(), null_mut(), null_mut(), null_mut());
    let calls: &[(&str, &dyn Fn() -> c_int)] = &[
        ("open", &|| unsafe { store::holdfast_open(null(), null(), null_mut()) }),
        ("expire", &|| unsafe { store::holdfast_expire(s, 0, null_mut()) }),
        ("sync", &|| unsafe { store::holdfast_sync(s) }),
        ("get", &|| unsafe { values::holdfast_get(s, k, 0, buffer, item) }),
        ("get_touch", &|| unsafe { values::holdfast_get_touch(s, k, 0, 0, buffer, item) }),
        ("exists", &|| unsafe { values::holdfast_exists(s, k, 0, item) }),
        ("set", &|| unsafe { values::holdfast_set(s, k, 0, v, 0, 0, 0, lock, null_mut()) }),
        ("add", &|| unsafe { values::holdfast_add(s, k, 0, v, 0, 0, 0, null_mut()) }),
        ("replace", &|| unsafe { values::holdfast_replace(s, k, 0, v, 0, 0, 0, null_mut()) }),
        ("cas", &|| unsafe { values::holdfast_cas(s, k, 0, v, 0, 0, 0, 0, null_mut()) }),
        ("touch", &|| unsafe { values::holdfast_touch(s, k, 0, 0, lock) }),
        ("delete", &|| unsafe { values::holdfast_delete(s, k, 0, lock) }),
        ("delete_version", &|| unsafe { values::holdfast_delete_version(s, k, 0, 0) }),
        ("write", &|| unsafe { writes::holdfast_write(s, k, 0, v, 0, null(), null_mut()) }),
        ("increment", &|| unsafe {
            writes::holdfast_increment(s, k, 0, 1, null(), null(), null_mut(), null_mut())
        }),
        ("decrement", &|| unsafe {
            writes::holdfast_decrement(s, k, 0, 1, null(), null(), null_mut(), null_mut())
        }),
        ("append", &|| unsafe { writes::holdfast_append(s, k, 0, v, 0, lock, 0, null_mut()) }),
        ("prepend", &|| unsafe { writes::holdfast_prepend(s, k, 0, v, 0, lock, 0, null_mut()) }),
        ("update", &|| unsafe {
            writes::holdfast_update(s, k, 0, lock, 0, None, null_mut(), null_mut())
        }),
        ("get_many", &|| unsafe { many::holdfast_get_many(s, null(), 0, None, null_mut()) }),
        ("set_many", &|| unsafe { many::holdfast_set_many(s, null_mut(), 0) }),
        ("acquire", &|| unsafe { locks::holdfast_lock_acquire(s, k, 0, 0, null(), lock, holder) }),
        ("renew", &|| unsafe { locks::holdfast_lock_renew(s, k, 0, lock, 0) }),
        ("release", &|| unsafe { locks::holdfast_lock_release(s, k, 0, lock) }),
        ("session_open", &|| unsafe {
            locks::holdfast_session_open(s, k, 0, 0, null(), buffer, item, lock, holder)
        }),
        ("locks", &|| unsafe { locks::holdfast_locks(s, null_mut(), 0, null_mut()) }),
        ("stats_get", &|| unsafe { info::holdfast_stats_get(s, null_mut()) }),
    ];
    for (name, call) in calls {
        assert_eq!(call(), HOLDFAST_E_INVALID, "{name}");
        hook::arm(1);
        assert_eq!(call(), HOLDFAST_E_PANIC, "{name}");
        assert!(last_sentence().contains("injected by a test"), "{name}: {}", last_sentence());
        assert_eq!(call(), HOLDFAST_E_INVALID, "{name}: the next call is as before");
    }

    // Those that give no result: nothing unwinds, and the sentence says that it came to that.
    let silent: &[(&str, &dyn Fn())] = &[
        ("options_init", &|| unsafe { store::holdfast_options_init(null_mut()) }),
        ("close", &|| unsafe { store::holdfast_close(null_mut()) }),
        ("buffer_free", &|| unsafe { store::holdfast_buffer_free(null_mut()) }),
        ("key_hash", &|| assert_eq!(unsafe { locks::holdfast_key_hash(s, k, 0) }, 0)),
    ];
    for (name, call) in silent {
        guarded(|| Err(Error::Invalid("before".into())));
        hook::arm(1);
        call();
        assert!(last_sentence().contains("injected by a test"), "{name}");
    }
}

/// In the middle of a call that has the caller's buffer, the buffer goes back whole and empty.
#[test]
fn a_panic_leaves_a_buffer_as_it_must_be() {
    let mut buffer = holdfast_buffer { data: null_mut(), len: 0, capacity: 0 };
    let mut read = |panic: bool| {
        let pointer = &raw mut buffer;
        let result = guarded(|| {
            let mut lent = unsafe { super::buffer::Lent::take(pointer)? };
            lent.extend_from_slice(&[7; 5000]);
            assert!(!panic, "in the middle");
            lent.show();
            Ok(HOLDFAST_OK)
        });
        let holdfast_buffer { data, len, capacity } = unsafe { pointer.read() };
        (result, data, len, capacity)
    };
    assert_eq!(read(true).0, HOLDFAST_E_PANIC);
    let (result, data, len, capacity) = read(false);
    assert!(result == HOLDFAST_OK && len == 5000 && capacity >= 5000);
    assert_eq!(read(true), (HOLDFAST_E_PANIC, data, 0, capacity));
    unsafe { store::holdfast_buffer_free(&mut buffer) };
    assert!(buffer.data.is_null() && buffer.capacity == 0);
}

/// A struct of a later version of the ABI: its first version ended after `first`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Grown {
    struct_size: usize,
    first: u64,
    added: u64,
}

unsafe impl Versioned for Grown {
    const NAME: &'static str = "grown";
    const FIRST_SIZE: usize = 16;
}

#[test]
fn an_older_callers_struct_is_read_as_far_as_it_goes() {
    let mut copy = MaybeUninit::uninit();
    let older = Grown { struct_size: 16, first: 1, added: 999 };
    let read = unsafe { boundary::versioned(&older, &mut copy, "it") }.expect("read");
    assert_eq!((read.first, read.added), (1, 0), "what the caller does not have is 0");
    let present = Grown { struct_size: 24, first: 1, added: 2 };
    assert_eq!(unsafe { boundary::versioned(&present, &mut copy, "it") }.expect("read"), &present);
    for size in [0, 8, 15, 4097, usize::MAX] {
        let wrong = Grown { struct_size: size, ..present };
        let refused = unsafe { boundary::versioned(&wrong, &mut copy, "it") }.expect_err("refused");
        assert!(refused.to_string().contains("sizeof(grown)"), "{refused}");
    }
}

#[test]
fn an_older_callers_struct_is_written_as_far_as_it_goes() {
    let mut older = Grown { struct_size: 16, first: 0, added: 999 };
    let out = unsafe { VersionedOut::required(&mut older, "it") }.expect("writable");
    out.set(|| Grown { struct_size: 24, first: 5, added: 6 });
    assert_eq!(older, Grown { struct_size: 16, first: 5, added: 999 });
}

#[test]
fn a_newer_callers_unknown_field_must_be_zero() {
    #[repr(C)]
    struct Newer {
        known: Grown,
        unknown: [u8; 8],
    }
    let mut copy = MaybeUninit::uninit();
    let mut newer = Newer { known: Grown { struct_size: 32, first: 1, added: 2 }, unknown: [0; 8] };
    let pointer = (&raw const newer).cast::<Grown>();
    assert_eq!(unsafe { boundary::versioned(pointer, &mut copy, "it") }.expect("read").added, 2);
    newer.unknown[7] = 1;
    let pointer = (&raw const newer).cast::<Grown>();
    let refused = unsafe { boundary::versioned(pointer, &mut copy, "it") }.expect_err("refused");
    assert_eq!(refused.code(), HOLDFAST_E_UNSUPPORTED);
}

#[test]
fn a_sentence_that_does_not_fit_is_cut_between_characters() {
    guarded(|| Err(Error::Invalid("ä".repeat(5000))));
    let cut = last_sentence();
    assert!(cut.len() >= 2040 && cut.len() < 2048 && cut.chars().all(|c| c == 'ä'));
    guarded(|| Err(Error::Invalid("a\0b".into())));
    assert_eq!(last_sentence(), "a?b");
}

#[test]
fn codes_are_those_of_the_errors() {
    let text = String::new;
    for (error, code) in [
        (Error::Invalid(text()), HOLDFAST_E_INVALID),
        (Error::TooLarge { len: 1, max: 0 }, HOLDFAST_E_TOO_LARGE),
        (Error::Full(text()), HOLDFAST_E_FULL),
        (Error::NoStore { path: "".into(), why: text() }, HOLDFAST_E_NO_STORE),
        (Error::Refused { path: "".into(), why: text() }, HOLDFAST_E_REFUSED),
        (Error::Format { path: "".into(), why: text() }, HOLDFAST_E_FORMAT),
        (Error::Damaged(text()), HOLDFAST_E_DAMAGED),
        (Error::Io { what: text(), source: std::io::Error::other("") }, HOLDFAST_E_IO),
        (Error::Busy(text()), HOLDFAST_E_BUSY),
        (Error::NoMemory(text()), HOLDFAST_E_NO_MEMORY),
        (Error::NoSpace(text()), HOLDFAST_E_NO_SPACE),
        (Error::Panic(text()), HOLDFAST_E_PANIC),
        (Error::Unsupported(text()), HOLDFAST_E_UNSUPPORTED),
        (Error::TooMany(text()), HOLDFAST_E_TOO_MANY),
        (Error::ReadOnly(text()), HOLDFAST_E_READ_ONLY),
        (Error::SyncFailed(text()), HOLDFAST_E_SYNC),
    ] {
        assert_eq!(guarded(|| Err(error)), code);
    }
}
