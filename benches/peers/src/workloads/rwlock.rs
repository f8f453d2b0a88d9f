//! Reader-writer locks over two numbers that must agree, mostly read.

use crate::{
    peers::{boost, crossbeam, glibc, ours, parking_lot, raw_sync, std as std_peer},
    plan::{Case, Unit, ours as subject, peer},
    sample::{Measured, Outcome, Setup},
    team::{self, Kind},
    workloads::{SCALE, busy},
};

/// Two numbers under a lock that many may read.
pub(crate) trait ReadWrite: Sync + Sized {
    /// Whether it is for the threads of one process only.
    const THREADS: bool = false;

    /// Two zeros; or why there are none.
    fn new() -> Result<Self, String>;

    /// Looks at both while `during` runs.
    fn read(&self, during: impl FnOnce()) -> [u64; 2];

    /// Adds 1 to both, and runs `between`.
    fn write(&self, between: impl FnOnce());

    /// Writes when a holder may have died. Says whether the lock told.
    fn after_death(&self) -> Result<bool, String> {
        self.write(|| ());
        Ok(false)
    }
}

/// One operation of so many is a write.
const WRITES: u64 = 100;

fn measure<L: ReadWrite>(setup: &Setup) -> Measured {
    let lock = L::new()?;
    // With one process there is nobody to make room for.
    let turns = if setup.processes == 1 { 0 } else { setup.turns };
    let rate = team::rate(setup.processes, Kind::of(L::THREADS), setup.window(), |index| {
        let mut count = index as u64 * (WRITES / 16);
        let lock = &lock;
        move || {
            count += 1;
            if count.is_multiple_of(WRITES) {
                lock.write(|| ());
            } else {
                let [a, b] = lock.read(|| ());
                assert_eq!(a, b, "read in the middle of a write");
            }
            busy(turns);
        }
    });
    // Each of them has begun its count at another place.
    let [written, also] = lock.read(|| ());
    let wanted = rate.with_warm_up / WRITES;
    let is_right = written == also && written.abs_diff(wanted) <= setup.processes as u64;
    Ok(if is_right {
        Outcome::Fair { seconds: rate.time.as_secs_f64() / rate.operations as f64, least: rate.least }
    } else {
        Outcome::Broken(format!("{written} and {also} writes were counted of about {wanted}"))
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |processes: &usize| {
        let subjects = vec![
            subject("shmkit RwLock", measure::<ours::RwLock>),
            peer("std RwLock (threads)", measure::<std_peer::RwLock>),
            peer("parking_lot RwLock (threads)", measure::<parking_lot::RwLock>),
            peer("crossbeam ShardedLock (threads)", measure::<crossbeam::Sharded>),
            peer("glibc rwlock, pshared", measure::<glibc::RwLock>),
            peer("raw_sync RwLock", measure::<raw_sync::RwLock>),
            peer("Boost interprocess_sharable_mutex", measure::<boost::SharableMutex>),
        ];
        let between = if *processes == 1 { "" } else { ", 100 ns between two turns" };
        let about = format!("99 reads and a write, in {processes} process(es){between}: each");
        let setup = Setup { processes: *processes, ..Setup::ONE };
        Case::new(format!("rwlock/{processes}"), about, Unit::Nanoseconds, setup, subjects).scaling(Some("rwlock"))
    };
    SCALE.iter().map(case).collect()
}
