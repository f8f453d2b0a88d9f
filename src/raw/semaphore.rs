//! A count of permits that anybody may take and anybody may give.
//!
//! # The word
//!
//! | bits | name | meaning |
//! | --- | --- | --- |
//! | 0–30 | `COUNT` | permits that nobody has; at most [`MAX`], so that no sum of two counts reaches bit 31 |
//! | 31 | `WAITERS` | somebody may sleep on the word, which then has a count of 0 |
//!
//! # Order of the steps, and a death after each
//!
//! | step | a death after it costs |
//! | --- | --- |
//! | acquire: count - 1 | the permit: nobody knows whose it was |
//! | sleep: set `WAITERS` | the next release a wake-up of nobody, which clears the bit |
//! | sleep, and be woken, before the permit is taken | the others the rest of their slice: the permit is there, the wake-up is not |
//! | acquire after a sleep: set `WAITERS`, wake others for what is left | the sleepers the rest of their slice |
//! | release: count + n | the sleepers the rest of their slice |
//! | release: wake n | nothing; `WAITERS` that should be cleared costs the next release a wake-up of nobody |
//!
//! A waiter may be killed, or stopped, at the very moment when a wake-up reaches it. The kernel passes on what it gave to
//! a dying waiter only for lock words; here the count is the truth, and every sleeper looks at it after [`SLICE`].
//!
//! # Who clears `WAITERS`, and who sets it again
//!
//! A release that woke nobody clears the bit. Between its look and its step others may have gone to sleep, been released
//! and be on their way, with the same word as before: then the bit is cleared under those who sleep still, and further
//! releases wake nobody. So whoever has slept leaves the bit set when it takes a permit or gives up, and if it found the
//! bit cleared and permits besides its own, it wakes as many for them. Of those who sleep while a count is above 0 at
//! least one is about to be woken and does that.

#[cfg(not(loom))]
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

#[cfg(loom)]
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{
    points::point,
    sys::{AtomicU16, AtomicU32, futex},
    waiting::{Patience, SLICE, Spin},
};
use crate::{Error, Result, os::clock::Wait};

const WAITERS: u32 = 1 << 31;
const COUNT: u32 = WAITERS - 1;

/// The most permits that there can be at a time.
pub(crate) const MAX: u32 = (1 << 30) - 1;

/// Below this a release adds without a comparison: there are not so many threads that they could reach [`MAX`] together
/// from here.
const FAR_FROM_MAX: u32 = MAX / 2;

/// The semaphore. Zeroed memory is one without permits.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct RawSemaphore {
    word: AtomicU32,
    patience: Patience,
    spare: AtomicU16,
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<RawSemaphore>() == 8 && align_of::<RawSemaphore>() == 4);
    assert!(offset_of!(RawSemaphore, word) == 0);
};

impl RawSemaphore {
    /// One with `count` permits, see [`checked`](Self::checked).
    pub(crate) fn with(count: u32) -> Self {
        Self { word: AtomicU32::new(count), ..Self::default() }
    }

    /// `count`, if a semaphore can begin with it.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for more than [`MAX`].
    pub(crate) fn checked(count: usize) -> Result<u32> {
        match u32::try_from(count) {
            Ok(count @ 0..=MAX) => Ok(count),
            _ => Err(Error::invalid_argument(format!("a semaphore of {count} permits; the most is {MAX}"))),
        }
    }

    /// The permits that could be taken now.
    pub(crate) fn count(&self) -> u32 {
        self.word.load(Relaxed) & COUNT
    }

    /// Takes a permit.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`.
    #[inline]
    pub(crate) fn acquire(&self, wait: Wait) -> Result<()> {
        let state = self.word.load(Relaxed);
        if state & COUNT != 0 && self.take(state, 0).is_ok() { Ok(()) } else { self.acquire_contended(wait, 0) }
    }

    /// One attempt to take a permit from a word that was read as `state`. `keep` is what stays in it besides.
    #[inline]
    fn take(&self, state: u32, keep: u32) -> Result<(), u32> {
        point();
        // Acquire: pairs with the Release of all releases so far, for every change of the word goes on with what it
        // found (reads, modifies, writes).
        self.word.compare_exchange(state, (state - 1) | keep, Acquire, Relaxed).map(drop)
    }

    /// `keep` is what a thread that has slept leaves in the word.
    #[cold]
    fn acquire_contended(&self, wait: Wait, mut keep: u32) -> Result<()> {
        let mut spin = Spin::new(&self.patience);
        let mut state = self.word.load(Relaxed);
        loop {
            if state & COUNT != 0 {
                match self.take(state, keep) {
                    Ok(()) => {
                        spin.succeeded();
                        if state & WAITERS < keep && state & COUNT > 1 {
                            // Cleared under sleepers, see the module.
                            point();
                            futex::wake(&self.word, (state & COUNT) - 1);
                        }
                        return Ok(());
                    }
                    Err(now) => state = now,
                }
            } else if wait == Wait::No {
                return Err(Error::WouldBlock);
            } else if spin.turn() {
                state = self.word.load(Relaxed);
            } else {
                state = self.sleep(wait)?;
                keep = WAITERS;
            }
        }
    }

