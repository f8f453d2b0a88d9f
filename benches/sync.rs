//! Semaphores, events, conditions, barriers and reader-writer locks: alone, between two processes, and among eight; and how soon a
//! death is noticed. See `benches/README.md`.

#[path = "support/barriers.rs"]
mod barriers;
#[path = "support/compare.rs"]
mod compare;
#[path = "support/cond.rs"]
mod cond;
#[path = "support/sem.rs"]
mod sem;
#[path = "support/shared.rs"]
mod shared;
#[path = "support/workers.rs"]
mod workers;

use std::{
    cell::Cell,
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use barriers::{Pthread, Spinning};
use compare::{Comparison, Run, Unit, criterion, in_earnest};
use cond::Turn;
use criterion::Criterion;
use sem::Sem;
use shared::Shared;
use shmkit::{Array, Barrier, BoundedSemaphore, Condvar, Event, Lock, Process, RwLock, Semaphore, Value};
use workers::{PrivateWork, Tally, processes};

fn main() {
    shmkit::init();
    let mut criterion = criterion();
    uncontended(&mut criterion);
    hand_to_hand();
    crowd("eight, one permit, 100 ns between", 1);
    crowd("eight, four permits, 100 ns between", 4);
    ring();
    readers(&mut criterion);
    claims(&mut criterion);
    barrier("barrier, two", 2);
    barrier("barrier, eight", 8);
    notice();
    criterion.final_summary();
}

fn uncontended(criterion: &mut Criterion) {
    let semaphore = Semaphore::new(1).expect("a semaphore");
    let theirs = Sem::shared(1);
    let bounded = BoundedSemaphore::new(1).expect("a semaphore");
    let (by_hand, auto) = (Event::new().expect("an event"), Event::auto_reset().expect("an event"));
    Comparison::new("semaphore uncontended", Unit::Nanoseconds)
        .time("Semaphore", || {
            semaphore.acquire().expect("acquire");
            semaphore.release().expect("release");
        })
        .time("glibc sem_t", || {
            theirs.wait();
            theirs.post();
        })
        .time("BoundedSemaphore", || drop(bounded.acquire().expect("acquire")))
        .time("Event, set and clear", || {
            by_hand.set();
            by_hand.clear();
        })
        .time("Event, set and wait, auto reset", || {
            auto.set();
            auto.wait().expect("wait");
        })
        .goal("Semaphore", 1.0, &["glibc sem_t"])
        .goal("BoundedSemaphore", 1.5, &["Semaphore"])
        .criterion(criterion)
        .table();
}

fn claims(criterion: &mut Criterion) {
    let (array, claimed) = (Array::<u64>::zeros(1000).expect("an array"), Array::<u64>::zeros(1000).expect("an array"));
    let _elsewhere = claimed.claim_mut(500..).expect("a claim");
    let lock = Lock::new().expect("a lock");
    Comparison::new("array, uncontended", Unit::Nanoseconds)
        .time("Array::lock", || drop(array.lock().expect("lock")))
        .time("Array::claim_mut", || claimed.claim_mut(0..100).expect("claim")[0] += 1)
        .time("Array::claim", || {
            black_box(claimed.claim(0..100).expect("claim")[0]);
        })
        .time("Lock", || drop(lock.lock().expect("lock")))
        .goal("Array::lock", 1.15, &["Lock"])
        .goal("Array::claim_mut", 5.0, &["Lock"])
        .criterion(criterion)
        .table();
}

fn readers(criterion: &mut Criterion) {
    let ours = RwLock::new(1_u64).expect("a lock");
    let lock = Lock::new().expect("a lock");
    let std = std::sync::RwLock::new(1_u64);
    Comparison::new("read and write, uncontended", Unit::Nanoseconds)
        .time("RwLock, read", || {
            black_box(*ours.read().expect("read"));
        })
        .time("RwLock, write", || *ours.write().expect("write") += 1)
        .time("Lock", || drop(lock.lock().expect("lock")))
        .time("std RwLock, read", || {
            black_box(*std.read().expect("read"));
        })
        .time("std RwLock, write", || *std.write().expect("write") += 1)
        .goal("RwLock, read", 2.0, &["Lock"])
        .criterion(criterion)
        .table();
}

/// `n` processes meet again and again; an operation is a round. All leave after the same one.
///
/// For longer than other runs: more processes than cores need some tenths of a second until the kernel has divided them
/// evenly, unless they sleep in each round.
fn rounds(n: usize, wait: impl Fn()) -> Run {
    let window = 5 * window();
    let (next, last, done) =
        (Shared::<AtomicU64>::zeroed(), Shared::<AtomicU64>::zeroed(), Shared::<AtomicU64>::zeroed());
    let Tally { time, .. } = processes(n, window, || {
        if last.load(Relaxed) != 0 {
            return;
        }
        let conducts = next.fetch_add(1, Relaxed) == 0;
        let begin = Instant::now();
        for round in 1.. {
            // Told before they meet, and acted on after, so that nobody is left behind.
            if conducts && begin.elapsed() >= window {
                last.store(round, Relaxed);
            }
            wait();
            if last.load(Relaxed) == round {
                if conducts {
                    done.store(round, Relaxed);
                }
                break;
            }
        }
    });
    Run { operations: done.load(Relaxed).max(1), time, note: 0.0 }
}

fn barrier(title: &'static str, n: usize) {
    Comparison::new(title, Unit::Microseconds)
        .rounds(11)
        .custom("Barrier", |_| {
            let barrier = Barrier::new(n).expect("a barrier");
            rounds(n, || _ = barrier.wait().expect("wait"))
        })
        .custom("spinning barrier", |_| {
            let barrier = Spinning::shared();
            rounds(n, || barrier.wait(n as u32))
        })
        .custom("glibc pthread_barrier", |_| {
            let barrier = Pthread::shared(n as u32);
            rounds(n, || barrier.wait())
        })
        .goal("Barrier", if n == 2 { 1.0 / 30.0 } else { 1.0 / 4.0 }, &["glibc pthread_barrier"])
        .goal("Barrier", 2.0, &["spinning barrier"])
        .table();
}

/// From the signal that kills the owner of a permit to the waiter that has it.
fn notice() {
    let semaphore = BoundedSemaphore::new(1).expect("a semaphore");
    Comparison::new("notice of a death", Unit::Microseconds)
        .rounds(21)
        .custom("BoundedSemaphore", |_| {
            let victim = Process::fork(|| {
                semaphore.acquire().expect("acquire").detach();
                loop {
                    std::thread::park();
                }
            });
            let victim: Process<()> = victim.expect("fork");
            while semaphore.available().expect("available") > 0 {
                std::thread::yield_now();
            }
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    drop(semaphore.acquire().expect("acquire"));
                    Instant::now()
                });
                // Until it sleeps.
                std::thread::sleep(Duration::from_millis(10));
                let begin = Instant::now();
                victim.kill().expect("kill");
                let end = waiter.join().expect("the waiter");
                assert!(victim.join().is_err());
                Run { operations: 1, time: end - begin, note: 0.0 }
            })
        })
        .table();
}

