//! Workers that start together, in processes of their own or, for peers that know only those, in threads; what they
//! count and when, and what becomes of them if one fails.

#![expect(unsafe_code, reason = "forks")]

use std::{
    fs,
    hint::spin_loop,
    mem,
    panic::{self, AssertUnwindSafe},
    process, ptr,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    thread,
    time::{Duration, Instant},
};

use crate::shared::{Shareable, Shared};

/// The most workers of a team.
pub(crate) const MOST: usize = 64;
/// The numbers that a worker leaves behind.
pub(crate) const NOTES: usize = 6;

const WAIT: u32 = 0;
const WARM: u32 = 1;
const RUN: u32 = 2;
const STOP: u32 = 3;

#[repr(align(128))]
struct Apart<T>(T);

/// What the workers and their starter share.
#[repr(C)]
struct Line {
    ready: Apart<AtomicU32>,
    phase: Apart<AtomicU32>,
    met: Apart<AtomicU64>,
    notes: [Apart<[AtomicU64; NOTES]>; MOST],
}

// SAFETY: atomics, for which zero is valid.
unsafe impl Shareable for Line {}

/// A worker's place.
pub(crate) struct Seat<'a> {
    line: &'a Line,
    /// Which of them it is, from 0.
    pub(crate) index: usize,
    size: usize,
}

impl Seat<'_> {
    /// Leaves a number behind, for whoever started the team.
    pub(crate) fn note(&self, which: usize, number: u64) {
        self.line.notes[self.index].0[which].store(number, Release);
    }

    /// Waits until all workers are here.
    pub(crate) fn meet(&self) {
        let size = self.size as u64;
        let all = self.line.met.0.fetch_add(1, AcqRel) / size * size + size;
        let mut looks = 0_u32;
        while self.line.met.0.load(Acquire) < all {
            looks += 1;
            if looks.is_multiple_of(256) { thread::yield_now() } else { spin_loop() }
        }
    }

    fn wait_for_start(&self) {
        self.line.ready.0.fetch_add(1, Release);
        while self.line.phase.0.load(Acquire) == WAIT {
            thread::yield_now();
        }
    }
}

/// Where the workers are.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Processes,
    Threads,
}

impl Kind {
    pub(crate) fn of(are_threads: bool) -> Self {
        if are_threads { Self::Threads } else { Self::Processes }
    }
}

/// Runs `work` in so many workers, on a core each if there are enough, and returns what each left behind. Fails when one
/// of them fails; the others are ended then.
pub(crate) fn run(size: usize, kind: Kind, work: impl Fn(&Seat<'_>) + Sync) -> Vec<[u64; NOTES]> {
    let line = Shared::<Line>::zeroed();
    conducted(&line, size, kind, |seat| work(seat), || line.phase.0.store(RUN, Release));
    notes(&line, size)
}

fn conducted(line: &Line, size: usize, kind: Kind, work: impl Fn(&Seat<'_>) + Sync, conduct: impl FnOnce()) {
    assert!(size <= MOST);
    let sit = |index| {
        let seat = Seat { line, index, size };
        if size <= cores() {
            pin(index);
        }
        seat.wait_for_start();
        work(&seat);
    };
    let all_ready = || {
        while line.ready.0.load(Acquire) < size as u32 {
            thread::yield_now();
        }
    };
    match kind {
        Kind::Threads => thread::scope(|scope| {
            (0..size).for_each(|index| _ = scope.spawn(move || sit(index)));
            all_ready();
            conduct();
        }),
        Kind::Processes => {
            let mut children = Children((0..size).map(|index| fork(|| sit(index))).collect());
            all_ready();
            conduct();
            children.see_off();
        }
    }
}

fn notes(line: &Line, size: usize) -> Vec<[u64; NOTES]> {
    let read = |notes: &Apart<[AtomicU64; NOTES]>| [0, 1, 2, 3, 4, 5].map(|i: usize| notes.0[i].load(Acquire));
    line.notes[..size].iter().map(read).collect()
}

/// How much was done in a window of time.
pub(crate) struct Rate {
    /// In the window.
    pub(crate) operations: u64,
    /// Also before it and after it.
    pub(crate) with_warm_up: u64,
    pub(crate) time: Duration,
    /// The least that one did, as a part of what each would have done if all had done the same.
    pub(crate) least: f64,
}

/// Runs a step over and over in so many workers, warm, for a window. `prepare` makes it, in each of them.
pub(crate) fn rate<S: FnMut()>(size: usize, kind: Kind, window: Duration, prepare: impl Fn(usize) -> S + Sync) -> Rate {
    let line = Shared::<Line>::zeroed();
    let mut time = Duration::ZERO;
    let work = |seat: &Seat<'_>| {
        let mut step = prepare(seat.index);
        let mut count = 0_u64;
        let phase = &seat.line.phase.0;
        while phase.load(Relaxed) == WARM {
            step();
            count += 1;
        }
        let warm = count;
        while phase.load(Relaxed) == RUN {
            step();
            count += 1;
        }
        seat.note(0, count - warm);
        seat.note(1, count);
    };
    conducted(&line, size, kind, work, || {
        line.phase.0.store(WARM, Release);
        thread::sleep(window / 8);
        let begin = Instant::now();
        line.phase.0.store(RUN, Release);
        thread::sleep(window);
        line.phase.0.store(STOP, Release);
        time = begin.elapsed();
    });
    let notes = notes(&line, size);
    let operations = notes.iter().map(|notes| notes[0]).sum();
    let least = notes.iter().map(|notes| notes[0]).min().unwrap_or(0);
    assert!(operations > 0, "nothing was done");
    Rate {
        operations,
        with_warm_up: notes.iter().map(|notes| notes[1]).sum(),
        time,
        least: least as f64 * size as f64 / operations as f64,
    }
}

/// Keeps this thread on the `i`th of the cores that it may use.
pub(crate) fn pin(i: usize) {
    // SAFETY: a bit set, for which zero is valid.
    let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: writes at most the size given.
    assert_eq!(unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) }, 0);
    // SAFETY: every number is below the size of the set.
    let is_allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &allowed) };
    let Some(cpu) = (0..libc::CPU_SETSIZE as usize).filter(is_allowed).nth(i) else { return };
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: reads the set.
    assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) }, 0);
}

pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Nanoseconds of a clock that is the same in all processes.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes what it is given.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) }, 0);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// A child of this process that runs `work` and ends: with 0, or with 101 if it panicked. It dies with this process.
pub(crate) fn fork(work: impl FnOnce()) -> libc::pid_t {
    let parent = process::id();
    // SAFETY: the child runs `work`, which is made for that, and leaves.
    match unsafe { libc::fork() } {
        0 => {
            die_with(parent);
            let result = panic::catch_unwind(AssertUnwindSafe(work));
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "{}", std::io::Error::last_os_error());
            pid
        }
    }
}

/// Asks the kernel to end this process when its parent, or the thread that started it, is gone.
pub(crate) fn die_with(parent: u32) {
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: takes nothing.
    if unsafe { libc::getppid() }.cast_unsigned() != parent {
        process::exit(1);
    }
}

/// Kills a child and waits for its end.
pub(crate) fn kill(pid: libc::pid_t) {
    // SAFETY: takes numbers; the child is not yet waited for, so the id is its own.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: the status is not asked for.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
}

/// Kills a process that is somebody else's to wait for.
pub(crate) fn signal(pid: libc::pid_t) {
    // SAFETY: takes numbers; the caller knows that the process has not been waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// The children of this process.
pub(crate) fn children() -> Vec<libc::pid_t> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Waits for a child, and says what has become of it.
pub(crate) fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: a child of this process; writes the status.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

/// What has become of a child, if it has ended. It is waited for once.
pub(crate) fn end_of(pid: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: a child of this process; writes the status.
    let ended = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    assert!(ended >= 0, "{}", std::io::Error::last_os_error());
    (ended == pid).then_some(status)
}

/// Children that are ended if they are not seen off.
pub(crate) struct Children(pub(crate) Vec<libc::pid_t>);

impl Children {
    /// Whether one of those that were left has failed.
    pub(crate) fn has_failed(&mut self) -> bool {
        let mut has_failed = false;
        self.0.retain(|pid| {
            let end = end_of(*pid);
            has_failed |= end.is_some_and(|status| status != 0);
            end.is_none()
        });
        has_failed
    }

    /// Waits for all. Fails as soon as one has failed.
    pub(crate) fn see_off(&mut self) {
        while !self.0.is_empty() {
            assert!(!self.has_failed(), "a worker failed");
            thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.0.drain(..).for_each(kill);
    }
}
