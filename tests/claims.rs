//! Claims on parts of an array: who excludes whom, in one process and among many, and what a death or a panic leaves.

mod support;

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{Array, Condvar, Error, Region, Result};
use support::{
    Board, Child, Deadline, End, Flag, Random, eventually, is_raised, kills::random_kills, raise, sleep_for_ever,
    stop_and_go,
};

const SOON: Duration = Duration::from_secs(10);

/// What another thread is told.
fn elsewhere<T: Send>(operation: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(operation).join().unwrap())
}

#[test]
fn readers_share_and_writers_exclude() {
    let _deadline = Deadline::seconds(60, "readers_share_and_writers_exclude");
    let array = Array::from_iter(0..100_u32).unwrap();
    let read = array.claim(10..20).unwrap();
    let write = array.claim_mut(20..30).unwrap();
    assert_eq!((read[0], write[9]), (10, 29));
    elsewhere(|| {
        assert_eq!(array.try_claim(15..20).unwrap().len(), 5);
        assert!(array.try_claim_mut(19..20).unwrap_err().is_would_block());
        assert!(array.try_claim(29..31).unwrap_err().is_would_block());
        assert!(array.try_claim_mut(30..).is_ok());
        assert!(array.try_lock().unwrap_err().is_would_block());
        assert!(array.lock_timeout(Duration::from_millis(20)).unwrap_err().is_timed_out());
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(array.claim_deadline(25..26, soon).unwrap_err().is_timed_out());
        // Nothing is in nobody's way.
        assert!(array.try_claim_mut(25..25).unwrap().is_empty());
    });
    drop((read, write));
    assert_eq!(elsewhere(|| array.try_lock().map(|all| all.len())).unwrap(), 100);
}

#[test]
fn a_thread_does_not_wait_for_itself() {
    let _deadline = Deadline::seconds(60, "a_thread_does_not_wait_for_itself");
    let array = Array::<u8>::zeros(100).unwrap();
    let all = array.lock().unwrap();
    assert!(matches!(array.claim(0..1), Err(Error::WouldDeadlock)));
    assert!(matches!(array.try_claim(0..1), Err(Error::WouldBlock)));
    drop(all);
    let some = array.claim_mut(10..20).unwrap();
    assert!(matches!(array.claim(19..25), Err(Error::WouldDeadlock)));
    assert!(matches!(array.claim_mut_timeout(0..11, SOON), Err(Error::WouldDeadlock)));
    assert!(matches!(array.try_claim(19..25), Err(Error::WouldBlock)));
    assert!(matches!(array.lock(), Err(Error::WouldDeadlock)));
    assert!(array.claim(20..25).is_ok());
    drop(some);
    // Readers of the same thread do not exclude each other.
    let (one, other) = (array.claim(..).unwrap(), array.claim(..).unwrap());
    assert_eq!(one.len(), other.len());
    drop((one, other));
    assert!(array.lock().is_ok());
}

#[test]
fn what_lies_outside_is_an_error() {
    let grid = Array::<u16>::zeros([4, 5]).unwrap();
    assert!(matches!(grid.claim(0..21), Err(Error::OutOfRange { .. })));
    assert!(matches!(grid.claim_rows_mut(4..5), Err(Error::OutOfRange { .. })));
    assert!(matches!(grid.claim(..=usize::MAX), Err(Error::OutOfRange { .. })));
    let rows = grid.claim_rows(1..=2).unwrap();
    assert_eq!((rows.range(), rows.shape(), rows[[1, 4]]), (5..15, &[2, 5][..], 0));
    assert!(grid.chunk_for(0, 0).is_err());
    let space = Array::<u16>::zeros([4, 3, 2]).unwrap();
    let mut planes = space.claim_rows_mut(1..3).unwrap();
    assert_eq!((planes.range(), planes.shape(), planes.len()), (6..18, &[2, 3, 2][..], 12));
    planes[[1, 2, 1]] = 7;
    planes.row_mut(0).fill(5);
    assert_eq!(planes.split_mut(3).map(|part| part.len()).collect::<Vec<_>>(), [6, 6, 0]);
    assert!(matches!(space.claim_rows(2..5), Err(Error::OutOfRange { .. })));
    assert!(elsewhere(|| space.try_claim_rows(3..).is_ok() && space.try_claim(..6).is_ok()));
    assert!(elsewhere(|| space.try_claim_rows_mut(2..).is_err() && space.try_claim(17..).is_err()));
    drop(planes);
    assert_eq!((space.get([2, 2, 1]).unwrap(), space.get([1, 0, 1]).unwrap()), (7, 5));
    let nothing = Array::<u16>::zeros([0, 5]).unwrap();
    assert!(nothing.claim_rows_mut(..).unwrap().split_mut(3).all(|part| part.is_empty()));
}