fn window() -> Duration {
    Duration::from_millis(if in_earnest() { 80 } else { 3 })
}

fn run(workers: impl FnOnce() -> Tally) -> Run {
    let Tally { total, least, time } = workers();
    Run { operations: total, time, note: least }
}

/// Runs `step(i)` of each place in a ring of `n` for a while: it waits for its turn, gives the next one's, and says
/// whether its turn came, which it does not any more when the others have ended.
fn turns(n: usize, step: impl Fn(usize) -> bool) -> Run {
    let at = Cell::new(None);
    let next = Shared::<AtomicU64>::zeroed();
    let done = Shared::<AtomicU64>::zeroed();
    let Tally { time, .. } = processes(n, window(), || {
        // Which of them this is: told by the first call in each process.
        let place = at.get().unwrap_or_else(|| {
            let place = next.fetch_add(1, Relaxed) as usize;
            at.set(Some(place));
            place
        });
        if step(place) && place == 0 {
            done.store(done.load(Relaxed) + 1, Relaxed);
        }
    });
    // A round trip is one operation.
    Run { operations: done.load(Relaxed).max(1), time, note: 0.0 }
}

/// Long enough not to matter, short enough for the end of a run.
const PATIENCE: Duration = Duration::from_millis(200);

/// Two processes, on a core each, take turns: a round trip is two releases and two acquires.
fn hand_to_hand() {
    let fresh = || [Semaphore::new(1).expect("a semaphore"), Semaphore::new(0).expect("a semaphore")];
    Comparison::new("hand to hand", Unit::Microseconds)
        .rounds(11)
        .custom("Semaphore", |_| {
            let ring = fresh();
            turns(2, |i| pass(&ring, i))
        })
        .custom("Event, auto reset", |_| {
            let ring = [Event::auto_reset().expect("an event"), Event::auto_reset().expect("an event")];
            ring[0].set();
            turns(2, |i| pass_event(&ring, i))
        })
        .custom("glibc sem_t", |_| {
            let ring = [Sem::shared(1), Sem::shared(0)];
            turns(2, |i| pass_theirs(&ring, i))
        })
        .goal("Semaphore", 1.0 / 50.0, &["glibc sem_t"])
        .goal("Event, auto reset", 1.0 / 50.0, &["glibc sem_t"])
        .table();
    Comparison::new("hand to hand under a lock", Unit::Microseconds)
        .rounds(11)
        .custom("Condvar and Value", |_| {
            let (turn, changed) = (Value::new(0).expect("a value"), Condvar::new().expect("a condition"));
            turns(2, |i| pass_under_lock(&turn, &changed, i))
        })
        .custom("glibc pthread_cond_t", |_| {
            let turn = Turn::shared();
            turns(2, |i| turn.pass(i, 1 - i, PATIENCE))
        })
        .goal("Condvar and Value", 1.0 / 10.0, &["glibc pthread_cond_t"])
        .table();
}

