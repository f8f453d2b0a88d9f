//! Copies between shared memory that others may write at any time and private memory, at the speed of a plain copy.
//!
//! [`load`] and [`store`] do what a relaxed atomic load or store of each element would. The compiler neither vectorises
//! relaxed atomics nor joins them, so a loop of them is several times slower than `memcpy`; and `memcpy` itself, like
//! any plain access, is undefined behaviour on memory that another thread or process writes at that time.
//!
//! # Why assembly is sound here
//!
//! A data race is a notion of the language: two accesses of the abstract machine, one of them a write, not both atomic
//! and not ordered. What an `asm!` block does must be something that Rust code could have done in its place; here
//! that is a relaxed atomic access of each element on the shared side and a plain one on the private side. The compiler
//! sees a black box that may touch any memory it was given: it can neither read a value twice, nor invent a write, nor
//! draw conclusions from a value, which are the ways in which a racing `memcpy` goes wrong. (LLVM calls this an
//! *element-wise unordered atomic memory copy*; Rust has no name for it yet, see RFC 3301, `AtomicPerByte`.)
//!
//! # What is whole
//!
//! Each aligned element of up to 8 bytes is moved whole, never half an old one and half a new one. Of a larger type,
//! each part as large as the type's alignment is, or of 8 bytes if that is more. Together they need not have been there at
//! one moment.
//!
//! On x86_64 this leans on the hardware. The manuals promise it for aligned accesses of 8 bytes, and of 16 on every
//! processor with AVX. Wider or unaligned vector moves may be cut up, and are in practice: at borders of cache lines,
//! and into halves or quarters of the vector. Such cuts fall on multiples of 8 bytes, counted from an aligned address
//! or from the start of the access, which is itself the start of an element: so never inside an element. HotSpot's
//! copies of arrays of `long`, which must not tear either, are made of the same moves (`copy_bytes_forward` in its
//! `stubGenerator_x86_64`). The string instructions (`rep movsb`), which `memcpy` uses as well, come with no such
//! argument and are not used here.
//!
//! Each element is stored exactly once: vectors that overlap at the ends, as `memcpy` uses them, would put an old value
//! back over one that a reader of the first store has answered with.
//!
//! Other targets (aarch64 among them) and Miri use relaxed atomics one by one.

#![expect(unsafe_code, reason = "copies memory that others may write")]

#[cfg(any(miri, not(target_arch = "x86_64")))]
use portable as imp;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use vector as imp;

/// Copies `count` elements out of shared memory.
///
/// Orders nothing: as relaxed loads.
///
/// # Safety
///
/// `shared` and `private` are aligned and valid for `count` elements. Whoever else touches the shared ones meanwhile
/// does so atomically, or from another process; nobody else touches the private ones. The two do not overlap. The type
/// has no padding.
#[inline]
pub(crate) unsafe fn load<T: Copy>(shared: *const T, private: *mut T, count: usize) {
    // SAFETY: the caller's promise, in bytes: elements that exist have no more than `isize::MAX`. An alignment is a
    // power of two, and divides the size.
    unsafe { imp::load(shared.cast(), private.cast(), count * size_of::<T>(), align_of::<T>()) };
}

/// Copies `count` elements into shared memory.
///
/// Orders nothing by itself: as relaxed stores, which a later `Release` store publishes.
///
/// # Safety
///
/// As [`load`], but others may read the private elements meanwhile.
#[inline]
pub(crate) unsafe fn store<T: Copy>(private: *const T, shared: *mut T, count: usize) {
    // SAFETY: as in `load`.
    unsafe { imp::store(private.cast(), shared.cast(), count * size_of::<T>(), align_of::<T>()) };
}

