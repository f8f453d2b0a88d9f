//! The condition variable under the model checker: every order of steps of up to three threads, and deaths at every
//! point.
//!
//! No time passes in the model. Where a death costs others a slice, the test ends that slice by hand ([`end_slices`]), once
//! the dead one is gone; everywhere else a lost notification shows as a deadlock.
//!
//! [`end_slices`]: Shared::end_slices

use loom::sync::{Arc, Mutex};

use super::{Condvar, CondvarWords, Life, Lives, Relaxed, Slot, UNKNOWN, is_taken};
use crate::{
    Error,
    os::clock::{Deadline, Wait},
    raw::{
        lives::model::Members,
        sys::{AtomicU32, at_every_point, enter, explore, futex, mortal, start},
    },
};

#[derive(Default)]
struct Shared {
    words: CondvarWords,
    slots: [Slot; 3],
    members: Members,
    /// What is waited for, and the user's lock.
    flag: Mutex<u32>,
    received: AtomicU32,
}

impl Shared {
    fn new() -> Arc<Self> {
        enter(1);
        Arc::new(Self::default())
    }

    fn condvar(&self) -> Condvar<'_> {
        Condvar { words: &self.words, slots: &self.slots }
    }

    /// Waits for one notification. Nobody dies here who holds the user's lock, which so is left out.
    fn receive(&self, slot: usize) {
        self.receive_within(slot, Wait::Forever).unwrap();
    }

    fn receive_within(&self, slot: usize, wait: Wait) -> crate::Result<()> {
        let (me, lives) = (Members::id(slot), &self.members);
        let ticket = self.condvar().enter(me, UNKNOWN, &lives)?;
        self.condvar().wait(me, ticket, &lives, wait)?;
        self.received.fetch_add(1, Relaxed);
        self.condvar().leave(ticket);
        Ok(())
    }

    fn notify(&self, most: usize) -> usize {
        self.condvar().notify(|| Ok(&self.members), most).unwrap()
    }

    /// Notifies until somebody was there for it.
    fn notify_somebody(&self) {
        while self.notify(1) == 0 {
            loom::thread::yield_now();
        }
    }

    /// The end of a process: all who watch it look.
    fn die(&self, slot: usize) {
        self.members.die(slot, &self.slots[0].state);
        self.end_slices();
    }

    /// 100 ms pass: all who sleep look at their slots.
    fn end_slices(&self) {
        for slot in &self.slots {
            futex::wake(&slot.state, u32::MAX);
        }
    }

    fn is_empty(&self) -> bool {
        self.notify(usize::MAX) == 0 && self.slots.iter().all(|slot| !is_taken(slot.state.load(Relaxed)))
    }
}

/// Waits until the flag is `wanted`, as users do.
fn wait_for(shared: &Shared, slot: usize, wanted: u32) {
    let (me, lives) = (Members::id(slot), &shared.members);
    let mut flag = shared.flag.lock().unwrap();
    while *flag < wanted {
        let ticket = shared.condvar().enter(me, [1; 3], &lives).unwrap();
        drop(flag);
        shared.condvar().wait(me, ticket, &lives, Wait::Forever).unwrap();
        flag = shared.flag.lock().unwrap();
        shared.condvar().leave(ticket);
    }
}

/// The flag is set under the lock, and told after it: nobody sleeps on.
#[test]
fn no_wake_up_is_lost() {
    explore(2, || {
        let shared = Shared::new();
        let waiter = start(2, &shared, |shared| wait_for(shared, 1, 1));
        *shared.flag.lock().unwrap() += 1;
        shared.notify(1);
        waiter.join().unwrap();
        assert!(shared.is_empty());
    });
}

#[test]
fn all_are_notified() {
    explore(1, || {
        let shared = Shared::new();
        let waiters = [1, 2].map(|slot| start(slot as u32 + 1, &shared, move |shared| wait_for(shared, slot, 1)));
        *shared.flag.lock().unwrap() += 1;
        shared.notify(usize::MAX);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(shared.is_empty());
    });
}

/// Two notify one waiter each: both get theirs.
#[test]
fn two_notifiers() {
    explore(1, || {
        let shared = Shared::new();
        let waiter = start(2, &shared, |shared| wait_for(shared, 1, 2));
        let other = start(3, &shared, |shared| {
            *shared.flag.lock().unwrap() += 1;
            shared.notify(1);
        });
        *shared.flag.lock().unwrap() += 1;
        shared.notify(1);
        other.join().unwrap();
        waiter.join().unwrap();
        assert!(shared.is_empty());
    });
}

