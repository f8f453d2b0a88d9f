//! Pools: results in order and errors at their places, whoever dies, by the start method of the program that includes this
//! file.
//!
//! Impossible by types: an initialiser that is no function. A pool has no scope of its own: dropping it ends it.

use std::{
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind},
    process::abort,
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use shmkit::{
    Array, AtomicArray, AtomicValue, Error, Pool, Queue, Result, Value,
    pool::OnDeath,
    process::{ExitStatus, Stdio, active_children},
};

use crate::support::{Random, eventually};

/// Hands the names of those tests to a macro that hold by every start method.
macro_rules! for_each_pool_contract {
    ($run:ident) => {
        $run! {
            smoke,
            errors_and_panics_are_of_their_task,
            lazily,
            nothing_to_do,
            impossible_numbers,
            as_many_workers_as_asked_for,
            handles_travel_both_ways,
            large_ones,
            with_a_state,
            lazily_with_a_state,
            into_an_array,
            into_an_array_whoever_dies,
            nothing_is_kept_of_a_task,
            what_cannot_travel_is_an_error_of_its_task,
            an_iterator_that_panics,
            all_is_done_before_an_error_is_told,
            callbacks,
            every_callback_is_called,
            a_callback_has_a_stack,
            an_iterator_of_a_pool_that_was_joined_ends,
            a_value_that_panics_at_its_end_shifts_no_other,
            tasks_that_nobody_waits_for_are_done,
            waiting_ends_in_time,
            termination_is_prompt,
            closing_lets_what_is_left_be_done,
            workers_are_replaced_when_they_have_done_their_share,
            threads_share_a_pool,
            a_long_task_keeps_no_other_waiting,
            in_a_child,
            workers_die_with_their_parent,
            a_normal_end_ends_the_workers,
            workers_are_pinned_in_turn,
            a_stopped_worker_is_waited_for,
            initialisers,
            a_start_that_fails_ends_the_others,
            a_death_is_an_error_of_its_task,
        }
    };
}
pub(crate) use for_each_pool_contract;

/// The same of those in which workers are replaced beside other threads, or by the pool's own: no forks.
#[allow(unused_macros, reason = "not of the tests of forks")]
macro_rules! for_each_contract_of_sent_workers {
    ($run:ident) => {
        $run! {
            a_task_that_was_left_is_tried_again,
            an_initialiser_whose_arguments_panic,
            random_kills_and_no_task_twice,
            random_kills_and_all_tasks_done,
        }
    };
}
#[allow(unused_imports, reason = "not of the tests of forks")]
pub(crate) use for_each_contract_of_sent_workers;

fn square(x: u64) -> u64 {
    x * x
}

fn text(x: u32) -> String {
    format!("<{x}>")
}

pub(crate) fn smoke() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.apply(square, (7,)).unwrap(), 49);
    assert_eq!(pool.map(square, 0..100_000).unwrap(), (0..100_000).map(|x| x * x).collect::<Vec<_>>());
    assert_eq!(pool.map(text, 0..1000).unwrap(), (0..1000).map(text).collect::<Vec<_>>());
    assert_eq!(pool.map(text, vec![7]).unwrap(), ["<7>"]);
    for size in [1, 3, 100, 5000] {
        assert_eq!(pool.map_chunked(text, 0..1000, size).unwrap(), (0..1000).map(text).collect::<Vec<_>>());
    }
    let task = pool.submit(text, (9,)).unwrap();
    assert_eq!(task.get().unwrap(), "<9>");
    assert!(matches!(task.get(), Err(Error::InvalidArgument { .. })));
}

fn panics_at_five(x: u64) -> u64 {
    assert!(x != 5, "five");
    x
}

fn fails_at(x: u32) -> Result<u32, String> {
    if x.is_multiple_of(7) { Err(format!("no {x}")) } else { Ok(x) }
}

pub(crate) fn errors_and_panics_are_of_their_task() {
    let pool = Pool::new(2).unwrap();
    let pids = pool.pids();
    let Err(Error::Panicked { pid, message, location }) = pool.apply(panics_at_five, (5,)) else { panic!() };
    assert!(pids.contains(&pid) && message == "five" && location.contains("pool.rs"), "{message} at {location}");
    let error = pool.map(panics_at_five, 0..10_000).unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }), "{error}");
    assert_eq!(pool.map(fails_at, 1..1000).unwrap_err().to_string(), "no 7");
    let results: Vec<_> = pool.imap(fails_at, 1..1000).unwrap().collect();
    assert_eq!(results.len(), 999);
    for (x, result) in (1..).zip(results) {
        match (fails_at(x), result) {
            (Ok(a), Ok(b)) => assert_eq!(a, b),
            (Err(a), Err(b)) => assert_eq!(a, b.to_string()),
            other => panic!("{x}: {other:?}"),
        }
    }
    // What a panic is made of may panic at its end.
    let explodes = |x: u64| if x == 5 { std::panic::panic_any(Bomb) } else { x };
    let results: Vec<_> = pool.imap(explodes, 0..10).unwrap().collect();
    assert!(results.iter().enumerate().all(|(x, result)| result.is_ok() == (x != 5)), "{results:?}");
    assert_eq!(pool.pids(), pids);
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a panic of a panic");
    }
}

