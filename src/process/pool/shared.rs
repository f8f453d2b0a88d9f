//! What all handles of a pool share, and how threads wait for it.

use std::{
    mem, process,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    crew::{Crew, Phase, Rules, Who},
    job::{Callback, Chunk, Part, Terms},
    words::{PoolWords, Words},
};
use crate::{
    Error, Result,
    os::{clock::Wait, threads},
    raw::{
        gate::Gate,
        lives::{Lives, MemberId},
        waiting::{Patience, Spin},
    },
    region::ticket::Route,
};

/// How long the pool's own thread leaves everything to callers, while there are some.
const TURN: Duration = Duration::from_millis(20);

/// Of so many waits one outlasts the wake-up of a worker.
const LOOK_EACH: usize = 16;

/// The stack of the pool's own thread, which runs callbacks: as large as the standard library has it.
const STACK: usize = 2 << 20;

/// How long it waits whether callers come, when it is first wanted.
const SOON: Duration = Duration::from_millis(1);

pub(super) struct Shared {
    /// The process whose pool it is: forks of it have copies of this.
    pid: u32,
    words: Words,
    pub(super) route: Route,
    pub(super) rules: Rules,
    crew: Mutex<Crew>,
    /// Threads that wait for results, and look after the workers meanwhile.
    callers: AtomicUsize,
    /// How often somebody has waited for an answer, and how long of late.
    waits: AtomicUsize,
    answers: Patience,
    helper: Mutex<Helper>,
    bell: Condvar,
}

/// What the pool's own thread is to do.
#[derive(Default)]
struct Helper {
    runs: bool,
    is_over: bool,
    is_wanted: bool,
    calls_back: Vec<(Callback, Part)>,
    /// Callbacks that were not called yet.
    callbacks: usize,
}

/// Held by the pools' own threads while they hold anything that a fork must not copy.
static STILL: RwLock<()> = RwLock::new(());

/// Keeps the pools' own threads still while this process forks.
pub(in super::super) fn still() -> impl Drop {
    STILL.write().unwrap_or_else(PoisonError::into_inner)
}

