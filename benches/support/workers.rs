//! Processes or threads that start together, do one thing over and over for a fixed time, and count.

#![expect(unsafe_code, reason = "forks and pins")]
#![allow(dead_code, reason = "each bench uses a part")]

use std::{
    hint::black_box,
    mem,
    sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    thread,
    time::{Duration, Instant},
};

use crate::shared::{Shareable, Shared};

const MOST: usize = 64;

/// Seconds after which a process that still runs is ended: something hangs, and the bench fails.
const LIMIT: u32 = 60;

#[derive(Default)]
#[repr(align(64))]
struct Apart<T>(T);

/// What the workers and their starter share.
#[repr(C)]
struct StartLine {
    ready: Apart<AtomicU32>,
    go: Apart<AtomicBool>,
    stop: Apart<AtomicBool>,
    counts: [Apart<AtomicU64>; MOST],
}

// SAFETY: atomics, for which zero is valid.
unsafe impl Shareable for StartLine {}

/// How much the workers did.
pub(crate) struct Tally {
    pub(crate) total: u64,
    /// The least that one did, as a part of what each would have done if all had done the same.
    pub(crate) least: f64,
    pub(crate) time: Duration,
}

/// Runs `step` in `n` forked processes.
pub(crate) fn processes(n: usize, window: Duration, step: impl Fn()) -> Tally {
    let line = Shared::<StartLine>::zeroed();
    let children: Vec<_> = (0..n)
        .map(|i| {
            // SAFETY: no other thread runs here; the child calls `work`, and leaves.
            match unsafe { libc::fork() } {
                0 => {
                    // SAFETY: nothing else uses this timer; its signal is not handled.
                    unsafe { libc::alarm(LIMIT) };
                    work(&line, i, n, &step);
                    // SAFETY: ends the child without the parent's exit handlers.
                    unsafe { libc::_exit(0) }
                }
                pid => {
                    assert!(pid > 0, "{}", std::io::Error::last_os_error());
                    pid
                }
            }
        })
        .collect();
    let time = conduct(&line, n, window);
    for pid in children {
        let mut status = 0;
        // SAFETY: a child of this process, waited for once.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0, "a worker failed");
    }
    tally(&line, n, time)
}

/// Runs `step` in `n` threads.
pub(crate) fn threads(n: usize, window: Duration, step: impl Fn() + Sync) -> Tally {
    let line = Shared::<StartLine>::zeroed();
    let time = thread::scope(|scope| {
        for i in 0..n {
            let (line, step) = (&line, &step);
            scope.spawn(move || work(line, i, n, step));
        }
        conduct(&line, n, window)
    });
    tally(&line, n, time)
}

fn work(line: &StartLine, i: usize, n: usize, step: &impl Fn()) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if n <= cores {
        pin(0, i);
    }
    line.ready.0.fetch_add(1, Release);
    while !line.go.0.load(Acquire) {
        thread::yield_now();
    }
    let mut count = 0;
    while !line.stop.0.load(Relaxed) {
        step();
        count += 1;
    }
    line.counts[i].0.store(count, Release);
}

/// Starts all at once, and stops them after `window`. Returns how long they really had.
fn conduct(line: &StartLine, n: usize, window: Duration) -> Duration {
    while line.ready.0.load(Acquire) < n as u32 {
        thread::yield_now();
    }
    let start = Instant::now();
    line.go.0.store(true, Release);
    thread::sleep(window);
    line.stop.0.store(true, Relaxed);
    start.elapsed()
}

fn tally(line: &StartLine, n: usize, time: Duration) -> Tally {
    let counts: Vec<u64> = line.counts[..n].iter().map(|count| count.0.load(Acquire)).collect();
    let total = counts.iter().sum();
    let least = counts.iter().min().map_or(0, |least| *least);
    Tally { total, least: least as f64 * n as f64 / total as f64, time }
}

/// Keeps a thread, 0 for the calling one, on the `i`th of the cores that it may use.
pub(crate) fn pin(thread: u32, i: usize) {
    let thread = thread.cast_signed();
    // SAFETY: a bit set, for which zero is valid.
    let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: writes at most the size given.
    assert_eq!(unsafe { libc::sched_getaffinity(thread, size_of_val(&allowed), &raw mut allowed) }, 0);
    // SAFETY: every number is below the size of the set.
    let is_allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &allowed) };
    let cpu = (0..libc::CPU_SETSIZE as usize).filter(is_allowed).nth(i).expect("as many cores as workers");
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: reads the set.
    assert_eq!(unsafe { libc::sched_setaffinity(thread, size_of_val(&one), &raw const one) }, 0);
}

/// A busy loop that touches no shared memory and takes about as long as asked, when nothing disturbs it.
#[derive(Clone, Copy)]
pub(crate) struct PrivateWork {
    turns: u32,
}

impl PrivateWork {
    pub(crate) const NONE: Self = Self { turns: 0 };

    pub(crate) fn lasting(time: Duration) -> Self {
        let probe = Self { turns: 100_000 };
        let best = (0..20).map(|_| {
            let start = Instant::now();
            probe.run();
            start.elapsed()
        });
        let turn = best.min().map_or(1.0, |best| best.as_secs_f64() / f64::from(probe.turns));
        Self { turns: (time.as_secs_f64() / turn).round() as u32 }
    }

    pub(crate) fn is_none(self) -> bool {
        self.turns == 0
    }

    #[inline]
    pub(crate) fn run(self) {
        for turn in 0..self.turns {
            black_box(turn);
        }
    }
}