/// Writes to shared memory what another process is to read next, as [`store`] does.
///
/// Large pieces go past the caches. A store into a line that the reader's core still has from last time asks for the line
/// first, and the reader then asks for it again: where the cores are far apart, 64 KiB took 33 us that way, and take 9 past the
/// caches. Where they share a cache, it costs an eighth more.
///
/// # Safety
///
/// As for [`store`].
#[inline]
pub(crate) unsafe fn hand_over(private: *const u8, shared: *mut u8, count: usize) {
    // SAFETY: the same contract.
    unsafe { imp::hand_over(private, shared, count) };
}

/// Appends bytes, all of them private.
///
/// From some 2 KiB on the C library's `memcpy` uses `rep movsb`, which on some processors (Zen 3 and 4) is twenty times
/// slower where the destination lies up to 15 bytes further in its page than the source: as a message does that comes after
/// its length, when both buffers come from the allocator. Vectors are never that slow.
#[inline(always)]
pub(crate) fn append(buffer: &mut Vec<u8>, bytes: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if bytes.len() >= 2048 {
        return append_many(buffer, bytes);
    }
    buffer.extend_from_slice(bytes);
}

/// [`append`] by vectors.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(never)]
fn append_many(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let (before, count) = (buffer.len(), bytes.len());
    buffer.reserve(count);
    // SAFETY: there is room for `count` bytes behind the first `before`, which nobody else has; they are single bytes.
    unsafe { load(bytes.as_ptr(), buffer.as_mut_ptr().wrapping_add(before), count) };
    // SAFETY: `count` bytes more are filled.
    unsafe { buffer.set_len(before + count) };
}

