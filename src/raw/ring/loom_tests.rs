//! The ring under the model checker: every value once, in order, whoever dies where.
//!
//! No time passes in the model, so a wake-up that is lost shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc};

use super::{AtomicU64, Ring, RingWords, Slot};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::{
        lives::model::Members,
        sys::{at_every_point, die_here, enter, explore, mortal_with, start},
    },
};

/// A slot of two words, so that half a value can be told from a whole one.
#[derive(Default)]
struct Place {
    state: AtomicU64,
    value: UnsafeCell<[u32; 2]>,
}

impl Slot for Place {
    fn state(&self) -> &AtomicU64 {
        &self.state
    }
}

#[derive(Default)]
struct Shared {
    words: RingWords,
    slots: [Place; 2],
    members: Members,
}

impl Shared {
    fn ring(&self) -> Ring<'_, &[Place]> {
        Ring { words: &self.words, slots: &self.slots[..] }
    }

    fn push(&self, slot: usize, value: u32, wait: Wait) -> Result<()> {
        let ring = self.ring();
        let claimed = ring.claim_room(Members::id(slot), || Ok(&self.members), wait)?;
        self.slots[claimed.at].value.with_mut(|place| {
            // SAFETY: the slot is this one's; the checker fails the test if it is another's too.
            unsafe { *place = [value; 2] };
        });
        ring.publish(claimed);
        ring.notify_values(1);
        Ok(())
    }

    fn pop(&self, slot: usize, wait: Wait) -> Result<u32> {
        let ring = self.ring();
        let claimed = ring.claim_value(Members::id(slot), || Ok(&self.members), wait)?;
        // SAFETY: as in `push`.
        let [value, again] = self.slots[claimed.at].value.with(|place| unsafe { *place });
        assert_eq!(value, again);
        ring.free(claimed);
        ring.notify_room(1);
        Ok(value)
    }

    /// Runs `body` as the member `slot`, which dies at its `points`th point. Then the slices end of all who sleep: who
    /// went to sleep before the dead one claimed a slot does not watch it.
    fn dies(&self, slot: usize, points: u32, body: impl FnOnce()) -> bool {
        let survived = mortal_with(points, &[], body);
        if !survived {
            self.members.die(slot, &self.words.gates.0.values.word);
            self.ring().notify_values(u32::MAX);
            self.ring().notify_room(u32::MAX);
        }
        survived
    }
}

#[test]
fn one_fills_and_one_empties() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let producer = start(2, &shared, |shared| (1..=3).for_each(|i| shared.push(1, i, Wait::Forever).unwrap()));
        for i in 1..=3 {
            assert_eq!(shared.pop(0, Wait::Forever).unwrap(), i);
        }
        producer.join().unwrap();
        assert!(shared.pop(0, Wait::No).unwrap_err().is_would_block());
    });
}

#[test]
fn two_fill_and_two_empty() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let producers = [2_u32, 3].map(|tid| {
            start(tid, &shared, move |shared| shared.push(tid as usize - 1, 10 * tid, Wait::Forever).unwrap())
        });
        let consumer = start(4, &shared, |shared| shared.pop(0, Wait::Forever).unwrap());
        let mine = shared.pop(0, Wait::Forever).unwrap();
        let mut values = [mine, consumer.join().unwrap()];
        values.sort_unstable();
        assert_eq!(values, [20, 30]);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

/// Two slots for three values of two producers: one waits for room. Each one's values come in its order.
#[test]
fn producers_wait_for_room() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let two = start(2, &shared, |shared| (1..=2).for_each(|i| shared.push(1, i, Wait::Forever).unwrap()));
        let one = start(3, &shared, |shared| shared.push(2, 9, Wait::Forever).unwrap());
        let values = [(); 3].map(|()| shared.pop(0, Wait::Forever).unwrap());
        assert_eq!(values.iter().filter(|value| **value < 9).collect::<Vec<_>>(), [&1, &2]);
        for producer in [two, one] {
            producer.join().unwrap();
        }
    });
}

