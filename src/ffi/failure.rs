//! What becomes of a failure: a number for C, and a sentence that this thread can ask for.
//!
//! [`guarded`] is the net under every exported function: no panic unwinds into C. A call that
//! succeeds passes through here without a write to a thread-local and without a formatted text.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int};
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// Room for one sentence. Fixed, so that it needs no destructor when the thread ends.
const SENTENCE_MAX: usize = 2048;

/// Runs the body of an exported function: its failure or panic becomes a number and a sentence.
#[inline]
pub(super) fn guarded(body: impl FnOnce() -> Result<c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(|| {
        hook::entered();
        body()
    })) {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => failed(error),
        Err(payload) => panicked(payload),
    }
}

/// The number of a failure; its sentence is this thread's from now on.
#[cold]
pub(super) fn failed(error: Error) -> c_int {
    let told = catch_unwind(AssertUnwindSafe(|| say(format_args!("{error}"))));
    if told.is_err() {
        say(format_args!("a failure that could not be put into words"));
    }
    error.code()
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> c_int {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    failed(Error::Panic(text.to_owned()))
}

thread_local! {
    static SENTENCE: UnsafeCell<[u8; SENTENCE_MAX]> =
        const { UnsafeCell::new([0; SENTENCE_MAX]) };
}

/// Writes text into a fixed room; what does not fit is left out, the last byte stays 0.
struct Line<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let most = (self.room.len() - 1 - self.len).min(text.len());
        let fits = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        for (to, from) in self.room[self.len..].iter_mut().zip(&text.as_bytes()[..fits]) {
            // A NUL (in a path, say) would end the sentence early for C.
            *to = if *from == 0 { b'?' } else { *from };
        }
        self.len += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

fn say(what: fmt::Arguments) {
    SENTENCE.with(|sentence| {
        // SAFETY: this thread's own, and no reference to it outlives this closure: C reads it
        // through a pointer between the calls of this thread only.
        let room = unsafe { &mut *sentence.get() };
        let mut line = Line { room, len: 0 };
        // An error means that the sentence was cut: what is there is still a sentence.
        let _ = line.write_fmt(what);
        let end = line.len;
        room[end] = 0;
    });
}

/// The sentence of this thread's last failure, which is empty if there was none.
pub(super) fn sentence() -> *const c_char {
    SENTENCE.with(|sentence| sentence.get() as *const c_char)
}

/// A test's way to make the next calls of this thread panic at the boundary.
pub(super) mod hook {
    #[cfg(any(test, feature = "faults"))]
    mod armed {
        use std::cell::Cell;

        thread_local! {
            static CALLS: Cell<u32> = const { Cell::new(0) };
        }

        /// The next `calls` exported functions that this thread calls panic.
        pub(crate) fn arm(calls: u32) {
            CALLS.set(calls);
        }

        pub(crate) fn entered() {
            if CALLS.get() > 0 {
                CALLS.set(CALLS.get() - 1);
                panic!("injected by a test");
            }
        }
    }

    #[cfg(any(test, feature = "faults"))]
    pub(crate) use armed::*;

    #[cfg(not(any(test, feature = "faults")))]
    #[inline(always)]
    pub(crate) fn entered() {}
}