fn keep_still() -> impl Drop {
    STILL.read().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(words: Words, route: Route, rules: Rules, crew: Crew) -> Arc<Self> {
        Arc::new(Self {
            pid: process::id(),
            words,
            route,
            rules,
            crew: Mutex::new(crew),
            callers: AtomicUsize::new(0),
            waits: AtomicUsize::new(0),
            answers: Patience::default(),
            helper: Mutex::default(),
            bell: Condvar::new(),
        })
    }

    /// # Errors
    ///
    /// `InvalidArgument` in a fork of the process whose pool it is.
    pub(super) fn check_owner(&self) -> Result<()> {
        match process::id() {
            pid if pid == self.pid => Ok(()),
            _ => {
                Err(Error::invalid_argument(format!("the pool is one of process {}, which alone can use it", self.pid)))
            }
        }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.check_owner().is_ok()
    }

    pub(super) fn crew(&self) -> MutexGuard<'_, Crew> {
        // Nothing in here panics half way. Of the user's code, what starts a worker may, and is caught.
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The crew, for a new job.
    pub(super) fn open(&self) -> Result<MutexGuard<'_, Crew>> {
        self.check_owner()?;
        let crew = self.crew();
        crew.check()?;
        Ok(crew)
    }

    pub(super) fn terms(&self) -> Terms {
        let most = self.rules.most_tasks.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        Terms { route: self.route, workers: self.words.len(), most: most.min(MOST_ITEMS) }
    }

    fn head(&self) -> &PoolWords {
        self.words.head()
    }

    /// To be read before a [`step`](Self::step), for [`wait_for_change`](Self::wait_for_change) after it.
    pub(super) fn changes(&self) -> u64 {
        self.head().changes()
    }

    /// Tells all who wait that something has changed.
    pub(super) fn tell(&self) {
        self.head().tell();
    }

    /// Looks after the workers, and gives out a chunk; it is returned if there is no room.
    pub(super) fn step(&self, offer: Option<Chunk>) -> Option<Chunk> {
        let mut crew = self.crew();
        let offer = crew.step(&self.rules, Who::Caller, offer);
        self.release(crew);
        offer
    }

    /// The same with a chunk that waits if there is no room.
    ///
    /// Whether more could be going on if somebody looked after it.
    pub(super) fn take_on(&self, mut crew: MutexGuard<'_, Crew>, chunk: Chunk) -> bool {
        let left = crew.step(&self.rules, Who::Caller, Some(chunk));
        crew.queue(left);
        let wants_care = crew.wants_care();
        self.release(crew);
        wants_care
    }

    /// Releases the crew, and tells what has become of it meanwhile.
    fn release(&self, mut crew: MutexGuard<'_, Crew>) {
        let (calls_back, has_news) = (mem::take(&mut crew.calls_back), mem::take(&mut crew.has_news));
        drop(crew);
        if has_news {
            self.tell();
        }
        self.call_back(calls_back);
    }

    /// Waits for a change since there were `seen`, or for a slice.
    pub(super) fn wait_for_change(&self, seen: u64) {
        // Who has given much out leaves the core to those who do it.
        self.wait(seen, Spin::new(&self.head().callers.0.patience), Wait::Forever);
    }

    /// The same for who waits for one answer. `false` when the wait is over.
    pub(super) fn wait_for_answer(&self, seen: u64, wait: Wait) -> bool {
        let looks = self.waits.fetch_add(1, Relaxed).is_multiple_of(LOOK_EACH);
        self.wait(seen, Spin::for_an_answer(&self.answers, looks), wait)
    }

    fn wait(&self, seen: u64, mut spin: Spin<'_>, wait: Wait) -> bool {
        let words = self.head();
        loop {
            if words.changes() != seen {
                spin.succeeded();
                return true;
            }
            if wait == Wait::No {
                return false;
            }
            if !spin.turn() {
                break;
            }
        }
        if wait.is_over() {
            return false;
        }
        self.sleep(&words.callers.0, seen, wait);
        true
    }

    /// Sleeps until something changes, a worker dies, or for a slice.
    fn sleep(&self, gate: &Gate, seen: u64, wait: Wait) {
        let turn = gate.announce();
        if self.head().changes() != seen {
            return;
        }
        let workers: Vec<MemberId> = self.words.elements().iter().filter_map(|worker| worker.member()).collect();
        // Whoever can wait is a member.
        if let (Ok(_), Ok(members)) = (self.words.member(), self.words.members()) {
            members.sleep(&gate.word, turn, &workers, wait);
        }
    }

    /// Counts the calling thread as one that looks after the workers.
    pub(super) fn attend(&self) -> impl Drop + '_ {
        struct Attendance<'a>(&'a AtomicUsize);
        impl Drop for Attendance<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        self.callers.fetch_add(1, Relaxed);
        Attendance(&self.callers)
    }

    pub(super) fn terminate(&self) {
        let mut crew = self.crew();
        crew.terminate();
        let calls_back = mem::take(&mut crew.calls_back);
        drop(crew);
        self.call_back(calls_back);
        self.dismiss_helper();
    }

    fn helper(&self) -> MutexGuard<'_, Helper> {
        self.helper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the pool's own thread look after the workers, for as long as that is of use.
    pub(super) fn want_helper(self: &Arc<Self>) {
        let mut helper = self.helper();
        helper.is_wanted = true;
        self.start_helper(&mut helper);
    }

    fn start_helper(self: &Arc<Self>, helper: &mut Helper) {
        if !helper.runs && !helper.is_over {
            let shared = Arc::clone(self);
            // Without the thread, callers do what it would do, later.
            let help = move || {
                shared.help();
                // What the last handle frees, a fork must not find half freed.
                let _still = keep_still();
                drop(shared);
            };
            helper.runs = threads::spawn_parked(c"shmkit-pool", STACK, help).is_ok();
        }
        self.bell.notify_all();
    }

    /// Has a callback be called by the pool's own thread when its task is done.
    pub(super) fn expect_callback(self: &Arc<Self>) {
        let mut helper = self.helper();
        helper.callbacks += 1;
        helper.is_wanted = true;
        self.start_helper(&mut helper);
    }

    /// Has callbacks be called by the pool's own thread; if it has ended, or could not be started, by this one.
    pub(super) fn call_back(&self, calls: Vec<(Callback, Part)>) {
        if calls.is_empty() {
            return;
        }
        let mut helper = self.helper();
        if helper.runs {
            helper.calls_back.extend(calls);
            self.bell.notify_all();
            return;
        }
        helper.callbacks = helper.callbacks.saturating_sub(calls.len());
        drop(helper);
        calls.into_iter().for_each(|(callback, part)| call(callback, part));
    }

    /// Ends the pool's own thread, after the last callbacks.
    pub(super) fn dismiss_helper(&self) {
        self.helper().is_over = true;
        self.bell.notify_all();
        self.tell();
    }

    /// The life of the pool's own thread.
    fn help(&self) {
        loop {
            let mut helper = self.helper();
            let mut was_asleep = false;
            while helper.calls_back.is_empty() && !helper.is_wanted && !helper.is_over {
                helper = self.bell.wait(helper).unwrap_or_else(PoisonError::into_inner);
                was_asleep = true;
            }
            if was_asleep && helper.callbacks == 0 && !helper.is_over {
                // Who has submitted something may well come back for it at once.
                let waited = self.bell.wait_timeout(helper, SOON);
                helper = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let calls = mem::take(&mut helper.calls_back);
            if calls.is_empty() && helper.is_over {
                // Under the lock: whoever brings more after this calls it.
                helper.runs = false;
                return;
            }
            helper.callbacks = helper.callbacks.saturating_sub(calls.len());
            drop(helper);
            for (callback, part) in calls {
                // A fork that has counted this thread as a parked one must not find it in a callback.
                let unparked = {
                    let _still = keep_still();
                    threads::unpark()
                };
                call(callback, part);
                let _still = keep_still();
                drop(unparked);
            }
            self.help_once();
        }
    }

    fn help_once(&self) {
        let seen = self.changes();
        {
            let mut crew = self.crew();
            // After the crew: who has that may fork, and waits for this.
            let _still = keep_still();
            crew.step(&self.rules, Who::Helper, None);
            if mem::take(&mut crew.has_news) {
                self.tell();
            }
            let mut helper = self.helper();
            helper.calls_back.append(&mut crew.calls_back);
            let wants_care = crew.phase != Phase::Terminated && (crew.wants_care() || helper.callbacks > 0);
            if !wants_care || !helper.calls_back.is_empty() || helper.is_over {
                helper.is_wanted = wants_care;
                return;
            }
        }
        if self.callers.load(Relaxed) > 0 {
            let helper = self.helper();
            drop(self.bell.wait_timeout(helper, TURN));
        } else {
            self.sleep(&self.head().helper.0, seen, Wait::Forever);
        }
    }
}

/// The most items of a chunk.
const MOST_ITEMS: usize = 1 << 20;

fn call(callback: Callback, part: Part) {
    // The panic of a callback is told by the hook, and nobody's concern. What it panics with may panic at its end.
    if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| callback(part))) {
        mem::forget(payload);
    }
}
