//! A shared mapping as words and bytes, never as references into it.
//!
//! Another process may write any byte at any time. So control words are atomics of one size and
//! place for life, and payload is only ever copied, word by word or by one instruction, into
//! private memory, where it is checked before it is used. No `&[u8]` into the mapping exists.
//!
//! Every access is checked against the bytes that the file really has (`usable`), because a touch
//! beyond the end of a mapped file ends the process with SIGBUS.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::Advice;

use super::fault;
use super::words::{self, Cell, Word};
use crate::error::{Error, Result};
use crate::limits::{KEY_MAX, LINE, OWNER_MAX};

/// [`Map::resident`] looks at so many places at most,
const RESIDENT_LOOKS: u64 = 256;
/// and asks for so many pages at each.
const RESIDENT_RUN: u64 = 64;

fn page_bytes() -> u64 {
    // SAFETY: asks for a constant of the system.
    (unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).max(4096) as u64
}

/// Asks the kernel to keep in single pages what is read of a file. What it reads ahead of somebody who
/// reads in order it keeps in pieces of up to 2 MiB, where the filesystem can (XFS since Linux 5.18,
/// ext4 since 6.16), and a store through a mapping to one byte of a piece makes it write all of it.
fn keep_in_pages(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::Random);
}

/// Takes what is on the disk of a file, and mapped by nobody, out of memory: who reads it next reads
/// the disk.
pub(crate) fn forget(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

enum Memory {
    Shared(memmap2::MmapRaw),
    /// Private words: for tests of the rooms above that need no file, also under Miri.
    #[cfg(test)]
    Heap(Box<[Word]>),
}

/// A mapping of one file, at the greatest size that the file may ever have.
pub(crate) struct Map {
    memory: Memory,
    file: Option<File>,
    usable: AtomicUsize,
}

impl Map {
    /// Maps `reserve` bytes of address space over `file`; only the bytes it has now are usable.
    pub(crate) fn shared(file: File, reserve: u64, name: &str) -> Result<Map> {
        let raw = memmap2::MmapOptions::new()
            .len(reserve as usize)
            .map_raw(&file)
            .map_err(|e| Error::io(format!("mapping {reserve} bytes of {name}"), e))?;
        // Core dumps of a host process must not carry its users' sessions.
        #[cfg(target_os = "linux")]
        let _ = raw.advise(memmap2::Advice::DontDump);
        // And for what a fault reads, see `keep_in_pages`.
        let _ = raw.advise(memmap2::Advice::Random);
        keep_in_pages(&file);
        let map =
            Map { memory: Memory::Shared(raw), file: Some(file), usable: AtomicUsize::new(0) };
        map.refresh().map_err(|e| Error::io(format!("looking at {name}"), e))?;
        Ok(map)
    }

    #[cfg(test)]
    pub(crate) fn heap(bytes: u64) -> Map {
        let words = (0..bytes.div_ceil(8)).map(|_| Word::new(0)).collect();
        Map {
            memory: Memory::Heap(words),
            file: None,
            usable: AtomicUsize::new(bytes as usize & !7),
        }
    }

    /// Looks at the size of the file again; it grows while others use it.
    #[cold]
    pub(crate) fn refresh(&self) -> std::io::Result<()> {
        if let Some(file) = &self.file {
            let size = (file.metadata()?.len() as usize).min(self.reserve());
            self.usable.store(size & !63, Ordering::Release);
        }
        Ok(())
    }

    fn reserve(&self) -> usize {
        match &self.memory {
            Memory::Shared(raw) => raw.len(),
            #[cfg(test)]
            Memory::Heap(words) => words.len() * 8,
        }
    }

    /// The file behind the mapping.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        match &self.memory {
            Memory::Shared(raw) => raw.as_mut_ptr(),
            #[cfg(test)]
            Memory::Heap(words) => words.as_ptr() as *mut u8,
        }
    }

    /// Are `len` bytes at `at` there? Looks at the file again before it says no.
    #[inline]
    pub(crate) fn contains(&self, at: u64, len: u64) -> bool {
        let Some(end) = at.checked_add(len) else { return false };
        if end <= self.usable.load(Ordering::Acquire) as u64 {
            return true;
        }
        self.refresh().is_ok() && end <= self.usable.load(Ordering::Acquire) as u64
    }

    /// Bytes that may be touched now.
    pub(crate) fn usable(&self) -> u64 {
        self.usable.load(Ordering::Acquire) as u64
    }

    #[inline]
    fn word(&self, at: u64) -> &Word {
        assert!(
            at.is_multiple_of(8) && self.contains(at, 8),
            "word {at:#x} is outside the mapping"
        );
        // SAFETY: in bounds and aligned by the assertion; the mapping lives as long as `self`; all
        // accesses to control words of any process are atomic and of this size.
        unsafe { &*(self.base().add(at as usize) as *const Word) }
    }

    /// A 32-bit cell (latches and futex words have this size because the kernel's are).
    #[inline]
    pub(crate) fn cell(&self, at: u64) -> &Cell {
        assert!(
            at.is_multiple_of(4) && self.contains(at, 4),
            "cell {at:#x} is outside the mapping"
        );
        // SAFETY: as in `word`; cells never overlap words (the layouts place them apart).
        unsafe { &*(self.base().add(at as usize) as *const Cell) }
    }

    #[inline]
    pub(crate) fn load(&self, at: u64) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    /// The eight words of a line, each read on its own.
    #[inline]
    pub(crate) fn line(&self, at: u64) -> [u64; 8] {
        assert!(at.is_multiple_of(64) && self.contains(at, 64), "line {at:#x} is outside");
        // SAFETY: as in `word`, for eight words.
        let words = unsafe { &*(self.base().add(at as usize) as *const [Word; 8]) };
        std::array::from_fn(|i| words[i].load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn store(&self, at: u64, value: u64) {
        fault::step();
        self.word(at).store(value, Ordering::Release)
    }

    #[inline]
    pub(crate) fn cas(&self, at: u64, old: u64, new: u64) -> std::result::Result<u64, u64> {
        fault::step();
        self.word(at).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
    }

    /// Adds and gives the value before; negative amounts are added as two's complement.
    #[inline]
    pub(crate) fn add(&self, at: u64, amount: u64) -> u64 {
        fault::step();
        self.word(at).fetch_add(amount, Ordering::AcqRel)
    }

    /// Counts without a locked instruction: exact for one thread, close enough for statistics.
    #[inline]
    pub(crate) fn count(&self, at: u64, amount: u64) {
        words::tally(self.word(at), amount);
    }

    #[inline]
    pub(crate) fn max(&self, at: u64, value: u64) -> u64 {
        fault::step();
        self.word(at).fetch_max(value, Ordering::AcqRel)
    }

    #[inline]
    pub(crate) fn min(&self, at: u64, value: u64) -> u64 {
        fault::step();
        self.word(at).fetch_min(value, Ordering::AcqRel)
    }

    #[inline]
    pub(crate) fn swap(&self, at: u64, value: u64) -> u64 {
        fault::step();
        self.word(at).swap(value, Ordering::AcqRel)
    }

    /// Asks for the cache lines of `len` bytes at `at`; a hint, whatever the address.
    #[inline]
    pub(crate) fn prefetch(&self, at: u64, len: u64) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let mut line = 0;
            while line < len {
                // SAFETY: a prefetch never faults and reads nothing; the address is only a hint.
                unsafe {
                    _mm_prefetch::<_MM_HINT_T0>(
                        self.base().wrapping_add(at.wrapping_add(line) as usize) as _,
                    )
                }
                line += 64;
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = (at, len);
    }

    /// The same for lines that are written next: no other processor is to keep a copy of them.
    #[inline]
    pub(crate) fn prefetch_to_write(&self, at: u64, len: u64) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        for line in (0..len).step_by(64) {
            // By name, since the compiler has it for no x86-64 but the later ones; on the first of
            // them it does nothing.
            // SAFETY: a prefetch never faults and changes nothing; the address is only a hint.
            unsafe {
                std::arch::asm!(
                    "prefetchw [{at}]",
                    at = in(reg) self.base().wrapping_add(at.wrapping_add(line) as usize),
                    options(nostack, preserves_flags),
                )
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = (at, len);
    }

    /// Copies bytes out; `at` is a multiple of eight. What arrives may be torn: check it.
    #[cfg(test)]
    pub(crate) fn read(&self, at: u64, out: &mut [u8]) {
        assert!(
            at.is_multiple_of(8) && self.contains(at, out.len() as u64),
            "{} bytes at {at:#x} are outside the mapping",
            out.len()
        );
        // SAFETY: source range checked above; the destination is an exclusive slice.
        unsafe { copy_out(self.base().add(at as usize), out.as_mut_ptr(), out.len()) }
    }

    /// Appends `len` bytes at `at` (a multiple of eight) to `out`, whose memory is reused.
    #[inline]
    pub(crate) fn append_to(&self, at: u64, len: usize, out: &mut Vec<u8>) -> Result<()> {
        assert!(
            at.is_multiple_of(8) && self.contains(at, len as u64),
            "{len} bytes at {at:#x} are outside the mapping"
        );
        out.try_reserve(len).map_err(|_| Error::no_memory(len as u64))?;
        // SAFETY: source range checked; the vector has room for `len` more bytes, all of which
        // `copy_out` initialises before the length says so.
        unsafe {
            copy_out(self.base().add(at as usize), out.as_mut_ptr().add(out.len()), len);
            out.set_len(out.len() + len);
        }
        Ok(())
    }

    /// Copies bytes in; `at` is a multiple of eight, a last partial word is filled with zeros.
    ///
    /// Whoever reads any of these bytes, and passes a fence, sees everything that was known here
    /// before: above all that the slot which had led him to this place names it no more. (Nothing on
    /// x86-64, whose stores are seen in their order.)
    #[inline]
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        let padded = bytes.len().next_multiple_of(8);
        assert!(
            at.is_multiple_of(8) && self.contains(at, padded as u64),
            "{padded} bytes at {at:#x} are outside the mapping"
        );
        words::fence(Ordering::Release);
        // SAFETY: destination range checked; the source is a slice.
        unsafe { copy_in(bytes.as_ptr(), self.base().add(at as usize), bytes.len()) }
    }

    /// Makes sure that stores to these pages cannot fault for want of disk space.
    pub(crate) fn populate(&self, at: u64, len: u64) -> std::io::Result<()> {
        assert!(self.contains(at, len), "{len} bytes at {at:#x} are outside the mapping");
        let page = 4096;
        let (from, to) = (at & !(page - 1), (at + len).next_multiple_of(page));
        // SAFETY: the range lies in our own mapping; the advice changes no contents.
        let done = unsafe {
            libc::madvise(
                self.base().add(from as usize) as *mut libc::c_void,
                (to - from) as usize,
                libc::MADV_POPULATE_WRITE,
            )
        };
        if done == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        match error.raw_os_error() {
            // Kernels before 5.14: blocks are allocated by fallocate, faults come later.
            Some(libc::EINVAL) => Ok(()),
            // A page that cannot be made writable: the filesystem has no room for it.
            Some(libc::EFAULT) => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
            _ => Err(error),
        }
    }

    /// Every page counts as written anew: after a failed sync the kernel holds pages for clean that
    /// the disk never got.
    pub(crate) fn redirty(&self) {
        (0..self.usable() & !7).step_by(4096).for_each(|at| {
            self.add(at, 0);
        });
    }

    /// Bytes on disk, holes left out.
    pub(crate) fn disk_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let blocks = self.file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.blocks());
        blocks * 512
    }

    /// Bytes of the file that are in memory, whichever process brought them there. Of a large file
    /// only some pages are asked for, spread over all of it, and stand for the others.
    pub(crate) fn resident(&self) -> std::io::Result<u64> {
        if self.file.is_none() {
            return Ok(self.usable());
        }
        let page = page_bytes();
        let pages = self.usable().div_ceil(page);
        let step = pages.div_ceil(RESIDENT_LOOKS).max(RESIDENT_RUN);
        let mut states = [0u8; RESIDENT_RUN as usize];
        let (mut asked, mut found) = (0, 0);
        for i in 0..pages.div_ceil(step) {
            // Not the first pages each time: what is where in a segment is no accident.
            let spread = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let first = i * step + spread % (step - RESIDENT_RUN + 1);
            let count = RESIDENT_RUN.min(pages.saturating_sub(first));
            // SAFETY: the pages lie within our own mapping; there is a byte for each of them.
            let done = unsafe {
                libc::mincore(
                    self.base().wrapping_add((first * page) as usize).cast(),
                    (count * page) as usize,
                    states.as_mut_ptr(),
                )
            };
            if done != 0 {
                return Err(std::io::Error::last_os_error());
            }
            asked += count;
            found += states[..count as usize].iter().filter(|state| **state & 1 != 0).count();
        }
        let share = found as f64 / asked.max(1) as f64;
        Ok((share * self.usable() as f64) as u64)
    }

    /// Is this place of the file not in memory, so that whoever touches it waits for the disk?
    pub(crate) fn is_cold(&self, at: u64) -> bool {
        if self.file.is_none() || at >= self.usable() {
            return false;
        }
        let (page, mut state) = (page_bytes(), 1u8);
        // SAFETY: the page lies within our own mapping; there is a byte for it.
        let done = unsafe {
            libc::mincore(
                self.base().wrapping_add((at / page * page) as usize).cast(),
                1,
                &mut state,
            )
        };
        done == 0 && state & 1 == 0
    }

    /// Asks the disk for bytes that are read soon, all at once: by faults they come one page after the
    /// other. Takes some microseconds, also for what is in memory.
    pub(crate) fn read_ahead(&self, at: u64, len: u64) {
        let end = at.saturating_add(len).min(self.usable());
        if let (Some(file), Some(len)) = (&self.file, NonZeroU64::new(end.saturating_sub(at))) {
            let _ = rustix::fs::fadvise(file, at, Some(len), Advice::WillNeed);
        }
    }

    /// Takes pages out of this process's memory and, if no other process has them mapped and they
    /// are on the disk, out of the page cache. What they contain stays: whoever touches them next
    /// gets them from the page cache or the disk again. (MADV_PAGEOUT does nothing for pages that
    /// others have mapped too, not even to this process's share; MADV_COLD frees nothing.)
    pub(crate) fn let_go(&self, at: u64, len: u64) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let page = page_bytes();
        let (from, to) = (at.next_multiple_of(page), (at + len).min(self.usable()) / page * page);
        if from >= to {
            return Ok(());
        }
        // SAFETY: the range lies in our own mapping. It is shared, so its pages are the file's:
        // letting go of them loses nothing, and threads that are reading get them again.
        let done = unsafe {
            libc::madvise(
                self.base().add(from as usize).cast(),
                (to - from) as usize,
                libc::MADV_DONTNEED,
            )
        };
        if done != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(rustix::fs::fadvise(file, from, NonZeroU64::new(to - from), Advice::DontNeed)?)
    }

    /// Gives disk space and memory of these bytes back; they read as zeros then. A store to them
    /// needs `grow` first.
    pub(crate) fn punch(&self, from: u64, len: u64) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: plain system call on our own descriptor.
        match unsafe { libc::fallocate(file.as_raw_fd(), mode, from as i64, len as i64) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    /// Grows the file to `len` bytes with blocks behind every one of them from `from` on. (Asked
    /// from 0 on, tmpfs would look at every page of the file again.)
    pub(crate) fn grow(&self, from: u64, len: u64) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        // SAFETY: plain system call on our own descriptor.
        while unsafe {
            libc::fallocate(file.as_raw_fd(), 0, from as libc::off_t, (len - from) as libc::off_t)
        } != 0
        {
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINTR) {
                return Err(error);
            }
        }
        self.refresh()
    }
}