/// Whoever finds the ring closed and empty has missed nothing, and nobody waits for ever.
#[test]
fn nothing_is_missed_at_the_end() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let producer = start(2, &shared, |shared| match shared.push(1, 1, Wait::Forever) {
            Ok(()) => 1,
            Err(error) => {
                assert!(matches!(error, Error::Closed));
                0
            }
        });
        let consumer = start(3, &shared, |shared| {
            let mut count = 0;
            loop {
                match shared.pop(2, Wait::Forever) {
                    Ok(_) => count += 1,
                    Err(Error::Closed) => return count,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        shared.ring().close();
        assert_eq!(producer.join().unwrap(), consumer.join().unwrap());
    });
}

/// What the dead one published arrives, and nothing else of it; another's value arrives in any case.
#[test]
fn a_producer_dies_at_every_point() {
    at_every_point(1, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = start(2, &shared, move |shared| {
            let mut published = 0;
            shared.dies(1, points, || {
                for i in 1..=2 {
                    shared.push(1, i, Wait::Forever).unwrap();
                    published = i;
                }
            });
            published
        });
        let other = start(3, &shared, |shared| shared.push(2, 9, Wait::Forever).unwrap());
        let mut values = Vec::new();
        while values.last() != Some(&9) {
            values.push(shared.pop(0, Wait::Forever).unwrap());
        }
        let published = victim.join().unwrap();
        other.join().unwrap();
        while let Ok(value) = shared.pop(0, Wait::No) {
            values.push(value);
        }
        values.retain(|value| *value != 9);
        // It may have died between the store that publishes and the return.
        assert!(values.len() as u32 == published || values.len() as u32 == published + 1, "{values:?}, {published}");
        assert!(values.iter().zip(1..).all(|(value, i)| *value == i), "{values:?}");
        // All room is there again.
        (0..2).for_each(|_| shared.push(0, 1, Wait::No).unwrap());
    });
}

/// A value goes to one of the two, or died with the victim; and the room comes back.
#[test]
fn a_consumer_dies_at_every_point() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        (1..=2).for_each(|i| shared.push(0, i, Wait::No).unwrap());
        let victim = start(2, &shared, move |shared| {
            let mut had = 0;
            shared.dies(1, points, || had = shared.pop(1, Wait::Forever).unwrap());
            had
        });
        let mut values = Vec::new();
        if shared.push(0, 3, Wait::No).is_err() {
            // The first value, or the victim has that and gives its room back, dead or alive.
            values.extend(shared.pop(0, Wait::No));
            shared.push(0, 3, Wait::Forever).unwrap();
        }
        values.push(victim.join().unwrap());
        values.extend(std::iter::from_fn(|| shared.pop(0, Wait::No).ok()));
        values.retain(|value| *value != 0);
        values.sort_unstable();
        assert!(values.ends_with(&[2, 3]) || values.ends_with(&[1, 3]), "{values:?}");
        (0..2).for_each(|_| shared.push(0, 1, Wait::No).unwrap());
    });
}

/// A producer that waits for the room of a value gets it when the consumer that has the value dies.
#[test]
fn the_room_of_a_dead_consumer_is_waited_for() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        (1..=2).for_each(|i| shared.push(0, i, Wait::No).unwrap());
        let victim = start(2, &shared, |shared| {
            assert!(!shared.dies(1, 0, || {
                shared.ring().claim_value(Members::id(1), || Ok(&shared.members), Wait::Forever).unwrap();
                die_here();
            }));
        });
        shared.push(0, 3, Wait::Forever).unwrap();
        victim.join().unwrap();
        assert_eq!([(); 2].map(|()| shared.pop(0, Wait::No).unwrap()), [2, 3]);
    });
}

/// A place that is given up is room again, without any consumer.
#[test]
fn what_is_given_up_is_room() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let claimed = shared.ring().claim_room(Members::id(1), || Ok(&shared.members), Wait::No).unwrap();
        let other = start(2, &shared, move |shared| shared.ring().give_up(Members::id(1), claimed));
        // The second one may have to wait for the place.
        (1..=2).for_each(|i| shared.push(0, i, Wait::Forever).unwrap());
        other.join().unwrap();
        assert_eq!([(); 2].map(|()| shared.pop(0, Wait::No).unwrap()), [1, 2]);
        assert_eq!(shared.ring().len(), 0);
    });
}