#[test]
fn a_wait_ends_with_the_claim() {
    let _deadline = Deadline::seconds(60, "a_wait_ends_with_the_claim");
    let array = Array::<u64>::zeros(64).unwrap();
    for round in 0..50 {
        let mut claim = array.claim_mut(0..32).unwrap();
        let mut waiters: Vec<Child> = (0..4)
            .map(|i| {
                Child::start(|| {
                    if i % 2 == 0 {
                        i32::from(array.claim_timeout(31 - i..40, SOON).unwrap()[0] != round + 1)
                    } else {
                        i32::from(array.lock_timeout(SOON).unwrap()[31] != round + 1)
                    }
                })
            })
            .collect();
        if round % 5 == 0 {
            waiters.iter().for_each(Child::wait_until_asleep);
        }
        claim.fill(round + 1);
        drop(claim);
        assert!(waiters.iter_mut().all(|waiter| waiter.wait() == End::Code(0)), "round {round}");
    }
}

/// Who claims a part that nobody has is never told that it would block, however many others come and go.
#[test]
fn a_try_for_what_is_free_succeeds() {
    let _deadline = Deadline::seconds(60, "a_try_for_what_is_free_succeeds");
    let array = Array::<u64>::zeros(64).unwrap();
    let mut children: Vec<Child> = (0..8)
        .map(|rank| {
            Child::start(|| {
                for i in 0..3000 {
                    let mut mine = array.try_claim_mut(array.chunk_for(rank, 8).unwrap()).unwrap();
                    assert!(mine.iter().all(|x| *x == i));
                    mine.fill(i + 1);
                }
                0
            })
        })
        .collect();
    assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
    assert_eq!(array.to_vec().unwrap(), [3000; 64]);
}

/// Others wait for the end of a claim to have parts of it. The rest of it is nobody's when it has ended.
#[test]
fn a_try_for_what_others_do_not_wait_for_succeeds() {
    let _deadline = Deadline::seconds(60, "a_try_for_what_others_do_not_wait_for_succeeds");
    let (array, over) = (Array::<u8>::zeros(64).unwrap(), Board::<Flag>::new());
    let mut waiters = [0, 1, 2].map(|part| {
        let (array, over) = (&array, &over);
        Child::start(move || {
            while !is_raised(over) {
                drop(array.claim_mut_timeout(16 * part..16 * part + 16, SOON).unwrap());
            }
            0
        })
    });
    for _ in 0..3000 {
        let all = array.claim_mut_timeout(.., SOON).unwrap();
        thread::yield_now();
        drop(all);
        drop(array.try_claim_mut(48..).unwrap());
    }
    raise(&over);
    assert!(waiters.iter_mut().all(|waiter| waiter.wait() == End::Code(0)));
}