pub(crate) fn lazily() {
    let pool = Pool::new(2).unwrap();
    for step in [1, 7, 10_000] {
        assert_eq!(
            pool.imap(square, 0..step).unwrap().map(Result::unwrap).collect::<Vec<_>>(),
            (0..step).map(square).collect::<Vec<_>>()
        );
        let mut any: Vec<_> = pool.imap_unordered(square, 0..step).unwrap().map(Result::unwrap).collect();
        any.sort_unstable();
        assert_eq!(any, (0..step).map(square).collect::<Vec<_>>());
    }
    // Without an end.
    let mut endless = pool.imap(text, 0..).unwrap();
    assert_eq!(endless.next().unwrap().unwrap(), "<0>");
    assert_eq!(endless.nth(999).unwrap().unwrap(), "<1000>");
    drop(endless);
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
}

pub(crate) fn nothing_to_do() {
    let pool = Pool::new(1).unwrap();
    assert!(pool.map(square, []).unwrap().is_empty());
    assert!(pool.map_chunked(square, [], 5).unwrap().is_empty());
    assert!(pool.map_tuples(|a: u8, b: u8| a + b, []).unwrap().is_empty());
    assert!(pool.map_with(&7_u8, |a: &u8, b: u8| a + b, []).unwrap().is_empty());
    assert!(pool.imap(square, []).unwrap().next().is_none());
    assert!(pool.imap_unordered(square, []).unwrap().next().is_none());
    pool.map_into(&Array::zeros(1).unwrap(), square, []).unwrap();
}

pub(crate) fn impossible_numbers() {
    assert!(matches!(Pool::new(0), Err(Error::InvalidArgument { .. })));
    assert!(matches!(Pool::new(5000), Err(Error::InvalidArgument { .. })));
    assert!(matches!(Pool::builder().workers(1).max_tasks_per_child(0).start(), Err(Error::InvalidArgument { .. })));
    let pool = Pool::new(1).unwrap();
    assert!(matches!(pool.map_chunked(square, [1], 0), Err(Error::InvalidArgument { .. })));
    assert!(matches!(pool.join(), Err(Error::InvalidArgument { .. })));
}

pub(crate) fn as_many_workers_as_asked_for() {
    for workers in [1, 2, 3, 4, 5, 8, 16, 17] {
        let pool = Pool::new(workers).unwrap_or_else(|error| panic!("{workers} workers: {error}"));
        assert_eq!((pool.workers(), pool.pids().len()), (workers, workers));
        assert_eq!(pool.map(square, 0..100).unwrap(), (0..100).map(square).collect::<Vec<_>>());
    }
}

pub(crate) fn handles_travel_both_ways() {
    let pool = Pool::new(2).unwrap();
    let total = Value::new(0_u64).unwrap();
    let add = |total: Value<u64>, x: u64| -> Result<Value<u64>> {
        total.update(|sum| sum + x)?;
        Value::new(x)
    };
    let made = pool.map_tuples(add, (1..=500).map(|x| (total.clone(), x))).unwrap();
    assert_eq!(total.get().unwrap(), 125_250);
    assert!(made.iter().zip(1..).all(|(value, x)| value.get().unwrap() == x));
    let queue = Queue::new().unwrap();
    pool.apply(|queue: Queue<u8>| queue.put(&7), (queue.clone(),)).unwrap();
    assert_eq!(queue.get().unwrap(), 7);
}

pub(crate) fn large_ones() {
    let pool = Pool::new(2).unwrap();
    let double = |mut all: Vec<u8>| {
        all.extend_from_within(..);
        all
    };
    for size in [0, 1000, 60_000, 70_000, 300_000, 5_000_000] {
        let all: Vec<u8> = (0..size).map(|x| x as u8).collect();
        assert_eq!(pool.apply(double, (all.clone(),)).unwrap(), double(all));
    }
    let many = pool.map(|size: usize| vec![1_u8; size], (0..100).map(|x| x * 3000)).unwrap();
    assert!(many.iter().enumerate().all(|(x, all)| all.len() == x * 3000));
}

pub(crate) fn with_a_state() {
    let pool = Pool::new(2).unwrap();
    let table: Vec<u64> = (0..100_000).map(|x| x * 3).collect();
    let look = |table: &Vec<u64>, at: usize| table[at];
    assert_eq!(pool.map_with(&table, look, 0..100_000).unwrap(), table);
    // Handles in it.
    let count = AtomicArray::<u64>::zeros(1).unwrap();
    let add = |(count, step): &(AtomicArray<u64>, u64), _: u8| {
        count[0].fetch_add(*step, Relaxed);
    };
    for _ in 0..20 {
        pool.map_with(&(count.clone(), 2), add, [0; 50]).unwrap();
    }
    assert_eq!(count[0].load(Relaxed), 2000);
}

