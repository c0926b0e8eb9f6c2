//! Check, backup, restore, repair, space that could be given back.

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::boundary::{self, VersionedOut, invalid};
use super::failure::guarded;
use super::results::*;
use super::types::*;
use crate::backend;
use crate::error::Result;
use crate::store::{BackedUp, Finding, Reclaimable, RepairOptions, Repaired, Restored, Verified};

/// Looks at every byte of the store that can be checked, while others go on: both copies of
/// `super`, the header of each segment, each record with its value, each slot of the index, and
/// whether every current record can be found.
///
/// What looks wrong is looked at again where nobody can change it, so that a healthy store has no
/// findings however busy it is. Nothing is changed; holdfast_repair() mends.
///
/// Parameters
/// - `care`: progress and findings, see holdfast_care; NULL = neither. No flag is for this call.
/// - `out`: the numbers; may be NULL. Written for HOLDFAST_STOPPED too: what was seen until then.
///
/// Results: HOLDFAST_OK: it came to the end, and `out->findings` says how much is wrong;
/// HOLDFAST_STOPPED: `progress` ended it; HOLDFAST_E_BUSY, HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY.
///
/// Takes as long as reading the store: about a second for a GB that is in memory. Holds up nobody:
/// it takes a latch only to look at a doubtful record a second time. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_verify(
    store: *mut holdfast_store,
    care: *const holdfast_care,
    out: *mut holdfast_verified,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle and structs of the size they say or NULL, by the rules of the
        // header.
        let (store, care, out) = unsafe {
            (boundary::store(store)?, Care::read(care, 0)?, VersionedOut::optional(out, "out")?)
        };
        let report = store.verify(&mut |done, total| care.goes_on(done, total))?;
        care.tell(&report.findings);
        out.set(|| c_verified(&report));
        Ok(ended(report.complete))
    })
}

/// Copies the store, while others go on, to a directory that is empty or does not exist yet: as it
/// was at one moment. Every write that was acknowledged before the call is in it, and none that
/// began after that moment; one that was under way is in it whole, or not at all.
///
/// The copy is a store: open it, or give it to holdfast_restore(). Its index is rebuilt when it is
/// opened. A copy that was cut off has no `super` and cannot be opened or restored. Values that
/// cannot be read are not in it and are counted.
///
/// Two things change a value in place and may be in the copy although they came later: a lifetime
/// that is prolonged, and a delete that finds no room for its record.
///
/// Parameters
/// - `to`: path of the directory, as the address of holdfast_open(). Its parent must exist; it
///   gets the owner and mode of the store. Not inside the store. Any filesystem will do.
/// - `care`: progress, and HOLDFAST_READ_BACK; NULL = neither.
/// - `out`: what was made; may be NULL.
///
/// Results
/// - HOLDFAST_OK: complete and on the disk.
/// - HOLDFAST_STOPPED: `progress` ended it. Nothing is left of it, as after every failure; `out` is
///   not written.
/// - HOLDFAST_E_FULL: writers needed the room that it held back, several times in a row. Try again
///   when fewer values are written, or create a larger store.
/// - HOLDFAST_E_REFUSED: the directory is not empty, not the caller's, or inside the store.
/// - HOLDFAST_E_NO_SPACE, HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY, HOLDFAST_E_TOO_MANY (4 backups and
///   checks at a time), HOLDFAST_E_DAMAGED: what was read back is not what was written.
///
/// Takes as long as copying the store. Writers are not held up; segments that come free wait until
/// they are copied, and a writer that finds none waits up to 300 ms for that. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_backup(
    store: *mut holdfast_store,
    to: *const c_char,
    care: *const holdfast_care,
    out: *mut holdfast_backed_up,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle, a string, structs of the size they say or NULL, by the rules of
        // the header.
        let (store, to, care, out) = unsafe {
            let store = boundary::store(store)?;
            let care = Care::read(care, HOLDFAST_READ_BACK)?;
            (store, boundary::address(to)?, care, VersionedOut::optional(out, "out")?)
        };
        let to = Path::new(OsStr::from_bytes(to.to_bytes()));
        let read_back = care.has(HOLDFAST_READ_BACK);
        let made = store.backup(to, read_back, &mut |done, total| care.goes_on(done, total))?;
        if made.complete {
            out.set(|| c_backed_up(&made));
        }
        Ok(ended(made.complete))
    })
}