/// Private room for one record's header and names.
pub(crate) struct Scratch {
    bytes: [std::mem::MaybeUninit<u8>; SCRATCH],
    len: usize,
}

const SCRATCH: usize = LINE as usize + KEY_MAX + OWNER_MAX;

impl Scratch {
    #[inline]
    pub(crate) fn new() -> Scratch {
        Scratch { bytes: [const { std::mem::MaybeUninit::uninit() }; SCRATCH], len: 0 }
    }

    /// Replaces its contents by `len` bytes of the mapping; `at` is a multiple of eight.
    #[inline]
    pub(crate) fn fill(&mut self, map: &Map, at: u64, len: usize) {
        assert!(len <= SCRATCH && at.is_multiple_of(8) && map.contains(at, len as u64));
        // SAFETY: source range checked; the array has room for `len` bytes.
        unsafe {
            copy_out(map.base().add(at as usize), self.bytes.as_mut_ptr().cast(), len);
        }
        self.len = len;
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the first `len` bytes were initialised by `fill`.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_mut_ptr().cast(), self.len) }
    }
}

/// Up to here words are copied one by one: they are read back as words at once, which the processor
/// can only then forward from its store buffer, bytes.
#[cfg(all(target_arch = "x86_64", not(any(miri, feature = "orders"))))]
const SHORT: usize = 128;
/// From here on the one instruction is faster than a loop, bytes.
#[cfg(all(target_arch = "x86_64", not(any(miri, feature = "orders"))))]
const LONG: usize = 4096;