/// Who is in each element: 1,000,000 for one who changes it, 1 for each who reads it.
fn random_claims(array: &Array<u64>, inside: &[AtomicU32; 64], random: &mut Random, rounds: u32) {
    for _ in 0..rounds {
        let (a, b) = (random.below(64) as usize, random.below(64) as usize);
        let range = a.min(b)..a.max(b) + 1;
        match random.below(8) {
            0 => {
                let mut all = array.lock_timeout(SOON).unwrap();
                assert!(inside.iter().all(|one| one.fetch_add(1_000_000, SeqCst) == 0));
                all[0] = all[0].wrapping_add(1);
                assert!(inside.iter().all(|one| one.fetch_sub(1_000_000, SeqCst) == 1_000_000));
            }
            1..4 => {
                let _claim = array.claim_timeout(range.clone(), SOON).unwrap();
                assert!(inside[range.clone()].iter().all(|one| one.fetch_add(1, SeqCst) < 1_000_000));
                assert!(inside[range].iter().all(|one| one.fetch_sub(1, SeqCst) < 1_000_000));
            }
            _ => {
                let mut claim = array.claim_mut_timeout(range.clone(), SOON).unwrap();
                assert!(inside[range.clone()].iter().all(|one| one.fetch_add(1_000_000, SeqCst) == 0));
                let next = claim[0] + 1;
                claim.fill(next);
                assert!(claim.iter().all(|x| *x == next));
                assert!(inside[range].iter().all(|one| one.fetch_sub(1_000_000, SeqCst) == 1_000_000));
            }
        }
    }
}

#[test]
fn claims_of_many_processes_and_threads_exclude_each_other() {
    let _deadline = Deadline::seconds(120, "claims_of_many_processes_and_threads_exclude_each_other");
    let array = Array::<u64>::zeros(64).unwrap();
    let inside = Board::<[AtomicU32; 64]>::new();
    let mut children: Vec<Child> = (0..16)
        .map(|_| {
            let mut random = Random::new();
            Child::start(|| {
                random_claims(&array, &inside, &mut random, 1500);
                0
            })
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| random_claims(&array, &inside, &mut Random::new(), 1500));
        }
    });
    assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
    assert!(inside.iter().all(|one| one.load(SeqCst) == 0));
    assert!(array.try_lock().is_ok());
}

#[test]
fn a_killed_claimant_poisons_its_range_and_no_more() {
    let _deadline = Deadline::seconds(60, "a_killed_claimant_poisons_its_range_and_no_more");
    let array = Array::<u64>::zeros(100).unwrap();
    let held = Board::<Flag>::new();
    let mut victim = Child::start(|| {
        let _read = array.claim(..20).unwrap();
        let mut write = array.claim_mut(40..60).unwrap();
        write[0] = 1;
        raise(&held);
        sleep_for_ever()
    });
    eventually(|| is_raised(&held));
    let pid = Some(victim.pid());
    // One sleeps on each of its claims, and on the whole.
    let mut reader = Child::start(|| i32::from(array.claim_mut_timeout(10..30, SOON).is_err()));
    let mut writer = Child::start(|| {
        let found = array.claim_timeout(50..70, SOON);
        i32::from(
            !matches!(found, Err(Error::Poisoned { pid: found, range: Some(range) }) if found == pid && range == (40..60)),
        )
    });
    let mut locker = Child::start(|| {
        let found = array.lock_timeout(SOON);
        i32::from(
            !matches!(found, Err(Error::Poisoned { pid: found, range: Some(range) }) if found == pid && range == (40..60)),
        )
    });
    for waiter in [&reader, &writer, &locker] {
        waiter.wait_until_asleep();
    }
    victim.kill();
    for waiter in [&mut reader, &mut writer, &mut locker] {
        assert_eq!(waiter.wait(), End::Code(0));
    }
    victim.wait();
    assert!(array.claim_mut(..40).is_ok() && array.claim_mut(60..).is_ok());

    // Half of it is repaired.
    let mut claim = array.recover_claim_mut(40..50).unwrap();
    assert_eq!(claim.poison().unwrap().range, Some(40..60));
    claim.fill(0);
    claim.clear_poison();
    assert!(claim.poison().is_none());
    drop(claim);
    assert!(array.claim_mut(..50).is_ok());
    assert!(matches!(array.get(0), Err(Error::Poisoned { range: Some(range), .. }) if range == (50..60)));

    // The rest with the whole.
    let mut all = array.recover().unwrap();
    assert_eq!(all.poison().unwrap().range, Some(50..60));
    all.clear_poison();
    assert!(all.poison().is_none());
    drop(all);
    assert_eq!(array.to_vec().unwrap(), [0; 100]);
}

