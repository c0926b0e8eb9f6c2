//! Where C ends: every check of a pointer, a length, a number or a struct size.
//!
//! What C passes is believed only as far as nothing else is possible: a pointer that is not NULL
//! is taken to point at what its type says. All else is checked before it is used, once, and
//! leaves here as a type of the library.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::time::Duration;

use super::results::*;
use super::types::{holdfast_lock, holdfast_store};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::limits::{KEY_MAX, OWNER_MAX};
use crate::lock::Held;
use crate::options::{Sync, Ttl};

/// Longest address accepted, bytes: PATH_MAX.
const ADDRESS_MAX: usize = 4096;
/// No struct of any version is larger; what claims to be was never initialised.
const STRUCT_MAX: usize = 4096;

pub(super) fn invalid(what: impl Into<String>) -> Error {
    Error::Invalid(what.into())
}

#[cold]
#[inline(never)]
fn null(what: &str) -> Error {
    invalid(format!("{what} is NULL"))
}

#[cold]
#[inline(never)]
fn misaligned(what: &str) -> Error {
    invalid(format!("{what} is not aligned as its type demands"))
}

// Words for a refusal are made out of line: a call that is in order keeps a small frame.

#[cold]
#[inline(never)]
fn not_a_key(len: usize) -> Error {
    invalid(format!("a key has 1 to {KEY_MAX} bytes, this one {len}"))
}

#[cold]
#[inline(never)]
fn not_a_length(what: &str, len: usize) -> Error {
    invalid(format!("{what} of {len} bytes: nothing is that long"))
}

#[cold]
#[inline(never)]
fn not_a_size(name: &str, size: usize) -> Error {
    invalid(format!("{name}.struct_size is {size}; set it to sizeof({name})"))
}

#[cold]
#[inline(never)]
fn not_a_ttl(ttl_ms: i64) -> Error {
    invalid(format!("ttl_ms is {ttl_ms}; it is > 0, 0 (default) or -1 (never)"))
}

#[inline]
pub(super) fn check<T>(pointer: *const T, what: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(null(what));
    }
    if !pointer.is_aligned() {
        return Err(misaligned(what));
    }
    Ok(())
}

/// The store behind a handle.
///
/// # Safety
/// NULL, or a handle from `holdfast_open` that is not closed while `'a` lasts.
#[inline]
pub(super) unsafe fn store<'a>(handle: *const holdfast_store) -> Result<&'a dyn Backend> {
    check(handle, "store")?;
    // SAFETY: not NULL, so a live handle by the caller's obligation.
    Ok(unsafe { &*(*handle).store })
}

/// The bytes of a key. Its length is checked here and once more by the store.
///
/// # Safety
/// `pointer` is NULL or has `len` readable bytes that nobody changes while `'a` lasts.
#[inline]
pub(super) unsafe fn key<'a>(pointer: *const c_void, len: usize) -> Result<&'a [u8]> {
    if len == 0 || len > KEY_MAX {
        return Err(not_a_key(len));
    }
    // SAFETY: as demanded of the caller.
    unsafe { bytes(pointer, len, "key") }
}

/// The name of an owner.
///
/// # Safety
/// As for [`key`].
pub(super) unsafe fn owner<'a>(pointer: *const c_void, len: usize) -> Result<&'a [u8]> {
    if len == 0 || len > OWNER_MAX {
        return Err(invalid(format!("an owner has 1 to {OWNER_MAX} bytes, this one {len}")));
    }
    // SAFETY: as demanded of the caller.
    unsafe { bytes(pointer, len, "owner") }
}

/// The same; NULL with a length of 0 is none.
///
/// # Safety
/// As for [`key`].
pub(super) unsafe fn optional_owner<'a>(
    pointer: *const c_void,
    len: usize,
) -> Result<Option<&'a [u8]>> {
    match pointer.is_null() && len == 0 {
        true => Ok(None),
        // SAFETY: as demanded of the caller.
        false => unsafe { owner(pointer, len) }.map(Some),
    }
}

/// The bytes of a value; NULL is fine for none.
///
/// # Safety
/// As for [`key`].
#[inline]
pub(super) unsafe fn value<'a>(pointer: *const c_void, len: usize) -> Result<&'a [u8]> {
    // SAFETY: as demanded of the caller.
    unsafe { bytes(pointer, len, "value") }
}

/// Bytes of any length, none for NULL and 0.
///
/// # Safety
/// As for [`key`].
#[inline]
pub(super) unsafe fn bytes<'a>(pointer: *const c_void, len: usize, what: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(what));
    }
    if len > isize::MAX as usize {
        return Err(not_a_length(what, len));
    }
    // SAFETY: not NULL, of a length that an object can have; readable and still by the caller's
    // obligation.
    Ok(unsafe { std::slice::from_raw_parts(pointer as *const u8, len) })
}

