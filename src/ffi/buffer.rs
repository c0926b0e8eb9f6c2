//! A buffer of C as a `Vec` for the time of a call, and back however the call ends.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::boundary::{check, invalid};
use super::types::holdfast_buffer;
use crate::error::Result;

/// A caller's buffer as a `Vec` for the time of a call; it goes back however the call ends.
pub(super) struct Lent {
    buffer: *mut holdfast_buffer,
    bytes: ManuallyDrop<Vec<u8>>,
    shown: bool,
}

impl Lent {
    /// # Safety
    /// NULL, or a buffer that was zero at first, has been changed by this library only, and is
    /// used by no other call until this value is dropped.
    #[inline]
    pub(super) unsafe fn take(buffer: *mut holdfast_buffer) -> Result<Lent> {
        check(buffer, "value (the buffer)")?;
        // SAFETY: not NULL and aligned; readable by the caller's obligation.
        let holdfast_buffer { data, len, capacity } = unsafe { buffer.read() };
        if data.is_null() != (capacity == 0) || len > capacity || capacity > isize::MAX as usize {
            return Err(invalid(
                "a holdfast_buffer starts as all zero and is changed by the library only",
            ));
        }
        let bytes = match capacity {
            0 => Vec::new(),
            // SAFETY: pointer and capacity came from a `Vec<u8>` in `drop` below, which gave them
            // away; length 0 claims nothing about the bytes.
            _ => unsafe { Vec::from_raw_parts(data, 0, capacity) },
        };
        Ok(Lent { buffer, bytes: ManuallyDrop::new(bytes), shown: false })
    }

    /// Empties a buffer that is used later in the call.
    ///
    /// # Safety
    /// As for [`Lent::take`].
    #[inline]
    pub(super) unsafe fn empty(buffer: *mut holdfast_buffer) -> Result<()> {
        // SAFETY: as demanded of the caller.
        unsafe { Lent::take(buffer) }.map(drop)
    }

    /// The call ended well: the caller is to see the bytes. Otherwise it sees none.
    #[inline]
    pub(super) fn show(&mut self) {
        self.shown = true;
    }
}

impl Deref for Lent {
    type Target = Vec<u8>;

    #[inline]
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Lent {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Lent {
    #[inline]
    fn drop(&mut self) {
        let len = if self.shown { self.bytes.len() } else { 0 };
        let capacity = self.bytes.capacity();
        let data = match capacity {
            0 => std::ptr::null_mut(),
            _ => self.bytes.as_mut_ptr(),
        };
        // SAFETY: writable as promised to `take`; the Vec is never dropped, so the memory has one
        // owner again: the caller.
        unsafe { self.buffer.write(holdfast_buffer { data, len, capacity }) };
    }
}

/// Frees a buffer's memory and zeroes it.
///
/// # Safety
/// As for [`Lent::take`].
pub(super) unsafe fn free(buffer: *mut holdfast_buffer) -> Result<()> {
    // SAFETY: as demanded of the caller.
    let mut lent = unsafe { Lent::take(buffer)? };
    *lent.bytes = Vec::new();
    Ok(())
}
