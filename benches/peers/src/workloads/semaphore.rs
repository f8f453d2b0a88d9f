//! Semaphores and other signals: taken alone, and by processes in a ring that give each other the turn.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{
    peers::{boost, crossbeam, glibc, ours, parking_lot, pipes, posix, python, raw_sync, std as std_peer},
    plan::{Case, Subject, Unit, limit, ours as subject, peer},
    sample::{Measured, Setup, calibrated, looped},
    shared::Shared,
    team::{self, Kind},
    workloads::{SCALE, lock::plural},
};

/// Something that one waits for and another gives.
pub(crate) trait Signal: Sync + Sized {
    /// Whether it is for the threads of one process only.
    const THREADS: bool = false;

    /// With 0 or 1 permits; or why there is none.
    fn new(permits: u32) -> Result<Self, String>;

    /// Takes a permit, and waits for one.
    fn acquire(&self);

    /// Gives a permit.
    fn release(&self);
}

fn alone<S: Signal>(setup: &Setup) -> Measured {
    let signal = S::new(1)?;
    let outcome = looped(setup, || {
        signal.acquire();
        signal.release();
    });
    Ok(outcome)
}

/// An operation is a turn that is given and taken.
fn turns<S: Signal>(setup: &Setup) -> Measured {
    /// Rounds of which one is checked.
    const ONE_IN: u64 = 16;
    let size = setup.processes;
    Ok(calibrated(setup, 16, |operations| {
        let rounds = operations.div_ceil(size as u64);
        let ring: Vec<S> = (0..size).map(|i| S::new(u32::from(i == 0)).expect("one more")).collect();
        let turn = Shared::<AtomicU64>::zeroed();
        let notes = team::run(size, Kind::of(S::THREADS), |seat| {
            let (mine, next) = (&ring[seat.index], &ring[(seat.index + 1) % size]);
            let begin = team::now();
            for round in 0..rounds {
                mine.acquire();
                if round.is_multiple_of(ONE_IN) {
                    let turns = turn.load(Relaxed);
                    assert_eq!(turns, round / ONE_IN * size as u64 + seat.index as u64, "out of turn");
                    turn.store(turns + 1, Relaxed);
                }
                next.release();
            }
            seat.note(0, begin);
            seat.note(1, team::now());
        });
        let begin = notes.iter().map(|notes| notes[0]).max().unwrap_or(0);
        let end = notes.iter().map(|notes| notes[1]).max().unwrap_or(0);
        // Rounds are rounded up.
        Duration::from_nanos(end.saturating_sub(begin)).mul_f64(operations as f64 / (rounds * size as u64) as f64)
    }))
}

fn alone_subjects() -> Vec<Subject> {
    vec![
        subject("shmkit Semaphore", alone::<ours::Semaphore>),
        subject("shmkit BoundedSemaphore", alone::<ours::Bounded>),
        subject("shmkit Event, auto reset", alone::<ours::Event>),
        peer("POSIX semaphore", alone::<posix::Sem>),
        peer("glibc condition and mutex", alone::<glibc::Condition>),
        peer("raw_sync Event", alone::<raw_sync::Event>),
        peer("Boost interprocess_semaphore", alone::<boost::Semaphore>),
        peer("pipe, a byte", alone::<pipes::PipeByte>),
        peer("Unix socket, a byte", alone::<pipes::SocketByte>),
        peer("parking_lot Condvar (threads)", alone::<parking_lot::Condvar>),
        peer("std Condvar (threads)", alone::<std_peer::Condvar>),
        peer("Python Semaphore", |setup| python::time("semaphore", setup)).rounds(3),
    ]
}

fn turn_subjects(processes: usize) -> Vec<Subject> {
    let mut subjects = vec![
        subject("shmkit Semaphore", turns::<ours::Semaphore>),
        subject("shmkit Event, auto reset", turns::<ours::Event>),
        subject("shmkit Condvar", turns::<ours::Condition>),
        peer("POSIX semaphore", turns::<posix::Sem>),
        peer("glibc condition and mutex", turns::<glibc::Condition>),
        peer("raw_sync Event", turns::<raw_sync::Event>),
        peer("raw_sync BusyEvent", turns::<raw_sync::BusyEvent>),
        peer("Boost interprocess_semaphore", turns::<boost::Semaphore>),
        peer("pipe, a byte", turns::<pipes::PipeByte>),
        peer("Unix socket, a byte", turns::<pipes::SocketByte>),
        peer("parking_lot Condvar (threads)", turns::<parking_lot::Condvar>),
        peer("std Condvar (threads)", turns::<std_peer::Condvar>),
        peer("crossbeam Parker (threads)", turns::<crossbeam::Park>),
        peer("Python Semaphore", |setup| python::time("turns", setup)).rounds(3),
    ];
    if processes == 2 {
        subjects.push(limit("limit: a cache line, spinning", turns::<crate::peers::by_hand::Flag>));
    }
    subjects
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![Case::new(
        "semaphore/uncontended".into(),
        "acquire and release, in one process".into(),
        Unit::Nanoseconds,
        Setup::ONE,
        alone_subjects(),
    )];
    for processes in &SCALE[1..] {
        let kind = if *processes == 2 { "ping-pong".to_owned() } else { format!("ring{}", plural(*processes)) };
        let about = format!("{processes} processes in a ring give the turn to the next: each pass");
        let setup = Setup { processes: *processes, ..Setup::ONE };
        cases.push(
            Case::new(format!("semaphore/{kind}"), about, Unit::Nanoseconds, setup, turn_subjects(*processes))
                .scaling(Some("semaphore, ring")),
        );
    }
    cases
}
