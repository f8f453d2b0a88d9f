//! The lock under the model checker: exclusion, wake-ups, and readers and writers that die at every point.
//!
//! No time passes in the model, so a wake-up that is lost shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc};

use super::{AtomicU16, AtomicU32, AtomicU64, Patience, RawMutex, RwWords};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::{
        lives::model::Members,
        sys::{at_every_point, enter, explore, mortal, start},
    },
};

struct Shared {
    words: RwWords,
    members: Members,
    data: UnsafeCell<u32>,
}

impl Default for Shared {
    fn default() -> Self {
        let words = RwWords {
            mutex: RawMutex::default(),
            gate: AtomicU32::new(0),
            patience: Patience::default(),
            guest_reads: AtomicU16::new(0),
            records: [AtomicU64::new(0), AtomicU64::new(0)],
        };
        Self { words, members: Members::default(), data: UnsafeCell::default() }
    }
}

impl Shared {
    fn look(&self) -> u32 {
        // SAFETY: the caller reads; the checker fails the test if somebody writes.
        self.data.with(|data| unsafe { *data })
    }

    fn change(&self) {
        self.data.with_mut(|data| {
            // SAFETY: the caller writes; the checker fails the test if that did not exclude the others.
            unsafe { *data += 1 };
        });
    }

    fn read(&self, slot: usize) -> Result<u32> {
        let me = Members::id(slot);
        let reading = self.words.read(me, || false, || Ok(&self.members), Wait::Forever)?;
        let seen = self.look();
        self.words.end_read(reading);
        Ok(seen)
    }

    fn write(&self) {
        self.words.write(false, || Ok(&self.members), Wait::Forever).unwrap();
        self.words.mutex.clear_poison();
        self.change();
        self.words.mutex.unlock();
    }
}

#[test]
fn a_reader_and_a_writer_exclude_each_other() {
    explore(4, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let reader = start(2, &shared, |shared| assert!(shared.read(1).unwrap() <= 2));
        shared.write();
        shared.write();
        reader.join().unwrap();
        assert_eq!(shared.look(), 2);
    });
}

#[test]
fn two_readers_and_a_writer() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let readers =
            [1, 2].map(|slot| start(slot as u32 + 1, &shared, move |shared| assert!(shared.read(slot).unwrap() <= 1)));
        shared.write();
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// A thread that reads reads again, while a writer waits for its first read.
#[test]
fn a_read_again_does_not_queue() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let writer = start(2, &shared, |shared| shared.write());
        let me = Members::id(0);
        let outer = shared.words.read(me, || false, || Ok(&shared.members), Wait::Forever).unwrap();
        let before = shared.look();
        let inner = shared.words.read(me, || true, || Ok(&shared.members), Wait::Forever).unwrap();
        assert_eq!(shared.look(), before);
        shared.words.end_read(inner);
        shared.words.end_read(outer);
        writer.join().unwrap();
    });
}

/// One for whom there is no record reads twice, and so does one that downgrades, while the reads on record end and another
/// one writes.
#[test]
fn a_guest_and_a_writer_exclude_each_other() {
    for by_downgrade in [false, true] {
        explore(2, move || {
            enter(1);
            let shared = Arc::new(Shared::default());
            let others = [1, 2].map(|slot| {
                shared.words.read(Members::id(slot), || false, || Ok(&shared.members), Wait::Forever).unwrap()
            });
            let guest = start(2, &shared, move |shared| {
                let (me, lives) = (Members::id(0), || Ok(&shared.members));
                let first = if by_downgrade {
                    shared.words.write(false, lives, Wait::Forever).unwrap();
                    shared.change();
                    shared.words.downgrade(me, Some(&&shared.members))
                } else {
                    shared.words.read(me, || false, lives, Wait::Forever).unwrap()
                };
                let seen = shared.look();
                let second = shared.words.read(me, || true, lives, Wait::Forever).unwrap();
                shared.words.end_read(first);
                assert_eq!(shared.look(), seen);
                shared.words.end_read(second);
            });
            for reading in others {
                shared.words.end_read(reading);
            }
            shared.write();
            guest.join().unwrap();
            assert_eq!(shared.look(), 1 + u32::from(by_downgrade));
        });
    }
}

#[test]
fn nobody_writes_during_a_downgrade() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let writer = start(2, &shared, |shared| shared.write());
        shared.words.write(false, || Ok(&shared.members), Wait::Forever).unwrap();
        shared.change();
        let written = shared.look();
        let reading = shared.words.downgrade(Members::id(0), Some(&&shared.members));
        assert_eq!(shared.look(), written);
        shared.words.end_read(reading);
        writer.join().unwrap();
        assert_eq!(shared.look(), 2);
    });
}

#[test]
fn a_try_never_waits() {
    explore(4, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let writer = start(2, &shared, |shared| match shared.words.write(false, || Ok(&shared.members), Wait::No) {
            Ok(()) => {
                shared.change();
                shared.words.mutex.unlock();
            }
            Err(error) => assert!(matches!(error, Error::WouldBlock)),
        });
        let me = Members::id(0);
        match shared.words.read(me, || false, || Ok(&shared.members), Wait::No) {
            Ok(reading) => {
                shared.look();
                shared.words.end_read(reading);
            }
            Err(error) => assert!(matches!(error, Error::WouldBlock)),
        }
        writer.join().unwrap();
    });
}

/// The writer waits for the reader, or comes after it, at every moment of its death.
#[test]
fn a_reader_dies_at_every_point() {
    at_every_point(3, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = start(2, &shared, move |shared| {
            if !mortal(points, shared.words.mutex.word(), || _ = shared.read(1)) {
                shared.members.die(1, &shared.words.gate);
            }
        });
        shared.write();
        victim.join().unwrap();
        shared.write();
    });
}

/// A writer dies waiting or with the data: a reader goes on, or is told of the poison.
#[test]
fn a_writer_dies_at_every_point() {
    at_every_point(3, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = start(2, &shared, move |shared| {
            if !mortal(points, shared.words.mutex.word(), || shared.write()) {
                shared.members.die(1, &shared.words.gate);
            }
        });
        match shared.read(0) {
            Ok(seen) => assert!(seen <= 1),
            Err(Error::Poisoned { pid, .. }) => assert_eq!(pid, Some(2)),
            Err(error) => panic!("{error}"),
        }
        victim.join().unwrap();
        shared.write();
        shared.read(0).unwrap();
    });
}
