//! Reads of the time stamp counter of x86-64, with and without the fences that a window needs.
//!
//! Inline assembly, because the order of these few instructions is the whole point, and because no crate has
//! it: quanta, minstant, fast-clock, tsc and x86 read the counter bare or with `rdtscp`, and none empties the
//! store buffer before an end stamp. The assembly may touch memory as far as the compiler knows, so that it
//! moves no access across.
//!
//! Sources: Intel SDM volume 2, RDTSC and LFENCE; AMD APM volume 3, RDTSC (LFENCE is dispatch serialising on
//! every kernel since the mitigations of 2018).
#![allow(unsafe_code)]

use std::arch::asm;

/// Not after anything that follows in this thread.
#[inline(always)]
pub(super) fn start() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: `rdtsc` reads a counter that Linux leaves readable for every process (the caller found the
    // kernel's own clock on it), and writes the two registers that are given up here.
    unsafe { asm!("rdtsc", "lfence", out("rax") low, out("rdx") high, options(nostack)) };
    high << 32 | low
}

/// Not before anything that precedes in this thread has taken effect for all: a locked operation waits until
/// the stores before it are visible, and `lfence` until the loads before it have their values.
#[inline(always)]
pub(super) fn end() -> u64 {
    let (low, high): (u64, u64);
    let mut own = 0_u32;
    // SAFETY: as `start`; the locked operation changes nothing, on a word of this frame.
    unsafe {
        asm!("lock or dword ptr [{own}], 0", "lfence", "rdtsc", own = in(reg) &raw mut own,
            out("rax") low, out("rdx") high, options(nostack));
    }
    high << 32 | low
}

/// [`end`] of what precedes and [`start`] of what follows.
#[inline(always)]
pub(super) fn between() -> u64 {
    let (low, high): (u64, u64);
    let mut own = 0_u32;
    // SAFETY: as `end`.
    unsafe {
        asm!("lock or dword ptr [{own}], 0", "lfence", "rdtsc", "lfence", own = in(reg) &raw mut own,
            out("rax") low, out("rdx") high, options(nostack));
    }
    high << 32 | low
}

/// No promise at all: the processor may read the counter long before or after its neighbours.
#[inline(always)]
pub(super) fn unfenced() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: as `start`.
    unsafe { asm!("rdtsc", out("rax") low, out("rdx") high, options(nostack)) };
    high << 32 | low
}