/// How many states a worker has, by what it has not dropped of them.
#[derive(Serialize)]
struct Held(AtomicValue<u32>, u32);

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (held, x) = Deserialize::deserialize(deserializer)?;
        let held: AtomicValue<u32> = held;
        held.fetch_add(1, Relaxed);
        Ok(Self(held, x))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

pub(crate) fn lazily_with_a_state() {
    let pool = Pool::new(2).unwrap();
    let held = AtomicValue::new(1_u32).unwrap();
    let add = |state: &Held, x: u32| state.1 + x;
    for step in 0..20 {
        held.fetch_add(1, Relaxed);
        let state = Held(held.clone(), step);
        let mut results = pool.imap_with(&state, add, 0..200).unwrap();
        if step % 2 == 0 {
            assert!(results.by_ref().map(Result::unwrap).eq(step..200 + step));
        } else {
            // Left in the middle, with tasks under way.
            assert_eq!(results.next().unwrap().unwrap(), step);
        }
    }
    // One that has told of nothing yet.
    let go = Value::new(0_u8).unwrap();
    held.fetch_add(1, Relaxed);
    let wait = |(_, go): &(Held, Value<u8>), x: u32| {
        if x > 0 {
            eventually(|| go.get().unwrap() == 1);
        }
        x
    };
    let mut results = pool.imap_with(&(Held(held.clone(), 0), go.clone()), wait, 0..2).unwrap();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    drop(results);
    go.set(1).unwrap();
    // Workers forget a state when they have done what they were given before.
    eventually(|| pool.apply(square, (3,)).is_ok() && held.load(Relaxed) == 1);
    let unsendable = pool.imap_with(&Unwritable(7), |_: &Unwritable, x: u32| x, [1]);
    assert!(matches!(unsendable.map(|_| ()), Err(Error::NotSendable { .. })));
}

pub(crate) fn into_an_array() {
    let pool = Pool::new(2).unwrap();
    let array = Array::<u64>::zeros(50_000).unwrap();
    pool.map_into(&array, square, 0..50_000).unwrap();
    assert_eq!(array.to_vec().unwrap(), (0..50_000).map(square).collect::<Vec<_>>());
    let error = pool.map_into(&array, panics_at_five, 0..10).unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }), "{error}");
    let expected: Vec<_> = (0..10).map(|x| if x == 5 { 25 } else { x }).collect();
    assert_eq!(array.to_vec().unwrap()[..10], expected);
    assert!(matches!(pool.map_into(&array, square, 0..50_001), Err(Error::OutOfRange { .. })));
}

pub(crate) fn into_an_array_whoever_dies() {
    let count = 2000;
    let squares: Vec<u64> = (0..count).map(square).collect();
    let dies_first = |(begun, x): (AtomicArray<u32>, u64)| {
        if begun[x as usize].fetch_add(1, Relaxed) == 0 && x % 400 == 200 {
            abort();
        }
        square(x)
    };
    for on_death in [OnDeath::Retry(5), OnDeath::Fail] {
        let pool = Pool::builder().workers(2).on_death(on_death).start().unwrap();
        let (array, begun) =
            (Array::<u64>::zeros(count as usize).unwrap(), AtomicArray::<u32>::zeros(count as usize).unwrap());
        let result = pool.map_into(&array, dies_first, (0..count).map(|x| (begun.clone(), x)));
        let written = array.to_vec().unwrap();
        if on_death == OnDeath::Fail {
            assert!(matches!(result, Err(Error::ChildDied { .. })));
            assert!(written.iter().zip(&squares).all(|(found, square)| found == square || *found == 0));
            assert!((0..5).all(|n| written[400 * n + 200] == 0), "nobody has begun these again");
        } else {
            result.unwrap();
            assert_eq!(written, squares);
        }
    }
}

/// Neither here nor there: arguments, results, and what came of neither.
pub(crate) fn nothing_is_kept_of_a_task() {
    let pool = Pool::new(2).unwrap();
    let held = AtomicValue::new(0_u32).unwrap();
    let make = |x: u32| {
        held.fetch_add(1, Relaxed);
        Held(held.clone(), x)
    };
    let back = |held: Held| -> Result<Held> { Ok(held) };
    assert_eq!(pool.apply(back, (make(7),)).unwrap().1, 7);
    assert!(pool.map(back, (0..200).map(make)).unwrap().iter().zip(0..).all(|(held, x)| held.1 == x));
    assert!(pool.imap(back, (0..200).map(make)).unwrap().all(|held| held.is_ok()));
    assert!(pool.imap_unordered(back, (0..200).map(make)).unwrap().next().unwrap().is_ok());
    drop(pool.submit(back, (make(1),)).unwrap());
    pool.submit(back, (make(1),)).unwrap().on_ready(drop);
    let fails = |_: Held| -> Result<(), String> { Err("no".into()) };
    assert!(pool.apply(fails, (make(1),)).is_err());
    assert!(pool.apply(|_: Held| -> () { panic!("on purpose") }, (make(1),)).is_err());
    eventually(|| held.load(Relaxed) == 0);
}

