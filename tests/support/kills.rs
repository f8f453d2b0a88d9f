//! Workers that repeat a step for ever, and are killed at random moments and replaced.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use super::{Board, Child, Deadline, End, Random, eventually};

pub(crate) const WORKERS: usize = 8;
pub(crate) const ROUNDS: usize = 250;

/// What workers tell, and who has been killed so far.
pub(crate) struct Progress {
    steps: [AtomicU64; WORKERS],
    pub(crate) pair: [AtomicU64; 2],
    /// The workers that are where only a few may be.
    inside: [AtomicU32; WORKERS],
    killed: [AtomicU32; ROUNDS + WORKERS],
}

impl Progress {
    pub(crate) fn was_killed(&self, pid: u32) -> bool {
        self.killed.iter().any(|one| one.load(SeqCst) == pid)
    }

    /// Half by half, so that a death may come between.
    pub(crate) fn change_pair(&self) {
        let next = self.pair[0].load(SeqCst) + 1;
        self.pair[0].store(next, SeqCst);
        self.pair[1].store(next, SeqCst);
    }

    /// After a death in between.
    pub(crate) fn mend_pair(&self) {
        self.pair[1].store(self.pair[0].load(SeqCst), SeqCst);
    }

    pub(crate) fn check_pair(&self) {
        assert_eq!(self.pair[0].load(SeqCst), self.pair[1].load(SeqCst));
    }

    /// Goes in and out; says how many were inside together who have not been killed.
    pub(crate) fn pass_through(&self) -> usize {
        let me = std::process::id();
        let place = |wanted| self.inside.iter().find(|place| place.load(SeqCst) == wanted);
        let free = |place: &&AtomicU32| {
            let pid = place.load(SeqCst);
            (pid == 0 || self.was_killed(pid)) && place.compare_exchange(pid, me, SeqCst, SeqCst).is_ok()
        };
        self.inside.iter().find(free).expect("a place for each worker");
        let lives = |place: &&AtomicU32| {
            let pid = place.load(SeqCst);
            pid != 0 && !self.was_killed(pid)
        };
        let count = self.inside.iter().filter(lives).count();
        place(me).expect("the place is this worker's").store(0, SeqCst);
        count
    }
}

/// Eight workers repeat `step` for ever; random ones are killed at random moments and replaced. All have
/// been killed when this returns.
pub(crate) fn random_kills(what: &'static str, step: impl Fn(&Progress)) {
    let _deadline = Deadline::seconds(120, what);
    let mut random = Random::new();
    let progress = Board::<Progress>::new();
    let start = |at: usize| {
        Child::start(|| {
            loop {
                step(&progress);
                progress.steps[at].fetch_add(1, SeqCst);
            }
        })
    };
    let mut workers: Vec<Child> = (0..WORKERS).map(start).collect();
    for round in 0..ROUNDS {
        random.pause(Duration::from_micros(500));
        let at = random.below(WORKERS as u64) as usize;
        // On record before anybody can see the poison.
        progress.killed[round].store(workers[at].pid(), SeqCst);
        workers[at].kill();
        assert_eq!(workers[at].wait(), End::Signal(libc::SIGKILL), "round {round}: a worker failed");
        let total = || progress.steps.iter().map(|steps| steps.load(SeqCst)).sum::<u64>();
        let before = total();
        eventually(|| total() > before + 3);
        for worker in workers.iter_mut().enumerate().filter(|(other, _)| *other != at).map(|(_, worker)| worker) {
            assert!(!worker.has_ended(), "round {round}: a worker failed");
        }
        workers[at] = start(at);
    }
    // Every one that is left goes on.
    let before: Vec<u64> = progress.steps.iter().map(|steps| steps.load(SeqCst)).collect();
    eventually(|| progress.steps.iter().zip(&before).all(|(now, before)| now.load(SeqCst) > *before));
    for (worker, killed) in workers.iter_mut().zip(&progress.killed[ROUNDS..]) {
        killed.store(worker.pid(), SeqCst);
        worker.kill();
        assert_eq!(worker.wait(), End::Signal(libc::SIGKILL), "a worker failed");
    }
}
