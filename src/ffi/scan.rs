//! Going over all keys.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ops::{Bound, ControlFlow};

use super::boundary::{self, Out, VersionedOut, invalid};
use super::buffer::Lent;
use super::failure::guarded;
use super::results::*;
use super::types::*;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::store::{Entry, Item, Page, Range, Scan};

/// Gives a page of all keys to a callback, in an order that says nothing, and moves the cursor
/// behind them: begin with 0 and call it until the cursor is HOLDFAST_SCAN_DONE.
///
/// A key that is there from the beginning of a scan to its end is given exactly once, whatever is
/// written, deleted and reclaimed meanwhile, by whomever. One that comes or goes meanwhile may be
/// given or not. What is given is whole, has passed its checksum and belongs to its key; of a key
/// that is overwritten meanwhile it is one of its values. What has expired is not given.
///
/// Parameters
/// - `cursor`: 0 at the beginning, HOLDFAST_SCAN_DONE at the end. Every number between is a place
///   in the scan, for the life of the store, in any process; divided by 2^64 it is the share that
///   is done. It is moved before each entry is given: after a failure the scan can go on with it.
/// - `options`: what is given, see holdfast_scan_options; NULL = keys without values, 1000 a page.
/// - `visit`, `context`: called with each entry; another result than 0 ends the page behind it.
/// - `page`: what the page came to; may be NULL.
///
/// Results
/// - HOLDFAST_OK: the page is over; go on until the cursor is HOLDFAST_SCAN_DONE. A page ends after
///   `limit` entries, or after looking at that many or 10000 records, so it may give nothing while
///   more follow.
/// - HOLDFAST_STOPPED: `visit` ended it. The cursor is behind that entry.
/// - HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY, HOLDFAST_E_DAMAGED (the index; damaged
///   records are passed over and counted in `page`). `page` is not written.
///
/// Waits as holdfast_get() does, and holds up nobody. A million keys take under a second, without
/// values a third of that. Each page looks at the slots of a 256th of the index, 0.1 ms in a store
/// of ten million keys, so pages of a hundred entries or more are cheaper an entry. Memory: 8 bytes
/// for each of these slots, and one value. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_scan(
    store: *mut holdfast_store,
    cursor: *mut u64,
    options: *const holdfast_scan_options,
    visit: holdfast_entry_fn,
    context: *mut c_void,
    page: *mut holdfast_page,
) -> c_int {
    guarded(|| {
        let mut copy = MaybeUninit::uninit();
        // SAFETY: live handle, a cursor, structs of the size they say or NULL, by the rules of the
        // header.
        let (store, options, page) = unsafe {
            let store = boundary::store(store)?;
            boundary::check(cursor, "cursor")?;
            let options = match options.is_null() {
                true => None,
                false => Some(boundary::versioned(options, &mut copy, "options")?),
            };
            (store, options, VersionedOut::optional(page, "page")?)
        };
        let visitor = Visitor::new(store, visit, context)?;
        let filter = options.and_then(|o| Visitor::new(store, o.filter, o.filter_context).ok());
        let wanted = |key: &[u8], item: &Item| {
            let entry = Entry { key, item: *item, value: None };
            filter.as_ref().is_none_or(|filter| filter.show(&entry) != 0)
        };
        let mut scan = Scan::default();
        if let Some(options) = options {
            check_flags(options.flags, HOLDFAST_VALUES, options.reserved)?;
            // SAFETY: readable bytes, by the rules of the header.
            scan.prefix = unsafe { boundary::bytes(options.prefix, options.prefix_len, "prefix")? };
            scan.limit = options.limit;
            scan.values = options.flags & HOLDFAST_VALUES != 0;
            scan.filter = if filter.is_some() { Some(&wanted) } else { None };
        }
        // SAFETY: the caller's integer, checked above.
        let mut place = unsafe { cursor.read() };
        let done = store.scan(&mut place, &scan, &mut |entry| visitor.visit(entry));
        // SAFETY: as above.
        unsafe { cursor.write(place) };
        Ok(report(&done?, &page))
    })
}

/// Gives a page of a range of keys to a callback, in the order of their bytes.
///
/// The store keeps no order of keys: each page is one pass over *all* keys, however small the
/// range, some tenths of a second for a million of them. Take large pages of few ranges; to go over
/// everything take holdfast_scan().
///
/// Parameters
/// - `options`: which keys, see holdfast_range_options; NULL = the first 1000 of all.
/// - `visit`, `context`: called with each entry; another result than 0 ends the page behind it.
/// - `next`: a buffer, see holdfast_buffer: the last key of the page if there are more, empty if
///   not. The next page begins behind it: make it `from` with HOLDFAST_FROM_EXCLUDED or, with
///   HOLDFAST_REVERSE, `to`. The same buffer may be passed again then. May be NULL.
/// - `page`: what the page came to; may be NULL.
///
/// Results: HOLDFAST_OK; HOLDFAST_STOPPED: `visit` ended it, and `next` is that entry's key. The
/// failures of holdfast_scan(); then `next` is empty, and `page` is not written.
///
/// For the keys of a page holds what holds for those of a scan. With HOLDFAST_VALUES each is read
/// after the pass, and a key that went meanwhile is left out. Waits as holdfast_get() does, and
/// holds up nobody. Memory: `limit` keys. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_range(
    store: *mut holdfast_store,
    options: *const holdfast_range_options,
    visit: holdfast_entry_fn,
    context: *mut c_void,
    next: *mut holdfast_buffer,
    page: *mut holdfast_page,
) -> c_int {
    guarded(|| {
        let mut copy = MaybeUninit::uninit();
        // SAFETY: live handle, the library's buffer, structs of the size they say or NULL, by the
        // rules of the header.
        let (mut next, store, options, page) = unsafe {
            let next = if next.is_null() { None } else { Some(Lent::take(next)?) };
            let store = boundary::store(store)?;
            let options = match options.is_null() {
                true => None,
                false => Some(boundary::versioned(options, &mut copy, "options")?),
            };
            (next, store, options, VersionedOut::optional(page, "page")?)
        };
        let visitor = Visitor::new(store, visit, context)?;
        // SAFETY: readable bytes, by the rules of the header.
        let range = options.map(|options| unsafe { range_of(options) }).transpose()?;
        let range = range.unwrap_or_default();
        let done = store.range(&range, &mut |entry| visitor.visit(entry))?;
        // From here on the range is not looked at: its ends may lie in this very buffer.
        if let (Some(next), Some(key)) = (&mut next, &done.next) {
            next.clear();
            next.try_reserve(key.len()).map_err(|_| Error::no_memory(key.len() as u64))?;
            next.extend_from_slice(key);
            next.show();
        }
        Ok(report(&done, &page))
    })
}