/// Has the processor get some cache lines from `shared` on for itself, which will be written soon: others had them last,
/// and a locked instruction after the stores would wait until all of them have come. A mere hint.
#[inline]
pub(crate) fn prepare_to_store(shared: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..3 {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and faults nowhere, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(shared.cast::<i8>().wrapping_add(64 * line)) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = shared;
}

/// Vector moves.
///
/// The contract of all functions here: `from` is readable and `to` writable for the bytes that are moved; one of the
/// two is shared with others, who access it atomically, the other is not; they do not overlap; both starts and the
/// number of bytes are multiples of the elements' alignment, where that is below 8 bytes, else of 8.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod vector {
    use std::arch::asm;

    /// From this many bytes on the vector loops are worth their preparation.
    const BULK: usize = 256;
    /// From this many bytes on the destination is aligned first.
    const ALIGNED: usize = 1024;
    /// From this many bytes on stores go past the caches, which a copy of this size would empty of all else. Measured
    /// with 32 MiB of L3: a draw at 16 MiB, a gain of a quarter at 32 MiB and of a third at 64 MiB.
    const PAST_CACHES: usize = 24 << 20;
    /// The same for what another process reads next. Measured between cores that are far apart: from 4 KiB on a gain, of two
    /// thirds at 16 KiB, and a loss at 1 KiB.
    const HANDED_OVER: usize = 16 << 10;

    /// # Safety
    ///
    /// As [`super::load`], for `len` bytes of elements aligned to `_align`.
    #[inline]
    pub(super) unsafe fn load(shared: *const u8, private: *mut u8, len: usize, _align: usize) {
        // SAFETY: the same contract.
        unsafe { copy(shared, private, len) };
    }

    /// # Safety
    ///
    /// As [`super::store`], for `len` bytes of elements aligned to `_align`.
    #[inline]
    pub(super) unsafe fn store(private: *const u8, shared: *mut u8, len: usize, _align: usize) {
        // SAFETY: the same contract.
        unsafe { copy(private, shared, len) };
    }

    /// # Safety
    ///
    /// As [`super::hand_over`].
    #[inline]
    pub(super) unsafe fn hand_over(private: *const u8, shared: *mut u8, len: usize) {
        if len < HANDED_OVER || !is_x86_feature_detected!("avx") {
            // SAFETY: the same contract.
            unsafe { copy(private, shared, len) };
        } else {
            // SAFETY: the same contract; the processor has AVX.
            unsafe { many_past_caches(private, shared, len) };
        }
    }

    /// # Safety
    ///
    /// The contract of the module.
    #[inline(always)]
    unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        if len < BULK {
            // SAFETY: the same contract.
            unsafe { few(from, to, len) };
        } else {
            // SAFETY: the same contract, and `len` is at least `BULK`.
            unsafe { many(from, to, len) };
        }
    }

    /// Chooses by the processor, and does nothing else: looking at it for the first time takes registers to be saved.
    ///
    /// # Safety
    ///
    /// The contract of the module, for at least [`BULK`] bytes.
    unsafe fn many(from: *const u8, to: *mut u8, len: usize) {
        if is_x86_feature_detected!("avx") {
            // SAFETY: the same contract; the processor has AVX.
            unsafe { many_by_avx(from, to, len) };
        } else {
            // SAFETY: the same contract.
            unsafe { many_by_sse(from, to, len) };
        }
    }

    /// # Safety
    ///
    /// As [`many`], on a processor that has AVX.
    #[inline(never)]
    unsafe fn many_by_avx(from: *const u8, to: *mut u8, len: usize) {
        if len < PAST_CACHES {
            // SAFETY: the same contract.
            unsafe { bulk(from, to, len, AVX) };
        } else {
            // SAFETY: the same contract.
            unsafe { many_past_caches(from, to, len) };
        }
    }

    /// # Safety
    ///
    /// As [`many`], on a processor that has AVX.
    #[inline(never)]
    unsafe fn many_past_caches(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: the same contract.
        unsafe { bulk(from, to, len, AVX_PAST_CACHES) };
    }

    /// # Safety
    ///
    /// As [`many`].
    #[cold]
    unsafe fn many_by_sse(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: the same contract; every x86_64 has SSE2.
        unsafe { bulk(from, to, len, SSE) };
    }

    /// A loop over vectors, and what it needs.
    #[derive(Clone, Copy)]
    struct Loop {
        /// Moves bytes by the contract of the module: a multiple of `chunk`, not 0.
        run: unsafe fn(*const u8, *mut u8, usize),
        chunk: usize,
        /// What the destination is aligned to first, a power of two, in copies of `align_from` bytes or more.
        align: usize,
        align_from: usize,
    }

    const SSE: Loop = Loop { run: sse, chunk: 64, align: 16, align_from: ALIGNED };
    const AVX: Loop = Loop { run: avx, chunk: 64, align: 32, align_from: ALIGNED };
    /// Stores past the caches must be aligned.
    const AVX_PAST_CACHES: Loop = Loop { run: avx_past_caches, chunk: 128, align: 64, align_from: 0 };

    /// # Safety
    ///
    /// The contract of the module, for at least [`BULK`] bytes, on a processor that has the loop's instructions.
    #[inline(always)]
    unsafe fn bulk(from: *const u8, to: *mut u8, len: usize, vectors: Loop) {
        // A multiple of the elements' alignment, as `to` and `align` are.
        let head = if len < vectors.align_from { 0 } else { to.addr().wrapping_neg() & (vectors.align - 1) };
        let body = (len - head) & !(vectors.chunk - 1);
        // SAFETY: the first of the caller's bytes, fewer than `align`.
        unsafe { few(from, to, head) };
        let (from, to) = (from.wrapping_add(head), to.wrapping_add(head));
        // SAFETY: the bytes behind: a multiple of `chunk`, and not 0 since `BULK` is more than `align + chunk`.
        unsafe { (vectors.run)(from, to, body) };
        // SAFETY: the rest, fewer than `chunk`.
        unsafe { few(from.wrapping_add(body), to.wrapping_add(body), len - head - body) };
    }

    /// A function that moves `$bytes` bytes with the instructions given, under the contract of the module.
    macro_rules! step {
        ($name:ident, $bytes:literal, [$($instruction:literal),*], $($register:ident: $class:ident),*) => {
            #[doc = concat!("# Safety\n\nThe contract of the module, for ", $bytes, " bytes.")]
            #[inline(always)]
            unsafe fn $name(from: *const u8, to: *mut u8) {
                // SAFETY: reads the bytes at `from` and writes those at `to`, as the caller allows, and nothing else.
                unsafe {
                    asm!(
                        $($instruction,)*
                        from = in(reg) from,
                        to = in(reg) to,
                        $($register = out($class) _,)*
                        options(nostack, preserves_flags),
                    );
                }
            }
        };
    }

    step!(move_1, 1, ["mov {a}, [{from}]", "mov [{to}], {a}"], a: reg_byte);
    step!(move_2, 2, ["mov {a:x}, [{from}]", "mov [{to}], {a:x}"], a: reg);
    step!(move_4, 4, ["mov {a:e}, [{from}]", "mov [{to}], {a:e}"], a: reg);
    step!(move_8, 8, ["mov {a}, [{from}]", "mov [{to}], {a}"], a: reg);
    step!(move_16, 16, ["movdqu {a}, [{from}]", "movdqu [{to}], {a}"], a: xmm_reg);
    step!(move_32, 32, [
        "movdqu {a}, [{from}]",
        "movdqu {b}, [{from} + 16]",
        "movdqu [{to}], {a}",
        "movdqu [{to} + 16], {b}"
    ], a: xmm_reg, b: xmm_reg);
    step!(move_64, 64, [
        "movdqu {a}, [{from}]",
        "movdqu {b}, [{from} + 16]",
        "movdqu {c}, [{from} + 32]",
        "movdqu {d}, [{from} + 48]",
        "movdqu [{to}], {a}",
        "movdqu [{to} + 16], {b}",
        "movdqu [{to} + 32], {c}",
        "movdqu [{to} + 48], {d}"
    ], a: xmm_reg, b: xmm_reg, c: xmm_reg, d: xmm_reg);

    /// Moves fewer than [`BULK`] bytes: one step for each bit of `len`.
    ///
    /// No step is smaller than an element's alignment, as `len` is a multiple of that.
    ///
    /// # Safety
    ///
    /// The contract of the module.
    #[inline(always)]
    unsafe fn few(mut from: *const u8, mut to: *mut u8, mut len: usize) {
        macro_rules! step {
            ($bytes:literal, $move:ident) => {
                // SAFETY: the next of the caller's bytes, of which `len` are left.
                unsafe { $move(from, to) };
                (from, to, len) = (from.wrapping_add($bytes), to.wrapping_add($bytes), len - $bytes);
            };
        }
        macro_rules! step_if_left {
            ($($bytes:literal, $move:ident;)*) => {$(
                if len & $bytes != 0 {
                    step!($bytes, $move);
                }
            )*};
        }
        while len >= 64 {
            step!(64, move_64);
        }
        if len != 0 {
            step_if_left! { 32, move_32; 16, move_16; 8, move_8; 4, move_4; 2, move_2; 1, move_1; }
        }
        debug_assert_eq!(len, 0, "copied from {from:p} to {to:p}");
    }

    /// A function that moves vectors in a loop. It counts up from `from` and `to` until `to` is at the end.
    macro_rules! vector_loop {
        ($name:ident, $before:expr, $body:expr, $step:literal, $after:expr) => {
            /// # Safety
            ///
            /// The contract of the module, for as many bytes as the [`Loop`] says, on a processor that has the
            /// instructions.
            #[inline]
            unsafe fn $name(from: *const u8, to: *mut u8, len: usize) {
                // SAFETY: reads `len` bytes from `from` on and writes those from `to` on, a step at a time, as the
                // caller allows. (Prefetches read nothing, and may name any address.) The registers that change are
                // declared; `xmm` stands for the whole of the register.
                unsafe {
                    asm!(
                        $before,
                        "2:",
                        $body,
                        concat!("add {from}, ", $step),
                        concat!("add {to}, ", $step),
                        "cmp {to}, {end}",
                        "jb 2b",
                        $after,
                        from = inout(reg) from => _,
                        to = inout(reg) to => _,
                        end = in(reg) to.wrapping_add(len),
                        out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                        // `vzeroupper` clears the upper half of all.
                        out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                        out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                        out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                        options(nostack),
                    );
                }
            }
        };
    }

    vector_loop!(
        sse,
        "",
        "movdqu xmm0, [{from}]
         movdqu xmm1, [{from} + 16]
         movdqu xmm2, [{from} + 32]
         movdqu xmm3, [{from} + 48]
         movdqu [{to}], xmm0
         movdqu [{to} + 16], xmm1
         movdqu [{to} + 32], xmm2
         movdqu [{to} + 48], xmm3",
        "64",
        ""
    );

    vector_loop!(
        avx,
        "",
        "vmovdqu ymm0, [{from}]
         vmovdqu ymm1, [{from} + 32]
         vmovdqu [{to}], ymm0
         vmovdqu [{to} + 32], ymm1",
        "64",
        "vzeroupper"
    );

    // Such stores keep no order with others by themselves. The last fence makes a later `Release` store publish them as it
    // does all others; the first one keeps them behind earlier stores, as a `Release` fence between the two promises.
    vector_loop!(
        avx_past_caches,
        "sfence",
        "prefetcht0 [{from} + 512]
         prefetcht0 [{from} + 576]
         vmovdqu ymm0, [{from}]
         vmovdqu ymm1, [{from} + 32]
         vmovdqu ymm2, [{from} + 64]
         vmovdqu ymm3, [{from} + 96]
         vmovntdq [{to}], ymm0
         vmovntdq [{to} + 32], ymm1
         vmovntdq [{to} + 64], ymm2
         vmovntdq [{to} + 96], ymm3",
        "128",
        "sfence
         vzeroupper"
    );

    #[cfg(test)]
    mod tests {
        use super::{super::tests::all_lengths, *};

        /// Every loop, whatever this machine's caches and the length would choose.
        #[test]
        fn smoke() {
            let mut loops = vec![SSE];
            if is_x86_feature_detected!("avx") {
                loops.extend([AVX, AVX_PAST_CACHES, Loop { align_from: 0, ..AVX }]);
            }
            for vectors in loops {
                all_lengths(BULK..BULK + 300, |from, to, len| {
                    // SAFETY: `all_lengths` gives `len` bytes of each, not less than `BULK`.
                    unsafe { bulk(from, to, len, vectors) };
                });
            }
        }
    }
}