/// Copies a multiple of 64 bytes. Assembler is an external access: what it read is used only after
/// validation, what it wrote is published by an atomic store after it. So it may stand for the
/// loops of relaxed accesses beside it, at a third of their time.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes, a multiple of 64 and not 0.
#[cfg(all(target_arch = "x86_64", not(any(miri, feature = "orders"))))]
#[inline]
unsafe fn copy_lines(from: *const u8, to: *mut u8, len: usize) {
    if len >= LONG {
        // SAFETY: the caller's obligations.
        unsafe {
            std::arch::asm!("rep movsb", inout("rcx") len => _, inout("rsi") from => _,
                inout("rdi") to => _, options(nostack, preserves_flags));
        }
        return;
    }
    // SAFETY: the caller's obligations; SSE2 is part of every x86-64.
    unsafe {
        std::arch::asm!(
            "2:",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "sub {len}, 64",
            "jnz 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            len = inout(reg) len => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// # Safety
/// `from` is eight-byte aligned and readable for `len` bytes rounded up to eight or to the end of
/// its mapping page; `to` is writable for `len` bytes and nobody else's.
#[inline]
unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, feature = "orders"))))]
    let (from, to, len) = {
        let whole = len & !63;
        if whole > SHORT {
            // SAFETY: the caller's obligations, for the first `whole` bytes; the rest lies behind.
            unsafe {
                copy_lines(from, to, whole);
                (from.add(whole), to.add(whole), len - whole)
            }
        } else {
            (from, to, len)
        }
    };
    // SAFETY: the caller's obligations; words are aligned because `from` is.
    unsafe {
        let words = from as *const Word;
        for i in 0..len / 8 {
            let word = (*words.add(i)).load(Ordering::Relaxed).to_ne_bytes();
            std::ptr::copy_nonoverlapping(word.as_ptr(), to.add(i * 8), 8);
        }
        let rest = len % 8;
        if rest > 0 {
            let word = (*words.add(len / 8)).load(Ordering::Relaxed).to_ne_bytes();
            std::ptr::copy_nonoverlapping(word.as_ptr(), to.add(len - rest), rest);
        }
    }
}

