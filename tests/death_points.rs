//! Processes that die at every single point of an operation: what the next one finds, and that it goes on.
//!
//! One test at a time: the children make regions, and the table of regions must not be locked by another thread when
//! they are forked.

mod support;

use std::{
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use shmkit::{
    Array, Barrier, BoundedSemaphore, Condvar, Error, Event, Lock, Queue, RLock, Region, Ring, RwLock, Semaphore,
    SpscRing, Value,
    region::Place,
    test_hooks::{arm, arm_to_stop, without_nameless_files, without_waitv},
};
use support::{Board, Child, Deadline, Flag, at_every_point, eventually, is_raised, raise};

const SOON: Duration = Duration::from_secs(10);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone(what: &'static str) -> (MutexGuard<'static, ()>, Deadline) {
    (ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner), Deadline::seconds(120, what))
}

/// Locks, repairs if it must, and adds 1 to both halves.
fn add(pair: &Value<[u64; 2]>) {
    let mut guard = pair.recover_timeout(SOON).unwrap();
    if guard.poison().is_some() {
        guard[1] = guard[0];
        guard.clear_poison();
    }
    guard[0] += 1;
    guard[1] += 1;
}

/// What a survivor finds: equal halves, or the victim's poison.
fn check(pair: &Value<[u64; 2]>, victims: &[u32]) {
    match pair.lock_timeout(SOON) {
        Ok(guard) => assert_eq!(guard[0], guard[1]),
        Err(Error::Poisoned { pid, .. }) => {
            assert!(pid.is_some_and(|pid| victims.contains(&pid)), "{pid:?} of {victims:?}");
        }
        Err(error) => panic!("{error}"),
    }
    add(pair);
    let guard = pair.lock_timeout(SOON).unwrap();
    assert_eq!(guard[0], guard[1]);
}

fn armed(n: u32, body: impl FnOnce()) -> Child {
    Child::start(move || {
        arm(n);
        body();
        arm(0);
        0
    })
}

#[test]
fn lock_and_unlock() {
    let _alone = alone("lock_and_unlock");
    let pair = Value::new([0_u64; 2]).unwrap();
    let points = at_every_point(|n| {
        let mut victim = armed(n, || add(&pair));
        let end = victim.wait();
        check(&pair, &[victim.pid()]);
        end
    });
    assert!(points >= 6, "{points} points");
}

/// MECHANISMS 10: dead after the word was taken and before the record stood, so before the data could be touched.
#[test]
fn a_death_before_the_record_is_silent() {
    let _alone = alone("a_death_before_the_record_is_silent");
    let lock = Lock::new().unwrap();
    let points = at_every_point(|n| {
        let mut victim = armed(n, || std::mem::forget(lock.lock_timeout(SOON).unwrap()));
        let end = victim.wait();
        let survived = end == support::End::Code(0);
        assert_eq!(lock.lock_timeout(SOON).is_err(), survived, "at point {n}");
        end
    });
    assert!(points >= 2, "{points} points");
}

/// The victim waits for the lock together with another, which must get it whatever the victim does with its wake-up.
#[test]
fn contended_lock_and_unlock() {
    let _alone = alone("contended_lock_and_unlock");
    let pair = Value::new([0_u64; 2]).unwrap();
    let points = at_every_point(|n| {
        let held = pair.lock_timeout(SOON).unwrap();
        let mut victim = armed(n, || add(&pair));
        victim.wait_until_asleep();
        let mut other = armed(0, || add(&pair));
        other.wait_until_asleep();
        drop(held);
        let end = victim.wait();
        assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
        check(&pair, &[victim.pid()]);
        end
    });
    assert!(points >= 7, "{points} points");
}

/// Dies while it inherits and repairs; the poison of the first victim is not lost on the way.
#[test]
fn recover_and_clear() {
    let _alone = alone("recover_and_clear");
    let pair = Value::new([0_u64; 2]).unwrap();
    let points = at_every_point(|n| {
        let mut first = Child::start(|| {
            let mut guard = pair.lock_timeout(SOON).unwrap();
            guard[0] += 1;
            std::mem::forget(guard);
            0
        });
        first.wait();
        let mut heir = armed(n, || add(&pair));
        let end = heir.wait();
        check(&pair, &[first.pid(), heir.pid()]);
        end
    });
    assert!(points >= 10, "{points} points");
}

#[test]
fn nested_lock() {
    let _alone = alone("nested_lock");
    let (lock, pair) = (RLock::new().unwrap(), Value::new([0_u64; 2]).unwrap());
    at_every_point(|n| {
        let mut victim = armed(n, || {
            let _outer = lock.recover_timeout(SOON).unwrap();
            let mut inner = lock.recover_timeout(SOON).unwrap();
            inner.clear_poison();
            add(&pair);
        });
        let end = victim.wait();
        let mut guard = match lock.lock_timeout(SOON) {
            Err(Error::Poisoned { pid, .. }) => {
                assert_eq!(pid, Some(victim.pid()));
                lock.recover_timeout(SOON).unwrap()
            }
            other => other.unwrap(),
        };
        guard.clear_poison();
        drop(guard);
        // Released as often as it was taken: another process gets it.
        let mut other = armed(0, || drop(lock.lock_timeout(SOON).unwrap()));
        assert_eq!(other.wait(), support::End::Code(0));
        check(&pair, &[victim.pid()]);
        end
    });
}

/// Appends, and grows a region, which the next finds as they were or as they should be; nothing is poisoned.
#[test]
fn growth() {
    let _alone = alone("growth");
    let region = Region::options().size(4096).max_size(1 << 26).create().unwrap();
    let array = Array::<u64>::growable_in(&region, "array", 0, 1 << 20).unwrap();
    let step = 1 << 14;
    let mut rounds = 0;
    let points = at_every_point(|n| {
        let (before, size) = (array.len(), region.size());
        let mut victim = armed(n, || array.extend_from_slice(&vec![7; step]).unwrap());
        let end = victim.wait();
        let after = array.lock_timeout(SOON).unwrap().len();
        assert!(after == before || after == before + step, "{before} and then {after}");
        assert!(region.size() == size || region.size() >= after * 8, "{size} and then {}", region.size());
        // What the dead one had written behind the end is not there.
        array.grow(after + 10).unwrap();
        let elements = array.to_vec().unwrap();
        assert!(elements[before..after].iter().all(|x| *x == 7) && elements[after..] == [0; 10]);
        rounds += 1;
        end
    });
    assert!(points >= 6 && rounds == points + 1, "{points} points");

    let points = at_every_point(|n| {
        let size = region.size();
        let mut victim = armed(n, || region.grow(size + (1 << 16)).unwrap());
        let end = victim.wait();
        assert!(region.size() == size || region.size() == size + (1 << 16));
        region.grow(size + (1 << 16)).unwrap();
        let at_the_end = Array::<u8>::growable_in(&region, None, 1, 1).unwrap();
        at_the_end.set(0, 1).unwrap();
        end
    });
    assert!(points >= 3, "{points} points");
}

/// Dies while it has an array's guard and appends: poison, and a length that is whole.
#[test]
fn growth_by_a_guard() {
    let _alone = alone("growth_by_a_guard");
    let array = Array::<u64>::growable(0, 1 << 20).unwrap();
    let points = at_every_point(|n| {
        let before = array.len();
        let mut victim = armed(n, || array.lock_timeout(SOON).unwrap().extend_from_slice(&[7; 1000]).unwrap());
        let end = victim.wait();
        let mut guard = array.recover_timeout(SOON).unwrap();
        assert!([before, before + 1000].contains(&guard.len()));
        assert!(guard[before..].iter().all(|x| *x == 7));
        guard.clear_poison();
        end
    });
    assert!(points >= 5, "{points} points");
}

/// Dies at every step of becoming a member, of taking a permit, and of giving both up.
#[test]
fn members_and_permits() {
    let _alone = alone("members_and_permits");
    let region = Region::options().size(1 << 16).members(2).create().unwrap();
    let semaphore = BoundedSemaphore::new_in(&region, None, 2).unwrap();
    let points = at_every_point(|n| {
        let mut victim = armed(n, || {
            let permit = semaphore.acquire_timeout(SOON).unwrap();
            semaphore.acquire_timeout(SOON).unwrap().detach();
            semaphore.release().unwrap();
            drop(permit);
        });
        let end = victim.wait();
        assert_eq!(semaphore.available().unwrap(), 2, "at point {n}");
        // Both places among the members are free again.
        let others: Vec<Child> = (0..2).map(|_| armed(0, || drop(semaphore.acquire_timeout(SOON).unwrap()))).collect();
        assert!(others.into_iter().all(|mut other| other.wait() == support::End::Code(0)), "at point {n}");
        end
    });
    assert!(points >= 10, "{points} points");
}