/// Makes a store of a backup, in a directory that is empty or does not exist yet. The backup is
/// checked as it is copied, and left as it is; one that is damaged, or was opened as a store since,
/// is refused. It needs no open store.
///
/// Parameters
/// - `from`: the directory of the backup; `to`: that of the new store. Paths as for
///   holdfast_open(). `to` gets the owner and mode of `from`.
/// - `care`: progress; NULL = none. No flag is for this call.
/// - `out`: what was done; may be NULL.
///
/// Results: HOLDFAST_OK: complete and on the disk; HOLDFAST_STOPPED: `progress` ended it;
/// HOLDFAST_E_DAMAGED; HOLDFAST_E_NO_STORE: `from` holds no complete backup; HOLDFAST_E_REFUSED:
/// `to` is not empty, or no place for a store; HOLDFAST_E_NO_SPACE, HOLDFAST_E_IO. After all but the
/// first nothing is left of it, and `out` is not written.
/// Blocks for the disk. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_restore(
    from: *const c_char,
    to: *const c_char,
    care: *const holdfast_care,
    out: *mut holdfast_restored,
) -> c_int {
    guarded(|| {
        // SAFETY: strings, and structs of the size they say or NULL, by the rules of the header.
        let (from, to, care, out) = unsafe {
            let (from, to) = (boundary::address(from)?, boundary::address(to)?);
            (from, to, Care::read(care, 0)?, VersionedOut::optional(out, "out")?)
        };
        let [from, to] = [from, to].map(|path| OsStr::from_bytes(path.to_bytes()));
        let done = backend::restore(from, to, &mut |done, total| care.goes_on(done, total))?;
        if done.complete {
            out.set(|| c_restored(&done));
        }
        Ok(ended(done.complete))
    })
}

/// Mends a store that nobody has open, and never touches what is whole in it.
///
/// A damaged copy of `super` is replaced by the other. A segment whose header is damaged gets it
/// back from what its records say. A record that cannot be read is first written to a file
/// "dropped-<time>.bin" in the store's directory and then made harmless; as long as the index tells
/// which key led to it, no older value of that key comes back in its place. Then `index` and `meta`
/// are made anew. A store in which nothing is wrong is left alone. If the process dies in it, run
/// it again.
///
/// Parameters
/// - `address`: the store's directory, as for holdfast_open().
/// - `care`: progress, findings, HOLDFAST_DRY_RUN, HOLDFAST_FORCE_FILESYSTEM; NULL = nothing of it.
/// - `out`: what was done, or with HOLDFAST_DRY_RUN would be; may be NULL.
///
/// Results
/// - HOLDFAST_OK.
/// - HOLDFAST_STOPPED: `progress` ended it while it looked; nothing was changed, `out` not written.
/// - HOLDFAST_E_REFUSED: processes have it open; the sentence has their ids. Or as holdfast_open().
/// - HOLDFAST_E_FORMAT: both copies of `super` are damaged: put one back from a backup.
/// - HOLDFAST_E_DAMAGED: `data` is missing. HOLDFAST_E_NO_STORE, HOLDFAST_E_NO_SPACE (nothing was
///   changed if it is the side file that finds none), HOLDFAST_E_IO.
///
/// Takes as long as reading the store twice. While it works the store cannot be opened. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_repair(
    address: *const c_char,
    care: *const holdfast_care,
    out: *mut holdfast_repaired,
) -> c_int {
    guarded(|| {
        // SAFETY: a string, and structs of the size they say or NULL, by the rules of the header.
        let (address, care, out) = unsafe {
            let care = Care::read(care, HOLDFAST_DRY_RUN | HOLDFAST_FORCE_FILESYSTEM)?;
            (boundary::address(address)?, care, VersionedOut::optional(out, "out")?)
        };
        let options = RepairOptions {
            dry_run: care.has(HOLDFAST_DRY_RUN),
            force_filesystem: care.has(HOLDFAST_FORCE_FILESYSTEM),
        };
        let address = OsStr::from_bytes(address.to_bytes());
        let mut goes_on = |done, total| care.goes_on(done, total);
        let report = backend::repair(address, &options, &mut goes_on)?;
        if report.complete {
            care.tell(&report.findings);
            out.set(|| c_repaired(&report));
        }
        Ok(ended(report.complete))
    })
}

/// Tells what a full compaction would give back.
///
/// Parameters
/// - `exact`: 0 = from the counters, in microseconds: without what has expired, and as far off as
///   the counters are; 1 = by a walk over the headers of all records, while others go on.
/// - `out`: the numbers.
///
/// Results: HOLDFAST_OK; HOLDFAST_E_IO, HOLDFAST_E_NO_MEMORY. Waits for nobody. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_reclaimable(
    store: *mut holdfast_store,
    exact: c_int,
    out: *mut holdfast_space,
) -> c_int {
    guarded(|| {
        // SAFETY: a live handle and a struct of the size it says, by the rules of the header.
        let (store, out) =
            unsafe { (boundary::store(store)?, VersionedOut::required(out, "out")?) };
        let found = store.reclaimable(exact != 0)?;
        out.set(|| c_space(&found));
        Ok(HOLDFAST_OK)
    })
}

fn ended(complete: bool) -> c_int {
    if complete { HOLDFAST_OK } else { HOLDFAST_STOPPED }
}

/// The caller's wishes.
struct Care {
    flags: u32,
    progress: holdfast_progress_fn,
    finding: holdfast_finding_fn,
    context: *mut c_void,
}

