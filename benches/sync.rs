//! Semaphores and events: alone, from hand to hand between two processes, and among eight. See `benches/README.md`.

#[path = "support/compare.rs"]
mod compare;
#[path = "support/sem.rs"]
mod sem;
#[path = "support/shared.rs"]
mod shared;
#[path = "support/workers.rs"]
mod workers;

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use compare::{Comparison, Run, Unit, criterion, in_earnest};
use criterion::Criterion;
use sem::Sem;
use shared::Shared;
use shmkit::{Event, Semaphore};
use workers::{PrivateWork, Tally, processes};

fn main() {
    shmkit::init();
    let mut criterion = criterion();
    uncontended(&mut criterion);
    hand_to_hand();
    crowd("eight, one permit, 100 ns between", 1);
    crowd("eight, four permits, 100 ns between", 4);
    ring();
    criterion.final_summary();
}

fn uncontended(criterion: &mut Criterion) {
    let semaphore = Semaphore::new(1).expect("a semaphore");
    let theirs = Sem::shared(1);
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
        .time("Event, set and clear", || {
            by_hand.set();
            by_hand.clear();
        })
        .time("Event, set and wait, auto reset", || {
            auto.set();
            auto.wait().expect("wait");
        })
        .goal("Semaphore", 1.0, &["glibc sem_t"])
        .criterion(criterion)
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