/// A panic is the cheapest death.
fn poison(array: &Array<u8>, range: std::ops::Range<usize>) {
    let outcome = thread::scope(|scope| {
        scope
            .spawn(|| {
                let _claim = array.recover_claim_mut(range).unwrap();
                std::panic::resume_unwind(Box::new(()))
            })
            .join()
    });
    assert!(outcome.is_err());
}

fn poisoned(array: &Array<u8>) -> Vec<usize> {
    (0..array.len()).filter(|at| array.claim(*at..at + 1).is_err()).collect()
}

#[test]
fn poisoned_ranges_merge_and_split() {
    let array = Array::<u8>::zeros(100).unwrap();
    poison(&array, 10..20);
    poison(&array, 30..40);
    poison(&array, 20..30);
    assert!(matches!(array.lock(), Err(Error::Poisoned { range: Some(range), .. }) if range == (10..40)));
    array.recover_claim_mut(15..35).unwrap().clear_poison();
    assert_eq!(poisoned(&array), (10..15).chain(35..40).collect::<Vec<_>>());
    array.recover_claim_mut(..12).unwrap().clear_poison();
    assert_eq!(poisoned(&array), (12..15).chain(35..40).collect::<Vec<_>>());
    array.recover_claim_mut(..).unwrap().clear_poison();
    assert!(array.lock().is_ok());
}

#[test]
fn more_poisoned_ranges_than_there_is_room_for_poison_the_whole() {
    let array = Array::<u8>::zeros(100).unwrap();
    for at in 0..9 {
        poison(&array, 10 * at..10 * at + 5);
    }
    assert!(matches!(array.claim(97..99), Err(Error::Poisoned { range: None, .. })));
    assert!(matches!(array.lock(), Err(Error::Poisoned { range: None, .. })));
    // It can be repaired by parts all the same.
    array.recover_claim_mut(50..).unwrap().clear_poison();
    assert_eq!(poisoned(&array), (0..50).collect::<Vec<_>>());
    array.recover().unwrap().clear_poison();
    assert!(poisoned(&array).is_empty());
}

/// A death under the lock poisons everything, for claims too.
#[test]
fn the_lock_of_the_dead_poisons_all_parts() {
    let _deadline = Deadline::seconds(60, "the_lock_of_the_dead_poisons_all_parts");
    let array = Array::<u8>::zeros(10).unwrap();
    let mut victim = Child::start(|| {
        std::mem::forget(array.lock().unwrap());
        0
    });
    victim.wait();
    assert!(matches!(array.claim(3..4), Err(Error::Poisoned { pid, range: None }) if pid == Some(victim.pid())));
    array.recover_claim_mut(3..).unwrap().clear_poison();
    assert!(
        matches!(array.lock(), Err(Error::Poisoned { pid, range: Some(range) }) if pid == Some(victim.pid()) && range == (0..3))
    );
}

#[test]
fn too_many_claims_are_an_error() {
    let _deadline = Deadline::seconds(60, "too_many_claims_are_an_error");
    let array = Array::<u8>::zeros(1000).unwrap();
    let claims: Vec<_> = (0..128).map(|at| array.claim_mut(at..at + 1).unwrap()).collect();
    assert!(matches!(array.claim(500..501), Err(Error::TooManyClaims { limit: 128 })));
    drop(claims);
    let wide = Array::<u8>::zeros(1 << 20).unwrap();
    let claims: Vec<_> = (0..900).map(|at| wide.claim(at..at + 2).unwrap()).collect();
    assert_eq!(claims.len(), 900);
}

#[test]
fn a_full_region_has_no_room_for_claims() {
    let region = Region::anonymous(4096).unwrap();
    let array = Array::<u8>::zeros_in(&region, "a", 100).unwrap();
    assert!(matches!(array.claim(..), Err(Error::RegionFull { .. })));
    assert!(array.lock().is_ok());
}