impl Care {
    /// # Safety
    /// NULL, or a struct of the size it says whose callbacks and context may be used until the
    /// exported function returns.
    unsafe fn read(care: *const holdfast_care, allowed: u32) -> Result<Care> {
        if care.is_null() {
            let (progress, finding) = (None, None);
            return Ok(Care { flags: 0, progress, finding, context: std::ptr::null_mut() });
        }
        let mut copy = MaybeUninit::uninit();
        // SAFETY: the caller's obligation.
        let care = unsafe { boundary::versioned(care, &mut copy, "care")? };
        if care.flags & !allowed != 0 || care.reserved != 0 {
            return Err(invalid(format!(
                "care.flags is {:#x} and care.reserved {}; this call knows the flags {allowed:#x}, \
                 and reserved is 0",
                care.flags, care.reserved
            )));
        }
        let &holdfast_care { flags, progress, finding, context, .. } = care;
        Ok(Care { flags, progress, finding, context })
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    fn goes_on(&self, done: u64, total: u64) -> bool {
        // SAFETY: the caller's function with the caller's context, by the rules of the header.
        self.progress.is_none_or(|tell| unsafe { tell(self.context, done, total) } == 0)
    }

    fn tell(&self, findings: &[Finding]) {
        let Some(tell) = self.finding else { return };
        for finding in findings {
            let text = |text: &str| CString::new(text.replace('\0', "?")).unwrap_or_default();
            let file = text(finding.file.name());
            let what = text(&finding.what);
            let (consequence, remedy) = (text(finding.consequence), text(finding.remedy));
            let shown = holdfast_finding {
                struct_size: size_of::<holdfast_finding>(),
                file: file.as_ptr(),
                offset: finding.offset,
                segment: finding.segment.map_or(-1, |segment| segment as i64),
                what: what.as_ptr(),
                consequence: consequence.as_ptr(),
                remedy: remedy.as_ptr(),
            };
            // SAFETY: as in `goes_on`; the struct and its strings live until it returns.
            unsafe { tell(self.context, &shown) };
        }
    }
}

fn c_verified(report: &Verified) -> holdfast_verified {
    holdfast_verified {
        struct_size: size_of::<holdfast_verified>(),
        findings: report.findings_total,
        reachability_checked: report.reachability_checked as u64,
        segments: report.segments,
        segments_free: report.segments_free,
        records: report.records.count,
        record_bytes: report.records.bytes,
        live: report.live.count,
        live_bytes: report.live.bytes,
        expired: report.expired.count,
        expired_bytes: report.expired.bytes,
        tombstones: report.tombstones.count,
        tombstone_bytes: report.tombstones.bytes,
        dead: report.dead.count,
        dead_bytes: report.dead.bytes,
        debris: report.debris.count,
        keys: report.keys,
        keys_counted: report.keys_counted,
        live_bytes_counted: report.live_bytes_counted,
    }
}

fn c_backed_up(made: &BackedUp) -> holdfast_backed_up {
    holdfast_backed_up {
        struct_size: size_of::<holdfast_backed_up>(),
        version: made.version,
        taken_ms: made.taken_ms,
        records: made.records.count,
        record_bytes: made.records.bytes,
        bytes: made.bytes,
        damaged: made.damaged,
        segments_damaged: made.segments_damaged,
        restarts: made.restarts as u64,
    }
}

fn c_restored(done: &Restored) -> holdfast_restored {
    holdfast_restored {
        struct_size: size_of::<holdfast_restored>(),
        version: done.version,
        taken_ms: done.taken_ms,
        bytes: done.bytes,
    }
}

fn c_repaired(report: &Repaired) -> holdfast_repaired {
    let mut dropped_file = [0; 64];
    let name = report.dropped_file.as_ref().and_then(|path| path.file_name());
    let name = name.map_or(&[][..], |name| name.as_bytes());
    // The last one stays 0.
    for (to, from) in dropped_file[..63].iter_mut().zip(name) {
        *to = *from as c_char;
    }
    holdfast_repaired {
        struct_size: size_of::<holdfast_repaired>(),
        findings: report.findings_total,
        super_rewritten: report.super_rewritten as u64,
        headers_mended: report.headers_mended,
        pieces_dropped: report.pieces_dropped,
        bytes_dropped: report.bytes_dropped,
        keys_deleted: report.keys_deleted,
        rebuilt: report.rebuilt as u64,
        dropped_file,
    }
}

fn c_space(found: &Reclaimable) -> holdfast_space {
    holdfast_space {
        struct_size: size_of::<holdfast_space>(),
        bytes: found.bytes,
        segment_bytes: found.segment_bytes,
        segments_used: found.segments_used,
        segments_free: found.segments_free,
        live: found.live.count,
        live_bytes: found.live.bytes,
        expired: found.expired.count,
        expired_bytes: found.expired.bytes,
        tombstones: found.tombstones.count,
        tombstone_bytes: found.tombstones.bytes,
        dead: found.dead.count,
        dead_bytes: found.dead.bytes,
        by_share: found.by_share,
    }
}