struct Unwritable(u32);

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            7 => Err(serde::ser::Error::custom("seven")),
            x => serializer.serialize_u32(x),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            9 => Err(serde::de::Error::custom("nine")),
            x => Ok(Self(x)),
        }
    }
}

pub(crate) fn what_cannot_travel_is_an_error_of_its_task() {
    let pool = Pool::new(2).unwrap();
    let pids = pool.pids();
    let back = |x: Unwritable| x.0;
    let there = |x: u32| -> Result<Unwritable> { Ok(Unwritable(x)) };
    for _ in 0..20 {
        assert!(matches!(pool.apply(back, (Unwritable(7),)), Err(Error::NotSendable { .. })));
        assert!(matches!(pool.apply(back, (Unwritable(9),)), Err(Error::NotSendable { .. })));
        assert!(matches!(pool.apply(there, (7,)), Err(Error::NotSendable { .. })));
        assert!(matches!(pool.apply(there, (9,)), Err(Error::NotSendable { .. })));
    }
    let bad = |x: u32| matches!(x, 7 | 9);
    let results: Vec<_> = pool.imap(back, (0..100).map(Unwritable)).unwrap().collect();
    assert!(results.len() == 100 && results.iter().zip(0..).all(|(result, x)| result.is_err() == bad(x)));
    let results: Vec<_> = pool.imap(there, 0..100).unwrap().collect();
    assert!(results.len() == 100 && results.iter().zip(0..).all(|(result, x)| result.is_err() == bad(x)));
    assert_eq!(pool.pids(), pids, "no worker was lost");
}

pub(crate) fn an_iterator_that_panics() {
    let pool = Pool::new(2).unwrap();
    let items = || (0..100_u64).inspect(|x| assert!(*x != 50, "fifty"));
    assert!(catch_unwind(AssertUnwindSafe(|| pool.map(square, items()))).is_err());
    let words = || items().map(|x| x.to_string());
    assert!(catch_unwind(AssertUnwindSafe(|| pool.map(|word: String| word.len(), words()))).is_err());
    let mut results = pool.imap(square, items()).unwrap();
    for x in 0..50 {
        assert_eq!(results.next().unwrap().unwrap(), x * x);
    }
    assert!(catch_unwind(AssertUnwindSafe(|| results.next())).is_err());
    assert!(results.next().is_none());
    drop(results);
    let mut results = pool.imap_unordered(square, items()).unwrap();
    let mut squares: Vec<_> = results.by_ref().take(50).map(Result::unwrap).collect();
    squares.sort_unstable();
    assert!(squares.into_iter().eq((0..50).map(square)));
    assert!(catch_unwind(AssertUnwindSafe(|| results.next())).is_err());
    assert!(results.next().is_none());
    drop(results);
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
}

pub(crate) fn all_is_done_before_an_error_is_told() {
    let pool = Pool::new(2).unwrap();
    let count = AtomicArray::<u64>::zeros(1).unwrap();
    let work = |count: AtomicArray<u64>, x: u64| {
        assert!(x != 1, "one");
        thread::sleep(Duration::from_micros(100));
        count[0].fetch_add(1, Relaxed);
    };
    assert!(pool.map_tuples(work, (0..200).map(|x| (count.clone(), x))).is_err());
    assert_eq!(count[0].load(Relaxed), 199);
    pool.close();
    pool.join().unwrap();
}

pub(crate) fn callbacks() {
    let pool = Pool::new(2).unwrap();
    let (sender, receiver) = channel();
    for x in 0..500_u64 {
        let sender = sender.clone();
        pool.submit(panics_at_five, (x % 10,)).unwrap().on_ready(move |result| sender.send((x, result)).unwrap());
    }
    let mut seen = vec![false; 500];
    for _ in 0..500 {
        let (x, result) = receiver.recv().unwrap();
        assert!(!std::mem::replace(&mut seen[x as usize], true));
        match result {
            Ok(y) => assert_eq!(y, x % 10),
            Err(error) => assert!(x % 10 == 5 && matches!(error, Error::Panicked { .. })),
        }
    }
    // One that panics is nobody's concern, nor if what it panics with panics in its turn.
    pool.submit(square, (1,)).unwrap().on_ready(|_| panic!("in a callback"));
    pool.submit(square, (1,)).unwrap().on_ready(|_| std::panic::panic_any(Bomb));
    let again = sender.clone();
    pool.submit(square, (2,)).unwrap().on_ready(move |result| again.send((2, result)).unwrap());
    assert_eq!(receiver.recv().unwrap().1.unwrap(), 4);
}