/// Relaxed atomics, one by one.
#[cfg(any(miri, test, not(target_arch = "x86_64")))]
mod portable {
    use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

    /// Runs the body once for each aligned part of `$len` bytes, with its place and its types.
    macro_rules! for_each_part {
        ($len:ident, $align:ident, |$offset:ident, $Plain:ident, $Shared:ident| $body:block) => {
            match $align {
                1 => for_each_part!($len, $offset, $Plain = u8, $Shared = AtomicU8, $body),
                2 => for_each_part!($len, $offset, $Plain = u16, $Shared = AtomicU16, $body),
                4 => for_each_part!($len, $offset, $Plain = u32, $Shared = AtomicU32, $body),
                _ => for_each_part!($len, $offset, $Plain = u64, $Shared = AtomicU64, $body),
            }
        };
        ($len:ident, $offset:ident, $Plain:ident = $plain:ty, $Shared:ident = $shared:ty, $body:block) => {{
            type $Plain = $plain;
            type $Shared = $shared;
            for $offset in (0..$len).step_by(size_of::<$Plain>()) $body
        }};
    }

    /// # Safety
    ///
    /// As [`super::load`], for `len` bytes of elements aligned to `align`.
    pub(super) unsafe fn load(shared: *const u8, private: *mut u8, len: usize, align: usize) {
        for_each_part!(len, align, |offset, Plain, Shared| {
            let part = shared.wrapping_add(offset).cast_mut().cast::<Plain>();
            // SAFETY: one of the caller's elements, or an aligned part of it; others access it atomically.
            let part = unsafe { Shared::from_ptr(part) }.load(Relaxed);
            // SAFETY: the same part of the private elements.
            unsafe { private.wrapping_add(offset).cast::<Plain>().write(part) };
        });
    }

