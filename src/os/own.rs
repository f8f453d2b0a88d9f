//! Locks for what a process has for itself, which are free in its forks whoever held them.
//!
//! A process may be the fork of one that had other threads at that moment. What those held is held in the child for ever, if
//! it is a lock of std. Here the word has the generation of the process whose thread holds the lock (see
//! [`robust`]): the child sees that it is another's, of which no thread is here. What the lock guards may be half
//! changed then, so the child begins with a new one and never looks at what was there. Otherwise the child has a copy of its
//! parent's.

#![expect(unsafe_code, reason = "a lock, and what it guards")]

use std::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};

use super::{clock::Deadline, futex, robust};

/// Set in the word while somebody may sleep there.
const AWAITED: u32 = 1 << 31;
const SLICE: Duration = Duration::from_millis(100);

/// Something of this process's, with a lock.
#[derive(Debug)]
pub(crate) struct Own<T> {
    /// The generation of the process whose thread holds the lock, and [`AWAITED`]; 0 if it is free.
    word: AtomicU32,
    is_remade: AtomicBool,
    /// Nothing before it is first used.
    ///
    /// # Safety
    ///
    /// For the thread that holds the lock.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: one thread at a time has what is in it, so that it need not be `Sync`.
unsafe impl<T: Send> Sync for Own<T> {}

impl<T: Default> Own<T> {
    pub(crate) const fn new() -> Self {
        Self { word: AtomicU32::new(0), is_remade: AtomicBool::new(false), value: UnsafeCell::new(None) }
    }

    /// Waits for it. A panic of who has it does not make it another's business: it is for what cannot be left half changed.
    pub(crate) fn lock(&self) -> Held<'_, T> {
        // Where generations are not to be had, nothing is that this guards.
        let me = robust::generation().unwrap_or(1) & !AWAITED;
        // Who has slept may not be the only one.
        let mut mark = 0;
        while let Err(found) = self.word.compare_exchange(0, me | mark, Acquire, Relaxed) {
            if found & !AWAITED != me {
                if self.word.compare_exchange(found, me | mark, Acquire, Relaxed).is_ok() {
                    // SAFETY: this thread has taken the lock just now, from a thread that is not in this process. Nothing is
                    // dropped.
                    unsafe { self.value.get().write(None) };
                    self.is_remade.store(true, Relaxed);
                    break;
                }
            } else if found & AWAITED != 0 || self.word.compare_exchange(found, me | AWAITED, Relaxed, Relaxed).is_ok()
            {
                mark = AWAITED;
                let slice = Deadline::now().after(SLICE).unwrap_or_else(Deadline::now);
                futex::wait(&self.word, me | AWAITED, slice);
            }
        }
        // SAFETY: this thread holds the lock.
        unsafe { &mut *self.value.get() }.get_or_insert_default();
        Held { own: self, _not_send: PhantomData }
    }

    /// Whether a fork, of this process or of those it comes from, had to begin anew. For who holds the lock.
    pub(crate) fn is_remade(&self) -> bool {
        self.is_remade.load(Relaxed)
    }
}

impl<T: Default> Default for Own<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// An [`Own`] whose lock the calling thread holds.
pub(crate) struct Held<'a, T> {
    own: &'a Own<T>,
    _not_send: PhantomData<*const ()>,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock.
        unsafe { &*self.own.value.get() }.as_ref().expect("made by `lock`")
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this is the only reference.
        unsafe { &mut *self.own.value.get() }.as_mut().expect("made by `lock`")
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of `lock`.
        if self.own.word.swap(0, Release) & AWAITED != 0 {
            futex::wake(&self.own.word, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn one_at_a_time() {
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 20_000 };
        static COUNT: Own<usize> = Own::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let mut count = COUNT.lock();
                        let found = *count;
                        if found.is_multiple_of(64) {
                            thread::yield_now();
                        }
                        *count = found + 1;
                    }
                });
            }
        });
        assert_eq!(*COUNT.lock(), 4 * ROUNDS);
        assert!(!COUNT.is_remade());
    }

    /// As a fork finds it.
    #[test]
    fn held_by_another_generation() {
        let own = Own::<Vec<u8>>::new();
        own.lock().push(1);
        assert_eq!(*own.lock(), [1]);
        for mark in [0, AWAITED] {
            own.word.store((robust::generation().unwrap() + 7) | mark, Relaxed);
            assert!(own.lock().is_empty());
            own.lock().push(2);
            assert_eq!(*own.lock(), [2]);
        }
        assert!(own.is_remade());
    }
}
