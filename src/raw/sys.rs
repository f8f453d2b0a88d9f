//! What the algorithms stand on: the machine's atomics and the kernel, or the model checker's.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

#[cfg(not(loom))]
pub(crate) use crate::os::{
    futex,
    identity::{Stamp, has_no_thread, thread_is_gone},
    membarrier::{Light, heavy},
    robust::{First, LIMIT, Links, Thread, known_thread, this_thread},
};

/// Stands between a sequentially consistent exchange and a sequentially consistent load, which need nothing more: the
/// model checker takes both for weaker ones, and knows only fences.
#[inline(always)]
pub(crate) fn one_order_for_all() {
    #[cfg(loom)]
    loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
}

/// Stands between an atomic exchange, of whatever ordering, and a load that nothing before the exchange may come after.
#[inline(always)]
pub(crate) fn barrier_after_exchange() {
    #[cfg(loom)]
    loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
    // A locked instruction lets no load pass, so the compiler alone must be told.
    #[cfg(all(not(loom), target_arch = "x86_64"))]
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    #[cfg(all(not(loom), not(target_arch = "x86_64")))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

#[cfg(loom)]
pub(crate) use model::*;

/// The kernel as far as the algorithms use it, under loom: sleepers of a word, and what a death does to a word.
///
/// There is no time here: a wake-up that is lost shows as a deadlock, where the real one would cost a slice.
#[cfg(loom)]
mod model {
    use std::cell::{Cell, RefCell};

    pub(crate) use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};
    use loom::sync::{
        Condvar, Mutex,
        atomic::Ordering::{Relaxed, SeqCst},
    };

    pub(crate) const LIMIT: usize = 1000;

    /// The kernel's barrier in all others is one of this thread's own, at every place where it could strike.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Light {
        by_kernel: bool,
    }

    impl Light {
        /// Of one that is registered where nobody can ask the kernel.
        #[cfg(test)]
        pub(crate) const UNASKED: Self = Self { by_kernel: false };

        pub(crate) fn register() -> Self {
            Self { by_kernel: true }
        }

        pub(crate) fn barrier(self) {
            if self.by_kernel {
                loom::sync::atomic::fence(SeqCst);
            }
        }
    }

    pub(crate) fn heavy() -> bool {
        loom::sync::atomic::fence(SeqCst);
        true
    }

    #[derive(Debug, Default)]
    pub(crate) struct Links;

    #[derive(Clone, Copy)]
    pub(crate) struct First;

    #[derive(Clone, Copy)]
    pub(crate) struct Thread(u32);

    /// What a modelled thread knows of itself.
    #[derive(Default)]
    struct Own {
        tid: Cell<u32>,
        /// Its robust list, last taken last, and the entry that is being changed: addresses of [`Links`].
        linked: RefCell<Vec<usize>>,
        pending: Cell<Option<usize>>,
        /// Points left until its death; 0 for none.
        left: Cell<u32>,
    }

    loom::lazy_static! {
        static ref SLEEPERS: (Mutex<Vec<Sleeper>>, Condvar) = (Mutex::new(Vec::new()), Condvar::new());
    }

    loom::thread_local! {
        static OWN: Own = Own::default();
    }

    struct Sleeper {
        word: usize,
        tid: u32,
        woken: bool,
        killed: bool,
    }

    /// What unwinds a thread that dies.
    struct Death;

    /// Gives the calling thread its id. Ids are given and not counted, for a count is one more race to explore.
    pub(crate) fn enter(tid: u32) {
        OWN.with(|own| own.tid.set(tid));
    }

    /// Checks every order of steps in which threads are stopped in the middle `preemptions` times at most.
    #[cfg(test)]
    pub(crate) fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(model);
    }

    std::thread_local! {
        /// Deaths at a point, see [`mortal`], in all orders of steps that were explored so far.
        static DEATHS: Cell<u64> = const { Cell::new(0) };
    }

    /// Checks `model` as [`explore`] does, with a death at the first point, the second one, and so on, until there is no
    /// order of steps in which the victim passes so many.
    #[cfg(test)]
    pub(crate) fn at_every_point(preemptions: usize, model: impl Fn(u32) + Copy + Sync + Send + 'static) {
        for points in 1.. {
            DEATHS.set(0);
            explore(preemptions, move || model(points));
            if DEATHS.get() == 0 {
                return assert!(points > 1, "nobody dies");
            }
        }
    }

    /// Starts the thread `tid`.
    #[cfg(test)]
    pub(crate) fn start<S: 'static, T: 'static>(
        tid: u32,
        shared: &loom::sync::Arc<S>,
        body: impl FnOnce(&S) -> T + 'static,
    ) -> loom::thread::JoinHandle<T> {
        let shared = loom::sync::Arc::clone(shared);
        loom::thread::spawn(move || {
            enter(tid);
            body(&shared)
        })
    }

    /// [`mortal_with`] for a model of one lock.
    pub(crate) fn mortal(points: u32, word: &AtomicU32, body: impl FnOnce()) -> bool {
        mortal_with(points, &[word], body)
    }

    /// Runs `body`, which dies at its `points`th point (0: never) or when it is [`kill`]ed, and then does to the words
    /// of its locks what the kernel does; `words` are those of all locks of the model. Says whether it survived. Nothing
    /// in `body` may own loom's objects: their drops would run while it unwinds, and would let other threads run as if
    /// they panicked.
    pub(crate) fn mortal_with(points: u32, words: &[&AtomicU32], body: impl FnOnce()) -> bool {
        OWN.with(|own| own.left.set(points));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        OWN.with(|own| own.left.set(0));
        match outcome {
            Ok(()) => true,
            Err(death) if death.is::<Death>() => {
                die(words);
                false
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A place to die, see [`mortal`].
    pub(crate) fn point() {
        let is_last = OWN.with(|own| match own.left.get() {
            0 => false,
            left => {
                own.left.set(left - 1);
                left == 1
            }
        });
        if is_last {
            DEATHS.set(DEATHS.get() + 1);
            die_here();
        }
    }

    /// Dies now, see [`mortal`].
    pub(crate) fn die_here() -> ! {
        std::panic::resume_unwind(Box::new(Death));
    }

    /// Kills the thread `tid` if it sleeps now, be it woken already or not.
    pub(crate) fn kill(tid: u32) {
        let (sleepers, changed) = &*SLEEPERS;
        let mut list = sleepers.lock().unwrap();
        if let Some(sleeper) = list.iter_mut().find(|sleeper| sleeper.tid == tid) {
            sleeper.killed = true;
            changed.notify_all();
        }
    }

    /// The kernel's walk for a thread that died: its list but for the pending entry, then that.
    fn die(words: &[&AtomicU32]) {
        let (tid, linked, pending) = OWN.with(|own| (own.tid.get(), own.linked.take(), own.pending.take()));
        // A lock's word stands before its links, and no other word between them.
        let word_of = |links: usize| {
            let before = words.iter().filter(|word| std::ptr::from_ref(**word).addr() < links);
            before.max_by_key(|word| std::ptr::from_ref(**word).addr()).expect("the model gave all words")
        };
        for links in linked.into_iter().rev().filter(|links| Some(*links) != pending) {
            handle_futex_death(tid, word_of(links), false);
        }
        if let Some(links) = pending {
            handle_futex_death(tid, word_of(links), true);
        }
    }

    /// `handle_futex_death` of the kernel.
    fn handle_futex_death(tid: u32, word: &AtomicU32, pending: bool) {
        const WAITERS: u32 = 1 << 31;
        const OWNER_DIED: u32 = 1 << 30;
        let mut value = word.load(Relaxed);
        loop {
            let owner = value & !(WAITERS | OWNER_DIED);
            if pending && owner == 0 {
                futex::wake(word, 1);
                return;
            }
            if owner != tid {
                return;
            }
            // The kernel's exchange is fully ordered.
            match word.compare_exchange(value, value & WAITERS | OWNER_DIED, SeqCst, Relaxed) {
                Ok(_) => break,
                Err(now) => value = now,
            }
        }
        if value & WAITERS != 0 {
            futex::wake(word, 1);
        }
    }

    pub(crate) fn this_thread() -> crate::Result<Thread> {
        let tid = OWN.with(|own| own.tid.get());
        assert_ne!(tid, 0, "the thread has no id");
        Ok(Thread(tid))
    }

    pub(crate) fn known_thread() -> Option<Thread> {
        this_thread().ok()
    }

    impl Thread {
        pub(crate) fn tid(self) -> u32 {
            self.0
        }

        /// Every thread is a process of its own.
        pub(crate) fn stamp(self) -> u64 {
            u64::from(self.0) << 2
        }

        pub(crate) fn begin(self, links: &Links) {
            OWN.with(|own| own.pending.set(Some(std::ptr::from_ref(links).addr())));
        }

        pub(crate) fn end(self) {
            OWN.with(|own| own.pending.set(None));
        }

        pub(crate) fn first(self) -> First {
            First
        }

        pub(crate) fn link(self, links: &Links, _: First) {
            let links = std::ptr::from_ref(links).addr();
            OWN.with(|own| {
                assert!(!own.linked.borrow().contains(&links), "linked twice");
                own.linked.borrow_mut().push(links);
            });
        }

        pub(crate) fn unlink(self, links: &Links) {
            let links = std::ptr::from_ref(links).addr();
            OWN.with(|own| {
                let at = own.linked.borrow().iter().position(|one| *one == links).expect("unlinked twice");
                own.linked.borrow_mut().remove(at);
            });
        }

        pub(crate) fn has_room(self) -> bool {
            true
        }
    }

    /// Nobody vanishes in the model without the kernel's mark.
    pub(crate) fn thread_is_gone(_: u32, _: usize) -> bool {
        false
    }

    pub(crate) struct Stamp(u64);

    impl Stamp {
        pub(crate) const SPARE: u64 = 0b11;

        pub(crate) fn from_bits(bits: u64) -> Self {
            Self(bits)
        }

        pub(crate) fn pid(&self) -> Option<u32> {
            Some((self.0 >> 2) as u32).filter(|pid| *pid != 0)
        }

        pub(crate) fn has_let_go(&self, _: usize) -> bool {
            false
        }

        /// Who is marked in the model has died whole.
        pub(crate) fn is_dead(&self, _: crate::os::clock::Wait) -> bool {
            true
        }
    }

    pub(crate) mod futex {
        use super::{AtomicU32, Relaxed, SLEEPERS, Sleeper, point, this_thread};
        use crate::os::{clock::Deadline, futex::Woken};

        pub(crate) fn wait(word: &AtomicU32, expected: u32, _: Deadline) -> Woken {
            wait_while(word, expected, || true)
        }

        /// As `wait`, if `also` holds too at the moment that the sleep begins: for other words that are watched, whose
        /// changes then wake the sleepers of `word`.
        pub(crate) fn wait_while(word: &AtomicU32, expected: u32, also: impl FnOnce() -> bool) -> Woken {
            point();
            let tid = this_thread().map_or(0, |me| me.tid());
            let (sleepers, changed) = &*SLEEPERS;
            let mut list = sleepers.lock().unwrap();
            // Who wakes has stored first and takes this lock after, so it is seen here or finds the sleeper.
            if word.load(Relaxed) != expected || !also() {
                return Woken::Changed;
            }
            list.push(Sleeper { word: std::ptr::from_ref(word).addr(), tid, woken: false, killed: false });
            let killed = loop {
                if let Some(at) = list.iter().position(|one| one.tid == tid && (one.woken || one.killed)) {
                    break list.remove(at).killed;
                }
                list = changed.wait(list).unwrap();
            };
            // Before the unwinding, during which no other thread may run.
            drop(list);
            if killed {
                super::die_here();
            }
            // Woken, and killed before it could do anything about it.
            point();
            Woken::Awake
        }

        pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
            let (sleepers, changed) = &*SLEEPERS;
            let mut list = sleepers.lock().unwrap();
            let word = std::ptr::from_ref(word).addr();
            let woken = list
                .iter_mut()
                // One that was killed a moment ago is still there to eat the wake-up.
                .filter(|sleeper| sleeper.word == word && !sleeper.woken)
                .take(count as usize)
                .map(|sleeper| sleeper.woken = true)
                .count();
            changed.notify_all();
            woken as u32
        }
    }
}