/// A path from C.
///
/// # Safety
/// NULL, or a string that ends with NUL and that nobody changes while `'a` lasts.
pub(super) unsafe fn address<'a>(pointer: *const c_char) -> Result<&'a CStr> {
    check(pointer, "address")?;
    // SAFETY: a string by the caller's obligation; at most ADDRESS_MAX bytes of it are looked at.
    let len = unsafe { libc::strnlen(pointer, ADDRESS_MAX) };
    match len {
        0 => Err(invalid("address is empty")),
        ADDRESS_MAX => Err(invalid(format!("address has {ADDRESS_MAX} bytes or more"))),
        // SAFETY: `strnlen` found its end.
        _ => Ok(unsafe { CStr::from_ptr(pointer) }),
    }
}

/// A lifetime.
#[inline]
pub(super) fn ttl(ttl_ms: i64) -> Result<Ttl> {
    match ttl_ms {
        HOLDFAST_TTL_DEFAULT => Ok(Ttl::Default),
        HOLDFAST_TTL_NEVER => Ok(Ttl::Never),
        1.. => Ok(Ttl::Millis(ttl_ms as u64)),
        _ => Err(not_a_ttl(ttl_ms)),
    }
}

/// A sync mode: 0 = as it is.
pub(super) fn sync_mode(mode: u32, name: &str) -> Result<Option<Sync>> {
    match mode {
        HOLDFAST_SYNC_DEFAULT => Ok(None),
        HOLDFAST_SYNC_NONE => Ok(Some(Sync::None)),
        HOLDFAST_SYNC_PERIODIC => Ok(Some(Sync::Periodic)),
        HOLDFAST_SYNC_ALWAYS => Ok(Some(Sync::Always)),
        other => Err(invalid(format!("{name} is {other}; it is 0 to 3"))),
    }
}

/// A lease: 0 = none.
#[inline]
pub(super) fn lease(lease_ms: i64) -> Result<Option<Duration>> {
    match lease_ms {
        0 => Ok(None),
        1.. => Ok(Some(Duration::from_millis(lease_ms as u64))),
        _ => Err(invalid(format!("lease_ms is {lease_ms}; it is > 0, or 0 for none"))),
    }
}

/// A lock that C holds; one that is zeroed is kept, and every write with it is refused as lost.
///
/// # Safety
/// NULL or readable.
#[inline]
pub(super) unsafe fn held(lock: *const holdfast_lock) -> Result<Option<Held>> {
    if lock.is_null() {
        return Ok(None);
    }
    check(lock, "lock")?;
    // SAFETY: not NULL and aligned; readable by the caller's obligation.
    let lock = unsafe { lock.read() };
    Ok(Some(Held { fence: lock.fence, cookie: lock.cookie, place: lock.place }))
}

/// Where one plain result goes, if anywhere.
#[derive(Clone, Copy)]
pub(super) struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    /// # Safety
    /// NULL, or writable until the exported function returns.
    #[inline]
    pub(super) unsafe fn optional(pointer: *mut T, what: &str) -> Result<Out<T>> {
        if !pointer.is_aligned() {
            return Err(misaligned(what));
        }
        Ok(Out(pointer))
    }

    /// # Safety
    /// As for [`Out::optional`]; NULL is refused.
    #[inline]
    pub(super) unsafe fn required(pointer: *mut T, what: &str) -> Result<Out<T>> {
        check(pointer, what)?;
        Ok(Out(pointer))
    }

    /// For a caller that has no place for it.
    #[inline]
    pub(super) fn nowhere() -> Out<T> {
        Out(std::ptr::null_mut())
    }

    #[inline]
    pub(super) fn set(&self, value: T) {
        if !self.0.is_null() {
            // SAFETY: aligned as checked, writable as promised at construction.
            unsafe { self.0.write(value) }
        }
    }
}

/// A struct that begins with its size and may grow at its end.
///
/// # Safety
/// `repr(C)`, first field `struct_size: usize`, and all zero is a valid value.
pub(super) unsafe trait Versioned: Copy {
    /// For messages.
    const NAME: &'static str;
    /// Its size in the first version of the ABI.
    const FIRST_SIZE: usize;
}

/// The size that the caller's version of a struct has.
///
/// # Safety
/// Not NULL, aligned, and at least its `struct_size` is readable.
#[inline]
unsafe fn claimed_size<T: Versioned>(pointer: *const T) -> Result<usize> {
    // SAFETY: the first field, by the trait's and the caller's obligations.
    let size = unsafe { (pointer as *const usize).read() };
    if size < T::FIRST_SIZE || size > STRUCT_MAX {
        return Err(not_a_size(T::NAME, size));
    }
    Ok(size)
}

