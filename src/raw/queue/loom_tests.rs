//! The queue under the model checker: every message once, in order, whoever dies where.
//!
//! No time passes in the model, so a wake-up that is lost shows as a deadlock.

#![expect(unsafe_code, reason = "the checker's cell hands out pointers")]

use loom::{cell::UnsafeCell, sync::Arc};

use super::{Company, Queue, QueueWords, World};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::{
        lives::model::Members,
        sys::{at_every_point, enter, explore, mortal_with, start},
    },
};

/// Two units, each with two words, so that half a message can be told from a whole one.
#[derive(Default)]
struct Shared {
    words: QueueWords,
    units: [UnsafeCell<[u32; 2]>; 2],
    members: Members,
}

impl Shared {
    fn queue(&self) -> Queue<'_> {
        Queue { words: &self.words, units: 2 }
    }

    fn world(&self) -> Result<World<&Members, impl Fn() -> Company>> {
        Ok(World { lives: &self.members, company: || Company::Somebody })
    }

    fn put(&self, value: u32, wait: Wait) -> Result<()> {
        self.put_of(1, value, wait)
    }

    /// A message of so many units, of which the first one counts.
    fn put_of(&self, length: u32, value: u32, wait: Wait) -> Result<()> {
        let room = self.queue().room(length, || self.world(), wait)?;
        self.units[room.at as usize].with_mut(|unit| {
            // SAFETY: the room is this one's; the checker fails the test if it is another's too.
            unsafe { *unit = [value; 2] };
        });
        self.queue().publish(room);
        Ok(())
    }

    fn get(&self, slot: usize, wait: Wait) -> Result<u32> {
        self.get_of(1, slot, wait)
    }

    fn get_of(&self, length: u32, slot: usize, wait: Wait) -> Result<u32> {
        let first = self.queue().first(|| self.world(), wait)?;
        // SAFETY: as in `put`.
        let [value, again] = self.units[first.at as usize].with(|unit| unsafe { *unit });
        assert_eq!(value, again);
        self.queue().take(&first, length, Members::id(slot))?;
        drop(first);
        self.queue().notify_room();
        Ok(value)
    }

    fn done(&self, slot: usize) -> Result<()> {
        self.queue().task_done(Members::id(slot), &&self.members, Wait::Forever)
    }

    /// Runs `body` as the member `slot`, which dies at its `points`th point. Then the slices end of all who sleep: a
    /// wake-up that the dead one owed is one of those that cost a slice.
    fn dies(&self, slot: usize, points: u32, body: impl FnOnce()) -> bool {
        let locks = [self.words.put.lock.word(), self.words.get.lock.word()];
        let survived = mortal_with(points, &locks, body);
        if !survived {
            self.members.die(slot, &self.words.gates.done.word);
            for gate in [&self.words.gates.messages, &self.words.gates.room, &self.words.gates.done] {
                gate.notify(u32::MAX);
            }
        }
        survived
    }
}

#[test]
fn one_fills_and_one_empties() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let producer = start(2, &shared, |shared| (1..=3).for_each(|i| shared.put(i, Wait::Forever).unwrap()));
        for i in 1..=3 {
            assert_eq!(shared.get(0, Wait::Forever).unwrap(), i);
        }
        producer.join().unwrap();
        assert_eq!((shared.queue().len(), shared.queue().unfinished()), (0, 3));
    });
}

#[test]
fn two_fill_and_two_empty() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let producers =
            [2_u32, 3].map(|tid| start(tid, &shared, move |shared| shared.put(10 * tid, Wait::Forever).unwrap()));
        let consumer = start(4, &shared, |shared| shared.get(1, Wait::Forever).unwrap());
        let mut values = [shared.get(0, Wait::Forever).unwrap(), consumer.join().unwrap()];
        values.sort_unstable();
        assert_eq!(values, [20, 30]);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

/// Whoever was woken for room that another took wakes the next one, and sleeps again.
#[test]
fn producers_wait_for_room() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        (1..=2).for_each(|i| shared.put(i, Wait::No).unwrap());
        let producers =
            [2_u32, 3].map(|tid| start(tid, &shared, move |shared| shared.put(10 * tid, Wait::Forever).unwrap()));
        let values: Vec<_> = (0..4).map(|_| shared.get(0, Wait::Forever).unwrap()).collect();
        assert_eq!((values[..2].to_vec(), values[2] + values[3]), (vec![1, 2], 50));
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

