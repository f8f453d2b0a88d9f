//! Eight processes for two cores or so, and eight for one: what each object guarantees is counted for seconds, in debug
//! and in release. `SHMKIT_STRESS` sets how many milliseconds; more find more.

use std::{
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_getaffinity};
use shmkit::{
    Array, Atomic, AtomicArray, AtomicValue, Barrier, BoundedSemaphore, Condvar, Error, Event, Lock, Process, Queue,
    RLock, Result, Ring, RwLock, Semaphore, SpscRing, Value,
    process::{Message, Target},
};

shmkit::init_in_tests!();

const WORKERS: u64 = 8;
/// Longer than any wait that succeeds.
const SOON: Duration = Duration::from_secs(60);
/// About as long as others hold what is waited for: some of these waits end too early, and some just not.
const SHORT: Duration = Duration::from_micros(30);

fn duration() -> Duration {
    let set = std::env::var("SHMKIT_STRESS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(set.unwrap_or(if cfg!(debug_assertions) { 700 } else { 1500 }))
}

/// What a worker knows besides the objects: its number, and how long to go on, in milliseconds.
type Turn = (u64, u64);

/// Runs `work` in eight processes, on any core and then all on the same one; `check` gets what they return.
fn stress<F, A, R>(work: F, make: impl Fn() -> A, check: impl Fn(A, Vec<R>))
where
    F: Target<(Turn, A), Outcome = Result<R>>,
    A: Message + Clone,
    R: Message,
{
    let allowed = sched_getaffinity(None).unwrap();
    let cpu = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap();
    for pinned in [false, true] {
        let args = make();
        let start = |rank| {
            let turn = (rank, duration().as_millis() as u64);
            let builder = Process::builder(work).args((turn, args.clone())).daemon(true);
            if pinned { builder.pin_to_cpu(cpu) } else { builder }.start().unwrap()
        };
        let workers: Vec<_> = (0..WORKERS).map(start).collect();
        let said = workers.iter().map(|worker| match worker.join_timeout(duration() + SOON).unwrap() {
            Some(said) => said,
            None => {
                workers.iter().for_each(|worker| worker.kill().unwrap());
                panic!("{worker:?} has not ended; on one core: {pinned}");
            }
        });
        let said = said.collect();
        check(args, said);
    }
}

/// Numbers the rounds of a worker until its time is over.
fn rounds((rank, millis): Turn) -> impl Iterator<Item = u64> {
    let end = Instant::now() + Duration::from_millis(millis);
    (rank..).take_while(move |_| Instant::now() < end)
}

/// Now and then a process loses its core in the middle.
fn perhaps_yield(round: u64) {
    if round.is_multiple_of(7) {
        thread::yield_now();
    }
}

/// Readers see the two halves equal, and no write is lost.
#[test]
fn read_write_lock() {
    fn work(turn: Turn, pair: RwLock<[u64; 2]>) -> Result<(u64, u64)> {
        let (mut reads, mut writes) = (0, 0);
        for round in rounds(turn) {
            if round % 3 == 0 {
                let guard = match round % 4 {
                    0 => pair.write_timeout(SHORT),
                    1 => pair.try_write(),
                    _ => pair.write_timeout(SOON),
                };
                let mut guard = match guard {
                    Ok(guard) => guard,
                    Err(error) if round % 4 < 2 && (error.is_timed_out() || error.is_would_block()) => continue,
                    Err(error) => return Err(error),
                };
                let next = guard[0] + 1;
                guard[0] = next;
                perhaps_yield(round);
                guard[1] += 1;
                writes += 1;
                if round % 5 == 0 {
                    let guard = guard.downgrade();
                    perhaps_yield(round + 1);
                    assert_eq!(*guard, [next; 2], "somebody wrote while this process read");
                }
            } else {
                let guard = match pair.read_timeout(if round % 4 == 0 { SHORT } else { SOON }) {
                    Ok(guard) => guard,
                    Err(error) if round % 4 == 0 && error.is_timed_out() => continue,
                    Err(error) => return Err(error),
                };
                let first = guard[0];
                perhaps_yield(round);
                let again = (round % 11 == 0).then(|| pair.read()).transpose()?;
                assert_eq!([first; 2], *guard);
                assert!(again.is_none_or(|again| *again == [first; 2]));
                reads += 1;
            }
        }
        Ok((reads, writes))
    }
    stress(
        work,
        || RwLock::new([0; 2]).unwrap(),
        |pair, said: Vec<(u64, u64)>| {
            assert!(said.iter().all(|(reads, writes)| *reads > 0 && *writes > 0), "somebody starved: {said:?}");
            assert_eq!(*pair.try_write().unwrap(), [said.iter().map(|(_, writes)| writes).sum(); 2]);
        },
    );
}

/// Never more inside than there are permits, and all are there in the end.
#[test]
fn bounded_semaphore() {
    const PERMITS: u32 = 3;
    fn work(turn: Turn, (semaphore, inside): (BoundedSemaphore, AtomicValue<u32>)) -> Result<u64> {
        let mut times = 0;
        for round in rounds(turn) {
            let permit = match round % 4 {
                0 => semaphore.acquire_timeout(SHORT),
                1 => semaphore.try_acquire(),
                _ => semaphore.acquire_timeout(SOON),
            };
            let permit = match permit {
                Ok(permit) => permit,
                Err(error) if round % 4 < 2 && (error.is_timed_out() || error.is_would_block()) => continue,
                Err(error) => return Err(error),
            };
            let now = inside.fetch_add(1, SeqCst) + 1;
            assert!(now <= PERMITS, "{now} with {PERMITS} permits");
            perhaps_yield(round);
            inside.fetch_sub(1, SeqCst);
            if round % 5 == 0 {
                permit.detach();
                semaphore.release()?;
            }
            times += 1;
        }
        Ok(times)
    }
    stress(
        work,
        || (BoundedSemaphore::new(PERMITS as usize).unwrap(), AtomicValue::new(0).unwrap()),
        |(semaphore, inside), said: Vec<u64>| {
            assert!(said.iter().all(|times| *times > 0), "somebody starved: {said:?}");
            assert_eq!((inside.load(SeqCst), semaphore.available().unwrap()), (0, PERMITS as usize));
        },
    );
}

/// Nobody is a round ahead or behind, and an action runs once, between two rounds.
#[test]
fn barrier() {
    /// How many have arrived, how many actions have run, and whether it is over.
    type Counts = AtomicArray<u64>;
    fn work((_, millis): Turn, (barrier, counts): (Barrier, Counts)) -> Result<u64> {
        let end = Instant::now() + Duration::from_millis(millis);
        let mut passes = 0;
        loop {
            counts[0].fetch_add(1, SeqCst);
            // Every other round has an action.
            if passes % 2 == 0 {
                barrier.wait_with(|| {
                    counts[1].fetch_add(1, SeqCst);
                    counts[2].store(u64::from(Instant::now() >= end), SeqCst);
                    Ok(())
                })?;
            } else {
                barrier.wait()?;
            }
            passes += 1;
            let arrived = counts[0].load(SeqCst);
            let expected = WORKERS * passes..WORKERS * (passes + 1);
            assert!(expected.contains(&arrived), "{arrived} arrivals, {expected:?} expected");
            assert_eq!(counts[1].load(SeqCst), passes.div_ceil(2));
            if passes % 2 == 1 && counts[2].load(SeqCst) == 1 {
                return Ok(passes);
            }
        }
    }
    let make = || {
        let barrier = Barrier::new(WORKERS as usize).unwrap();
        barrier.set_timeout(Some(SOON));
        (barrier, AtomicArray::zeros(3).unwrap())
    };
    stress(work, make, |(barrier, _), said: Vec<u64>| {
        assert!(said[0] > 1 && said.iter().all(|passes| *passes == said[0]), "{said:?}");
        assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
    });
}

/// Half of the workers carry tokens one way, half the other: all are there in the end, and never more on their way.
#[test]
fn semaphore() {
    const TOKENS: usize = 5;
    fn work(turn: Turn, (here, there, carried): (Semaphore, Semaphore, AtomicValue<u32>)) -> Result<u64> {
        let (from, to) = if turn.0.is_multiple_of(2) { (here, there) } else { (there, here) };
        let mut times = 0;
        for round in rounds(turn) {
            let taken = match round % 3 {
                0 => from.acquire_timeout(SHORT),
                1 => from.try_acquire(),
                _ => from.acquire_timeout(Duration::from_millis(50)),
            };
            match taken {
                Ok(()) => {}
                Err(error) if error.is_timed_out() || error.is_would_block() => continue,
                Err(error) => return Err(error),
            }
            let now = carried.fetch_add(1, SeqCst) + 1;
            assert!(now <= TOKENS as u32, "{now} of {TOKENS} tokens");
            perhaps_yield(round);
            carried.fetch_sub(1, SeqCst);
            to.release()?;
            times += 1;
        }
        Ok(times)
    }
    stress(
        work,
        || (Semaphore::new(TOKENS).unwrap(), Semaphore::new(0).unwrap(), AtomicValue::new(0).unwrap()),
        |(here, there, carried), said: Vec<u64>| {
            assert!(said.iter().all(|times| *times > 0), "somebody starved: {said:?}");
            assert_eq!((here.value() + there.value(), carried.load(SeqCst)), (TOKENS, 0));
        },
    );
}

/// One sets, seven wait: each set lets exactly one through.
#[test]
fn auto_reset_event() {
    fn work(turn: Turn, (event, answer, through): (Event, Semaphore, AtomicArray<u64>)) -> Result<u64> {
        let [sets, passages, over] = [0, 1, 2].map(|at| &through[at]);
        let mut times = 0;
        if turn.0 == 0 {
            for _ in rounds(turn) {
                sets.fetch_add(1, SeqCst);
                event.set();
                answer.acquire_timeout(SOON)?;
                assert_eq!(passages.load(SeqCst), sets.load(SeqCst));
                times += 1;
            }
            over.store(1, SeqCst);
            return Ok(times);
        }
        let mut round = turn.0;
        while over.load(SeqCst) == 0 {
            round += 1;
            if event.wait_timeout(if round.is_multiple_of(3) { SHORT } else { Duration::from_millis(50) })? {
                let now = passages.fetch_add(1, SeqCst) + 1;
                assert!(now <= sets.load(SeqCst), "{now} came through");
                perhaps_yield(round);
                answer.release()?;
                times += 1;
            }
        }
        Ok(times)
    }
    stress(
        work,
        || (Event::auto_reset().unwrap(), Semaphore::new(0).unwrap(), AtomicArray::zeros(3).unwrap()),
        |(event, answer, _), said: Vec<u64>| {
            assert_eq!(said[0], said[1..].iter().sum::<u64>());
            assert!(said[0] > 0 && !event.is_set() && answer.value() == 0);
        },
    );
}

/// One is inside at a time, however deep, and by whichever of two locks.
#[test]
fn locks() {
    fn work(turn: Turn, (lock, again, pair): (Lock, RLock, Array<u64>)) -> Result<u64> {
        let mut times = 0;
        for round in rounds(turn) {
            let held = match round % 4 {
                0 => lock.lock_timeout(SHORT),
                1 => lock.try_lock(),
                _ => lock.lock_timeout(SOON),
            };
            let _held = match held {
                Ok(held) => held,
                Err(error) if round % 4 < 2 && (error.is_timed_out() || error.is_would_block()) => continue,
                Err(error) => return Err(error),
            };
            let _outer = again.lock_timeout(SOON)?;
            let _inner = (round % 3 == 0).then(|| again.try_lock()).transpose()?;
            let before = pair.get(0)?;
            assert_eq!(before, pair.get(1)?, "somebody else is inside");
            pair.set(0, before + 1)?;
            perhaps_yield(round);
            pair.set(1, before + 1)?;
            times += 1;
        }
        Ok(times)
    }
    stress(
        work,
        || (Lock::new().unwrap(), RLock::new().unwrap(), Array::zeros(2).unwrap()),
        |(_, _, pair), said: Vec<u64>| {
            assert!(said.iter().all(|times| *times > 0), "somebody starved: {said:?}");
            assert_eq!(pair.to_vec().unwrap(), [said.iter().sum(); 2]);
        },
    );
}

/// Half of the workers fill a store of three, half empty it; who finds it full or empty waits. What was put in is taken out
/// or there still, and nobody waits any more at the end.
#[test]
fn condition() {
    const ROOM: u64 = 3;
    /// What is in, what was put in and taken out, and how many go on.
    type Store = Value<[u64; 4]>;
    fn work(turn: Turn, (store, changed): (Store, Condvar)) -> Result<u64> {
        let puts = turn.0.is_multiple_of(2);
        let has_work = |store: &[u64; 4]| if puts { store[0] < ROOM } else { store[0] > 0 };
        let mut times = 0;
        for round in rounds(turn) {
            let mut guard = store.lock_timeout(SOON)?;
            let limit = if round % 4 == 0 { SHORT } else { Duration::from_millis(50) };
            match changed.wait_while_timeout(&mut guard, |store| !has_work(store), limit) {
                Ok(()) => {}
                Err(Error::TimedOut) => continue,
                Err(error) => return Err(error),
            }
            assert!(has_work(&guard) && guard[0] <= ROOM);
            let (more, side) = if puts { (1, 1) } else { (u64::MAX, 2) };
            guard[0] = guard[0].wrapping_add(more);
            guard[side] += 1;
            times += 1;
            perhaps_yield(round);
            if round % 2 == 0 {
                drop(guard);
            }
            // Both kinds wait together, so that one alone could be of the wrong kind.
            match round % 3 {
                0 => changed.notify_n(WORKERS as usize)?,
                _ => changed.notify_all()?,
            };
        }
        Ok(times)
    }
    stress(
        work,
        || (Value::new([0; 4]).unwrap(), Condvar::new().unwrap()),
        |(store, changed), said: Vec<u64>| {
            // Not each of them: three who follow each other can fill and empty the store for a second, and whoever is woken
            // meanwhile finds it so.
            assert!(said.iter().sum::<u64>() > 0, "nobody did anything");
            let sum = |from: usize| said.iter().skip(from).step_by(2).sum::<u64>();
            assert_eq!(store.get().unwrap(), [sum(0) - sum(1), sum(0), sum(1), 0]);
            assert_eq!((changed.n_waiting().unwrap(), changed.notify_all().unwrap()), (0, 0));
        },
    );
}

/// Who notifies one at a time and waits for as many answers gets them all: nothing is lost, and nothing kept.
#[test]
fn notifications() {
    /// How many notifications were received; whether it is over.
    fn work(turn: Turn, (received, condition): (Value<[u64; 2]>, Condvar)) -> Result<u64> {
        let mut times = 0;
        if turn.0 == 0 {
            for round in rounds(turn) {
                let before = received.get()?[0];
                let given = condition.notify_n(1 + round as usize % 3)? as u64;
                times += given;
                let end = Instant::now() + SOON;
                while received.get()?[0] != before + given {
                    assert!(Instant::now() < end, "{given} given, {} received", received.get()?[0] - before);
                    thread::yield_now();
                }
            }
            received.lock()?[1] = 1;
            return Ok(times);
        }
        let mut guard = received.lock()?;
        while guard[1] == 0 {
            match condition.wait_timeout(&mut guard, if times % 3 == 0 { SHORT } else { Duration::from_millis(50) }) {
                Ok(()) => {
                    guard[0] += 1;
                    times += 1;
                }
                Err(Error::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(times)
    }
    stress(
        work,
        || (Value::new([0; 2]).unwrap(), Condvar::new().unwrap()),
        |(received, condition), said: Vec<u64>| {
            assert_eq!((said[0], received.get().unwrap()[0]), (said[1..].iter().sum(), said[0]));
            assert!(said[0] > 0 && condition.n_waiting().unwrap() == 0);
        },
    );
}

/// Each element has one who changes it or several who read it, whether it was claimed alone, with others or with all.
#[test]
fn claims() {
    const LEN: usize = 32;
    /// 1,000,000 for one who changes the element, 1 for each who reads it.
    fn inside(counts: &[Atomic<u64>], mine: u64, most: u64) {
        assert!(counts.iter().all(|one| one.fetch_add(mine, SeqCst) <= most));
    }
    fn outside(counts: &[Atomic<u64>], mine: u64) {
        counts.iter().for_each(|one| _ = one.fetch_sub(mine, SeqCst));
    }
    fn work(turn: Turn, (array, counts): (Array<u64>, AtomicArray<u64>)) -> Result<u64> {
        let mut times = 0;
        for round in rounds(turn) {
            let start = (round as usize * 7 + turn.0 as usize) % LEN;
            let range = start..(start + 1 + round as usize % 9).min(LEN);
            let limit = if round % 4 == 0 { SHORT } else { SOON };
            let outcome = match round % 5 {
                0 => array.lock_timeout(limit).map(|mut all| {
                    inside(&counts, 1_000_000, 0);
                    all[0] = all[0].wrapping_add(1);
                    perhaps_yield(round);
                    outside(&counts, 1_000_000);
                }),
                1 | 2 => array.claim_timeout(range.clone(), limit).map(|_claim| {
                    inside(&counts[range.clone()], 1, 999_999);
                    perhaps_yield(round);
                    outside(&counts[range], 1);
                }),
                3 => array.try_claim_mut(range.clone()).map(|mut claim| {
                    inside(&counts[range.clone()], 1_000_000, 0);
                    claim.fill(round);
                    outside(&counts[range], 1_000_000);
                }),
                _ => array.claim_mut_timeout(range.clone(), limit).map(|mut claim| {
                    inside(&counts[range.clone()], 1_000_000, 0);
                    claim.fill(round);
                    perhaps_yield(round);
                    assert!(claim.iter().all(|one| *one == round));
                    outside(&counts[range], 1_000_000);
                }),
            };
            match outcome {
                Ok(()) => times += 1,
                Err(Error::TimedOut) if round % 4 == 0 => {}
                Err(Error::WouldBlock) if round % 5 == 3 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(times)
    }
    stress(
        work,
        || (Array::zeros(LEN).unwrap(), AtomicArray::zeros(LEN).unwrap()),
        |(array, counts), said: Vec<u64>| {
            assert!(said.iter().all(|times| *times > 0), "somebody starved: {said:?}");
            assert!(counts.iter().all(|one| one.load(SeqCst) == 0));
            assert!(array.try_lock().is_ok());
        },
    );
}

/// Half of the workers put objects in, half take them: all arrive, of each producer in order, and all are done.
#[test]
fn queue() {
    type Object = (u64, u64, String);
    fn work(turn: Turn, (queue, putting): (Queue<Object>, AtomicValue<u64>)) -> Result<(u64, u64)> {
        let (mut count, mut sum) = (0, 0);
        if turn.0.is_multiple_of(2) {
            for round in rounds(turn) {
                let object = (turn.0, count, "x".repeat(round as usize % 90));
                let said = match round % 4 {
                    0 => queue.put_timeout(&object, SHORT),
                    1 => queue.try_put(&object),
                    _ => queue.put_timeout(&object, SOON),
                };
                match said {
                    Ok(()) => (count, sum) = (count + 1, sum + object.2.len() as u64),
                    Err(error) if round % 4 < 2 && (error.is_timed_out() || error.is_would_block()) => {}
                    Err(error) => return Err(error),
                }
                perhaps_yield(round);
            }
            if putting.fetch_sub(1, SeqCst) == 1 {
                queue.join_timeout(SOON)?;
                queue.close();
            }
            return Ok((count, sum));
        }
        let mut next = [0; WORKERS as usize];
        for round in 0.. {
            let taken = match round % 4 {
                0 => queue.get_timeout(SHORT),
                1 => queue.try_get(),
                _ => queue.get_timeout(2 * SOON),
            };
            match taken {
                Ok((who, number, text)) => {
                    assert!(number >= next[who as usize], "out of order");
                    next[who as usize] = number + 1;
                    (count, sum) = (count + 1, sum + text.len() as u64);
                    perhaps_yield(round);
                    queue.task_done()?;
                }
                Err(Error::Closed) => break,
                Err(error) if round % 4 < 2 && (error.is_timed_out() || error.is_would_block()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((count, sum))
    }
    stress(
        work,
        || (Queue::with_capacity(300).unwrap(), AtomicValue::new(WORKERS / 2).unwrap()),
        |(queue, _), said: Vec<(u64, u64)>| {
            let total = |from: usize| {
                let said = said.iter().skip(from).step_by(2);
                said.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
            };
            assert_eq!(total(0), total(1));
            assert!(said.iter().step_by(2).all(|(count, _)| *count > 0), "somebody starved: {said:?}");
            assert!(queue.is_closed() && queue.is_empty() && queue.unfinished_tasks() == 0);
        },
    );
}

/// Half of the workers put values in, half take them, in all ways: all arrive, of each producer in order.
#[test]
fn ring() {
    type Data = [u64; 2];
    fn work(turn: Turn, (ring, putting): (Ring<Data>, AtomicValue<u64>)) -> Result<(u64, u64)> {
        let (mut count, mut sum) = (0, 0);
        if turn.0.is_multiple_of(2) {
            for round in rounds(turn) {
                let value = |number| [turn.0, number];
                let said = match round % 5 {
                    0 => ring.push_timeout(value(count), SHORT).map(|()| 1),
                    1 => ring.try_push(value(count)).map(|()| 1),
                    2 => ring.push_slice(&[count, count + 1, count + 2].map(value)),
                    3 => ring.reserve().map(|mut slot| {
                        *slot = value(count);
                        perhaps_yield(round);
                        slot.publish();
                        1
                    }),
                    _ => ring.push_timeout(value(count), SOON).map(|()| 1),
                };
                match said {
                    Ok(more) => {
                        (count..count + more as u64).for_each(|number| (count, sum) = (count + 1, sum + number))
                    }
                    Err(error) if round % 5 < 2 && (error.is_timed_out() || error.is_would_block()) => {}
                    Err(error) => return Err(error),
                }
                perhaps_yield(round);
            }
            if putting.fetch_sub(1, SeqCst) == 1 {
                ring.close();
            }
            return Ok((count, sum));
        }
        let (mut next, mut some) = ([0; WORKERS as usize], [[0; 2]; 3]);
        for round in 0.. {
            let one = |value| ([value, [0; 2], [0; 2]], 1);
            let taken = match round % 5 {
                0 => ring.pop_timeout(SHORT).map(one),
                1 => ring.try_pop().map(one),
                2 => ring.pop_slice(&mut some).map(|count| (some, count)),
                3 => ring.pop_ref().map(|value| {
                    perhaps_yield(round);
                    one(*value)
                }),
                _ => ring.pop_timeout(2 * SOON).map(one),
            };
            match taken {
                Ok((values, many)) => {
                    for [who, number] in &values[..many] {
                        assert!(*number >= next[*who as usize], "out of order");
                        next[*who as usize] = number + 1;
                        (count, sum) = (count + 1, sum + number);
                    }
                    perhaps_yield(round);
                }
                Err(Error::Closed) => break,
                Err(error) if round % 5 < 2 && (error.is_timed_out() || error.is_would_block()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((count, sum))
    }
    stress(
        work,
        || (Ring::with_capacity(10).unwrap(), AtomicValue::new(WORKERS / 2).unwrap()),
        |(ring, _), said: Vec<(u64, u64)>| {
            let total = |from: usize| {
                let said = said.iter().skip(from).step_by(2);
                said.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
            };
            assert_eq!(total(0), total(1));
            assert!(said.iter().step_by(2).all(|(count, _)| *count > 0), "somebody starved: {said:?}");
            assert!(ring.is_closed() && ring.is_empty());
        },
    );
}

/// Rings from each worker to the next: all numbers go round, and nobody is ahead of another by more than there is room
/// for.
#[test]
fn rings_of_two() {
    const ROOM: usize = 3;
    fn work(turn: Turn, rings: Vec<SpscRing<u64>>) -> Result<u64> {
        let at = turn.0 as usize;
        let (mut from, mut to) = (rings[at].consumer(), rings[(at + 1) % rings.len()].producer());
        let (mut next, mut some) = (0, [0; ROOM]);
        if at == 0 {
            // The first one sends numbers round, and ends when all are back.
            let (mut back, mut time) = (0, rounds(turn));
            loop {
                let is_over = time.next().is_none();
                while !is_over && next < back + (ROOM * WORKERS as usize) as u64 && to.try_push(next).is_ok() {
                    next += 1;
                }
                if is_over && back == next {
                    to.close()?;
                    return Ok(next);
                }
                let count = if is_over { from.pop_slice_timeout(&mut some, SOON)? } else { from.pop_slice(&mut some)? };
                for number in &some[..count] {
                    assert_eq!(*number, back);
                    back += 1;
                }
            }
        }
        loop {
            let taken = match next % 3 {
                0 => from.pop_timeout(SHORT).map(|number| (some[0] = number, 1).1),
                1 => from.pop_timeout(SOON).map(|number| (some[0] = number, 1).1),
                _ => from.pop_slice_timeout(&mut some, SOON),
            };
            let count = match taken {
                Ok(count) => count,
                Err(Error::Closed) => break,
                Err(error) if next % 3 == 0 && error.is_timed_out() => continue,
                Err(error) => return Err(error),
            };
            let mut left = &some[..count];
            while !left.is_empty() {
                assert_eq!(left[0], next, "out of order");
                perhaps_yield(next);
                let gone = to.push_slice_timeout(left, SOON)?;
                next += gone as u64;
                left = &left[gone..];
            }
        }
        to.close()?;
        Ok(next)
    }
    stress(
        work,
        || (0..WORKERS).map(|_| SpscRing::with_capacity(ROOM).unwrap()).collect(),
        |_, said: Vec<u64>| assert!(said[0] > 0 && said.iter().all(|count| *count == said[0]), "{said:?}"),
    );
}