/// Reads a struct of any version: fields that an older caller does not have are 0. A newer caller
/// may use no field that this library does not know. Only a struct of another version is copied.
///
/// # Safety
/// NULL, or `struct_size` and as many bytes as it says are readable, and still while `'a` lasts.
#[inline]
pub(super) unsafe fn versioned<'a, T: Versioned>(
    pointer: *const T,
    copy: &'a mut MaybeUninit<T>,
    what: &str,
) -> Result<&'a T> {
    check(pointer, what)?;
    // SAFETY: just checked, readable by the caller's obligation.
    let size = unsafe { claimed_size(pointer)? };
    if size == size_of::<T>() {
        // SAFETY: the caller promises this many readable bytes that nobody changes.
        return Ok(unsafe { &*pointer });
    }
    // SAFETY: as demanded of the caller, for the size that was just read.
    unsafe { of_another_version(pointer, size, copy)? };
    // SAFETY: all zero is valid, and what was copied over it came from a valid value.
    Ok(unsafe { copy.assume_init_ref() })
}

/// # Safety
/// `size` bytes are readable at `pointer`.
#[cold]
#[inline(never)]
unsafe fn of_another_version<T: Versioned>(
    pointer: *const T,
    size: usize,
    copy: &mut MaybeUninit<T>,
) -> Result<()> {
    let known = size.min(size_of::<T>());
    *copy = MaybeUninit::zeroed();
    // SAFETY: `known` bytes are readable there and writable here.
    unsafe { pointer.cast::<u8>().copy_to_nonoverlapping(copy.as_mut_ptr().cast(), known) };
    for at in known..size {
        // SAFETY: `size` bytes are readable.
        if unsafe { *pointer.cast::<u8>().add(at) } != 0 {
            return Err(Error::Unsupported(format!(
                "{} asks for something that this version of the library does not know",
                T::NAME
            )));
        }
    }
    Ok(())
}

/// Where a struct of the caller's version goes, if anywhere.
#[derive(Clone, Copy)]
pub(super) struct VersionedOut<T> {
    pointer: *mut u8,
    size: usize,
    what: PhantomData<T>,
}

impl<T: Versioned> VersionedOut<T> {
    /// # Safety
    /// NULL, or `struct_size` is readable and as many bytes as it says are writable until the
    /// exported function returns.
    #[inline]
    pub(super) unsafe fn optional(pointer: *mut T, what: &str) -> Result<VersionedOut<T>> {
        if pointer.is_null() {
            return Ok(VersionedOut { pointer: pointer.cast(), size: 0, what: PhantomData });
        }
        // SAFETY: as demanded of the caller.
        unsafe { VersionedOut::required(pointer, what) }
    }

    /// # Safety
    /// As for [`VersionedOut::optional`]; NULL is refused.
    #[inline]
    pub(super) unsafe fn required(pointer: *mut T, what: &str) -> Result<VersionedOut<T>> {
        check(pointer, what)?;
        // SAFETY: just checked, readable by the caller's obligation.
        let size = unsafe { claimed_size(pointer)? };
        Ok(VersionedOut { pointer: pointer.cast(), size, what: PhantomData })
    }

    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        !self.pointer.is_null()
    }

    /// Bytes from one to the next when the caller has an array of them.
    #[inline]
    pub(super) fn stride(&self) -> usize {
        self.size
    }

    /// Writes what the caller's version has. `struct_size` in what is made is the size here; the
    /// caller's own stays, and so does what is unknown here. Made in place, field by field.
    #[inline]
    pub(super) fn set(&self, make: impl Fn() -> T) {
        if !self.is_wanted() {
            return;
        }
        if self.size == size_of::<T>() {
            // SAFETY: aligned as checked at construction, with this many writable bytes.
            return unsafe { self.pointer.cast::<T>().write(make()) };
        }
        self.set_as_another_version(make());
    }

    #[cold]
    #[inline(never)]
    fn set_as_another_version(&self, value: T) {
        let skip = size_of::<usize>();
        let bytes = self.size.min(size_of::<T>()) - skip;
        let from = (&raw const value).cast::<u8>();
        // SAFETY: within `value` here, and within the bytes promised at construction there.
        unsafe { from.add(skip).copy_to_nonoverlapping(self.pointer.add(skip), bytes) }
    }

    /// The same for element `index` of an array, whose `struct_size` is written too.
    ///
    /// # Safety
    /// The array has more than `index` elements of `stride` bytes, all writable.
    pub(super) unsafe fn set_at(&self, index: usize, value: T) {
        // SAFETY: inside the array by the caller's obligation; the stride keeps the alignment of
        // `usize`, as checked by whoever made the array.
        let pointer = unsafe {
            let pointer = self.pointer.add(index * self.size);
            pointer.cast::<usize>().write(self.size);
            pointer
        };
        VersionedOut { pointer, ..*self }.set(|| value);
    }
}