/// One message makes room for two: the producer that was woken for it wakes the next one.
#[test]
fn room_for_several() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        shared.put_of(2, 1, Wait::No).unwrap();
        let producers =
            [2_u32, 3].map(|tid| start(tid, &shared, move |shared| shared.put(10 * tid, Wait::Forever).unwrap()));
        assert_eq!(shared.get_of(2, 0, Wait::Forever).unwrap(), 1);
        for producer in producers {
            producer.join().unwrap();
        }
        assert_eq!(shared.queue().len(), 2);
    });
}

/// Who waits for something else than room does not take the wake-up of one that waits for room.
#[test]
fn something_else_than_room() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        (1..=2).for_each(|i| shared.put(i, Wait::No).unwrap());
        let other = start(2, &shared, |shared| {
            shared.queue().wait_for_a_receipt(0, || shared.world(), Wait::Forever).unwrap();
        });
        let producer = start(3, &shared, |shared| shared.put(3, Wait::Forever).unwrap());
        let first = shared.queue().first(|| shared.world(), Wait::Forever).unwrap();
        shared.queue().take(&first, 1, Members::id(0)).unwrap();
        shared.queue().receive(&first);
        drop(first);
        shared.queue().notify_room();
        other.join().unwrap();
        producer.join().unwrap();
    });
}

/// Nothing that was put is lost by closing, and nobody sleeps on.
#[test]
fn closing() {
    explore(2, || {
        enter(1);
        let shared = Arc::new(Shared::default());
        let producer = start(2, &shared, |shared| shared.put(7, Wait::Forever).is_ok());
        let closer = start(3, &shared, |shared| shared.queue().close());
        let first = shared.get(0, Wait::Forever);
        assert!(matches!(first, Ok(7) | Err(Error::Closed)));
        let was_put = producer.join().unwrap();
        closer.join().unwrap();
        assert_eq!(was_put, first.is_ok(), "{first:?}");
        assert!(matches!(shared.get(0, Wait::Forever), Err(Error::Closed)));
    });
}

/// A producer dies anywhere: its message is whole or not there, and the other's come.
#[test]
fn a_producer_dies() {
    at_every_point(1, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        let victim = start(2, &shared, move |shared| {
            shared.dies(1, points, || {
                shared.put(1, Wait::Forever).unwrap();
                shared.put(2, Wait::Forever).unwrap();
            })
        });
        let other = start(3, &shared, |shared| shared.put(9, Wait::Forever).unwrap());
        let mut values = Vec::new();
        while !values.contains(&9) {
            values.push(shared.get(0, Wait::Forever).unwrap());
        }
        let survived = victim.join().unwrap();
        other.join().unwrap();
        while let Ok(value) = shared.get(0, Wait::No) {
            values.push(value);
        }
        values.retain(|value| *value != 9);
        let all = if survived { vec![vec![1, 2]] } else { vec![vec![], vec![1], vec![1, 2]] };
        assert!(all.contains(&values), "{values:?}");
    });
}

/// A consumer dies anywhere: it has the message, or the next one gets it. Nobody waits for tasks that went with it.
#[test]
fn a_consumer_dies() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        shared.put(1, Wait::No).unwrap();
        shared.put(2, Wait::No).unwrap();
        let victim = start(2, &shared, move |shared| {
            shared.dies(1, points, || {
                shared.get(1, Wait::Forever).unwrap();
                shared.done(1).unwrap();
            })
        });
        let mut mine = vec![shared.get(0, Wait::Forever).unwrap()];
        let survived = victim.join().unwrap();
        mine.extend(shared.get(0, Wait::No));
        for _ in &mine {
            shared.done(0).unwrap();
        }
        assert!(matches!(mine[..], [1] | [2] | [1, 2]), "{mine:?}");
        assert!(mine.len() == 1 || !survived);
        let joined = shared.queue().join(|| shared.world(), Wait::Forever);
        match joined {
            Ok(()) => assert!(shared.queue().unfinished() == 0),
            Err(Error::TasksLost { tasks }) => assert!(tasks == 1 && mine.len() == 1 && !survived),
            Err(error) => panic!("{error}"),
        }
    });
}

/// Who waits for all to be done does so until the last one is, or is lost.
#[test]
fn joining() {
    at_every_point(2, |points| {
        enter(1);
        let shared = Arc::new(Shared::default());
        shared.put(1, Wait::No).unwrap();
        let worker = start(2, &shared, move |shared| {
            // It takes the message while it lives: what it dies with is the task.
            shared.get(1, Wait::Forever).unwrap();
            shared.dies(1, points, || shared.done(1).unwrap())
        });
        let joined = shared.queue().join(|| shared.world(), Wait::Forever);
        let survived = worker.join().unwrap();
        assert!(joined.is_ok() || !survived && matches!(joined, Err(Error::TasksLost { tasks: 1 })), "{joined:?}");
        assert!(shared.done(0).is_ok() == joined.is_err());
    });
}