/// MECHANISMS 11: the copy of a claim is not the child's.
/// A slot is used again: who waits for the claim before does not wait for the one after, of another part.
#[test]
fn a_wait_is_for_the_part_and_not_for_the_slot() {
    let _deadline = Deadline::seconds(60, "a_wait_is_for_the_part_and_not_for_the_slot");
    let array = Array::<u8>::zeros(100).unwrap();
    for round in 0..20 {
        let claim = array.claim_mut(0..10).unwrap();
        let mut waiter = Child::start(|| array.claim_mut_timeout(0..10, SOON).map_or(1, |_| 0));
        if round % 2 == 0 {
            waiter.wait_until_asleep();
        }
        drop(claim);
        let _other = array.claim_mut(50..60).unwrap();
        assert_eq!(waiter.wait(), End::Code(0), "in round {round}");
    }
}

/// Whoever holds so many locks that it cannot put in order what a dead one left is told so.
#[test]
fn a_claim_takes_room_for_two_locks() {
    let _deadline = Deadline::seconds(60, "a_claim_takes_room_for_two_locks");
    let region = Region::anonymous(1 << 18).unwrap();
    let locks: Vec<_> = (0..999).map(|_| shmkit::Lock::new_in(&region, None).unwrap()).collect();
    let array = Array::<u8>::zeros(100).unwrap();
    poison_later(&array, 0..10);
    let mut held: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
    assert!(matches!(array.claim_timeout(0..10, SOON), Err(Error::TooManyLocks { .. })));
    assert!(matches!(array.claim_timeout(20..30, SOON), Err(Error::TooManyLocks { .. })));
    assert!(matches!(array.lock_timeout(SOON), Err(Error::TooManyLocks { .. })));
    held.pop();
    assert!(
        matches!(array.claim_timeout(0..10, SOON), Err(Error::Poisoned { range: Some(range), .. }) if range == (0..10))
    );
    assert!(array.claim_timeout(20..30, SOON).is_ok());
}

/// A process dies with a claim to change, and nobody has looked yet.
fn poison_later(array: &Array<u8>, range: std::ops::Range<usize>) {
    let mut victim = Child::start(|| {
        std::mem::forget(array.claim_mut(range.clone()).unwrap());
        0
    });
    assert_eq!(victim.wait(), End::Code(0));
}

/// What is held while the list of poisoned ranges overflows can be declared whole all the same.
#[test]
fn a_part_is_declared_whole_when_the_list_is_full() {
    let _deadline = Deadline::seconds(60, "a_part_is_declared_whole_when_the_list_is_full");
    let array = Array::<u8>::zeros(100).unwrap();
    let mut mine = array.recover_claim_mut(95..100).unwrap();
    for i in 0..9 {
        poison_later(&array, 10 * i..10 * i + 1);
    }
    assert!(matches!(elsewhere(|| array.claim(93..94).map(drop)), Err(Error::Poisoned { range: None, .. })));
    assert!(mine.poison().is_some());
    mine.clear_poison();
    assert!(mine.poison().is_none());
    drop(mine);
    assert!(array.claim(95..100).is_ok() && array.claim(0..1).is_err());
}

/// Lengths whose product does not fit, of an array without elements.
#[test]
fn rows_of_nothing() {
    let array = Array::<u8>::zeros([0, usize::MAX, 2]).unwrap();
    assert_eq!((array.row_range(..).unwrap(), array.claim_rows(..).unwrap().len()), (0..0, 0));
}

#[test]
fn a_forked_claim_is_a_copy() {
    let _deadline = Deadline::seconds(60, "a_forked_claim_is_a_copy");
    let array = Array::<u8>::zeros(10).unwrap();
    let mut claim = Some(array.claim_mut(..5).unwrap());
    let mut child = Child::start(|| {
        drop(claim.take());
        i32::from(!array.try_claim(..5).is_err_and(|error| error.is_would_block()))
    });
    assert_eq!(child.wait(), End::Code(0));
    assert!(elsewhere(|| array.try_claim(..5).is_err()));
}