    /// Sleeps once, if there are no permits; returns the word after that.
    fn sleep(&self, wait: Wait) -> Result<u32> {
        let state = self.word.load(Relaxed);
        match state {
            0 => {
                point();
                if let Err(now) = self.word.compare_exchange(0, WAITERS, Relaxed, Relaxed) {
                    return Ok(now);
                }
            }
            WAITERS => {}
            _ => return Ok(state),
        }
        // Not before the bit is set: whoever has slept leaves it.
        if wait.is_over() {
            return Err(Error::TimedOut);
        }
        futex::wait(&self.word, WAITERS, wait.slice(SLICE));
        Ok(self.word.load(Relaxed))
    }

    /// Gives one permit.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when there would be more than [`MAX`]; nothing has changed then.
    #[inline]
    pub(crate) fn release(&self) -> Result<()> {
        if self.count() > FAR_FROM_MAX {
            return self.release_many(1);
        }
        point();
        // Release: pairs with the Acquire of `take`.
        let state = self.word.fetch_add(1, Release);
        if state & WAITERS != 0 {
            self.wake(state + 1, 1);
        }
        Ok(())
    }

    /// Gives `n` permits at once, or none.
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    #[cold]
    pub(crate) fn release_many(&self, n: usize) -> Result<()> {
        let mut state = self.word.load(Relaxed);
        loop {
            let count = state & COUNT;
            let n = match u32::try_from(n) {
                Ok(0) => return Ok(()),
                Ok(n) if n <= MAX.saturating_sub(count) => n,
                _ => {
                    let reason = format!("{n} permits more than the {count} that there are; the most is {MAX}");
                    return Err(Error::invalid_argument(reason));
                }
            };
            point();
            // Release: as in `release`.
            match self.word.compare_exchange(state, state + n, Release, Relaxed) {
                Ok(_) if state & WAITERS != 0 => {
                    self.wake(state + n, n);
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    /// Wakes `n` sleepers, for as many permits, which made the word `state`.
    #[cold]
    fn wake(&self, state: u32, n: u32) {
        point();
        if futex::wake(&self.word, n) == 0 {
            point();
            // Nobody slept, see the module.
            let _ = self.word.compare_exchange(state, state & !WAITERS, Relaxed, Relaxed);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn permits_are_counted() {
        let semaphore = RawSemaphore::with(2);
        assert_eq!(semaphore.count(), 2);
        semaphore.acquire(Wait::No).unwrap();
        semaphore.acquire(Wait::Forever).unwrap();
        assert!(semaphore.acquire(Wait::No).unwrap_err().is_would_block());
        assert_eq!(semaphore.word.load(Relaxed), 0, "a try leaves no mark");
        semaphore.release().unwrap();
        semaphore.release_many(3).unwrap();
        semaphore.release_many(0).unwrap();
        assert_eq!(semaphore.count(), 4);
    }

    #[test]
    fn the_maximum_is_exact() {
        let semaphore = RawSemaphore::with(MAX - 2);
        for n in [3, MAX as usize, 1 << 31, usize::MAX] {
            assert!(matches!(semaphore.release_many(n), Err(Error::InvalidArgument { .. })), "{n}");
            assert_eq!(semaphore.count(), MAX - 2);
        }
        semaphore.release_many(1).unwrap();
        semaphore.release().unwrap();
        assert!(semaphore.release().is_err());
        assert_eq!(semaphore.count(), MAX);
        semaphore.acquire(Wait::No).unwrap();
        semaphore.release().unwrap();
        for count in [MAX as usize + 1, 1 << 31, usize::MAX] {
            assert!(RawSemaphore::checked(count).is_err());
        }
    }

    /// Whatever others write there, counts stay counts.
    #[test]
    fn any_word_is_survived() {
        for word in [COUNT, u32::MAX, MAX + 1, WAITERS | MAX] {
            let semaphore = RawSemaphore::with(word);
            assert!(semaphore.release().is_err());
            semaphore.acquire(Wait::No).unwrap();
            assert_eq!(semaphore.word.load(Relaxed), word - 1);
        }
    }

    #[test]
    fn a_wait_ends_in_time() {
        let semaphore = RawSemaphore::default();
        for time in [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(150)] {
            let start = Instant::now();
            assert!(semaphore.acquire(Wait::timeout(time)).unwrap_err().is_timed_out());
            assert!(start.elapsed() >= time);
        }
        semaphore.release().unwrap();
        assert_eq!(semaphore.word.load(Relaxed), 1, "the mark of those who gave up is cleared");
    }

    #[test]
    fn sleepers_are_woken() {
        let semaphore = RawSemaphore::default();
        let soon = Wait::timeout(Duration::from_secs(20));
        thread::scope(|scope| {
            let waiters = [(); 4].map(|()| scope.spawn(|| semaphore.acquire(soon)));
            while semaphore.word.load(Relaxed) != WAITERS {
                assert!(!soon.is_over());
                thread::yield_now();
            }
            semaphore.release_many(3).unwrap();
            semaphore.release().unwrap();
            for waiter in waiters {
                waiter.join().unwrap().unwrap();
            }
        });
        assert_eq!(semaphore.count(), 0);
    }
}
