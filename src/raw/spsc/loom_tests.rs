//! The ring of two under the model checker: every value once and in order, and roles that pass from the dead.
//!
//! No time passes in the model, so a wake-up that is lost shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc};

use super::{Light, Linger, Patience, Places, Side, Spsc, SpscWords};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::{
        lives::model::Members,
        sys::{at_every_point, enter, explore, mortal_with, start},
    },
};

#[derive(Default)]
struct Shared {
    words: SpscWords,
    places: [UnsafeCell<u32>; 2],
    members: Members,
}

/// One that has a role.
struct End<'a> {
    shared: &'a Shared,
    side: Spsc<'a>,
    light: Light,
}

impl Shared {
    fn take(&self, side: Side, slot: usize) -> Result<End<'_>> {
        let side = Spsc { words: &self.words, side, capacity: 2 };
        side.take_role(Members::id(slot), 1, &&self.members, Wait::Forever)?;
        Ok(End { shared: self, side, light: Light::register() })
    }
}

impl End<'_> {
    fn wait(&self, wait: Wait) -> Result<Places> {
        let theirs = self.side.wait(&Patience::default(), &Linger::default(), wait)?;
        Ok(self.side.places(theirs).unwrap())
    }

    fn push(&mut self, value: u32) -> Result<()> {
        let places = self.wait(Wait::Forever)?;
        // SAFETY: the place is the producer's; the checker fails the test if the consumer reads it.
        self.shared.places[places.at].with_mut(|place| unsafe { *place = value });
        self.side.advance(places, 1, self.light);
        Ok(())
    }

    fn pop(&mut self, wait: Wait) -> Result<u32> {
        let places = self.wait(wait)?;
        // SAFETY: the place is the consumer's; the checker fails the test if the producer writes it.
        let value = self.shared.places[places.at].with(|place| unsafe { *place });
        self.side.advance(places, 1, self.light);
        Ok(value)
    }
}

/// Three values, and the end, by ends with these barriers.
fn pass_all(shared: &Arc<Shared>, light: Light) {
    let producer = start(2, shared, move |shared| {
        let mut producer = End { light, ..shared.take(Side::Producer, 1).unwrap() };
        (1..=3).for_each(|value| producer.push(value).unwrap());
        producer.side.close(light);
    });
    let mut consumer = End { light, ..shared.take(Side::Consumer, 0).unwrap() };
    for value in 1..=3 {
        assert_eq!(consumer.pop(Wait::Forever).unwrap(), value);
    }
    assert!(matches!(consumer.pop(Wait::Forever), Err(Error::Closed)));
    producer.join().unwrap();
}

#[test]
fn all_arrives_in_order() {
    explore(3, || {
        enter(1);
        pass_all(&Arc::new(Shared::default()), Light::register());
    });
}

/// The kernel makes no barriers, but both have asked for them.
#[test]
fn all_arrives_where_barriers_are_refused() {
    explore(3, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        shared.words.rest.0.gates.iter().for_each(|gate| assert!(!gate.ask_for_fences(0).1));
        pass_all(&shared, Light::UNASKED);
    });
}

#[test]
fn one_alone_has_a_role() {
    explore(4, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let other = start(2, &shared, |shared| shared.take(Side::Producer, 1).is_ok());
        let mine = shared.take(Side::Producer, 0).is_ok();
        assert!(mine != other.join().unwrap());
    });
}

/// The successor goes on where the dead one was: nothing that was published is lost, comes twice or out of order.
#[test]
fn a_producer_dies_at_every_point() {
    at_every_point(3, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let producers = start(2, &shared, move |shared| {
            let mut published = 0;
            mortal_with(points, &[], || {
                let mut victim = shared.take(Side::Producer, 1).unwrap();
                for value in 1..=3 {
                    victim.push(value).unwrap();
                    published = value;
                }
            });
            // It ends in any case, and so do the slices of all who sleep.
            shared.members.die(1, &shared.words.rest.0.gates[0].word);
            let mut next = shared.take(Side::Producer, 2).unwrap();
            next.push(9).unwrap();
            published
        });
        let mut consumer = shared.take(Side::Consumer, 0).unwrap();
        let mut values = Vec::new();
        while values.last() != Some(&9) {
            values.push(consumer.pop(Wait::Forever).unwrap());
        }
        values.pop();
        let published = producers.join().unwrap();
        assert!(values.len() as u32 == published || values.len() as u32 == published + 1, "{values:?}, {published}");
        assert!(values.iter().zip(1..).all(|(value, i)| *value == i), "{values:?}");
    });
}

/// What the dead one had not counted as taken, its successor takes.
#[test]
fn a_consumer_dies_at_every_point() {
    at_every_point(3, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let consumers = start(2, &shared, move |shared| {
            let mut taken = Vec::new();
            mortal_with(points, &[], || {
                let mut victim = shared.take(Side::Consumer, 1).unwrap();
                taken.push(victim.pop(Wait::Forever).unwrap());
                taken.push(victim.pop(Wait::Forever).unwrap());
            });
            shared.members.die(1, &shared.words.rest.0.gates[1].word);
            let mut next = shared.take(Side::Consumer, 2).unwrap();
            while taken.last() != Some(&3) {
                taken.push(next.pop(Wait::Forever).unwrap());
            }
            taken
        });
        let mut producer = shared.take(Side::Producer, 0).unwrap();
        (1..=3).for_each(|value| producer.push(value).unwrap());
        let taken = consumers.join().unwrap();
        assert!(taken.is_sorted() && taken.len() >= 2, "{taken:?}");
    });
}