pub(crate) fn every_callback_is_called() {
    let (sender, receiver) = channel();
    let sends = |sender: &Sender<_>| {
        let sender = sender.clone();
        move |result: Result<u64>| sender.send(result).unwrap()
    };
    // When the result was taken.
    let pool = Pool::new(1).unwrap();
    let task = pool.submit(square, (3,)).unwrap();
    assert_eq!(task.get().unwrap(), 9);
    task.on_ready(sends(&sender));
    assert!(matches!(receiver.recv().unwrap(), Err(Error::InvalidArgument { .. })));
    // When the pool, and its thread, came to an end before or after.
    let sleep = |x: u64| {
        thread::sleep(Duration::from_secs(3600));
        x
    };
    let early = pool.submit(sleep, (1,)).unwrap();
    let late = pool.submit(sleep, (1,)).unwrap();
    early.on_ready(sends(&sender));
    pool.terminate();
    assert!(matches!(receiver.recv().unwrap(), Err(Error::PoolClosed)));
    drop(pool);
    late.on_ready(sends(&sender));
    assert!(matches!(receiver.recv().unwrap(), Err(Error::PoolClosed)));
    let pool = Pool::new(1).unwrap();
    let task = pool.submit(sleep, (1,)).unwrap();
    pool.terminate();
    task.on_ready(sends(&sender));
    assert!(matches!(receiver.recv().unwrap(), Err(Error::PoolClosed)));
}

pub(crate) fn a_callback_has_a_stack() {
    let pool = Pool::new(1).unwrap();
    let (sender, receiver) = channel();
    pool.submit(square, (3,)).unwrap().on_ready(move |nine| {
        let large = black_box([1_u8; 512 << 10]);
        sender.send(nine.unwrap() * u64::from(large[large.len() / 2])).unwrap();
    });
    assert_eq!(receiver.recv().unwrap(), 9);
}

pub(crate) fn an_iterator_of_a_pool_that_was_joined_ends() {
    let pool = Pool::new(2).unwrap();
    let mut results = pool.imap(square, 0..100_000).unwrap();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    pool.close();
    pool.join().unwrap();
    assert!(matches!(results.last().unwrap(), Err(Error::PoolClosed)));
}

#[derive(Debug, Serialize, Deserialize)]
struct PanicsAtItsEnd {
    x: u32,
    of: u32,
}

impl Drop for PanicsAtItsEnd {
    fn drop(&mut self) {
        assert!(self.x != 3 || self.of != std::process::id(), "at the end");
    }
}

pub(crate) fn a_value_that_panics_at_its_end_shifts_no_other() {
    let pool = Pool::new(1).unwrap();
    let make = |x: u32| Ok::<_, String>(PanicsAtItsEnd { x, of: std::process::id() });
    let of_each = pool.map_chunked(make, 0..10, 10).unwrap();
    assert!(of_each.iter().map(|value| value.x).eq(0..10));
}

pub(crate) fn a_task_that_was_left_is_tried_again() {
    let pool = Pool::builder().workers(1).on_death(OnDeath::Retry(1)).start().unwrap();
    let begun = Value::new(0_u32).unwrap();
    let dies_first = |begun: Value<u32>| {
        begun.update(|begun| begun + 1).unwrap();
        if begun.get().unwrap() == 1 {
            abort();
        }
    };
    drop(pool.submit(dies_first, (begun.clone(),)).unwrap());
    eventually(|| begun.get().unwrap() == 2);
}

pub(crate) fn tasks_that_nobody_waits_for_are_done() {
    let pool = Pool::new(2).unwrap();
    let queue = Queue::new().unwrap();
    for x in 0..200_u32 {
        let _ = pool.submit(|queue: Queue<u32>, x: u32| queue.put(&x), (queue.clone(), x)).unwrap();
    }
    let mut all: Vec<_> = (0..200).map(|_| queue.get().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
}

pub(crate) fn waiting_ends_in_time() {
    let pool = Pool::new(1).unwrap();
    let task = pool.submit(|| thread::sleep(Duration::from_secs(3600)), ()).unwrap();
    assert!(task.try_get().unwrap_err().is_would_block());
    assert!(task.get_timeout(Duration::from_millis(20)).unwrap_err().is_timed_out());
    assert!(task.get_deadline(Instant::now() + Duration::from_millis(20)).unwrap_err().is_timed_out());
    assert!(!task.is_ready());
}

pub(crate) fn termination_is_prompt() {
    let pool = Pool::new(2).unwrap();
    let sleep = || thread::sleep(Duration::from_secs(3600));
    let tasks: Vec<_> = (0..10_000).map(|_| pool.submit(sleep, ()).unwrap()).collect();
    pool.terminate();
    assert!(tasks.iter().all(|task| matches!(task.get(), Err(Error::PoolClosed))));
    assert!(pool.pids().is_empty());
    pool.terminate();
    pool.join().unwrap();
    assert!(matches!(pool.map(square, [1]), Err(Error::PoolClosed)));
    // By another thread, while one waits.
    let pool = Pool::new(2).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.map(|_: u8| thread::sleep(Duration::from_secs(3600)), [0; 100]));
        thread::sleep(Duration::from_millis(20));
        pool.terminate();
        assert!(matches!(waiter.join().unwrap(), Err(Error::PoolClosed)));
    });
    // By dropping it.
    let pool = Pool::new(2).unwrap();
    let task = pool.submit(sleep, ()).unwrap();
    drop(pool);
    assert!(matches!(task.get(), Err(Error::PoolClosed)));
}