/// The victim waits for a permit together with another, which must get it whatever the victim does with its wake-up;
/// then it gives one back, and the other must get that.
#[test]
fn contended_permits() {
    let _alone = alone("contended_permits");
    let semaphore = BoundedSemaphore::new(1).unwrap();
    let waiter = |n| {
        let child = armed(n, || drop(semaphore.acquire_timeout(SOON).unwrap()));
        child.wait_until_asleep();
        child
    };
    let points = at_every_point(|n| {
        let held = semaphore.acquire_timeout(SOON).unwrap();
        let (mut victim, mut other) = (waiter(n), waiter(0));
        drop(held);
        let end = victim.wait();
        assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
        assert_eq!(semaphore.available().unwrap(), 1, "at point {n}");
        end
    });
    assert!(points >= 6, "{points} points");
}

/// One of two parties dies at every step of a barrier, as the first or as the last to arrive: the other one passes, or
/// is told who died, and never waits until its time is over.
#[test]
fn barrier() {
    let _alone = alone("barrier");
    for victim_is_last in [false, true] {
        let points = at_every_point(|n| {
            let barrier = Barrier::new(2).unwrap();
            let [culprit, replacement] = [(); 2].map(|()| Board::<AtomicU32>::new());
            let other = || {
                armed(0, || match barrier.wait_timeout(SOON) {
                    Ok(_) => {}
                    Err(Error::BarrierBroken { pid: Some(pid) }) => {
                        assert!([culprit.load(SeqCst), replacement.load(SeqCst)].contains(&pid));
                    }
                    Err(error) => panic!("{error}"),
                })
            };
            let go = Board::<Flag>::new();
            let mut victim = Child::start(|| {
                eventually(|| is_raised(&go));
                arm(n);
                let done = match victim_is_last {
                    true => barrier.wait_with(|| Ok(())),
                    false => barrier.wait_timeout(SOON),
                };
                arm(0);
                i32::from(done.is_err())
            });
            culprit.store(victim.pid(), SeqCst);
            let mut other = if victim_is_last {
                let other = other();
                eventually(|| barrier.n_waiting() == 1);
                raise(&go);
                other
            } else {
                raise(&go);
                eventually(|| barrier.n_waiting() == 1 || victim.has_ended());
                other()
            };
            let end = victim.wait();
            // A victim that died before it was on record leaves room for somebody else. One that died after it had
            // arrived may be met by that one before the other comes, which then finds both dead.
            let _replacement = (end != support::End::Code(0)).then(|| {
                armed(0, || {
                    replacement.store(std::process::id(), SeqCst);
                    let _ = barrier.wait_timeout(SOON);
                })
            });
            assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
            end
        });
        // More when the wait has got as far as its sleep.
        assert!(points >= 3, "{points} points");
    }
}

/// Who dies while it resets leaves a barrier that is as it was, broken, or reset; the next one resets it.
#[test]
fn barrier_reset() {
    let _alone = alone("barrier_reset");
    let points = at_every_point(|n| {
        let barrier = Barrier::new(2).unwrap();
        let mut waiter = armed(0, || match barrier.wait_timeout(SOON) {
            Err(Error::BarrierBroken { .. }) => {}
            other => panic!("{other:?}"),
        });
        eventually(|| barrier.n_waiting() == 1);
        let mut victim = armed(n, || barrier.reset().unwrap());
        let end = victim.wait();
        barrier.reset().unwrap();
        assert_eq!(waiter.wait(), support::End::Code(0), "at point {n}");
        // The waiter was a party too, and has ended.
        barrier.reset().unwrap();
        let mut two = [(); 2].map(|()| armed(0, || assert!(barrier.wait_timeout(SOON).is_ok())));
        assert!(two.iter_mut().all(|one| one.wait() == support::End::Code(0)), "at point {n}");
        end
    });
    assert!(points >= 1, "{points} points");
}

/// The victim breaks it for one who sleeps: by an abort, which is done or not.
#[test]
fn barrier_abort() {
    let _alone = alone("barrier_abort");
    let points = at_every_point(|n| {
        let barrier = Barrier::new(2).unwrap();
        let mut sleeper = armed(0, || {
            assert!(matches!(barrier.wait_timeout(SOON), Err(Error::BarrierBroken { pid: None })));
        });
        eventually(|| barrier.n_waiting() == 1);
        sleeper.wait_until_asleep();
        let end = armed(n, || barrier.abort()).wait();
        assert_eq!(barrier.is_broken(), n > 1);
        if n == 1 {
            barrier.abort();
        }
        assert_eq!(sleeper.wait(), support::End::Code(0), "at point {n}");
        end
    });
    assert_eq!(points, 2);
}

/// The victim is a party whose time is over, or who is killed before it is: the others are told, and it can be used again.
#[test]
fn barrier_time_out() {
    let _alone = alone("barrier_time_out");
    let points = at_every_point(|n| {
        let barrier = Barrier::new(3).unwrap();
        let mut sleeper = armed(0, || {
            assert!(matches!(barrier.wait_timeout(SOON), Err(Error::BarrierBroken { .. })));
        });
        eventually(|| barrier.n_waiting() == 1);
        sleeper.wait_until_asleep();
        let mut victim = armed(n, || {
            assert!(barrier.wait_timeout(Duration::from_millis(1)).unwrap_err().is_timed_out());
        });
        let end = victim.wait();
        // As one that was not yet on record would be missed by nobody.
        barrier.abort();
        assert_eq!(sleeper.wait(), support::End::Code(0), "at point {n}");
        barrier.reset().unwrap();
        let mut three = [(); 3].map(|()| armed(0, || assert!(barrier.wait_timeout(SOON).is_ok())));
        assert!(three.iter_mut().all(|one| one.wait() == support::End::Code(0)), "at point {n}");
        end
    });
    assert!(points >= 4, "{points} points");
}

/// The victim waits behind a writer, to read or to write, and another one behind it.
#[test]
fn readers_and_writers_in_the_queue() {
    let _alone = alone("readers_and_writers_in_the_queue");
    let pair = RwLock::new([0_u64; 2]).unwrap();
    let write = || {
        let mut guard = pair.recover_timeout(SOON).unwrap();
        if guard.poison().is_some() {
            guard[1] = guard[0];
            guard.clear_poison();
        }
        assert_eq!(guard[0], guard[1]);
        guard[0] += 1;
        guard[1] += 1;
    };
    let read = || match pair.read_timeout(SOON) {
        Ok(guard) => assert_eq!(guard[0], guard[1]),
        // The other victim's, that died as it wrote.
        Err(error) => assert!(error.is_poisoned()),
    };
    for (victim_writes, other_writes) in [(false, false), (false, true), (true, false), (true, true)] {
        let go = |writes: bool| if writes { write() } else { read() };
        let points = at_every_point(|n| {
            let held = pair.recover_timeout(SOON).unwrap();
            let mut victim = armed(n, || go(victim_writes));
            victim.wait_until_asleep();
            let mut other = armed(0, || go(other_writes));
            other.wait_until_asleep();
            drop(held);
            let end = victim.wait();
            assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
            assert!(victim_writes || pair.read_timeout(SOON).is_ok(), "a reader poisons nothing");
            write();
            end
        });
        // More where the other one was quicker to get in line.
        assert!(points >= 5, "{points} points");
    }
}

/// Dies at every step of a read, of a write with a reader to wait for, and of a downgrade.
#[test]
fn readers_and_writers() {
    let _alone = alone("readers_and_writers");
    let pair = RwLock::new([0_u64; 2]).unwrap();
    let check = |victim: &Child, n| {
        match pair.read_timeout(SOON) {
            Ok(guard) => assert_eq!(guard[0], guard[1]),
            Err(Error::Poisoned { pid, .. }) => assert_eq!(pid, Some(victim.pid())),
            Err(error) => panic!("{error} at point {n}"),
        }
        let mut guard = pair.recover_timeout(SOON).unwrap();
        if guard.poison().is_some() {
            guard[1] = guard[0];
            guard.clear_poison();
        }
        assert_eq!(guard[0], guard[1]);
    };
    let points = at_every_point(|n| {
        let mut victim = armed(n, || {
            let outer = pair.read_timeout(SOON).unwrap();
            assert_eq!(outer[0], pair.read_timeout(SOON).unwrap()[1]);
        });
        let end = victim.wait();
        check(&victim, n);
        end
    });
    assert!(points >= 8, "{points} points");
    let points = at_every_point(|n| {
        let reading = pair.read_timeout(SOON).unwrap();
        let mut victim = armed(n, || {
            let mut guard = pair.write_timeout(SOON).unwrap();
            guard[0] += 1;
            guard[1] += 1;
            drop(guard.downgrade());
        });
        // Asleep for the reader, or dead.
        victim.wait_until_asleep();
        drop(reading);
        let end = victim.wait();
        check(&victim, n);
        end
    });
    assert!(points >= 8, "{points} points");
}

