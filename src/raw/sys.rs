//! What the algorithms stand on: the machine's atomics and the kernel, or the model checker's.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

#[cfg(not(loom))]
pub(crate) use crate::os::{
    futex,
    identity::{Stamp, thread_is_gone},
    robust::{LIMIT, Links, Thread, known_thread, this_thread},
};

#[cfg(loom)]
pub(crate) use model::*;

/// The kernel as far as the algorithms use it, under loom: sleepers of a word, and what a death does to a word.
#[cfg(loom)]
mod model {
    pub(crate) use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
    use loom::sync::{Condvar, Mutex};

    pub(crate) const LIMIT: usize = 1000;

    #[derive(Debug, Default)]
    pub(crate) struct Links;

    #[derive(Clone, Copy)]
    pub(crate) struct Thread(u32);

    loom::lazy_static! {
        static ref SLEEPERS: (Mutex<Vec<Sleeper>>, Condvar) = (Mutex::new(Vec::new()), Condvar::new());
        static ref NEXT: loom::sync::atomic::AtomicU32 = loom::sync::atomic::AtomicU32::new(1);
    }

    loom::thread_local! {
        static TID: u32 = NEXT.fetch_add(1, Relaxed);
    }

    struct Sleeper {
        word: usize,
        tid: u32,
        woken: bool,
    }

    pub(crate) fn this_thread() -> crate::Result<Thread> {
        Ok(Thread(TID.with(|tid| *tid)))
    }

    pub(crate) fn known_thread() -> Option<Thread> {
        this_thread().ok()
    }

    impl Thread {
        pub(crate) fn tid(self) -> u32 {
            self.0
        }

        pub(crate) fn stamp(self) -> u64 {
            u64::from(self.0) << 2
        }

        pub(crate) fn begin(self, _: &Links) {}
        pub(crate) fn end(self) {}
        pub(crate) fn link(self, _: &Links) {}
        pub(crate) fn unlink(self, _: &Links) {}

        pub(crate) fn has_room(self) -> bool {
            true
        }
    }

    /// What the kernel does to a word on the list, or pending, of a thread that dies (`handle_futex_death`).
    pub(crate) fn die(thread: Thread, word: &AtomicU32, pending: bool) {
        const WAITERS: u32 = 1 << 31;
        const OWNER_DIED: u32 = 1 << 30;
        let mut value = word.load(Relaxed);
        loop {
            let owner = value & !(WAITERS | OWNER_DIED);
            if pending && owner == 0 {
                futex::wake(word, 1);
                return;
            }
            if owner != thread.0 {
                return;
            }
            // The kernel's exchange is fully ordered.
            let marked = value & WAITERS | OWNER_DIED;
            match word.compare_exchange(value, marked, loom::sync::atomic::Ordering::SeqCst, Relaxed) {
                Ok(_) => break,
                Err(now) => value = now,
            }
        }
        if value & WAITERS != 0 {
            futex::wake(word, 1);
        }
    }

    pub(crate) fn thread_is_gone(_: u32) -> bool {
        false
    }

    pub(crate) struct Stamp;

    impl Stamp {
        pub(crate) const SPARE: u64 = 0b11;

        pub(crate) fn from_bits(_: u64) -> Self {
            Self
        }

        pub(crate) fn pid(&self) -> Option<u32> {
            None
        }

        /// Who is marked in the model has died whole.
        pub(crate) fn is_dead(&self, _: crate::os::clock::Wait) -> bool {
            true
        }
    }

    pub(crate) mod futex {
        use super::{AtomicU32, Relaxed, SLEEPERS, Sleeper, TID};
        use crate::os::{clock::Deadline, futex::Woken};

        pub(crate) fn wait(word: &AtomicU32, expected: u32, _: Deadline) -> Woken {
            let (sleepers, changed) = &*SLEEPERS;
            let mut list = sleepers.lock().unwrap();
            if word.load(Relaxed) != expected {
                return Woken::Changed;
            }
            let tid = TID.with(|tid| *tid);
            list.push(Sleeper { word: std::ptr::from_ref(word).addr(), tid, woken: false });
            loop {
                if let Some(at) = list.iter().position(|sleeper| sleeper.tid == tid && sleeper.woken) {
                    list.remove(at);
                    return Woken::Awake;
                }
                list = changed.wait(list).unwrap();
            }
        }

        pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
            let (sleepers, changed) = &*SLEEPERS;
            let mut list = sleepers.lock().unwrap();
            let word = std::ptr::from_ref(word).addr();
            let woken = list
                .iter_mut()
                .filter(|sleeper| sleeper.word == word && !sleeper.woken)
                .take(count as usize)
                .map(|sleeper| sleeper.woken = true)
                .count();
            changed.notify_all();
            woken as u32
        }
    }
}