pub(crate) fn closing_lets_what_is_left_be_done() {
    let pool = Pool::new(2).unwrap();
    let slow = |x: u64| {
        thread::sleep(Duration::from_millis(1));
        x
    };
    let tasks: Vec<_> = (0..100).map(|x| pool.submit(slow, (x,)).unwrap()).collect();
    pool.close();
    assert!(matches!(pool.submit(slow, (1,)), Err(Error::PoolClosed)));
    pool.join().unwrap();
    assert!(tasks.iter().zip(0..).all(|(task, x)| task.try_get().unwrap() == x));
    assert!(pool.pids().is_empty());
}

pub(crate) fn workers_are_replaced_when_they_have_done_their_share() {
    let pool = Pool::builder().workers(2).max_tasks_per_child(10).start().unwrap();
    let pids = pool.map(|_: u32| std::process::id(), 0..100).unwrap();
    for pid in &pids {
        assert!(pids.iter().filter(|other| *other == pid).count() <= 10);
    }
    let pool = Pool::builder().workers(1).max_tasks_per_child(1).start().unwrap();
    let mut pids: Vec<_> = (0..5).map(|_| pool.apply(std::process::id, ()).unwrap()).collect();
    pids.dedup();
    assert_eq!(pids.len(), 5);
    pool.close();
    pool.join().unwrap();
}

pub(crate) fn threads_share_a_pool() {
    let pool = Pool::new(2).unwrap();
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..20 {
                    let start = thread * 1000 + round;
                    let all = start..start + 500;
                    match round % 3 {
                        0 => assert_eq!(pool.map(square, all.clone()).unwrap(), all.map(square).collect::<Vec<_>>()),
                        1 => assert_eq!(pool.apply(square, (start,)).unwrap(), square(start)),
                        _ => {
                            let sum: u64 = pool.imap_unordered(square, all.clone()).unwrap().map(Result::unwrap).sum();
                            assert_eq!(sum, all.map(square).sum());
                        }
                    }
                }
            });
        }
    });
}

pub(crate) fn a_long_task_keeps_no_other_waiting() {
    let pool = Pool::new(2).unwrap();
    let long = pool.submit(|| thread::sleep(Duration::from_secs(3600)), ()).unwrap();
    let short: Vec<_> = (0..20).map(|x| pool.submit(square, (x,)).unwrap()).collect();
    assert!(short.iter().zip(0..).all(|(task, x)| task.get().unwrap() == square(x)));
    assert!(!long.is_ready());
}

pub(crate) fn in_a_child() {
    let child = shmkit::Process::spawn(|| Pool::new(2)?.map(square, 0..100), ()).unwrap();
    assert_eq!(child.join().unwrap(), (0..100).map(square).collect::<Vec<_>>());
}

/// By a parent that is killed.
pub(crate) fn workers_die_with_their_parent() {
    let pids = Queue::<u32>::new().unwrap();
    let parent = |pids: Queue<u32>| -> Result<()> {
        let pool = Pool::new(3)?;
        let tasks = (0..10).map(|_| pool.submit(|| thread::sleep(Duration::from_secs(3600)), ()));
        let _tasks = tasks.collect::<Result<Vec<_>>>()?;
        pool.pids().into_iter().try_for_each(|pid| pids.put(&pid))?;
        thread::sleep(Duration::from_secs(3600));
        Ok(())
    };
    for _ in 0..5 {
        let child = shmkit::Process::spawn(parent, (pids.clone(),)).unwrap();
        let workers: Vec<_> = (0..3).map(|_| pids.get().unwrap()).collect();
        child.kill().unwrap();
        assert!(child.join().is_err());
        workers.into_iter().for_each(|pid| eventually(|| is_gone(pid)));
    }
}

fn is_gone(pid: u32) -> bool {
    // Whoever adopts it may let it lie as a zombie.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with(['Z', 'X']))
}

