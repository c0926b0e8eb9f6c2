//! One instruction at a time: what a process changes in memory that it shares, as it changes it.
//!
//! A child runs under ptrace from one mark to the next; after each instruction that may have stored
//! to a watched mapping the caller is shown which bytes are others now. So it learns every state
//! that a death of the child could leave, between any two instructions, without killing it
//! thousands of times. It finds the instructions by decoding the address that they use, and looks at
//! everything now and then: a change that it had not seen where it looked is an error.
//!
//! What it cannot show: what another processor sees in what order; stores of the kernel between two
//! instructions are one step. x86-64 alone: elsewhere an exclusive load and its store would never
//! succeed under a trace.

use std::ops::Range;

use crate::process::{self, Pid};

/// A shared mapping at the same place in both processes.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its addresses.
    pub at: Range<usize>,
}

/// Bytes that are others than before.
pub struct Changed<'a> {
    /// Which mapping.
    pub map: usize,
    /// Where in it.
    pub offset: usize,
    pub bytes: &'a [u8],
}

/// Bytes that one instruction stores at most.
const WIDEST: usize = 64;
/// Instructions between two looks at everything.
const LOOK: u64 = 4096;
/// More is no operation of a store but a loop.
const MOST: u64 = 20_000_000;

/// The mappings of a file in this process, as far as the file has bytes.
pub fn mapping_of(path: &std::path::Path) -> Option<Watched> {
    let len = std::fs::metadata(path).ok()?.len() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with(&*path.to_string_lossy()))?;
    let (from, to) = line.split_once(' ')?.0.split_once('-')?;
    let from = usize::from_str_radix(from, 16).ok()?;
    let to = usize::from_str_radix(to, 16).ok()?;
    Some(Watched { at: from..to.min(from + len) })
}

impl Watched {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.at.len()];
        self.copy(0, &mut bytes);
        bytes
    }

    fn copy(&self, offset: usize, to: &mut [u8]) {
        assert!(offset + to.len() <= self.at.len());
        // SAFETY: within a mapping that the store has open; others may store to it meanwhile, and
        // the copy is compared, never trusted.
        unsafe {
            let from = (self.at.start + offset) as *const u8;
            std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
        }
    }
}

/// What a trace began with, and how long it was.
pub struct Traced {
    /// The bytes of each mapping at the first mark.
    pub begun: Vec<Vec<u8>>,
    pub instructions: u64,
}

/// Runs `prepare` and then, one instruction at a time, `work` in a child, and kills it. `each` is
/// shown every change. An error says why there can be no trace.
#[cfg(target_arch = "x86_64")]
pub fn trace(
    watched: &[Watched],
    prepare: impl FnOnce(),
    work: impl FnOnce(),
    each: &mut dyn FnMut(Changed),
) -> Result<Traced, String> {
    let child = process::fork(|| {
        // SAFETY: asks to be traced; stops itself at both marks.
        unsafe {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                libc::_exit(77);
            }
            prepare();
            libc::raise(libc::SIGSTOP);
            work();
            libc::raise(libc::SIGSTOP);
        }
    });
    let tracer = Tracer { child };
    tracer.wait_for_mark()?;
    let begun: Vec<Vec<u8>> = watched.iter().map(Watched::bytes).collect();
    let mut shadows = begun.clone();
    let mut steps = 0;
    loop {
        let looks = tracer.next_store(watched);
        if tracer.step()? {
            break;
        }
        steps += 1;
        assert!(steps < MOST, "no end after {steps} instructions");
        match looks {
            Look::Nowhere => {}
            Look::At { map, offset } => {
                let end = (offset + WIDEST).min(watched[map].at.len());
                compare(&watched[map], map, offset..end, &mut shadows[map], each);
            }
            Look::Everywhere => {
                for (map, it) in watched.iter().enumerate() {
                    compare(it, map, 0..it.at.len(), &mut shadows[map], each);
                }
            }
        }
        if steps % LOOK == 0 {
            for (it, shadow) in watched.iter().zip(&shadows) {
                assert!(it.bytes() == *shadow, "a store was not seen before instruction {steps}");
            }
        }
    }
    for (it, shadow) in watched.iter().zip(&shadows) {
        assert!(it.bytes() == *shadow, "a store was not seen");
    }
    Ok(Traced { begun, instructions: steps })
}

#[cfg(not(target_arch = "x86_64"))]
pub fn trace(
    _: &[Watched],
    _: impl FnOnce(),
    _: impl FnOnce(),
    _: &mut dyn FnMut(Changed),
) -> Result<Traced, String> {
    Err("single steps are taken on x86-64 alone".into())
}