/// The slice of a forgotten claim may live on in another thread; its memory, too, stays.
#[test]
fn a_forgotten_claim_stays_one() {
    let _deadline = Deadline::seconds(60, "a_forgotten_claim_stays_one");
    let array = Array::<u8>::zeros(10).unwrap();
    elsewhere(|| std::mem::forget(array.claim(..5).unwrap()));
    assert!(array.claim(..5).is_ok());
    assert!(matches!(array.claim_mut(4..6), Err(Error::WouldDeadlock)));
    assert!(array.claim_mut(5..).is_ok());
    std::mem::forget(array.claim_mut(7..8).unwrap());
    drop(array);
    // This thread's list leads into the array still.
    let other = Array::<u8>::zeros(10).unwrap();
    assert!(other.claim_mut(..).is_ok() && other.lock().is_ok());
}

#[test]
fn a_stopped_claimant_is_not_dead() {
    let _deadline = Deadline::seconds(60, "a_stopped_claimant_is_not_dead");
    let array = Array::<u8>::zeros(10).unwrap();
    let (held, go) = (Board::<Flag>::new(), Board::<Flag>::new());
    let mut owner = Child::start(|| {
        let claim = array.claim_mut(..5).unwrap();
        raise(&held);
        eventually(|| is_raised(&go));
        drop(claim);
        0
    });
    eventually(|| is_raised(&held));
    owner.signal(libc::SIGSTOP);
    owner.wait_until_stopped();
    assert!(array.claim_timeout(4..6, Duration::from_millis(300)).unwrap_err().is_timed_out());
    assert!(array.claim_mut(5..).is_ok());
    owner.signal(libc::SIGCONT);
    raise(&go);
    assert!(array.claim_timeout(4..6, SOON).is_ok());
    assert_eq!(owner.wait(), End::Code(0));
}

/// Claimants that are stopped at any moment, also half-way into a claim or out of it: they keep what they have, and the
/// others get what they want when those go on.
#[test]
fn stopped_claimants() {
    let _deadline = Deadline::seconds(120, "stopped_claimants");
    let array = Array::<u64>::zeros(64).unwrap();
    let inside = Board::<[AtomicU32; 64]>::new();
    let mut children = [(); 3].map(|()| {
        let mut random = Random::new();
        Child::start(|| {
            for _ in 0..200 {
                random_claims(&array, &inside, &mut random, 20);
                thread::sleep(Duration::from_micros(300));
            }
            0
        })
    });
    thread::scope(|scope| {
        scope.spawn(|| random_claims(&array, &inside, &mut Random::new(), 3000));
        stop_and_go(&mut children);
    });
    assert!(inside.iter().all(|one| one.load(SeqCst) == 0));
    assert!(array.try_lock().is_ok());
}

#[test]
fn a_storm_of_signals_changes_nothing() {
    let _deadline = Deadline::seconds(60, "a_storm_of_signals_changes_nothing");
    const TIME: Duration = Duration::from_millis(250);
    let (array, held) = (Array::<u64>::zeros(8).unwrap(), Array::<u8>::zeros(8).unwrap());
    let _claim = held.claim_mut(..3).unwrap();
    let count = Board::<AtomicU64>::new();
    let mut children: Vec<Child> = (0..4)
        .map(|rank| {
            let count = count.get();
            Child::start(|| {
                support::storm_of_signals(count);
                for wait in
                    [&|| held.claim_timeout(1..2, TIME).map(drop) as Result<()>, &|| held.lock_timeout(TIME).map(drop)]
                        as [&dyn Fn() -> Result<()>; 2]
                {
                    let start = Instant::now();
                    assert!(wait().unwrap_err().is_timed_out());
                    assert!(start.elapsed() >= TIME);
                }
                for _ in 0..300 {
                    let mut claim = array.claim_mut_timeout(rank..rank + 4, SOON).unwrap();
                    claim.iter_mut().for_each(|x| *x += 1);
                    thread::sleep(Duration::from_micros(300));
                }
                0
            })
        })
        .collect();
    assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
    assert_eq!(array.to_vec().unwrap(), [300, 600, 900, 1200, 900, 600, 300, 0]);
    assert!(count.load(SeqCst) > 1000, "{count} signals", count = count.load(SeqCst));
}