    /// # Safety
    ///
    /// As [`super::store`], for `len` bytes of elements aligned to `align`.
    pub(super) unsafe fn store(private: *const u8, shared: *mut u8, len: usize, align: usize) {
        for_each_part!(len, align, |offset, Plain, Shared| {
            // SAFETY: one of the caller's elements, or an aligned part of it.
            let part = unsafe { private.wrapping_add(offset).cast::<Plain>().read() };
            let to = shared.wrapping_add(offset).cast::<Plain>();
            // SAFETY: the same part of the shared elements; others access it atomically.
            unsafe { Shared::from_ptr(to) }.store(part, Relaxed);
        });
    }

    /// # Safety
    ///
    /// As [`super::hand_over`].
    #[cfg(any(miri, not(target_arch = "x86_64")))]
    pub(super) unsafe fn hand_over(private: *const u8, shared: *mut u8, len: usize) {
        // SAFETY: the same contract.
        unsafe { store(private, shared, len, 1) };
    }

    #[cfg(test)]
    mod tests {
        use super::{super::tests::all_lengths, *};

        #[test]
        fn smoke() {
            for direction in [load, store] {
                all_lengths(0..300, |from, to, len| {
                    let align = 1 << (from.addr() | to.addr() | len | 8).trailing_zeros();
                    // SAFETY: `all_lengths` gives `len` bytes of each, and all are multiples of `align`.
                    unsafe { direction(from, to, len, align) };
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fmt::Debug,
        sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        thread,
    };

    use super::*;

    const GUARD: u8 = 0xEE;
    const STARTS: &[usize] = if cfg!(miri) { &[0, 8, 13] } else { &[0, 1, 2, 4, 7, 8, 16, 31, 32, 48, 63] };

    #[test]
    fn appended() {
        let source: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
        for len in [0, 1, 2047, 2048, 2049, 4099, 5000] {
            for before in [0, 3] {
                let mut buffer = vec![GUARD; before];
                append(&mut buffer, &source[..len]);
                assert!(buffer[..before].iter().all(|byte| *byte == GUARD) && buffer[before..] == source[..len]);
            }
        }
    }

    /// Copies every length between several starts, and checks the bytes copied and those around them.
    pub(super) fn all_lengths(lengths: impl Iterator<Item = usize> + Clone, copy: impl Fn(*const u8, *mut u8, usize)) {
        let most = lengths.clone().max().expect("some length");
        let source: Vec<u8> = (0..most + 64).map(|i| (i % 251) as u8).collect();
        for &(from, to) in &pairs() {
            for len in lengths.clone() {
                let mut target = vec![GUARD; most + 128];
                copy(source[from..from + len].as_ptr(), target[to..to + len].as_mut_ptr(), len);
                assert_eq!(target[to..to + len], source[from..from + len], "{len} bytes from {from} to {to}");
                let around = target[..to].iter().chain(&target[to + len..]);
                assert!(around.copied().all(|byte| byte == GUARD), "{len} bytes from {from} to {to}");
            }
        }
    }

    fn pairs() -> Vec<(usize, usize)> {
        STARTS.iter().flat_map(|&from| STARTS.iter().map(move |&to| (from, to))).collect()
    }

    /// Every length from every start of an element, both ways.
    fn typed<T: Copy + PartialEq + Debug>(make: impl Fn(usize) -> T) {
        let most = if cfg!(miri) { 40 } else { 300 };
        let source: Vec<T> = (0..most + 64).map(&make).collect();
        let guard = make(usize::MAX);
        for start in (0..64 / size_of::<T>().max(1)).step_by(if cfg!(miri) { 3 } else { 1 }) {
            for count in 0..most {
                for direction in [load, store] {
                    let mut target = vec![guard; most + 64];
                    let from = source[64 - start..].as_ptr();
                    // SAFETY: both have `count` elements from there on, and nobody else has them.
                    unsafe { direction(from, target[start..].as_mut_ptr(), count) };
                    assert_eq!(target[start..start + count], source[64 - start..64 - start + count]);
                    assert_eq!(target[..start], vec![guard; start]);
                    assert_eq!(target[start + count..], vec![guard; most + 64 - start - count]);
                }
            }
        }
    }

    #[test]
    fn bytes() {
        typed(|i| i as u8);
    }

    #[test]
    fn small_numbers() {
        typed(|i| i as u16);
        typed(|i| i as f32);
    }

    #[test]
    fn large_numbers() {
        typed(|i| i as f64);
        typed(|i| i as u128);
    }

    #[test]
    fn structs() {
        typed(|i| [i as u32, !(i as u32), 7]);
        typed(|i| [i as u8; 5]);
        typed(|_| ());
    }

    #[test]
    fn past_the_caches() {
        if cfg!(miri) {
            return;
        }
        let source: Vec<u64> = (0..(25 << 20) / 8).collect();
        let mut target = vec![u64::MAX; source.len() + 2];
        // SAFETY: the target has one element more on either side; nobody else has them.
        unsafe { store(source.as_ptr(), target[1..].as_mut_ptr(), source.len()) };
        assert_eq!((target[0], target[source.len() + 1]), (u64::MAX, u64::MAX));
        assert!(target[1..=source.len()] == source);
    }

    #[test]
    fn handed_over() {
        let source: Vec<u8> = (0..40_000).map(|i| (i % 251) as u8).collect();
        for len in [0, 1, 300, (16 << 10) - 1, 16 << 10, (16 << 10) + 1, 39_999] {
            for start in [1, 8, 61, 64] {
                let mut target = vec![GUARD; 64 + len + 64];
                // SAFETY: the target has room on either side; nobody else has them.
                unsafe { hand_over(source.as_ptr(), target[start..].as_mut_ptr(), len) };
                assert!(target[start..start + len] == source[..len], "{len} at {start}");
                assert!(target[..start].iter().chain(&target[start + len..]).all(|byte| *byte == GUARD));
            }
        }
    }

    /// One side writes numbers of two equal halves; none is ever seen mixed.
    fn race(len: usize, start: usize, by_store: bool) {
        const ROUNDS: u64 = if cfg!(miri) { 20 } else { 4000 };
        let shared: Vec<AtomicU64> = (0..len + start).map(|_| AtomicU64::new(0)).collect();
        let shared = &shared[start..];
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let number = round << 32 | round;
                    if by_store {
                        let numbers = vec![number; len];
                        // SAFETY: both have `len` elements; the shared ones are atomics, and only loaded elsewhere.
                        unsafe { store(numbers.as_ptr(), shared.as_ptr().cast_mut().cast(), len) };
                    } else {
                        shared.iter().for_each(|x| x.store(number, Relaxed));
                    }
                }
                done.store(true, Relaxed);
            });
            let mut last = 0;
            while !done.load(Relaxed) {
                let mut seen = vec![0_u64; len];
                if by_store {
                    seen.iter_mut().zip(shared).for_each(|(seen, x)| *seen = x.load(Relaxed));
                } else {
                    // SAFETY: both have `len` elements; the shared ones are atomics.
                    unsafe { load(shared.as_ptr().cast(), seen.as_mut_ptr(), len) };
                }
                assert!(seen.iter().all(|x| x >> 32 == x & u64::from(u32::MAX)), "torn: {seen:x?}");
                assert!(seen[0] >= last, "an old number came back");
                last = seen[0];
            }
        });
    }

    #[test]
    fn no_number_is_torn() {
        for len in [1, 3, 40, 200] {
            for start in [0, 1, 2, 3] {
                race(len, start, false);
                race(len, start, true);
            }
        }
    }
}