/// Tells what is new in a range, and notes it.
fn compare(
    watched: &Watched,
    map: usize,
    range: Range<usize>,
    shadow: &mut [u8],
    each: &mut dyn FnMut(Changed),
) {
    let mut now = vec![0; range.len()];
    watched.copy(range.start, &mut now);
    let old = &mut shadow[range.clone()];
    if *old == now {
        return;
    }
    let differs = |i: &usize| old[*i] != now[*i];
    let (Some(from), Some(to)) = ((0..now.len()).find(differs), (0..now.len()).rfind(differs))
    else {
        return;
    };
    let bytes = &now[from..=to];
    each(Changed { map, offset: range.start + from, bytes });
    old[from..=to].copy_from_slice(bytes);
}

/// Where an instruction may store.
#[derive(Debug, PartialEq)]
enum Look {
    Nowhere,
    At {
        map: usize,
        offset: usize,
    },
    /// It enters the kernel, which stores where it likes.
    Everywhere,
}

struct Tracer {
    child: Pid,
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.child.signal(libc::SIGKILL);
        self.child.wait(std::time::Duration::from_secs(10));
    }
}

#[cfg(target_arch = "x86_64")]
impl Tracer {
    fn wait(&self) -> i32 {
        let mut status = 0;
        // SAFETY: writes one integer of ours; the child is ours and was not waited for.
        let pid = unsafe { libc::waitpid(self.child.0, &mut status, libc::__WALL) };
        assert_eq!(pid, self.child.0, "{}", std::io::Error::last_os_error());
        status
    }

    fn wait_for_mark(&self) -> Result<(), String> {
        let status = self.wait();
        if libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP {
            return Ok(());
        }
        Err(format!("no trace is allowed here, or the child failed (status {status:#x})"))
    }

    /// One instruction; true at the second mark.
    fn step(&self) -> Result<bool, String> {
        // SAFETY: resumes a child of ours that is stopped.
        let done = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.child.0, 0, 0) };
        if done != 0 {
            return Err(format!("single step: {}", std::io::Error::last_os_error()));
        }
        let status = self.wait();
        assert!(libc::WIFSTOPPED(status), "the operation ended early, status {status:#x}");
        Ok(libc::WSTOPSIG(status) == libc::SIGSTOP)
    }

    /// Where the next instruction may store.
    fn next_store(&self, watched: &[Watched]) -> Look {
        // SAFETY: an all-zero value is valid; the kernel fills it.
        let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: writes one structure of ours.
        let done = unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.child.0, 0, &mut regs) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        let mut code = [0; 16];
        // SAFETY: the child is a fork of this process and has loaded nothing since, so its code is
        // here at the same address; the last page of a text segment is followed by others.
        unsafe {
            let from = regs.rip as *const u8;
            std::ptr::copy_nonoverlapping(from, code.as_mut_ptr(), code.len());
        }
        if code[0] == 0x0f && code[1] == 0x05 {
            return Look::Everywhere;
        }
        let Some(address) = decode::operand(&code, &regs) else { return Look::Nowhere };
        let place = watched.iter().position(|it| it.at.contains(&address));
        place.map_or(Look::Nowhere, |map| Look::At { map, offset: address - watched[map].at.start })
    }
}

/// As much of the instruction format as names an address (Intel SDM volume 2, chapter 2).
#[cfg(target_arch = "x86_64")]
mod decode {
    use libc::user_regs_struct;

    /// The memory operand of the instruction, if it has one that is no place on the stack by itself.
    pub(super) fn operand(code: &[u8; 16], regs: &user_regs_struct) -> Option<usize> {
        let mut at = 0;
        while matches!(code[at], 0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 | 0x2e | 0x36 | 0x3e | 0x26) {
            at += 1;
        }
        // Memory of a thread.
        if matches!(code[at], 0x64 | 0x65) {
            return None;
        }
        let mut rex = 0;
        if code[at] & 0xf0 == 0x40 {
            (rex, at) = (code[at], at + 1);
        }
        match code[at] {
            // Copies and fills by the string instructions.
            0xa4 | 0xa5 | 0xaa | 0xab => return Some(regs.rdi as usize),
            0xc5 => at += 3,
            0xc4 => (rex, at) = (!code[at + 1] >> 5 & 7, at + 4),
            0x62 => (rex, at) = (!code[at + 1] >> 5 & 7, at + 5),
            0x0f if matches!(code[at + 1], 0x38 | 0x3a) => at += 3,
            0x0f if has_no_operand(code[at + 1]) => return None,
            0x0f => at += 2,
            op if has_operand(op) => at += 1,
            _ => return None,
        }
        address(&code[at..], rex, regs)
    }

