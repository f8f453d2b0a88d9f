//! Messages of 64 bytes that go from one worker to another, or there and back, each of them checked.

#![allow(dead_code, reason = "each bench uses a part")]

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    compare::{Run, in_earnest},
    shared::Shared,
    workers::{processes, threads},
};

pub(crate) type Message = [u64; 8];

/// Messages that there is room for.
pub(crate) const ROOM: usize = 1024;

/// Long enough for both to begin.
const START: Duration = Duration::from_millis(20);

fn messages() -> u64 {
    if in_earnest() { 2_000_000 } else { 2_000 }
}

pub(crate) fn message(number: u64) -> Message {
    [number; 8]
}

pub(crate) fn check(message: &Message, number: u64) {
    assert!(message.iter().all(|word| *word == number), "{message:?} is not number {number}");
}

/// 64 bytes as serde knows them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bytes(#[serde(with = "serde_bytes")] [u8; 64]);

impl Bytes {
    fn numbered(number: u64) -> Self {
        Self(bytemuck::cast(message(number)))
    }
}

/// Who of the two a worker is. Where messages go there and back, it is the consumer who asks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Role {
    Producer,
    Consumer,
}

/// So many messages, and how long they took.
struct Flow {
    count: u64,
    next: Shared<AtomicU64>,
    nanoseconds: Shared<AtomicU64>,
}

impl Flow {
    fn of(count: u64) -> Self {
        Self { count, next: Shared::zeroed(), nanoseconds: Shared::zeroed() }
    }

    /// What each worker does: `work` puts in or takes out as many, in the role that it is told.
    #[inline(always)]
    fn step(&self, work: impl Fn(Role, u64)) {
        match self.next.fetch_add(1, Relaxed) {
            0 => work(Role::Producer, self.count),
            1 => {
                let begin = Instant::now();
                work(Role::Consumer, self.count);
                self.nanoseconds.store(begin.elapsed().as_nanos() as u64, Relaxed);
            }
            // The others have done all.
            _ => {}
        }
    }

    fn run(&self) -> Run {
        let time = Duration::from_nanos(self.nanoseconds.load(Relaxed));
        Run { operations: self.count, time, note: 0.0 }
    }
}

pub(crate) fn between_processes(work: impl Fn(Role, u64)) -> Run {
    let flow = Flow::of(messages());
    processes(2, START, || flow.step(&work));
    flow.run()
}

pub(crate) fn between_threads(work: impl Fn(Role, u64) + Sync) -> Run {
    let flow = Flow::of(messages());
    threads(2, START, || flow.step(&work));
    flow.run()
}

/// Times so many round trips in each of several pairs at once: `work` is told its pair, its role, and how many. The time is
/// that of the slowest pair.
pub(crate) fn round_trips(pairs: usize, count: u64, work: impl Fn(usize, Role, u64) + Sync) -> Run {
    let [next, slowest] = [(); 2].map(|()| Shared::<AtomicU64>::zeroed());
    processes(2 * pairs, START, || {
        let seat = next.fetch_add(1, Relaxed) as usize;
        if seat < 2 * pairs {
            let role = if seat.is_multiple_of(2) { Role::Producer } else { Role::Consumer };
            let begin = Instant::now();
            work(seat / 2, role, count);
            slowest.fetch_max(begin.elapsed().as_nanos() as u64, Relaxed);
        }
    });
    Run { operations: count, time: Duration::from_nanos(slowest.load(Relaxed)), note: 0.0 }
}

/// One message at a time.
#[inline(always)]
pub(crate) fn each(count: u64, mut put: impl FnMut(Message), mut take: impl FnMut() -> Message, role: Role) {
    for number in 0..count {
        match role {
            Role::Producer => put(message(number)),
            Role::Consumer => check(&take(), number),
        }
    }
}

/// One object at a time.
#[inline(always)]
pub(crate) fn each_object(count: u64, mut put: impl FnMut(&Bytes), mut take: impl FnMut() -> Bytes, role: Role) {
    for number in 0..count {
        match role {
            Role::Producer => put(&Bytes::numbered(number)),
            Role::Consumer => assert_eq!(take(), Bytes::numbered(number)),
        }
    }
}

/// A message there and back, again and again: the producer sends back what it was sent.
#[inline(always)]
pub(crate) fn there_and_back(count: u64, mut put: impl FnMut(Message), mut take: impl FnMut() -> Message, role: Role) {
    for number in 0..count {
        if role == Role::Consumer {
            put(message(number));
        }
        let back = take();
        check(&back, number);
        if role == Role::Producer {
            put(back);
        }
    }
}

/// Which of two channels a worker puts into, and which it takes from.
pub(crate) fn out_and_in<C>([there, back]: &[C; 2], role: Role) -> (&C, &C) {
    match role {
        Role::Consumer => (there, back),
        Role::Producer => (back, there),
    }
}