/// Eight in a ring, on however few cores: each waits for its turn.
fn ring() {
    const N: usize = 8;
    Comparison::new("ring of eight", Unit::Microseconds)
        .rounds(11)
        .custom("Semaphore", |_| {
            let ring: Vec<Semaphore> =
                (0..N).map(|i| Semaphore::new(usize::from(i == 0)).expect("a semaphore")).collect();
            turns(N, |i| pass(&ring, i))
        })
        .custom("Event, auto reset", |_| {
            let ring: Vec<Event> = (0..N).map(|_| Event::auto_reset().expect("an event")).collect();
            ring[0].set();
            turns(N, |i| pass_event(&ring, i))
        })
        .custom("glibc sem_t", |_| {
            let ring: Vec<_> = (0..N).map(|i| Sem::shared(u32::from(i == 0))).collect();
            turns(N, |i| pass_theirs(&ring, i))
        })
        .goal("Semaphore", 1.0, &["glibc sem_t"])
        .goal("Event, auto reset", 1.0, &["glibc sem_t"])
        .table();
}

fn pass(ring: &[Semaphore], i: usize) -> bool {
    let is_mine = ring[i].acquire_timeout(PATIENCE).is_ok();
    if is_mine {
        ring[(i + 1) % ring.len()].release().expect("release");
    }
    is_mine
}

fn pass_event(ring: &[Event], i: usize) -> bool {
    let is_mine = ring[i].wait_timeout(PATIENCE).expect("wait");
    if is_mine {
        ring[(i + 1) % ring.len()].set();
    }
    is_mine
}

fn pass_under_lock(turn: &Value<usize>, changed: &Condvar, i: usize) -> bool {
    let mut guard = turn.lock().expect("lock");
    let is_mine = changed.wait_while_timeout(&mut guard, |turn| **turn != i, PATIENCE).is_ok();
    if is_mine {
        *guard = 1 - i;
        drop(guard);
        changed.notify_one().expect("notify");
    }
    is_mine
}

fn pass_theirs(ring: &[Shared<Sem>], i: usize) -> bool {
    let is_mine = ring[i].wait_timeout(PATIENCE);
    if is_mine {
        ring[(i + 1) % ring.len()].post();
    }
    is_mine
}

/// Eight processes take and give: acquire, 100 ns under the permit, release, 100 ns without.
fn crowd(title: &'static str, permits: usize) {
    let work = PrivateWork::lasting(Duration::from_nanos(100));
    let semaphore = Semaphore::new(permits).expect("a semaphore");
    let theirs = Sem::shared(permits as u32);
    Comparison::new(title, Unit::PerMicrosecond)
        .rounds(11)
        .note("least/fair")
        .custom("Semaphore", |_| {
            run(|| {
                processes(8, window(), || {
                    semaphore.acquire().expect("acquire");
                    work.run();
                    semaphore.release().expect("release");
                    work.run();
                })
            })
        })
        .custom("glibc sem_t", |_| {
            run(|| {
                processes(8, window(), || {
                    theirs.wait();
                    work.run();
                    theirs.post();
                    work.run();
                })
            })
        })
        .goal("Semaphore", 1.0, &["glibc sem_t"])
        .table();
}