/// Alone: a permit that was taken is lost with who took it, one that was given is there, and nothing else happens.
#[test]
fn semaphore_alone() {
    let _alone = alone("semaphore_alone");
    let mut values = Vec::new();
    let points = at_every_point(|n| {
        let semaphore = Semaphore::new(3).unwrap();
        let mut victim = armed(n, || {
            semaphore.acquire().unwrap();
            semaphore.release().unwrap();
            semaphore.release_many(4).unwrap();
        });
        let end = victim.wait();
        values.push(semaphore.value());
        semaphore.acquire_timeout(SOON).unwrap();
        semaphore.release().unwrap();
        end
    });
    assert_eq!((points, values.as_slice()), (3, &[3, 2, 3, 7][..]));
}

/// The victim waits together with another; of the two permits that are given then it takes one at most.
#[test]
fn semaphore_waiter() {
    let _alone = alone("semaphore_waiter");
    let points = at_every_point(|n| {
        let semaphore = Semaphore::new(0).unwrap();
        let mut victim = armed(n, || semaphore.acquire_timeout(SOON).unwrap());
        victim.wait_until_asleep();
        let mut other = armed(0, || semaphore.acquire_timeout(SOON).unwrap());
        other.wait_until_asleep();
        // One after the other, so that the first may be eaten by the victim.
        semaphore.release().unwrap();
        semaphore.release().unwrap();
        let end = victim.wait();
        assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
        let left = if end == support::End::Code(0) { 0 } else { 1 };
        assert_eq!(semaphore.value(), left, "at point {n}");
        end
    });
    assert!(points >= 2, "{points} points");
}

/// The victim gives up; the mark that it leaves, or not, does not matter to others.
#[test]
fn semaphore_time_out() {
    let _alone = alone("semaphore_time_out");
    let points = at_every_point(|n| {
        let semaphore = Semaphore::new(0).unwrap();
        let mut victim = armed(n, || {
            assert!(semaphore.acquire_timeout(Duration::from_millis(100)).unwrap_err().is_timed_out());
        });
        // It has left its mark by then, which the other would have left else.
        victim.wait_until_asleep();
        let mut other = armed(0, || semaphore.acquire_timeout(SOON).unwrap());
        let end = victim.wait();
        semaphore.release().unwrap();
        assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
        assert_eq!(semaphore.value(), 0);
        end
    });
    assert!(points >= 1, "{points} points");
}

/// The victim gives to those who sleep; what it has given is found, with a wake-up or without.
#[test]
fn semaphore_releaser() {
    let _alone = alone("semaphore_releaser");
    for many in [1, 3] {
        let points = at_every_point(|n| {
            let semaphore = Semaphore::new(0).unwrap();
            let mut sleepers: Vec<Child> = (0..many).map(|_| armed(0, || semaphore.acquire().unwrap())).collect();
            sleepers.iter().for_each(Child::wait_until_asleep);
            let mut victim = armed(n, || match many {
                1 => semaphore.release().unwrap(),
                _ => semaphore.release_many(many).unwrap(),
            });
            let end = victim.wait();
            if n == 1 {
                assert_eq!(semaphore.value(), 0, "nothing was given before the first point");
                semaphore.release_many(many).unwrap();
            }
            assert!(sleepers.iter_mut().all(|sleeper| sleeper.wait() == support::End::Code(0)), "at point {n}");
            assert_eq!(semaphore.value(), 0, "at point {n}");
            end
        });
        assert!(points >= 2, "{points} points");
    }
}

/// Nobody sleeps any more, but the mark is there: the victim dies before or after it clears it.
#[test]
fn semaphore_mark_is_cleared() {
    let _alone = alone("semaphore_mark_is_cleared");
    let points = at_every_point(|n| {
        let semaphore = Semaphore::new(0).unwrap();
        assert!(semaphore.acquire_timeout(Duration::from_millis(1)).is_err());
        let mut victim = armed(n, || semaphore.release().unwrap());
        let end = victim.wait();
        assert_eq!(semaphore.value(), usize::from(n > 1), "at point {n}");
        let mut other = armed(0, || (0..2).for_each(|_| semaphore.acquire_timeout(SOON).unwrap()));
        semaphore.release_many(2).unwrap();
        assert_eq!(other.wait(), support::End::Code(0), "at point {n}");
        end
    });
    assert_eq!(points, 3);
}

/// The victim sets the event for two who sleep.
#[test]
fn event_setter() {
    let _alone = alone("event_setter");
    for make in [Event::new, Event::auto_reset] {
        let points = at_every_point(|n| {
            let event = make().unwrap();
            let mut sleepers = [(); 2].map(|()| armed(0, || assert!(event.wait_timeout(SOON).unwrap())));
            sleepers.iter().for_each(Child::wait_until_asleep);
            let mut victim = armed(n, || event.set());
            let end = victim.wait();
            let mut through = usize::from(n > 1);
            if event.is_auto_reset() {
                while through < sleepers.len() {
                    // What is set is taken by one, also if the wake-up never came.
                    support::eventually(|| !event.is_set());
                    event.set();
                    through += 1;
                }
            } else if n == 1 {
                event.set();
            }
            assert!(sleepers.iter_mut().all(|sleeper| sleeper.wait() == support::End::Code(0)), "at point {n}");
            assert_eq!(event.is_set(), !event.is_auto_reset());
            end
        });
        assert!(points >= 2, "{points} points");
    }
}

/// The victim sets, clears and waits alone, and finds a mark of somebody who gave up.
#[test]
fn event_alone() {
    let _alone = alone("event_alone");
    for make in [Event::new, Event::auto_reset] {
        let points = at_every_point(|n| {
            let event = make().unwrap();
            assert!(!event.wait_timeout(Duration::from_millis(1)).unwrap());
            let mut victim = armed(n, || {
                event.set();
                event.set();
                event.wait().unwrap();
                event.clear();
                assert!(!event.wait_timeout(Duration::from_millis(1)).unwrap());
            });
            let end = victim.wait();
            event.clear();
            let mut other = armed(0, || assert!(event.wait_timeout(SOON).unwrap()));
            event.set();
            assert_eq!(other.wait(), support::End::Code(0), "at point {n}");
            end
        });
        assert!(points >= 3, "{points} points");
    }
}

/// The victim waits, together with another, for an event that is then set twice.
#[test]
fn event_waiter() {
    let _alone = alone("event_waiter");
    for make in [Event::new, Event::auto_reset] {
        let points = at_every_point(|n| {
            let event = make().unwrap();
            let mut victim = armed(n, || assert!(event.wait_timeout(SOON).unwrap()));
            victim.wait_until_asleep();
            let mut other = armed(0, || assert!(event.wait_timeout(SOON).unwrap()));
            other.wait_until_asleep();
            event.set();
            let end = victim.wait();
            // The victim took it, the other did, or it is there yet: in the end each set has let one through.
            support::eventually(|| !event.is_auto_reset() || !event.is_set());
            event.set();
            assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
            end
        });
        assert!(points >= 1, "{points} points");
    }
}