/// One gives up at the moment that it is notified: it has been notified, or the other one is.
#[test]
fn one_gives_up() {
    explore(2, || {
        let shared = Shared::new();
        let other = start(2, &shared, |shared| shared.receive(1));
        let over = Wait::Until(Deadline::now());
        let gives_up = start(3, &shared, move |shared| match shared.receive_within(2, over) {
            Ok(()) => shared.notify_somebody(),
            Err(error) => assert!(matches!(error, Error::TimedOut)),
        });
        shared.notify_somebody();
        // Somebody has been notified. If that was the one who gave up, it notifies the other.
        other.join().unwrap();
        gives_up.join().unwrap();
        assert!(shared.is_empty());
    });
}

/// One of two waiters dies at each point: a notification that was given when the other waited too is the other's, unless
/// the dead one lived to use it.
#[test]
fn a_waiter_dies_at_every_point() {
    at_every_point(1, |points| {
        let shared = Shared::new();
        let lives = &shared.members;
        let victim = start(2, &shared, move |shared| {
            let survived = mortal(points, shared.words.table.word(), || shared.receive(1));
            // Who has received one notifies the other, if that waits yet.
            match survived {
                true => _ = shared.notify(1),
                false => shared.die(1),
            }
        });
        let other = start(3, &shared, |shared| {
            shared.receive(2);
            shared.notify(1);
        });
        while lives.life(Members::id(1)) == Life::Lives && shared.condvar().n_waiting(&lives) < 2 {
            loom::thread::yield_now();
        }
        shared.notify_somebody();
        victim.join().unwrap();
        other.join().unwrap();
        assert!(shared.is_empty());
    });
}

/// The first one is killed when it was notified, before it could use it: the second one gets it.
#[test]
fn the_dead_pass_on() {
    explore(2, || {
        let shared = Shared::new();
        let (me, lives) = (Members::id(0), &shared.members);
        let ticket = shared.condvar().enter(me, UNKNOWN, &lives).unwrap();
        let other = start(2, &shared, |shared| shared.receive(1));
        while shared.condvar().n_waiting(&lives) < 2 {
            loom::thread::yield_now();
        }
        assert_eq!(shared.notify(1), 1);
        assert!(shared.condvar().wait(me, ticket, &lives, Wait::Forever).is_ok());
        shared.die(0);
        other.join().unwrap();
        assert!(shared.is_empty());
    });
}

/// One that notifies dies at each point: the waiter is notified, or was not and is by the next one.
#[test]
fn a_notifier_dies_at_every_point() {
    at_every_point(1, |points| {
        let shared = Shared::new();
        let waiter = start(2, &shared, |shared| shared.receive(1));
        let victim = start(3, &shared, move |shared| {
            mortal(points, shared.words.table.word(), || {
                shared.notify(1);
            });
        });
        victim.join().unwrap();
        if shared.words.table.is_free() {
            // It may have died before the wake-up. Else the heir of the table sees to that.
            shared.end_slices();
        }
        while shared.received.load(Relaxed) == 0 && shared.notify(1) == 0 {
            loom::thread::yield_now();
        }
        waiter.join().unwrap();
        assert!(shared.is_empty());
    });
}

/// One that passes on dies at each point: the last one gets it all the same.
#[test]
fn an_heir_dies_at_every_point() {
    at_every_point(1, |points| {
        let shared = Shared::new();
        let (me, lives) = (Members::id(0), &shared.members);
        let _ticket = shared.condvar().enter(me, UNKNOWN, &lives).unwrap();
        let waiter = start(2, &shared, |shared| shared.receive(1));
        while shared.condvar().n_waiting(&lives) < 2 {
            loom::thread::yield_now();
        }
        assert_eq!(shared.notify(1), 1);
        // Its end, which nobody has seen yet; who passes on is one that notifies.
        shared.members.die(0, &shared.received);
        let victim = start(3, &shared, move |shared| {
            mortal(points, shared.words.table.word(), || {
                shared.notify(1);
            });
        });
        victim.join().unwrap();
        shared.end_slices();
        waiter.join().unwrap();
    });
}
