//! Sleeping on a word of shared memory, and waking those who sleep there.
//!
//! Never with `FUTEX_PRIVATE_FLAG`: a private futex is keyed by the virtual address and a waiter in another process
//! would not be found, which shows as a silent hang.
//!
//! Sources: `futex(2)`, `Documentation/locking/futex-requeue-pi.rst` of the kernel for the keys, and
//! `Documentation/userspace-api/futex2.rst` for the wait on several words.

#![expect(unsafe_code, reason = "the futex system call has no safe wrapper that takes a deadline")]

use std::{
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use rustix::{io::Errno, thread::futex as futex2, time::ClockId};

use super::clock::Deadline;

/// Why [`wait`] came back. All three may be spurious: the caller looks at its condition again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Another thread called [`wake`], or nobody did.
    Awake,
    /// The word had another value: there was nothing to wait for.
    Changed,
    /// The deadline passed.
    TimedOut,
}

/// Sleeps while `word` holds `expected`, until woken or until `deadline`.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Woken {
    let until = deadline.timespec();
    // SAFETY: `word` is a live, aligned word; `until` outlives the call and has the layout of `struct timespec` on
    // 64-bit Linux; the bitset form takes an absolute time on CLOCK_MONOTONIC and ignores the fifth argument.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            expected,
            &raw const until,
            ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    if result == 0 {
        return Woken::Awake;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Woken::Changed,
        Some(libc::ETIMEDOUT) => Woken::TimedOut,
        // EINTR, and nothing else is possible for a mapped word: the caller looks again, with the same deadline.
        _ => Woken::Awake,
    }
}

/// The most words that [`wait_any`] can watch: the kernel's limit.
pub(crate) const MOST_WORDS: usize = 128;

/// Whether the kernel waits on several words (Linux 5.16).
static HAS_WAITV: AtomicBool = AtomicBool::new(true);

/// Sleeps while every word holds the value beside it, until a wake-up of any of them or until `deadline`.
///
/// Words after the first [`MOST_WORDS`] are not watched, and on a kernel that cannot watch several only the first is:
/// the deadline must be a short one, after which the caller looks at all of them.
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], deadline: Deadline) -> Woken {
    let (first, expected) = match words {
        [] => return Woken::Changed,
        [one, ..] => *one,
    };
    if words.len() == 1 || !HAS_WAITV.load(Relaxed) {
        return wait(first, expected, deadline);
    }
    let watched = words.iter().take(MOST_WORDS).map(|(word, expected)| {
        let mut one = futex2::Wait::new();
        one.val = u64::from(*expected);
        one.uaddr = futex2::WaitPtr::new(word.as_ptr().cast());
        // Not private, see above.
        one.flags = futex2::WaitFlags::SIZE_U32;
        one
    });
    let watched: Vec<_> = watched.collect();
    match futex2::waitv(&watched, futex2::WaitvFlags::empty(), Some(&deadline.timespec()), ClockId::Monotonic) {
        Ok(_) => Woken::Awake,
        Err(Errno::AGAIN) => Woken::Changed,
        Err(Errno::TIMEDOUT) => Woken::TimedOut,
        // An older kernel, or a filter of system calls that does not know this one.
        Err(Errno::NOSYS | Errno::PERM) => {
            HAS_WAITV.store(false, Relaxed);
            wait(first, expected, deadline)
        }
        // EINTR.
        Err(_) => Woken::Awake,
    }
}

/// Does without the wait on several words from now on, as on older kernels: for tests.
#[cfg(any(test, feature = "death-points"))]
#[cfg_attr(not(feature = "death-points"), expect(unreachable_pub, reason = "exported with the feature"))]
pub fn without_waitv(without: bool) {
    HAS_WAITV.store(!without, Relaxed);
}

/// Wakes at most `count` sleepers and says how many there were.
pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    // SAFETY: FUTEX_WAKE uses the address as a key only; `word` is mapped, so it has one.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count.min(i32::MAX as u32)) };
    u32::try_from(woken).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    fn soon(millis: u64) -> Deadline {
        Deadline::now().after(Duration::from_millis(millis)).unwrap()
    }

    #[test]
    fn another_value_returns_at_once() {
        assert_eq!(wait(&AtomicU32::new(1), 2, soon(10_000)), Woken::Changed);
    }

    #[test]
    fn the_deadline_ends_the_sleep() {
        assert_eq!(wait(&AtomicU32::new(1), 1, soon(1)), Woken::TimedOut);
    }

    #[test]
    fn a_wake_reaches_the_sleeper() {
        let word = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Relaxed) == 0 {
                    wait(&word, 0, soon(10_000));
                }
            });
            word.store(1, Relaxed);
            while wake(&word, 1) == 0 && soon(0) < soon(1) {
                if word.load(Relaxed) == 1 {
                    break;
                }
            }
        });
    }

    #[test]
    fn any_of_several_words_ends_the_sleep() {
        let words: [AtomicU32; 3] = Default::default();
        let all = [(&words[0], 0), (&words[1], 0), (&words[2], 0)];
        assert_eq!(wait_any(&[(&words[0], 0), (&words[1], 7)], soon(10_000)), Woken::Changed);
        assert_eq!(wait_any(&all, soon(1)), Woken::TimedOut);
        thread::scope(|scope| {
            scope.spawn(|| {
                while words[2].load(Relaxed) == 0 {
                    wait_any(&all, soon(10_000));
                }
            });
            words[2].store(1, Relaxed);
            wake(&words[2], 1);
        });
    }
}