/// Waits for a notification, whatever death has poisoned the lock.
fn receive(lock: &Lock, condition: &Condvar) {
    let mut guard = lock.recover_timeout(SOON).unwrap();
    match condition.wait_timeout(&mut guard, SOON) {
        Ok(()) | Err(Error::Poisoned { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    // What comes after is the lock's.
    arm(0);
}

/// The victim begins to wait, and waits longest; another one waits too when one of them is notified. Only a victim that
/// lives to use the notification has it.
#[test]
fn condition_waiter() {
    let _alone = alone("condition_waiter");
    let lock = Lock::new().unwrap();
    let points = at_every_point(|n| {
        let condition = Condvar::new().unwrap();
        let waiting = || condition.n_waiting().unwrap();
        let mut victim = armed(n, || receive(&lock, &condition));
        eventually(|| waiting() == 1 || victim.has_ended());
        let before = waiting();
        let mut other = armed(0, || receive(&lock, &condition));
        eventually(|| waiting() == before + 1 || victim.has_ended() && waiting() == 1);
        assert_eq!(condition.notify_one().unwrap(), 1, "at point {n}");
        let end = victim.wait();
        if end == support::End::Code(0) {
            assert_eq!(condition.notify_one().unwrap(), 1);
        }
        assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
        assert_eq!((waiting(), condition.notify_all().unwrap()), (0, 0), "at point {n}");
        end
    });
    assert!(points >= 15, "{points} points");
}

/// The victim gives up while another waits, for which that changes nothing.
#[test]
fn condition_time_out() {
    let _alone = alone("condition_time_out");
    let lock = Lock::new().unwrap();
    let points = at_every_point(|n| {
        let condition = Condvar::new().unwrap();
        let mut other = armed(0, || receive(&lock, &condition));
        eventually(|| condition.n_waiting().unwrap() == 1);
        let mut victim = armed(n, || {
            let mut guard = lock.recover_timeout(SOON).unwrap();
            let outcome = condition.wait_timeout(&mut guard, Duration::from_millis(1));
            assert!(matches!(outcome, Err(Error::TimedOut | Error::Poisoned { .. })));
            guard.clear_poison();
        });
        let end = victim.wait();
        assert_eq!((condition.n_waiting().unwrap(), condition.notify_all().unwrap()), (1, 1), "at point {n}");
        assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
        end
    });
    assert!(points >= 15, "{points} points");
}

/// The victim notifies two who sleep: some of them, and the next one notifies the rest.
#[test]
fn condition_notifier() {
    let _alone = alone("condition_notifier");
    let lock = Lock::new().unwrap();
    let points = at_every_point(|n| {
        let condition = Condvar::new().unwrap();
        let mut sleepers = [1, 2].map(|many| {
            let child = armed(0, || receive(&lock, &condition));
            eventually(|| condition.n_waiting().unwrap() == many);
            child.wait_until_asleep();
            child
        });
        let mut victim = armed(n, || assert_eq!(condition.notify_all().unwrap(), 2));
        let end = victim.wait();
        let left = condition.n_waiting().unwrap();
        assert_eq!(condition.notify_all().unwrap(), left, "at point {n}");
        assert!(sleepers.iter_mut().all(|sleeper| sleeper.wait() == support::End::Code(0)), "at point {n}");
        end
    });
    assert!(points >= 8, "{points} points");
}

/// One has died with a notification, and the victim is the one to pass it on to another, which is stopped meanwhile:
/// that one receives it, whatever becomes of the victim.
#[test]
fn condition_heir() {
    let _alone = alone("condition_heir");
    let lock = Lock::new().unwrap();
    let points = at_every_point(|n| {
        let condition = Condvar::new().unwrap();
        let mut children = [1, 2].map(|many| {
            let child = armed(0, || receive(&lock, &condition));
            eventually(|| condition.n_waiting().unwrap() == many);
            child.wait_until_asleep();
            child.signal(libc::SIGSTOP);
            child.wait_until_stopped();
            child
        });
        assert_eq!(condition.notify_one().unwrap(), 1);
        let [dead, heir] = &mut children;
        dead.kill();
        dead.wait();
        let mut victim = armed(n, || _ = condition.notify_one().unwrap());
        let end = victim.wait();
        heir.signal(libc::SIGCONT);
        assert_eq!(heir.wait(), support::End::Code(0), "the heir, at point {n}");
        assert_eq!((condition.n_waiting().unwrap(), condition.notify_all().unwrap()), (0, 0), "at point {n}");
        end
    });
    assert!(points >= 8, "{points} points");
}

/// Adds 1 to both halves of each pair in a part; repairs what a dead one left.
fn add_in(array: &Array<u64>, rows: std::ops::Range<usize>) {
    let range = array.row_range(rows).unwrap();
    let mut claim = array.recover_claim_mut_timeout(range, SOON).unwrap();
    if claim.poison().is_some() {
        claim.chunks_mut(2).for_each(|pair| pair[1] = pair[0]);
        claim.clear_poison();
    }
    for pair in claim.chunks_mut(2) {
        pair[0] += 1;
        std::hint::black_box(&mut *pair);
        pair[1] += 1;
    }
}

/// What the survivors find after a victim's claim of rows 2 to 5: equal pairs, or its poison, and that in no other
/// rows.
fn check_rows(array: &Array<u64>, victim: u32) {
    assert!(array.claim_rows_mut_timeout(..2, SOON).is_ok());
    assert!(array.claim_rows_timeout(6.., SOON).is_ok());
    match array.lock_timeout(SOON) {
        Ok(all) => assert!(all.chunks(2).all(|pair| pair[0] == pair[1])),
        Err(Error::Poisoned { pid, range: Some(range) }) => {
            assert_eq!(pid, Some(victim));
            assert!(4 <= range.start && range.end <= 12, "{range:?}");
            add_in(array, range.start / 2..range.end.div_ceil(2));
        }
        Err(error) => panic!("{error}"),
    }
    assert!(array.lock_timeout(SOON).unwrap().chunks(2).all(|pair| pair[0] == pair[1]));
}

/// The first claim makes the table: a death then costs room, so there must be some.
#[test]
fn the_first_claim() {
    let _alone = alone("the_first_claim");
    let points = at_every_point(|n| {
        let region = Region::anonymous(1 << 16).unwrap();
        let array = Array::<u64>::zeros_in(&region, None, [8, 2]).unwrap();
        let mut victim = armed(n, || add_in(&array, 2..6));
        let end = victim.wait();
        check_rows(&array, victim.pid());
        end
    });
    assert!(points >= 15, "{points} points");
}

/// The same where there is room for one table only.
#[test]
fn the_first_claim_of_an_array_alone() {
    let _alone = alone("the_first_claim_of_an_array_alone");
    let points = at_every_point(|n| {
        let array = Array::<u64>::zeros([8, 2]).unwrap();
        let mut victim = armed(n, || add_in(&array, 2..6));
        let end = victim.wait();
        check_rows(&array, victim.pid());
        end
    });
    assert!(points >= 15, "{points} points");
}

/// The victim repairs the middle of what another left, while a third reads elsewhere.
#[test]
fn claim_and_repair() {
    let _alone = alone("claim_and_repair");
    let array = Array::<u64>::zeros([8, 2]).unwrap();
    let points = at_every_point(|n| {
        let mut first = Child::start(|| {
            std::mem::forget(array.claim_rows_mut(2..6).unwrap());
            0
        });
        first.wait();
        let reader = array.claim_rows(7..).unwrap();
        let mut victim = armed(n, || add_in(&array, 3..5));
        let end = victim.wait();
        drop(reader);
        // All of the first one's rows are whole or poisoned still, by it or by the victim.
        for rows in [2..3, 3..5, 5..6] {
            match array.claim_rows_timeout(rows, SOON) {
                Ok(claim) => assert!(claim.chunks(2).all(|pair| pair[0] == pair[1])),
                Err(Error::Poisoned { pid, .. }) => assert!(pid == Some(first.pid()) || pid == Some(victim.pid())),
                Err(error) => panic!("{error}"),
            }
        }
        if end == support::End::Code(0) {
            assert!(array.claim_rows(3..5).is_ok());
            assert!(array.claim_rows(2..3).is_err() && array.claim_rows(5..6).is_err());
        } else {
            assert!(array.claim_rows(2..3).is_err() && array.claim_rows(5..6).is_err(), "lost poison at point {n}");
        }
        add_in(&array, 2..6);
        assert!(array.lock_timeout(SOON).unwrap().chunks(2).all(|pair| pair[0] == pair[1]));
        end
    });
    assert!(points >= 20, "{points} points");
}

/// The victim sleeps until a claim ends, as another does, which must get its part whatever the victim does.
#[test]
fn contended_claim() {
    let _alone = alone("contended_claim");
    let array = Array::<u64>::zeros([8, 2]).unwrap();
    let points = at_every_point(|n| {
        let held = array.claim_rows_mut(2..6).unwrap();
        let mut victim = armed(n, || add_in(&array, 3..5));
        victim.wait_until_asleep();
        let mut other = armed(0, || add_in(&array, 4..6));
        other.wait_until_asleep();
        drop(held);
        let end = victim.wait();
        assert_eq!(other.wait(), support::End::Code(0), "the other, at point {n}");
        check_rows(&array, victim.pid());
        end
    });
    assert!(points >= 20, "{points} points");
}

/// The victim takes the whole array where others have claims and have left poison.
#[test]
fn lock_against_claims() {
    let _alone = alone("lock_against_claims");
    let array = Array::<u64>::zeros([8, 2]).unwrap();
    let points = at_every_point(|n| {
        let mut first = Child::start(|| {
            let mut claim = array.claim_rows_mut(2..6).unwrap();
            claim.chunks_mut(2).for_each(|pair| pair[0] += 1);
            std::mem::forget(claim);
            0
        });
        first.wait();
        let reader = array.claim_rows(7..).unwrap();
        let mut victim = armed(n, || {
            let mut all = array.recover_timeout(SOON).unwrap();
            all.chunks_mut(2).for_each(|pair| pair[1] = pair[0]);
            all.clear_poison();
        });
        victim.wait_until_asleep();
        drop(reader);
        let end = victim.wait();
        match array.lock_timeout(SOON) {
            Ok(all) => assert!(all.chunks(2).all(|pair| pair[0] == pair[1]), "lost poison at point {n}"),
            Err(Error::Poisoned { .. }) => {
                let mut all = array.recover_timeout(SOON).unwrap();
                all.chunks_mut(2).for_each(|pair| pair[1] = pair[0]);
                all.clear_poison();
            }
            Err(error) => panic!("{error}"),
        }
        assert!(array.lock_timeout(SOON).is_ok());
        end
    });
    assert!(points >= 10, "{points} points");
}

/// A kernel that cannot watch several words at a time costs a slice, and no notification.
#[test]
fn condition_without_waitv() {
    let _alone = alone("condition_without_waitv");
    without_waitv(true);
    let (lock, condition) = (Lock::new().unwrap(), Condvar::new().unwrap());
    let mut children = [1, 2].map(|many| {
        let child = armed(0, || receive(&lock, &condition));
        eventually(|| condition.n_waiting().unwrap() == many);
        child.wait_until_asleep();
        child
    });
    without_waitv(false);
    let [dead, heir] = &mut children;
    dead.signal(libc::SIGSTOP);
    dead.wait_until_stopped();
    assert_eq!(condition.notify_one().unwrap(), 1);
    dead.kill();
    dead.wait();
    assert_eq!(heir.wait(), support::End::Code(0));
}

/// What the victim published arrives in order, whatever it leaves reserved; and another one waits for it meanwhile.
#[test]
fn ring_producer() {
    let _alone = alone("ring_producer");
    let points = at_every_point(|n| {
        let ring = Ring::with_capacity(4).unwrap();
        let told = Board::<AtomicU32>::new();
        let mut consumer = armed(0, || {
            let first = ring.pop_timeout(SOON).unwrap();
            told.store(first, SeqCst);
        });
        consumer.wait_until_asleep();
        let mut victim = armed(n, || {
            ring.push_timeout(1, SOON).unwrap();
            let mut slot = ring.reserve_timeout(SOON).unwrap();
            *slot = 2;
            slot.publish();
            assert_eq!(ring.push_slice_timeout(&[3], SOON).unwrap(), 1);
            drop(ring.reserve_timeout(SOON).unwrap());
        });
        let end = victim.wait();
        ring.push_timeout(9, SOON).unwrap();
        assert_eq!(consumer.wait(), support::End::Code(0), "the consumer, at point {n}");
        let mut values = Vec::new();
        while told.load(SeqCst) != 9 && !values.contains(&9) {
            values.push(ring.pop_timeout(SOON).unwrap());
        }
        values.insert(0, told.load(SeqCst));
        values.retain(|value| *value != 9);
        assert!(values.iter().zip(1..).all(|(value, i)| *value == i), "{values:?} at point {n}");
        if end == support::End::Code(0) {
            assert_eq!(values.len(), 3);
        }
        (0..4).for_each(|_| ring.try_push(5).unwrap());
        end
    });
    assert!(points >= 12, "{points} points");
}

/// The victim has at most one value in its hands, and its room is there for who waits for it.
#[test]
fn ring_consumer() {
    let _alone = alone("ring_consumer");
    let points = at_every_point(|n| {
        let ring = Ring::with_capacity(2).unwrap();
        let told = Board::<AtomicU32>::new();
        (1..3).for_each(|value| ring.try_push(value).unwrap());
        let mut producer = armed(0, || ring.push_timeout(3, SOON).unwrap());
        producer.wait_until_asleep();
        let mut victim = armed(n, || {
            told.store(ring.pop_timeout(SOON).unwrap(), SeqCst);
            told.fetch_add(*ring.pop_ref_timeout(SOON).unwrap(), SeqCst);
        });
        let end = victim.wait();
        let mut values: Vec<u32> = Vec::new();
        while !values.contains(&3) {
            values.extend(ring.pop_timeout(SOON));
        }
        assert_eq!(producer.wait(), support::End::Code(0), "the producer, at point {n}");
        assert!(values.is_sorted(), "{values:?} at point {n}");
        let seen = values.iter().sum::<u32>() + told.load(SeqCst);
        assert!([6, 5, 4].contains(&seen), "{values:?} and {} at point {n}", told.load(SeqCst));
        ring.try_push(5).unwrap();
        ring.try_push(5).unwrap();
        end
    });
    assert!(points >= 6, "{points} points");
}

/// The victim takes a role, uses it and gives it back; its successor goes on, and the other end loses nothing.
#[test]
fn spsc_ends() {
    let _alone = alone("spsc_ends");
    let of_producers = at_every_point(|n| {
        let ring = SpscRing::with_capacity(8).unwrap();
        let mut victim = armed(n, || {
            let mut producer = ring.producer();
            producer.push_timeout(1, SOON).unwrap();
            assert_eq!(producer.push_slice_timeout(&[2, 3], SOON).unwrap(), 2);
            drop(producer.reserve_timeout(SOON).unwrap());
            let mut slot = producer.reserve_timeout(SOON).unwrap();
            *slot = 4;
            slot.publish();
        });
        let end = victim.wait();
        let mut producer = ring.producer();
        producer.push_timeout(9, SOON).unwrap();
        producer.close().unwrap();
        let mut consumer = ring.consumer();
        let values: Vec<u32> = std::iter::from_fn(|| consumer.pop_timeout(SOON).ok()).collect();
        assert!(matches!(consumer.try_pop(), Err(Error::Closed)));
        let whole: &[&[u32]] = &[&[9], &[1, 9], &[1, 2, 3, 9], &[1, 2, 3, 4, 9]];
        assert!(whole.contains(&&values[..]), "{values:?} at point {n}");
        assert!(end != support::End::Code(0) || values.len() == 5);
        end
    });
    let of_consumers = at_every_point(|n| {
        let ring = SpscRing::with_capacity(4).unwrap();
        let mut producer = ring.producer();
        assert_eq!(producer.push_slice(&[1_u32, 2, 3, 4]).unwrap(), 4);
        let mut victim = armed(n, || {
            let mut consumer = ring.consumer();
            assert_eq!(consumer.pop_timeout(SOON).unwrap(), 1);
            assert_eq!(consumer.pop_slice_timeout(&mut [0; 2], SOON).unwrap(), 2);
            assert_eq!(*consumer.pop_ref_timeout(SOON).unwrap(), 4);
        });
        let end = victim.wait();
        let mut consumer = ring.consumer();
        let values: Vec<u32> = std::iter::from_fn(|| consumer.try_pop().ok()).collect();
        // All of a slice, or none of it.
        let whole: &[&[u32]] = &[&[1, 2, 3, 4], &[2, 3, 4], &[4], &[]];
        assert!(whole.contains(&&values[..]), "{values:?} at point {n}");
        assert!(end != support::End::Code(0) || values.is_empty());
        assert_eq!(producer.push_slice(&[4, 5, 6, 7]).unwrap(), 4);
        end
    });
    assert!(of_producers >= 5 && of_consumers >= 5, "{of_producers} and {of_consumers} points");
}

/// A number, and memory that holds it if it is even.
type Parcel = (u32, Option<Value<u32>>);

fn parcel(number: u32) -> Parcel {
    (number, number.is_multiple_of(2).then(|| Value::new(number).unwrap()))
}

/// The numbers that are in, each with its own memory.
fn numbers(queue: &Queue<Parcel>) -> Vec<u32> {
    let parcels = std::iter::from_fn(|| match queue.try_get() {
        Ok(parcel) => Some(parcel),
        Err(error) if error.is_would_block() || matches!(error, Error::Closed) => None,
        Err(error) => panic!("{error}"),
    });
    let check = |(number, value): Parcel| {
        assert_eq!(value.map(|value| value.get().unwrap()), number.is_multiple_of(2).then_some(number));
        number
    };
    parcels.map(check).collect()
}

/// What the victim put in is there, whole and in order; and a consumer that waits gets the next one.
#[test]
fn queue_producer() {
    let _alone = alone("queue_producer");
    let points = at_every_point(|n| {
        let queue = Queue::with_capacity(100).unwrap();
        // The circle begins again between the victim's objects.
        (0..4).for_each(|number| queue.try_put(&parcel(number)).unwrap());
        assert_eq!(numbers(&queue), [0, 1, 2, 3]);
        let told = Board::<AtomicU32>::new();
        let mut consumer = armed(0, || told.store(queue.get_timeout(SOON).unwrap().0, SeqCst));
        consumer.wait_until_asleep();
        let parcels: Vec<_> = (1..5).map(parcel).collect();
        let mut victim = armed(n, || parcels.iter().for_each(|parcel| queue.put_timeout(parcel, SOON).unwrap()));
        let end = victim.wait();
        queue.put_timeout(&parcel(8), SOON).unwrap();
        assert_eq!(consumer.wait(), support::End::Code(0), "the consumer, at point {n}");
        let found: Vec<u32> = [told.load(SeqCst)].into_iter().chain(numbers(&queue)).collect();
        let whole: &[&[u32]] = &[&[8], &[1, 8], &[1, 2, 8], &[1, 2, 3, 8], &[1, 2, 3, 4, 8]];
        assert!(whole.contains(&&found[..]), "{found:?} at point {n}");
        assert!(end != support::End::Code(0) || found.len() == 5);
        assert_eq!(queue.unfinished_tasks(), 4 + found.len());
        end
    });
    assert!(points >= 8, "{points} points");
}

/// The victim takes one object with it at most, and the room is there for who waits for it.
#[test]
fn queue_consumer() {
    let _alone = alone("queue_consumer");
    let points = at_every_point(|n| {
        let queue = Queue::options().capacity(100).max_items(4).create().unwrap();
        (1..5).for_each(|number| queue.try_put(&parcel(number)).unwrap());
        let told = Board::<AtomicU32>::new();
        let (waits, next) = (Board::<Flag>::new(), parcel(6));
        let mut producer = armed(0, || {
            raise(&waits);
            queue.put_timeout(&next, SOON).unwrap();
        });
        eventually(|| is_raised(&waits));
        producer.wait_until_asleep();
        let mut victim = armed(n, || {
            for _ in 0..3 {
                let (number, value) = queue.get_timeout(SOON).unwrap();
                assert!(value.is_none_or(|value| value.get().unwrap() == number));
                told.store(number, SeqCst);
            }
        });
        let end = victim.wait();
        let mut left = numbers(&queue);
        assert_eq!(producer.wait(), support::End::Code(0), "the producer, at point {n}");
        left.extend(numbers(&queue));
        assert!(left.is_sorted() && left.last() == Some(&6), "{left:?} at point {n}");
        let lost = left[0] - told.load(SeqCst) - 1;
        assert!(lost <= u32::from(end != support::End::Code(0)), "{lost} lost at point {n}");
        (left[0]..5).for_each(|number| assert!(left.contains(&number)));
        (0..4).for_each(|number| queue.try_put(&parcel(number)).unwrap());
        assert_eq!(numbers(&queue), [0, 1, 2, 3]);
        end
    });
    assert!(points >= 8, "{points} points");
}

/// What the victim declared done is done, but for one; and who waits for all to be done is told.
#[test]
fn queue_tasks() {
    let _alone = alone("queue_tasks");
    let points = at_every_point(|n| {
        let queue = Queue::new().unwrap();
        (1..6).for_each(|number| queue.try_put(&parcel(number)).unwrap());
        let done = Board::<AtomicU32>::new();
        let mut victim = armed(n, || {
            for _ in 0..3 {
                queue.get_timeout(SOON).unwrap();
                queue.task_done().unwrap();
                done.fetch_add(1, SeqCst);
            }
        });
        let end = victim.wait();
        let left = numbers(&queue).len();
        let mut joiner = armed(0, || match queue.join_timeout(SOON) {
            Ok(()) | Err(Error::TasksLost { tasks: 1 }) => {}
            other => panic!("{other:?} at point {n}"),
        });
        joiner.wait_until_asleep();
        (0..left).for_each(|_| queue.task_done().unwrap());
        assert_eq!(joiner.wait(), support::End::Code(0), "the joiner, at point {n}");
        let unfinished = queue.unfinished_tasks();
        // Done, or lost; it may have been declared at the moment of the death.
        let taken = 5 - left as u32;
        assert!(unfinished <= 1 && (taken - unfinished as u32).abs_diff(done.load(SeqCst)) <= 1, "at point {n}");
        match queue.try_join() {
            Ok(()) => assert_eq!(unfinished, 0),
            Err(Error::TasksLost { tasks: 1 }) => assert!(unfinished == 1 && end != support::End::Code(0)),
            Err(error) => panic!("{error} at point {n}"),
        }
        (0..unfinished).for_each(|_| queue.task_done().unwrap());
        assert!(queue.task_done().is_err());
        queue.join().unwrap();
        end
    });
    assert!(points >= 9, "{points} points");
}

/// Closed or not, as a whole; and whoever closes it after that is heard by all who wait.
#[test]
fn queue_closer() {
    let _alone = alone("queue_closer");
    let points = at_every_point(|n| {
        let [empty, full] = [(); 2].map(|()| Queue::options().max_items(1).create().unwrap());
        full.put(&parcel(2)).unwrap();
        let next = parcel(4);
        let mut waiters = [
            armed(0, || assert!(matches!(empty.get_timeout(SOON), Err(Error::Closed)))),
            armed(0, || assert!(matches!(full.put_timeout(&next, SOON), Err(Error::Closed)))),
        ];
        waiters.iter().for_each(Child::wait_until_asleep);
        let mut victim = armed(n, || [&empty, &full].iter().for_each(|queue| queue.close()));
        let end = victim.wait();
        [&empty, &full].iter().for_each(|queue| queue.close());
        assert!(waiters.iter_mut().all(|waiter| waiter.wait() == support::End::Code(0)), "at point {n}");
        assert_eq!((numbers(&empty), numbers(&full)), (vec![], vec![2]));
        end
    });
    assert!(points >= 2, "{points} points");
}

/// Many die with their memory sent, and the object that it belongs to not there: it does not stay in the way of others.
#[test]
fn queue_of_what_the_dead_sent() {
    let _alone = alone("queue_of_what_the_dead_sent");
    let queue = Queue::<Parcel>::new().unwrap();
    let (with_memory, without) = (parcel(2), parcel(1));
    // What is in after that. All have as many points: none of them finds a lock of a dead one, and each is a member before.
    let after_a_death_at = |n| {
        let mut victim = Child::start(|| {
            assert!(queue.try_get().is_err());
            arm(n);
            queue.put_timeout(&with_memory, SOON).map_or(1, |()| 0)
        });
        assert_eq!(victim.wait(), support::End::Signal(libc::SIGKILL));
        queue.try_put(&without).unwrap();
        numbers(&queue)
    };
    let last = (1..).find(|n| after_a_death_at(*n) != [1]).expect("the object is in at some point");
    // More than can be under way.
    for _ in 0..500 {
        assert_eq!(after_a_death_at(last - 1), [1]);
    }
    for _ in 0..20 {
        queue.try_put(&with_memory).unwrap();
    }
    assert_eq!(numbers(&queue), [2; 20]);
}

/// Who waits for an object dies on the way to its sleep, or woken: the one that waits beside it loses nothing.
#[test]
fn queue_consumer_waits() {
    let _alone = alone("queue_consumer_waits");
    let points = at_every_point(|n| {
        let queue = Queue::<Parcel>::new().unwrap();
        let told = Board::<[AtomicU32; 2]>::new();
        let get = |at: usize| told[at].store(queue.get_timeout(SOON).unwrap().0, SeqCst);
        let mut victim = armed(n, || get(0));
        victim.wait_until_asleep();
        let mut other = armed(0, || get(1));
        other.wait_until_asleep();
        (1..4).for_each(|number| queue.try_put(&parcel(number)).unwrap());
        let end = victim.wait();
        assert_eq!(other.wait(), support::End::Code(0), "the other one, at point {n}");
        let mut found: Vec<u32> = told.iter().map(|told| told.load(SeqCst)).filter(|number| *number != 0).collect();
        found.extend(numbers(&queue));
        found.sort_unstable();
        let lost = 3 - found.len();
        assert!(lost <= usize::from(end != support::End::Code(0)), "{found:?} at point {n}");
        assert!(found.is_sorted_by(|one, next| one < next), "{found:?} at point {n}");
        end
    });
    assert!(points >= 8, "{points} points");
}

/// Who waits for room, or until less memory is under way, dies on the way to its sleep, or woken: its object is there
/// whole or not at all, and the one that waits beside it goes on.
#[test]
fn queue_producer_waits() {
    let _alone = alone("queue_producer_waits");
    for for_room in [true, false] {
        let points = at_every_point(|n| {
            let options = Queue::options().capacity(1 << 16);
            let queue = if for_room { options.max_items(2) } else { options }.create().unwrap();
            let first = parcel(2);
            let count = (0..).take_while(|_| queue.try_put(&first).is_ok()).count();
            assert!(if for_room { count == 2 } else { count > 20 && !queue.is_full() }, "{count}");
            let (of_victim, of_other) = (parcel(4), parcel(6));
            let mut victim = armed(n, || queue.put_timeout(&of_victim, SOON).unwrap());
            victim.wait_until_asleep();
            let mut other = armed(0, || queue.put_timeout(&of_other, SOON).unwrap());
            other.wait_until_asleep();
            let mut found: Vec<u32> = (0..count).map(|_| queue.try_get().unwrap().0).collect();
            let end = victim.wait();
            assert_eq!(other.wait(), support::End::Code(0), "the other one, at point {n}");
            found.extend(numbers(&queue));
            let mut more = found.split_off(count);
            more.sort_unstable();
            assert!(found.iter().all(|number| *number == 2), "{found:?} at point {n}");
            assert!(more == [4, 6] || more == [6] && end != support::End::Code(0), "{more:?} at point {n}");
            (0..2).for_each(|_| queue.try_put(&first).unwrap());
            assert_eq!(numbers(&queue), [2, 2]);
            end
        });
        assert!(points >= 8, "{points} points");
    }
}

/// As `queue_consumer_waits` and `queue_producer_waits`.
#[test]
fn ring_waits() {
    let _alone = alone("ring_waits");
    let points = at_every_point(|n| {
        let ring = Ring::with_capacity(4).unwrap();
        let told = Board::<[AtomicU32; 2]>::new();
        let pop = |at: usize| told[at].store(ring.pop_timeout(SOON).unwrap(), SeqCst);
        let mut victim = armed(n, || pop(0));
        victim.wait_until_asleep();
        let mut other = armed(0, || pop(1));
        other.wait_until_asleep();
        (1..4).for_each(|value| ring.push_timeout(value, SOON).unwrap());
        let end = victim.wait();
        assert_eq!(other.wait(), support::End::Code(0), "the other one, at point {n}");
        let mut found: Vec<u32> = told.iter().map(|told| told.load(SeqCst)).filter(|value| *value != 0).collect();
        found.extend(std::iter::from_fn(|| ring.try_pop().ok()));
        found.sort_unstable();
        assert!(3 - found.len() <= usize::from(end != support::End::Code(0)), "{found:?} at point {n}");
        assert!(found.is_sorted_by(|one, next| one < next), "{found:?} at point {n}");
        end
    });
    assert!(points >= 5, "{points} points");
    let points = at_every_point(|n| {
        let ring = Ring::with_capacity(2).unwrap();
        (0..2).for_each(|_| ring.try_push(2).unwrap());
        let mut victim = armed(n, || ring.push_timeout(4, SOON).unwrap());
        victim.wait_until_asleep();
        let mut other = armed(0, || ring.push_timeout(6, SOON).unwrap());
        other.wait_until_asleep();
        assert_eq!([(); 2].map(|()| ring.pop_timeout(SOON).unwrap()), [2, 2]);
        let end = victim.wait();
        assert_eq!(other.wait(), support::End::Code(0), "the other one, at point {n}");
        let mut found: Vec<u32> = std::iter::from_fn(|| ring.try_pop().ok()).collect();
        found.sort_unstable();
        assert!(found == [4, 6] || found == [6] && end != support::End::Code(0), "{found:?} at point {n}");
        (0..2).for_each(|_| ring.try_push(2).unwrap());
        end
    });
    assert!(points >= 5, "{points} points");
}

/// The victim closes a ring, puts in or takes several values at a time, and gives up places.
#[test]
fn ring_slices_and_closing() {
    let _alone = alone("ring_slices_and_closing");
    let mut most_lost = 0;
    let points = at_every_point(|n| {
        let ring = Ring::with_capacity(4).unwrap();
        let told = Board::<AtomicU32>::new();
        let mut victim = armed(n, || {
            assert_eq!(ring.push_slice_timeout(&[1, 2, 3], SOON).unwrap(), 3);
            let mut some = [0; 2];
            assert_eq!(ring.pop_slice_timeout(&mut some, SOON).unwrap(), 2);
            told.store(some[1], SeqCst);
            ring.close();
        });
        let end = victim.wait();
        let was_closed = match ring.try_push(9) {
            Ok(()) => false,
            Err(Error::Closed) => true,
            Err(error) => panic!("{error} at point {n}"),
        };
        ring.close();
        let found: Vec<u32> = std::iter::from_fn(|| ring.try_pop().ok()).collect();
        assert!(matches!(ring.pop(), Err(Error::Closed)));
        let values: Vec<u32> = found.iter().copied().filter(|value| *value != 9).collect();
        // Some from the middle: those before were taken, those after not put in.
        assert!(values.is_sorted_by(|one, next| one + 1 == *next), "{found:?} at point {n}");
        assert_eq!(found.last() == Some(&9), !was_closed, "{found:?} at point {n}");
        assert!(!was_closed || told.load(SeqCst) == 2 && values == [3], "{found:?} at point {n}");
        assert!(end != support::End::Code(0) || was_closed);
        if let Some(first) = values.first().filter(|_| told.load(SeqCst) == 0) {
            most_lost = most_lost.max(first - 1);
        }
        end
    });
    assert_eq!(most_lost, 2, "it had taken the whole slice, and not returned");
    assert!(points >= 20, "{points} points");
}

/// Who waits at a ring of two dies on the way to its sleep, or woken: its successor goes on where it was.
#[test]
fn spsc_waits() {
    let _alone = alone("spsc_waits");
    let points = at_every_point(|n| {
        let (ring, told) = (SpscRing::with_capacity(2).unwrap(), Board::<AtomicU32>::new());
        let mut producer = ring.producer();
        let mut victim = armed(n, || told.store(ring.consumer().pop_timeout(SOON).unwrap(), SeqCst));
        victim.wait_until_asleep();
        (1..3).for_each(|value| producer.push_timeout(value, SOON).unwrap());
        let end = victim.wait();
        let mut consumer = ring.consumer();
        let found: Vec<u32> = std::iter::from_fn(|| consumer.try_pop().ok()).collect();
        let died = end != support::End::Code(0);
        assert!(found == [2] && (died || told.load(SeqCst) == 1) || found == [1, 2] && died, "{found:?} at point {n}");
        end
    });
    assert!(points >= 5, "{points} points");
    let points = at_every_point(|n| {
        let ring = SpscRing::with_capacity(1).unwrap();
        let mut consumer = ring.consumer();
        ring.producer().push(2_u32).unwrap();
        let mut victim = armed(n, || ring.producer().push_timeout(4, SOON).unwrap());
        victim.wait_until_asleep();
        assert_eq!(consumer.pop().unwrap(), 2);
        let end = victim.wait();
        let mut found: Vec<u32> = consumer.try_pop().into_iter().collect();
        ring.producer().push_timeout(6, SOON).unwrap();
        found.push(consumer.pop().unwrap());
        assert!(found == [4, 6] || found == [6] && end != support::End::Code(0), "{found:?} at point {n}");
        end
    });
    assert!(points >= 5, "{points} points");
}

/// A child that stops at its `n`th point, if it has so many; it has ended or is stopped when this returns.
fn stopped(n: u32, body: impl FnOnce()) -> Child {
    let child = Child::start(move || {
        arm_to_stop(n);
        body();
        arm(0);
        0
    });
    child.wait_until_stopped();
    child
}

/// Whether it has gone well. Else there is nothing to be had now, as somebody was stopped.
fn has_gone<T>(said: shmkit::Result<T>) -> bool {
    match said {
        Ok(_) => true,
        Err(error) if error.is_would_block() || error.is_timed_out() => false,
        Err(error) => panic!("{error}"),
    }
}

/// Who has a time limit, or does not wait at all, is not held up by who is stopped in the middle of something. When
/// that goes on, nothing has gone wrong.
#[test]
fn queue_stops() {
    let _alone = alone("queue_stops");
    const SHORT: Duration = Duration::from_millis(1);
    for n in 1.. {
        let queue = Queue::options().capacity(1000).create().unwrap();
        let parcels = [1, 2, 3, 4].map(parcel);
        parcels[..2].iter().for_each(|parcel| queue.put(parcel).unwrap());
        let mut victim = stopped(n, || {
            queue.put(&parcels[3]).unwrap();
            queue.get().unwrap();
            queue.task_done().unwrap();
            queue.join_timeout(SHORT).unwrap_err();
        });
        if victim.has_ended() {
            assert!(n > 20 && victim.wait() == support::End::Code(0), "{n} points");
            break;
        }
        let put = usize::from(has_gone(queue.try_put(&parcels[2])))
            + usize::from(has_gone(queue.put_timeout(&parcels[3], SHORT)));
        let taken = usize::from(has_gone(queue.try_get())) + usize::from(has_gone(queue.get_timeout(SHORT)));
        assert!(!has_gone(queue.try_join()) && !has_gone(queue.join_timeout(SHORT)));
        assert!(put + taken > 0, "held up at both ends, at point {n}");
        assert!(queue.len() <= 5);
        victim.signal(libc::SIGCONT);
        assert_eq!(victim.wait(), support::End::Code(0), "at point {n}");
        assert_eq!((queue.len(), queue.unfinished_tasks()), (2 + put - taken, 2 + put), "at point {n}");
        assert_eq!(numbers(&queue).len(), 2 + put - taken);
        (0..2 + put).for_each(|_| queue.task_done().unwrap());
        queue.join().unwrap();
    }
}

/// Who closes it, or is about to wait, and is stopped.
#[test]
fn queue_stops_at_the_end() {
    let _alone = alone("queue_stops_at_the_end");
    const SHORT: Duration = Duration::from_millis(1);
    for n in 1.. {
        let [empty, full] = [(); 2].map(|()| Queue::options().max_items(1).create().unwrap());
        let parcel = parcel(2);
        full.put(&parcel).unwrap();
        let mut victim = stopped(n, || {
            empty.get_timeout(SHORT).unwrap_err();
            full.put_timeout(&parcel, SHORT).unwrap_err();
            [&empty, &full].iter().for_each(|queue| queue.close());
        });
        if victim.has_ended() {
            assert!(n > 10 && victim.wait() == support::End::Code(0), "{n} points");
            break;
        }
        [&empty, &full].iter().for_each(|queue| queue.close());
        let closed =
            |said: shmkit::Result<()>| matches!(said, Err(Error::Closed | Error::WouldBlock | Error::TimedOut));
        assert!(closed(empty.try_get().map(drop)) && closed(full.put_timeout(&parcel, SHORT)), "at point {n}");
        victim.signal(libc::SIGCONT);
        victim.wait();
        assert!(matches!(empty.get(), Err(Error::Closed)) && matches!(full.put(&parcel), Err(Error::Closed)));
        assert_eq!(numbers(&full), [2], "at point {n}");
    }
}

/// Who is stopped in the middle of a `put`, while another one closes the queue and a third takes all until the end: what it
/// puts in is taken, or it is told that it came too late.
#[test]
fn queue_closes_around_one_who_stops() {
    let _alone = alone("queue_closes_around_one_who_stops");
    for n in 1.. {
        let queue = Queue::new().unwrap();
        let (parcel, told) = (parcel(2), Board::<Flag>::new());
        let mut victim = stopped(n, || match queue.put(&parcel) {
            Ok(()) => raise(&told),
            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
        });
        if victim.has_ended() {
            assert!(n > 4 && victim.wait() == support::End::Code(0), "{n} points");
            break;
        }
        let (closed, takes) = (Board::<Flag>::new(), Board::<Flag>::new());
        let mut consumer = Child::start(|| {
            // It becomes a user of the queue, for which it sleeps a moment.
            let first = queue.try_get();
            eventually(|| is_raised(&closed));
            raise(&takes);
            (usize::from(first.is_ok()) + std::iter::from_fn(|| queue.get().ok()).count()) as i32
        });
        queue.close();
        raise(&closed);
        eventually(|| is_raised(&takes));
        // It has had all, or waits for the one that is stopped.
        consumer.wait_until_asleep();
        victim.signal(libc::SIGCONT);
        assert_eq!(victim.wait(), support::End::Code(0), "at point {n}");
        assert_eq!(consumer.wait(), support::End::Code(i32::from(is_raised(&told))), "at point {n}");
    }
}

#[test]
fn ring_stops() {
    let _alone = alone("ring_stops");
    const SHORT: Duration = Duration::from_millis(1);
    for n in 1.. {
        let ring = Ring::with_capacity(8).unwrap();
        assert_eq!(ring.push_slice(&[1, 2]).unwrap(), 2);
        let mut victim = stopped(n, || {
            ring.push(3).unwrap();
            assert!(*ring.pop_ref().unwrap() < 6);
            ring.reserve().unwrap().publish();
            ring.pop().unwrap();
        });
        if victim.has_ended() {
            assert!(n > 10 && victim.wait() == support::End::Code(0), "{n} points");
            break;
        }
        let put = usize::from(has_gone(ring.try_push(4))) + usize::from(has_gone(ring.push_timeout(5, SHORT)));
        assert_eq!(put, 2, "there is room, at point {n}");
        let taken = usize::from(has_gone(ring.try_pop())) + usize::from(has_gone(ring.pop_timeout(SHORT)));
        victim.signal(libc::SIGCONT);
        assert_eq!(victim.wait(), support::End::Code(0), "at point {n}");
        let left = std::iter::from_fn(|| ring.try_pop().ok()).count();
        assert_eq!(left, 4 - taken, "at point {n}");
    }
}

/// A queue is made, with its socket and its first member.
#[test]
fn queue_is_made() {
    let _alone = alone("queue_is_made");
    let points = at_every_point(|n| {
        let region = Region::anonymous(1 << 17).unwrap();
        let options = Queue::options().capacity(1000);
        let mut victim = armed(n, || drop(options.open_or_create_in(&region, "queue").unwrap().put(&parcel(1))));
        let end = victim.wait();
        let queue = options.open_or_create_in(&region, "queue").unwrap();
        let found = numbers(&queue);
        assert!(found.is_empty() || found == [1], "{found:?} at point {n}");
        assert!(end != support::End::Code(0) || found == [1]);
        queue.put(&parcel(3)).unwrap();
        assert_eq!(numbers(&queue), [3]);
        end
    });
    assert!(points >= 8, "{points} points");
}

#[test]
fn objects_are_made() {
    let _alone = alone("objects_are_made");
    let with_one = {
        let region = Region::anonymous(1 << 16).unwrap();
        Value::new_in(&region, "x", 0_u64).unwrap();
        region.left().unwrap()
    };
    let points = at_every_point(|n| {
        let region = Region::anonymous(1 << 16).unwrap();
        let mut victim = armed(n, || drop(Value::new_in(&region, "x", 7_u64).unwrap()));
        let end = victim.wait();
        assert!(region.names().unwrap().iter().all(|name| name == "x"));
        let value = Value::open_or_create_in(&region, "x", 9_u64).unwrap();
        assert!(matches!(value.get().unwrap(), 7 | 9));
        assert_eq!(region.names().unwrap(), ["x"]);
        assert_eq!(region.left().unwrap(), with_one, "at point {n} the arena lost bytes");
        Lock::new_in(&region, "y").unwrap();
        end
    });
    assert!(points >= 8, "{points} points");
}

#[test]
fn objects_are_removed() {
    let _alone = alone("objects_are_removed");
    at_every_point(|n| {
        let region = Region::anonymous(1 << 16).unwrap();
        let held = Value::new_in(&region, "x", 1_u64).unwrap();
        let other = Value::new_in(&region, "y", 2_u64).unwrap();
        let mut victim = armed(n, || region.remove("x").unwrap());
        let end = victim.wait();
        let again = Value::open_or_create_in(&region, "x", 3_u64).unwrap();
        assert!(matches!(again.get().unwrap(), 1 | 3));
        let mut names = region.names().unwrap();
        names.sort();
        assert_eq!(names, ["x", "y"], "at point {n}");
        assert_eq!((held.get().unwrap(), other.get().unwrap()), (1, 2));
        assert!(Value::<u64>::open_in(&region, "x").unwrap().is_same(&again));
        end
    });
}

/// The tables of `region/build.rs`: what each way of opening says to what a dead creator left at `place`.
fn creation_at(place: &Place, nameless: bool) {
    for how in ["create", "open", "open_or_create"] {
        let mut complete = 0;
        let points = at_every_point(|n| {
            let mut victim = armed(n, || {
                if !nameless {
                    without_nameless_files();
                }
                drop(Value::create(place.clone(), 7_u64).unwrap());
            });
            let end = victim.wait();
            let found = Value::<u64>::open(place.clone()).and_then(|value| value.get());
            match &found {
                Ok(7) => complete += 1,
                Err(Error::NotFound { .. }) => {}
                Err(Error::NotReady { .. }) if !nameless => {}
                other => panic!("at point {n} of {points:?} open said {other:?}", points = how),
            }
            match (how, found) {
                ("open", _) => {}
                ("create", Ok(_)) => {
                    assert!(matches!(Value::create(place.clone(), 9_u64), Err(Error::AlreadyExists { .. })));
                }
                ("create", _) => assert_eq!(Value::create(place.clone(), 9_u64).unwrap().get().unwrap(), 9),
                (_, found) => {
                    let value = Value::open_or_create(place.clone(), 9_u64).unwrap();
                    assert_eq!(value.get().unwrap(), if found.is_ok() { 7 } else { 9 });
                }
            }
            match Value::<u64>::unlink(place.clone()) {
                Err(Error::NotFound { .. }) if how == "open" => {}
                other => other.unwrap(),
            }
            end
        });
        assert!(points >= 4 && complete >= 1, "{points} points, {complete} complete");
    }
}

fn name() -> Place {
    Place::from(format!("shmkit-death-points-{}", std::process::id()).as_str())
}

fn file() -> PathBuf {
    std::env::temp_dir().join(format!("shmkit-death-points-{}", std::process::id()))
}

#[test]
fn a_named_region_is_made() {
    let _alone = alone("a_named_region_is_made");
    creation_at(&name(), true);
}

#[test]
fn a_named_region_is_made_without_nameless_files() {
    let _alone = alone("a_named_region_is_made_without_nameless_files");
    creation_at(&name(), false);
}

#[test]
fn a_file_region_is_made() {
    let _alone = alone("a_file_region_is_made");
    creation_at(&Place::from(file()), true);
    creation_at(&Place::from(file()), false);
}