/// A wait with the whole array lets others claim parts, and has it whole again in the end.
#[test]
fn a_condition_waits_with_the_whole_array() {
    let _deadline = Deadline::seconds(60, "a_condition_waits_with_the_whole_array");
    let (array, changed) = (Array::<u8>::zeros(10).unwrap(), Condvar::new().unwrap());
    let claimed = Flag::new(false);
    let mut all = array.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut part = array.claim_mut_timeout(3..5, SOON).unwrap();
            raise(&claimed);
            assert_eq!(changed.notify_one().unwrap(), 1);
            // It is awake now, and must wait for this claim.
            thread::sleep(Duration::from_millis(50));
            part.fill(7);
        });
        changed.wait_timeout(&mut all, SOON).unwrap();
        assert!(is_raised(&claimed));
        assert_eq!(all[3..5], [7, 7]);
    });
    drop(all);
    // Somebody panics with a part meanwhile.
    let mut all = array.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            poison(&array, 8..9);
            changed.notify_one().unwrap();
        });
        let outcome = changed.wait_timeout(&mut all, SOON);
        assert!(matches!(outcome, Err(Error::Poisoned { range: Some(range), .. }) if range == (8..9)));
    });
}

/// Workers claim overlapping ranges, and are killed at random: elements are equal in pairs, or poisoned by the killed.
#[test]
fn random_kills_on_claims() {
    let array = Array::<u64>::zeros([16, 2]).unwrap();
    random_kills("random_kills_on_claims", |progress| {
        let start = std::process::id() as usize % 8;
        let rows = start..start + 9;
        let range = array.row_range(rows.clone()).unwrap();
        let mut claim = match array.claim_rows_mut_timeout(rows, SOON) {
            Ok(claim) => claim,
            Err(Error::Poisoned { pid, range: Some(poisoned) }) => {
                assert!(pid.is_some_and(|pid| progress.was_killed(pid)));
                assert!(poisoned.start < range.end && range.start < poisoned.end);
                let mut claim = array.recover_claim_mut_timeout(range, SOON).unwrap();
                for pair in claim.chunks_mut(2) {
                    pair[1] = pair[0];
                }
                claim.clear_poison();
                return;
            }
            Err(_) => panic!(),
        };
        for row in claim.chunks_mut(2) {
            assert_eq!(row[0], row[1]);
            row[0] += 1;
            std::hint::black_box(&mut *row);
            row[1] += 1;
        }
    });
}

/// MECHANISMS 1: a thread of the victim that still reads or writes keeps others out until the whole process has gone.
#[test]
fn random_kills_on_readers_and_writers() {
    let array = Array::<u64>::zeros(64).unwrap();
    random_kills("random_kills_on_readers_and_writers", |progress| {
        let id = std::process::id();
        if id.is_multiple_of(3) {
            match array.recover_timeout(SOON) {
                Ok(mut all) => {
                    let first = all[0];
                    all.fill(first);
                    all.clear_poison();
                }
                Err(_) => panic!(),
            }
        } else if id % 3 == 1 {
            match array.claim_timeout(.., SOON) {
                Ok(all) => assert!(all.iter().all(|x| *x == all[0])),
                Err(Error::Poisoned { pid, .. }) => {
                    assert!(pid.is_some_and(|pid| progress.was_killed(pid)));
                    let mut all = array.recover_claim_mut_timeout(.., SOON).unwrap();
                    let first = all[0];
                    all.fill(first);
                    all.clear_poison();
                }
                Err(_) => panic!(),
            }
        } else {
            let mut all = match array.claim_mut_timeout(.., SOON) {
                Ok(all) => all,
                Err(Error::Poisoned { .. }) => {
                    let mut all = array.recover_claim_mut_timeout(.., SOON).unwrap();
                    let first = all[0];
                    all.fill(first);
                    all.clear_poison();
                    all
                }
                Err(_) => panic!(),
            };
            let next = all[0] + 1;
            for x in all.iter_mut() {
                *x = next;
            }
        }
    });
}
