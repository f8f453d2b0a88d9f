//! Hints to the processor about memory that is needed soon.

#![expect(unsafe_code, reason = "instructions that no stable function stands for")]

/// Takes the cache line of `place` from the other cores, to be written. Any address will do.
#[inline(always)]
pub(crate) fn to_write<T>(place: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, which changes no memory and never faults; processors that have not the instruction do nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) place.addr(), options(nostack, nomem, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a hint, which changes no memory and never faults.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) place.addr(), options(nostack, nomem, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = place;
}