/// Counts the keys that begin with some bytes, by one pass over all keys; a key that comes or goes
/// meanwhile is counted or not. (The statistics have the number of all keys at once.)
///
/// Parameters: `prefix`, `prefix_len`: the bytes; NULL and 0 = every key. `count`: the number.
///
/// Results: HOLDFAST_OK; the failures of holdfast_scan(). Damaged records are not counted. Waits
/// as holdfast_get() does, and holds up nobody. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_count_keys(
    store: *mut holdfast_store,
    prefix: *const c_void,
    prefix_len: usize,
    count: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: live handle, readable bytes, writable integer, by the rules of the header.
        let (store, prefix, count) = unsafe {
            let store = boundary::store(store)?;
            let prefix = boundary::bytes(prefix, prefix_len, "prefix")?;
            (store, prefix, Out::required(count, "count")?)
        };
        count.set(store.count_keys(prefix)?);
        Ok(HOLDFAST_OK)
    })
}

/// # Safety
/// The pointers have as many readable bytes as is said, unchanged while `'a` lasts.
unsafe fn range_of<'a>(options: &holdfast_range_options) -> Result<Range<'a>> {
    let known = HOLDFAST_VALUES | HOLDFAST_REVERSE | HOLDFAST_FROM_EXCLUDED | HOLDFAST_TO_INCLUDED;
    check_flags(options.flags, known, options.reserved)?;
    let has = |flag| options.flags & flag != 0;
    // SAFETY: as demanded of the caller.
    let (from, to, prefix) = unsafe {
        (
            boundary::bytes(options.from, options.from_len, "from")?,
            boundary::bytes(options.to, options.to_len, "to")?,
            boundary::bytes(options.prefix, options.prefix_len, "prefix")?,
        )
    };
    Ok(Range {
        from: match options.from.is_null() {
            true => Bound::Unbounded,
            false if has(HOLDFAST_FROM_EXCLUDED) => Bound::Excluded(from),
            false => Bound::Included(from),
        },
        to: match options.to.is_null() {
            true => Bound::Unbounded,
            false if has(HOLDFAST_TO_INCLUDED) => Bound::Included(to),
            false => Bound::Excluded(to),
        },
        prefix,
        limit: options.limit,
        reverse: has(HOLDFAST_REVERSE),
        values: has(HOLDFAST_VALUES),
    })
}

fn check_flags(flags: u32, known: u32, reserved: u32) -> Result<()> {
    if flags & !known != 0 {
        return Err(invalid(format!("options.flags is {flags:#x}; {known:#x} are known here")));
    }
    if reserved != 0 {
        return Err(invalid("options.reserved must be 0"));
    }
    Ok(())
}

fn report(done: &Page, page: &VersionedOut<holdfast_page>) -> c_int {
    page.set(|| holdfast_page {
        struct_size: size_of::<holdfast_page>(),
        given: done.given,
        damaged: done.damaged,
    });
    if done.stopped { HOLDFAST_STOPPED } else { HOLDFAST_OK }
}

const _: () = assert!(HOLDFAST_SCAN_DONE == crate::store::SCAN_DONE);

/// A callback of C with its context.
struct Visitor<'a> {
    store: &'a dyn Backend,
    call: unsafe extern "C" fn(*mut c_void, *const holdfast_entry) -> c_int,
    context: *mut c_void,
}

impl<'a> Visitor<'a> {
    fn new(
        store: &'a dyn Backend,
        call: holdfast_entry_fn,
        context: *mut c_void,
    ) -> Result<Visitor<'a>> {
        let call = call.ok_or_else(|| invalid("visit is NULL"))?;
        Ok(Visitor { store, call, context })
    }

    /// Shows an entry; its pointers live until the callback returns.
    fn show(&self, entry: &Entry) -> c_int {
        let Entry { key, item, value } = entry;
        let ttl_ms = match item.expires_ms {
            0 => HOLDFAST_TTL_NEVER,
            at => at.saturating_sub(self.store.now_ms().unwrap_or(at)) as i64,
        };
        let item = holdfast_item {
            struct_size: size_of::<holdfast_item>(),
            version: item.version,
            ttl_ms,
            value_len: item.value_len,
            flags: item.flags,
            reserved: 0,
        };
        let entry = holdfast_entry {
            struct_size: size_of::<holdfast_entry>(),
            key: key.as_ptr().cast(),
            key_len: key.len(),
            value: value.map_or(std::ptr::null(), |value| value.as_ptr().cast()),
            value_len: value.map_or(0, <[u8]>::len),
            item: &item,
        };
        // SAFETY: a function that takes this context and returns, by the rules of the header.
        unsafe { (self.call)(self.context, &entry) }
    }

    fn visit(&self, entry: &Entry) -> ControlFlow<()> {
        match self.show(entry) {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}