/// # Safety
/// `to` is eight-byte aligned and writable for `len` rounded up to eight; `from` is readable for
/// `len` bytes.
#[inline]
unsafe fn copy_in(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, feature = "faults", feature = "orders"))))]
    let (from, to, len) = {
        let whole = len & !63;
        if whole > 0 {
            // SAFETY: the caller's obligations, for the first `whole` bytes; the rest lies behind.
            unsafe {
                copy_lines(from, to, whole);
                (from.add(whole), to.add(whole), len - whole)
            }
        } else {
            (from, to, len)
        }
    };
    let rest = len % 8;
    // SAFETY: the caller's obligations; words are aligned because `to` is.
    unsafe {
        for i in 0..len / 8 {
            let mut word = [0; 8];
            std::ptr::copy_nonoverlapping(from.add(i * 8), word.as_mut_ptr(), 8);
            fault::step();
            (*(to as *const Word).add(i)).store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
    }
    if rest > 0 {
        let mut word = [0; 8];
        // SAFETY: the last partial word lies within the rounded-up range.
        unsafe {
            std::ptr::copy_nonoverlapping(from.add(len - rest), word.as_mut_ptr(), rest);
            fault::step();
            (*(to.add(len - rest) as *const Word))
                .store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_written_at_every_length() {
        let map = Map::heap(4096);
        for len in 0..200 {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
            map.write(64, &data);
            let mut out = vec![0; len];
            map.read(64, &mut out);
            assert_eq!(out, data);
            let mut grown = b"head".to_vec();
            map.append_to(64, len, &mut grown).unwrap();
            assert_eq!(&grown[4..], data);
        }
    }

    #[test]
    fn a_partial_last_word_is_filled_with_zeros() {
        let map = Map::heap(256);
        map.store(64, u64::MAX);
        map.write(64, b"abc");
        assert_eq!(map.load(64), u64::from_le_bytes(*b"abc\0\0\0\0\0"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn what_is_in_memory_of_a_large_file_is_guessed_well_from_a_part_of_it() {
        // No filesystem that reads ahead.
        let Ok(file) = tempfile::tempfile_in("/dev/shm") else { return };
        let (len, touched) = (RESIDENT_LOOKS * RESIDENT_RUN * 4096 * 5 / 2, 48 << 20);
        file.set_len(len).unwrap();
        let map = Map::shared(file, len, "a file").unwrap();
        let resident = || map.resident().unwrap() as f64 / len as f64;
        assert!(resident() < 0.01);
        (0..touched).step_by(4096).for_each(|at| map.store(at, 1));
        let share = touched as f64 / len as f64;
        assert!((resident() / share - 1.0).abs() < 0.1, "{} guessed for {share}", resident());
        map.let_go(0, len).unwrap();
        assert!((0..touched).step_by(4096).all(|at| map.load(at) == 1), "it comes back");
    }

    #[test]
    fn nothing_outside_is_said_to_be_inside() {
        let map = Map::heap(256);
        assert!(map.contains(0, 256) && !map.contains(0, 257) && !map.contains(u64::MAX, 2));
    }
}
