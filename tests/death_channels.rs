//! Producers and consumers of every channel are killed at random, hundreds of times, and others take their places: what
//! was put in arrives exactly once, of each producer in its order, or was taken by a consumer that died; and nobody
//! hangs.
//!
//! One test at a time: each has more processes than there are cores.

#![allow(unsafe_code, reason = "the children's module forks")]

mod support;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use shmkit::{Error, Queue, Result, Ring, SpscRing, Value};
use support::{
    Board, Deadline,
    ledger::{FEW, Ledger, MOST, Message},
};

const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_micros(50);
const ROUNDS: usize = 800;

fn alone(what: &'static str) -> (MutexGuard<'static, ()>, Deadline) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    (ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner), Deadline::seconds(120, what))
}

/// Tries all forms of an operation, one after the other, until one succeeds. `None` when it is closed.
fn until_done<T>(mut attempt: impl FnMut(u64) -> Result<T>) -> Option<T> {
    for turn in 0.. {
        match attempt(turn % 4) {
            Ok(done) => return Some(done),
            Err(Error::Closed) => return None,
            Err(error) if error.is_would_block() || turn % 4 == 1 && error.is_timed_out() => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    None
}

/// Bytes that follow from the message: most are few, some fill the queue nearly.
fn bytes(message: Message) -> Vec<u8> {
    let length = if message >> 16 & 15 == 7 { 230 } else { message >> 16 & 31 };
    (0..length).map(|at| (message + at) as u8).collect()
}

#[test]
fn a_queue() {
    let _alone = alone("a_queue");
    let (queue, ledger) = (Queue::<(Message, Vec<u8>)>::with_capacity(256).unwrap(), Board::<Ledger>::new());
    let put = |message| {
        let object = (message, bytes(message));
        let done = until_done(|form| match form {
            0 => queue.try_put(&object),
            1 => queue.put_timeout(&object, SHORT),
            2 => queue.put_deadline(&object, Instant::now() + SOON),
            _ => queue.put(&object),
        });
        done.expect("it is open");
    };
    let take = |some: &mut [Message; FEW]| {
        let taken = until_done(|form| match form {
            0 => queue.try_get(),
            1 => queue.get_timeout(SHORT),
            2 => queue.get_deadline(Instant::now() + SOON),
            _ => queue.get(),
        });
        taken.map_or(0, |(message, found)| {
            assert_eq!(found, bytes(message));
            some[0] = message;
            1
        })
    };
    ledger.everybody_is_killed(
        (MOST, ROUNDS, 1),
        |who| ledger.produce(who, put),
        |me| ledger.consume(me, take),
        || queue.close(),
    );
}

/// Each ticket leads to its own memory.
#[test]
fn a_queue_of_handles() {
    let _alone = alone("a_queue_of_handles");
    let (queue, ledger) =
        (Queue::<(Message, Vec<Value<Message>>)>::with_capacity(400).unwrap(), Board::<Ledger>::new());
    let put = |message: Message| {
        // Some have none, some two.
        let count = [0, 0, 1, 0, 2][(message >> 16) as usize % 5];
        queue.put(&(message, (0..count).map(|_| Value::new(message).unwrap()).collect())).unwrap();
    };
    let take = |some: &mut [Message; FEW]| match queue.get() {
        Ok((message, values)) => {
            assert!(values.iter().all(|value| value.get().unwrap() == message));
            some[0] = message;
            1
        }
        Err(Error::Closed) => 0,
        Err(error) => panic!("{error}"),
    };
    ledger.everybody_is_killed(
        (2, ROUNDS, 1),
        |who| ledger.produce(who, put),
        |me| ledger.consume(me, take),
        || queue.close(),
    );
}

fn push(ring: &Ring<[Message; 2]>, message: Message) {
    // Two words, so that half a value can be told from a whole one.
    let value = [message; 2];
    match message >> 16 & 3 {
        0 => ring.push(value).unwrap(),
        1 => ring.push_timeout(value, SOON).unwrap(),
        2 => assert_eq!(ring.push_slice(&[value]).unwrap(), 1),
        _ => {
            drop(ring.reserve().unwrap());
            let mut slot = ring.reserve().unwrap();
            slot[0] = message;
            slot[1] = message;
            slot.publish();
        }
    }
}

fn whole([message, again]: [Message; 2]) -> Message {
    assert_eq!(message, again);
    message
}

#[test]
fn a_ring() {
    let _alone = alone("a_ring");
    let (ring, ledger) = (Ring::with_capacity(7).unwrap(), Board::<Ledger>::new());
    let take = |some: &mut [Message; FEW]| {
        let taken = until_done(|form| match form {
            0 => ring.try_pop(),
            1 => ring.pop_timeout(SHORT),
            2 => ring.pop_ref().map(|value| *value),
            _ => ring.pop(),
        });
        taken.map_or(0, |value| {
            some[0] = whole(value);
            1
        })
    };
    ledger.everybody_is_killed(
        (MOST, ROUNDS, 1),
        |who| ledger.produce(who, |message| push(&ring, message)),
        |me| ledger.consume(me, take),
        || ring.close(),
    );
}

#[test]
fn a_ring_in_slices() {
    let _alone = alone("a_ring_in_slices");
    let (ring, ledger) = (Ring::with_capacity(7).unwrap(), Board::<Ledger>::new());
    let take = |some: &mut [Message; FEW]| {
        let mut values = [[0; 2]; FEW];
        match ring.pop_slice(&mut values) {
            Ok(count) => {
                *some = values.map(whole);
                count
            }
            Err(Error::Closed) => 0,
            Err(error) => panic!("{error}"),
        }
    };
    ledger.everybody_is_killed(
        (MOST, ROUNDS, FEW as u64),
        |who| ledger.produce(who, |message| push(&ring, message)),
        |me| ledger.consume(me, take),
        || ring.close(),
    );
}

/// What a dead consumer had not counted as taken, its successor takes.
#[test]
fn a_ring_of_two() {
    let _alone = alone("a_ring_of_two");
    for capacity in [1, 64] {
        let (ring, ledger) = (SpscRing::with_capacity(capacity).unwrap(), Board::<Ledger>::new());
        let produce = |who| {
            let mut producer = ring.producer();
            ledger.produce(who, |message| match message >> 16 & 3 {
                0 => producer.push_timeout([message; 2], SOON).unwrap(),
                1 => {
                    drop(producer.reserve().unwrap());
                    let mut slot = producer.reserve().unwrap();
                    slot[0] = message;
                    slot[1] = message;
                    slot.publish();
                }
                _ => assert_eq!(producer.push_slice(&[[message; 2]]).unwrap(), 1),
            });
        };
        let consume = |me| {
            let (mut consumer, mut values, mut turn) = (ring.consumer(), [[0; 2]; FEW], 0);
            ledger.consume(me, |some| {
                turn += 1;
                let taken = match turn % 3 {
                    0 => consumer.pop_timeout(SOON).map(|value| (values[0] = value, 1).1),
                    1 => consumer.pop_ref().map(|value| (values[0] = *value, 1).1),
                    _ => consumer.pop_slice_timeout(&mut values, SOON),
                };
                match taken {
                    Ok(count) => {
                        *some = values.map(whole);
                        count
                    }
                    Err(Error::Closed) => 0,
                    Err(error) => panic!("{error}"),
                }
            });
        };
        ledger.everybody_is_killed((1, ROUNDS / 2, FEW as u64), produce, consume, || {
            ring.producer().close().unwrap();
        });
    }
}