/// A pool that is there at the end of its process, in a static say, delays that by nothing, and leaves nothing.
pub(crate) fn a_normal_end_ends_the_workers() {
    let parent = |pids: Queue<u32>, way: u8| -> Result<()> {
        let pool = Pool::new(2)?;
        let sleeps = || pool.submit(|| thread::sleep(Duration::from_secs(3600)), ());
        let (tasks, called) = ((0..5).map(|_| sleeps()).collect::<Result<Vec<_>>>()?, sleeps()?);
        // The pool's own thread is there too.
        called.on_ready(|_| ());
        pool.pids().into_iter().try_for_each(|pid| pids.put(&pid))?;
        std::mem::forget((pool, tasks));
        match way {
            0 => Ok(()),
            1 => panic!("on purpose"),
            _ => std::process::exit(3),
        }
    };
    for (way, code) in [(0, 0), (1, 101), (2, 3)] {
        let pids = Queue::<u32>::new().unwrap();
        let child = shmkit::Process::builder(parent).args((pids.clone(), way)).stderr(Stdio::null()).start().unwrap();
        let _ = child.join_timeout(Duration::from_secs(100)).unwrap_or_default();
        assert_eq!(child.exit_status(), Some(ExitStatus::Code(code)));
        assert!([pids.get().unwrap(), pids.get().unwrap()].into_iter().all(is_gone), "before it has ended itself");
    }
}

pub(crate) fn workers_are_pinned_in_turn() {
    // SAFETY: zeroes are an empty set.
    let mut allowed = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    // SAFETY: writes the set that it is given.
    assert_eq!(unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) }, 0);
    // SAFETY: below the size of the set.
    let cpus: Vec<usize> = (0..1024).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) }).take(2).collect();
    let pool = Pool::builder().workers(3).pin_to_cpus(cpus.clone()).start().unwrap();
    let seen = |_: u32| {
        thread::sleep(Duration::from_millis(1));
        // SAFETY: asks only.
        let cpu = unsafe { libc::sched_getcpu() } as usize;
        (std::process::id(), shmkit::process::cpu_count(), cpu)
    };
    let seen = pool.map_chunked(seen, 0..60, 1).unwrap();
    for (at, pid) in pool.pids().into_iter().enumerate() {
        let cpu = cpus[at % cpus.len()];
        assert!(seen.iter().filter(|one| one.0 == pid).all(|one| (one.1, one.2) == (1, cpu)), "{cpus:?} {seen:?}");
    }
}

pub(crate) fn a_stopped_worker_is_waited_for() {
    let pool = Pool::new(1).unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    // SAFETY: takes plain numbers.
    unsafe { libc::kill(pid as i32, libc::SIGSTOP) };
    let task = pool.submit(square, (5,)).unwrap();
    assert!(task.get_timeout(Duration::from_millis(250)).unwrap_err().is_timed_out());
    // SAFETY: as above.
    unsafe { libc::kill(pid as i32, libc::SIGCONT) };
    assert_eq!(task.get().unwrap(), 25);
}

static PREPARED: AtomicU64 = AtomicU64::new(0);

fn prepare(value: u64) {
    PREPARED.fetch_add(value, Relaxed);
}

pub(crate) fn initialisers() {
    let pool = Pool::builder().workers(2).initialiser(prepare, (7,)).start().unwrap();
    assert_eq!(pool.map(|_: u8| PREPARED.load(Relaxed), [0; 100]).unwrap(), [7; 100]);
    // One that fails is the error of all.
    let fails = || -> Result<(), String> { Err("no start".into()) };
    let pool = Pool::builder().workers(2).initialiser(fails, ()).start().unwrap();
    assert_eq!(pool.map(square, 0..100).unwrap_err().to_string(), "no start");
    assert_eq!(pool.apply(square, (1,)).unwrap_err().to_string(), "no start");
    let panics = || panic!("at the start");
    let pool = Pool::builder().workers(2).initialiser(panics, ()).start().unwrap();
    assert!(matches!(pool.apply(square, (1,)), Err(Error::Panicked { .. })));
    let pool = Pool::builder().workers(2).initialiser(|| abort(), ()).start().unwrap();
    assert!(matches!(pool.apply(square, (1,)), Err(Error::ChildDied { .. })));
}

static COPIES_LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

#[derive(Serialize, Deserialize)]
struct Copied;

impl Clone for Copied {
    fn clone(&self) -> Self {
        let one_less = COPIES_LEFT.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        assert!(one_less.is_ok(), "in a copy");
        Self
    }
}

/// Some are there, and the next one cannot be had.
pub(crate) fn a_start_that_fails_ends_the_others() {
    let before = active_children().len();
    for copies in 1..6 {
        COPIES_LEFT.store(copies, Relaxed);
        let started = Pool::builder().workers(8).initialiser(|_: Copied| {}, (Copied,)).start();
        COPIES_LEFT.store(u64::MAX, Relaxed);
        let error = started.unwrap_err();
        assert!(matches!(&error, Error::Panicked { message, .. } if message == "in a copy"), "{error}");
        assert_eq!(active_children().len(), before);
    }
}