    fn has_operand(op: u8) -> bool {
        matches!(op, 0x00..=0x3f if op & 7 < 4)
            || matches!(op, 0x63 | 0x69 | 0x6b | 0x80..=0x8f | 0xc0 | 0xc1 | 0xc6 | 0xc7)
            || matches!(op, 0xd0..=0xd3 | 0xd8..=0xdf | 0xf6 | 0xf7 | 0xfe | 0xff)
    }

    /// Of the opcodes behind 0x0f.
    fn has_no_operand(op: u8) -> bool {
        matches!(op, 0x05 | 0x0b | 0x31 | 0x77 | 0x80..=0x8f | 0xa0..=0xa2 | 0xa8 | 0xa9)
            || matches!(op, 0xc8..=0xcf)
    }

    /// The address that a ModRM byte, and what follows it, names.
    fn address(code: &[u8], rex: u8, regs: &user_regs_struct) -> Option<usize> {
        let (mode, low) = (code[0] >> 6, code[0] & 7);
        let relative_to_code = mode == 0 && low == 5;
        if mode == 3 || relative_to_code {
            return None;
        }
        let (mut base, mut at) = (Some(low | (rex & 1) << 3), 1);
        let mut sum = 0u64;
        if low == 4 {
            let sib = code[1];
            at = 2;
            let index = sib >> 3 & 7 | (rex >> 1 & 1) << 3;
            if index != 4 {
                sum = register(index, regs) << (sib >> 6);
            }
            base = Some(sib & 7 | (rex & 1) << 3).filter(|_| mode != 0 || sib & 7 != 5);
        }
        let far = || i32::from_le_bytes([code[at], code[at + 1], code[at + 2], code[at + 3]]);
        let shift = match (mode, base) {
            (1, _) => code[at] as i8 as i64,
            (2, _) | (_, None) => far() as i64,
            _ => 0,
        };
        let base = base.map_or(0, |base| register(base, regs));
        Some(base.wrapping_add(sum).wrapping_add(shift as u64) as usize)
    }

    fn register(number: u8, regs: &user_regs_struct) -> u64 {
        let r = regs;
        [
            r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11,
            r.r12, r.r13, r.r14, r.r15,
        ][number as usize]
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn regs() -> user_regs_struct {
            // SAFETY: an all-zero value is valid.
            let mut regs: user_regs_struct = unsafe { std::mem::zeroed() };
            (regs.rax, regs.rdi, regs.rsi, regs.r9, regs.r12) = (0x1000, 0x2000, 8, 0x9000, 0x50);
            regs
        }

        fn decoded(code: &[u8]) -> Option<usize> {
            let mut all = [0x90; 16];
            all[..code.len()].copy_from_slice(code);
            operand(&all, &regs())
        }

        #[test]
        fn addresses_are_found_as_the_processor_finds_them() {
            // mov [rdi], rax; mov [rdi + rsi * 8 + 16], rax; mov [rax - 8], ecx; mov rax, rcx
            assert_eq!(decoded(&[0x48, 0x89, 0x07]), Some(0x2000));
            assert_eq!(decoded(&[0x48, 0x89, 0x44, 0xf7, 0x10]), Some(0x2050));
            assert_eq!(decoded(&[0x89, 0x48, 0xf8]), Some(0xff8));
            assert_eq!(decoded(&[0x48, 0x89, 0xc8]), None);
            // lock cmpxchg [r9 + r12 * 1], ecx; xchg [rdi + 0x100], rax; rep movsb
            assert_eq!(decoded(&[0xf0, 0x43, 0x0f, 0xb1, 0x0c, 0x21]), Some(0x9050));
            assert_eq!(decoded(&[0x48, 0x87, 0x87, 0, 1, 0, 0]), Some(0x2100));
            assert_eq!(decoded(&[0xf3, 0xa4]), Some(0x2000));
            // movups [rdi + 16], xmm0; vmovdqu [r9], ymm0; jne; syscall's neighbour ud2
            assert_eq!(decoded(&[0x0f, 0x11, 0x47, 0x10]), Some(0x2010));
            assert_eq!(decoded(&[0xc4, 0xc1, 0x7e, 0x7f, 0x01]), Some(0x9000));
            assert_eq!(decoded(&[0x0f, 0x85, 0, 0, 0, 0]), None);
            assert_eq!(decoded(&[0x0f, 0x0b]), None);
        }
    }
}