pub(crate) fn an_initialiser_whose_arguments_panic() {
    let pool = Pool::builder().workers(1).initialiser(|_: Copied| {}, (Copied,)).start().unwrap();
    let (sender, receiver) = channel();
    let again = sender.clone();
    COPIES_LEFT.store(0, Relaxed);
    pool.submit(dies_at_thirteen, (13,)).unwrap().on_ready(move |result| sender.send(result).unwrap());
    assert!(matches!(receiver.recv().unwrap(), Err(Error::ChildDied { .. })));
    // The pool's own thread cannot start another one, and lives on.
    pool.submit(square, (3,)).unwrap().on_ready(move |result| again.send(result).unwrap());
    assert!(matches!(receiver.recv().unwrap(), Err(Error::Panicked { .. })));
    COPIES_LEFT.store(u64::MAX, Relaxed);
    eventually(|| matches!(pool.apply(square, (3,)), Ok(9)));
}

fn kill(pid: u32) {
    // SAFETY: takes plain numbers. The process is a worker that nobody has waited for, or was one a moment ago.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

fn dies_at_thirteen(x: u64) -> u64 {
    if x == 13 {
        abort();
    }
    x
}

pub(crate) fn a_death_is_an_error_of_its_task() {
    let pool = Pool::new(2).unwrap();
    let Err(Error::ChildDied { status, .. }) = pool.apply(dies_at_thirteen, (13,)) else { panic!() };
    assert_eq!(status, "signal 6 (SIGABRT)");
    let Err(Error::ChildDied { status, .. }) = pool.apply(|| std::process::exit(3), ()) else { panic!() };
    assert_eq!(status, "exit code 3");
    let results: Vec<_> = pool.imap(dies_at_thirteen, 0..1000).unwrap().collect();
    assert_eq!(results.len(), 1000);
    assert!(results[13].is_err());
    assert!(results.iter().zip(0..).all(|(result, x)| result.as_ref().map_or(x <= 13, |y| *y == x)));
    // Its innocent neighbours are done when it is tried again.
    let pool = Pool::builder().workers(2).on_death(OnDeath::Retry(2)).start().unwrap();
    let results: Vec<_> = pool.imap(dies_at_thirteen, 0..1000).unwrap().collect();
    assert!(results.iter().zip(0..).all(|(result, x)| result.as_ref().map_or(x == 13, |y| *y == x)));
}

/// More stand in `death_processes.rs`, which runs optimised too.
const ROUNDS: u64 = 100;

/// Counts how often each task is begun, and kills workers meanwhile.
fn massacre(on_death: OnDeath, rounds: u64) {
    let pool = Pool::builder().workers(3).on_death(on_death).start().unwrap();
    let mut random = Random::new();
    let begun = AtomicArray::<u64>::zeros(300).unwrap();
    let work = |(begun, x): (AtomicArray<u64>, u64)| {
        begun[x as usize].fetch_add(1, Relaxed);
        let until = Instant::now() + Duration::from_micros(x % 50);
        while Instant::now() < until {}
        x
    };
    let mut died = 0;
    for round in 0..rounds {
        begun.iter().for_each(|count| count.store(0, Relaxed));
        let stop = &AtomicU64::new(0);
        let (pool, random) = (&pool, &mut random);
        thread::scope(|scope| {
            let killer = scope.spawn(move || {
                while stop.load(Relaxed) == 0 {
                    random.pause(Duration::from_millis(2));
                    let pids = pool.pids();
                    if !pids.is_empty() {
                        kill(pids[random.below(pids.len() as u64) as usize]);
                    }
                    thread::sleep(Duration::from_millis(3));
                }
            });
            let items = (0..300).map(|x| (begun.clone(), x));
            let results: Vec<_> = if round % 2 == 0 {
                pool.imap(work, items).unwrap().collect()
            } else {
                let tasks: Vec<_> = items.map(|item| pool.submit(work, (item,)).unwrap()).collect();
                tasks.iter().map(shmkit::pool::Task::get).collect()
            };
            assert_eq!(results.len(), 300);
            for (x, result) in (0..).zip(results) {
                let times = begun[x as usize].load(Relaxed);
                match result {
                    Ok(y) => assert!(x == y && times > 0, "round {round}, task {x}"),
                    Err(Error::ChildDied { .. }) => died += 1,
                    Err(error) => panic!("round {round}, task {x}: {error}"),
                }
            }
            stop.store(1, Relaxed);
            killer.join().unwrap();
        });
        let most = if on_death == OnDeath::Fail { 1 } else { u64::MAX };
        assert!(begun.iter().all(|times| times.load(Relaxed) <= most), "round {round}: a task was begun twice");
    }
    assert_eq!(died > 0, on_death == OnDeath::Fail, "{died} tasks failed");
}

pub(crate) fn random_kills_and_no_task_twice() {
    massacre(OnDeath::Fail, ROUNDS);
}

pub(crate) fn random_kills_and_all_tasks_done() {
    massacre(OnDeath::Retry(1000), ROUNDS);
}
