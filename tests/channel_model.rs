//! Rings, rings of two and queues against the simplest thing that behaves as they should: whatever is done, in whatever
//! order, both say the same. Also when the counters begin just before they wrap around.
//!
//! Everything is done by one thread: what others do meanwhile stands in the files of each.

#![allow(unsafe_code, reason = "the children's module forks")]

mod scratch;
mod support;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use proptest::{prelude::*, test_runner::Config};
use scratch::{Folder, Words};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use shmkit::{Consumer, Error, Producer, Queue, Region, Result, Ring, RingRef, RingSlot, SpscRing, Value};
use support::Deadline;

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// By which of the four forms something is done.
#[derive(Debug, Clone, Copy)]
enum Form {
    Try,
    Timeout,
    Deadline,
    /// The one that waits, where the answer comes at once.
    Forever,
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Try), Just(Form::Timeout), Just(Form::Deadline), Just(Form::Forever)]
}

/// An error, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum No {
    /// `WouldBlock` of the form `try`, `TimedOut` of the others.
    NotNow,
    Closed,
    TooLarge,
    NotSendable,
    TooOften,
    RoleTaken,
}

/// What an operation says, where `expected` is what it is to say: for that tells which forms may be used.
macro_rules! say {
    (
        $form:expr, $expected:expr, $object:expr,
        $forever:ident, $try:ident, $timeout:ident, $deadline:ident ($($argument:expr),*)
    ) => {
        match $form {
            Form::Forever if !matches!($expected, Err(No::NotNow)) => in_short($form, $object.$forever($($argument),*)),
            Form::Timeout => in_short($form, $object.$timeout($($argument,)* Duration::ZERO)),
            Form::Deadline => in_short($form, $object.$deadline($($argument,)* Instant::now())),
            _ => in_short(Form::Try, $object.$try($($argument),*)),
        }
    };
}

fn in_short<T>(form: Form, said: Result<T>) -> Result<T, No> {
    said.map_err(|error| match (form, error) {
        (Form::Try, Error::WouldBlock) | (Form::Timeout | Form::Deadline, Error::TimedOut) => No::NotNow,
        (_, Error::Closed) => No::Closed,
        (_, Error::TooLarge { .. }) => No::TooLarge,
        (_, Error::NotSendable { .. }) => No::NotSendable,
        (_, Error::InvalidArgument { .. }) => No::TooOften,
        (_, Error::RoleTaken { .. }) => No::RoleTaken,
        (form, error) => panic!("{form:?}: {error}"),
    })
}

/// Where a channel begins to count.
#[derive(Debug, Clone, Copy)]
enum Begins {
    AtZero,
    /// So many steps before the counter is full.
    Before(u32),
}

fn begins() -> impl Strategy<Value = Begins> {
    prop_oneof![1 => Just(Begins::AtZero), 2 => (0..20_u32).prop_map(Begins::Before)]
}

/// Found in a file.
const MARK: u64 = 0x6b72_616d_2061_2073;

// Rings.

#[derive(Debug, Clone)]
enum RingStep {
    Push(Form),
    PushSlice(Form, usize),
    Reserve(Form),
    /// One of the places that are reserved, and whether a value is put there.
    EndReserved(usize, bool),
    Pop(Form),
    PopSlice(Form, usize),
    PopRef(Form),
    /// One of the values that are being read.
    EndRead(usize),
    Close,
}

fn ring_steps() -> impl Strategy<Value = Vec<RingStep>> {
    let step = prop_oneof![
        6 => form().prop_map(RingStep::Push),
        3 => (form(), 0..7_usize).prop_map(|(form, count)| RingStep::PushSlice(form, count)),
        3 => form().prop_map(RingStep::Reserve),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(at, put)| RingStep::EndReserved(at, put)),
        5 => form().prop_map(RingStep::Pop),
        3 => (form(), 0..7_usize).prop_map(|(form, count)| RingStep::PopSlice(form, count)),
        2 => form().prop_map(RingStep::PopRef),
        3 => any::<usize>().prop_map(RingStep::EndRead),
    ];
    let some = prop::collection::vec(step, 1..150);
    (some.clone(), any::<bool>(), some).prop_map(|(mut steps, closes, more)| {
        if closes {
            steps.push(RingStep::Close);
            steps.extend(more);
        }
        steps
    })
}

/// What is at a place of the ring, from when it is reserved until it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Reserved,
    Given(u64),
    GivenUp,
    Read,
}

/// Places by their numbers; those that are not there are free.
#[derive(Debug, Default)]
struct RingModel {
    places: HashMap<u64, Place>,
    head: u64,
    tail: u64,
    capacity: u64,
    is_closed: bool,
}

impl RingModel {
    fn claim(&mut self, what: Place) -> Result<u64, No> {
        if !self.is_closed && self.tail - self.head == self.capacity {
            self.pass_over();
        }
        let is_free = !(self.tail >= self.capacity && self.places.contains_key(&(self.tail - self.capacity)));
        if is_free {
            // Who finds only then that it is closed gives the place up.
            self.places.insert(self.tail, what);
            self.tail += 1;
            if self.is_closed {
                self.give_up(self.tail - 1);
            }
        }
        match (self.is_closed, is_free) {
            (true, _) => Err(No::Closed),
            (false, true) => Ok(self.tail - 1),
            (false, false) => Err(No::NotNow),
        }
    }

    fn give_up(&mut self, place: u64) {
        self.places.insert(place, Place::GivenUp);
        self.pass_over();
    }

    /// What was given up is room, if there are no values before it.
    fn pass_over(&mut self) {
        while self.places.get(&self.head) == Some(&Place::GivenUp) {
            self.places.remove(&self.head);
            self.head += 1;
        }
    }

    /// The next value, and its place, which is being read then.
    fn take(&mut self) -> Result<(u64, u64), No> {
        self.pass_over();
        match self.places.get(&self.head) {
            Some(Place::Given(value)) => {
                let value = *value;
                self.places.insert(self.head, Place::Read);
                self.head += 1;
                Ok((value, self.head - 1))
            }
            // Nothing was put there yet, or a value of the round before is being read.
            None if self.is_closed => Err(No::Closed),
            _ => Err(No::NotNow),
        }
    }

    fn pop(&mut self) -> Result<u64, No> {
        let (value, at) = self.take()?;
        self.places.remove(&at);
        Ok(value)
    }
}

/// A ring whose slots are in the lap `lap`, and which is empty.
fn ring_in_lap(folder: &Folder, capacity: usize, lap: u32) -> Ring<u64> {
    /// Bytes of the words, which lie before the slots. A slot is its state and the value.
    const WORDS: u64 = 512;
    let path = folder.join("ring");
    let ring = Ring::create(path.as_path(), capacity).unwrap();
    ring.push(MARK).unwrap();
    let words = Words::find(&path, &MARK.to_ne_bytes(), WORDS + 8);
    assert_eq!(ring.pop().unwrap(), MARK);
    for end in [0, 128] {
        words.set_u64(end, u64::from(lap) << 32);
    }
    for slot in 0..capacity as u64 {
        words.set_u64(WORDS + 16 * slot, u64::from(lap) << 34);
    }
    ring
}

fn check_ring(capacity: usize, begins: Begins, bits: u32, steps: Vec<RingStep>) {
    let folder = Folder::new();
    let ring = match begins {
        Begins::AtZero => Ring::with_capacity(capacity).unwrap(),
        Begins::Before(laps) => ring_in_lap(&folder, capacity, (u32::MAX >> (32 - bits)) - laps % 4),
    };
    let mut model = RingModel { capacity: capacity as u64, ..RingModel::default() };
    let mut reserved: Vec<(u64, RingSlot<'_, u64>)> = Vec::new();
    let mut read: Vec<(u64, u64, RingRef<'_, u64>)> = Vec::new();
    let mut next = 1..;
    for step in steps {
        match step {
            RingStep::Push(form) => {
                let value = next.next().unwrap();
                let expected = model.claim(Place::Given(value)).map(drop);
                let said = say!(form, expected, ring, push, try_push, push_timeout, push_deadline(value));
                assert_eq!(said, expected);
            }
            RingStep::PushSlice(form, count) => {
                let values: Vec<u64> = next.by_ref().take(count).collect();
                let mut expected = Ok(0);
                for value in &values {
                    match (model.claim(Place::Given(*value)), expected) {
                        (Ok(_), Ok(count)) => expected = Ok(count + 1),
                        (Err(no), Ok(0)) => expected = Err(no),
                        _ => {}
                    }
                    if expected.is_err() {
                        break;
                    }
                }
                let said = say!(
                    form,
                    expected,
                    ring,
                    push_slice,
                    try_push_slice,
                    push_slice_timeout,
                    push_slice_deadline(&values)
                );
                assert_eq!(said, expected);
            }
            RingStep::Reserve(form) => {
                let expected = model.claim(Place::Reserved);
                let said = say!(form, expected, ring, reserve, try_reserve, reserve_timeout, reserve_deadline());
                assert_eq!(said.as_ref().map(drop), expected.as_ref().map(drop));
                reserved.extend(expected.ok().zip(said.ok()));
            }
            RingStep::EndReserved(at, put) => {
                if reserved.is_empty() {
                    continue;
                }
                let (place, mut slot) = reserved.swap_remove(at % reserved.len());
                if put {
                    *slot = next.next().unwrap();
                    model.places.insert(place, Place::Given(*slot));
                    slot.publish();
                } else {
                    model.give_up(place);
                }
            }
            RingStep::Pop(form) => {
                let expected = model.pop();
                assert_eq!(say!(form, expected, ring, pop, try_pop, pop_timeout, pop_deadline()), expected);
            }
            RingStep::PopSlice(form, count) => {
                let (mut expected, mut values) = (Ok(()), Vec::new());
                while values.len() < count && expected.is_ok() {
                    match model.pop() {
                        Ok(value) => values.push(value),
                        Err(no) => expected = Err(no),
                    }
                }
                let expected = if values.is_empty() && count > 0 { expected.map(|()| 0) } else { Ok(values.len()) };
                let mut found = vec![0; count];
                let said = say!(
                    form,
                    expected,
                    ring,
                    pop_slice,
                    try_pop_slice,
                    pop_slice_timeout,
                    pop_slice_deadline(&mut found)
                );
                assert_eq!((said, &found[..values.len()]), (expected, &values[..]));
            }
            RingStep::PopRef(form) => {
                let expected = model.take();
                let said = say!(form, expected, ring, pop_ref, try_pop_ref, pop_ref_timeout, pop_ref_deadline());
                assert_eq!(said.as_ref().map(|value| **value), expected.map(|(value, _)| value).as_ref().copied());
                read.extend(expected.ok().zip(said.ok()).map(|((value, at), found)| (value, at, found)));
            }
            RingStep::EndRead(at) => {
                if !read.is_empty() {
                    let (value, at, found) = read.swap_remove(at % read.len());
                    assert_eq!(*found, value);
                    model.places.remove(&at);
                }
            }
            RingStep::Close => {
                ring.close();
                model.is_closed = true;
            }
        }
        let len = (model.tail - model.head) as usize;
        assert_eq!(
            (ring.len(), ring.is_empty(), ring.is_full(), ring.is_closed()),
            (len, len == 0, len == capacity, model.is_closed)
        );
    }
}

// Rings of two.

#[derive(Debug, Clone)]
enum SpscStep {
    Push(Form),
    PushSlice(Form, usize),
    Pop(Form),
    PopSlice(Form, usize),
    /// A place, and whether the value in it is published.
    Reserve(Form, bool),
    /// A value where it is, and whether it is given back: one that is forgotten was not taken.
    PopRef(Form, bool),
    /// Another end is tried first, which has not the role.
    SecondProducer,
    SecondConsumer,
    NewProducer,
    NewConsumer,
    CloseProducer,
    CloseConsumer,
}

fn spsc_steps() -> impl Strategy<Value = Vec<SpscStep>> {
    let step = prop_oneof![
        8 => form().prop_map(SpscStep::Push),
        8 => (form(), 0..9_usize).prop_map(|(form, count)| SpscStep::PushSlice(form, count)),
        8 => form().prop_map(SpscStep::Pop),
        8 => (form(), 0..9_usize).prop_map(|(form, count)| SpscStep::PopSlice(form, count)),
        4 => (form(), prop::bool::weighted(0.8)).prop_map(|(form, publishes)| SpscStep::Reserve(form, publishes)),
        4 => (form(), prop::bool::weighted(0.8)).prop_map(|(form, takes)| SpscStep::PopRef(form, takes)),
        1 => Just(SpscStep::SecondProducer),
        1 => Just(SpscStep::SecondConsumer),
        1 => Just(SpscStep::NewProducer),
        1 => Just(SpscStep::NewConsumer),
    ];
    let close = prop_oneof![Just(SpscStep::CloseProducer), Just(SpscStep::CloseConsumer)];
    let some = prop::collection::vec(step, 1..200);
    (some.clone(), prop::option::of(close), some).prop_map(|(mut steps, close, more)| {
        if let Some(close) = close {
            steps.push(close);
            steps.extend(more);
        }
        steps
    })
}

fn check_spsc(capacity: usize, steps: Vec<SpscStep>) {
    let ring = SpscRing::with_capacity(capacity).unwrap();
    let (mut producer, mut consumer): (Producer<u64>, Consumer<u64>) = (ring.producer(), ring.consumer());
    // They have their roles from now on.
    assert!(producer.push_slice(&[MARK]).is_ok() && consumer.pop().is_ok());
    let (mut model, mut is_closed, mut next) = (VecDeque::new(), false, 1..);
    for step in steps {
        let put = match (is_closed, model.len() == capacity) {
            (true, _) => Err(No::Closed),
            (false, true) => Err(No::NotNow),
            (false, false) => Ok(()),
        };
        let taken = match (model.is_empty(), is_closed) {
            (false, _) => Ok(()),
            (true, true) => Err(No::Closed),
            (true, false) => Err(No::NotNow),
        };
        match step {
            SpscStep::Push(form) => {
                let value = next.next().unwrap();
                assert_eq!(say!(form, put, producer, push, try_push, push_timeout, push_deadline(value)), put);
                model.extend(put.map(|()| value));
            }
            SpscStep::PushSlice(form, count) => {
                let values: Vec<u64> = next.by_ref().take(count).collect();
                let expected = if count == 0 { Ok(0) } else { put.map(|()| count.min(capacity - model.len())) };
                let said = say!(
                    form,
                    expected,
                    producer,
                    push_slice,
                    try_push_slice,
                    push_slice_timeout,
                    push_slice_deadline(&values)
                );
                assert_eq!(said, expected);
                model.extend(&values[..expected.unwrap_or(0)]);
            }
            SpscStep::Pop(form) => {
                let expected = taken.map(|()| model.pop_front().unwrap());
                assert_eq!(say!(form, expected, consumer, pop, try_pop, pop_timeout, pop_deadline()), expected);
            }
            SpscStep::PopSlice(form, count) => {
                let expected = if count == 0 { Ok(0) } else { taken.map(|()| count.min(model.len())) };
                let mut found = vec![0; count];
                let said = say!(
                    form,
                    expected,
                    consumer,
                    pop_slice,
                    try_pop_slice,
                    pop_slice_timeout,
                    pop_slice_deadline(&mut found)
                );
                assert_eq!(said, expected);
                let values: Vec<u64> = model.drain(..expected.unwrap_or(0)).collect();
                assert_eq!(&found[..values.len()], &values[..]);
            }
            SpscStep::Reserve(form, publishes) => {
                let value = next.next().unwrap();
                let said = say!(form, put, producer, reserve, try_reserve, reserve_timeout, reserve_deadline());
                assert_eq!(said.as_ref().map(drop), put.as_ref().map(drop));
                if let Ok(mut slot) = said {
                    *slot = value;
                    if publishes {
                        slot.publish();
                        model.push_back(value);
                    }
                }
            }
            SpscStep::PopRef(form, takes) => {
                let said = say!(form, taken, consumer, pop_ref, try_pop_ref, pop_ref_timeout, pop_ref_deadline());
                assert_eq!(said.as_ref().map(|value| **value), taken.as_ref().map(|()| model[0]));
                if let Ok(value) = said {
                    if takes {
                        model.pop_front();
                    } else {
                        std::mem::forget(value);
                    }
                }
            }
            SpscStep::SecondProducer => {
                assert_eq!(in_short(Form::Try, ring.producer().try_push(0)), Err(No::RoleTaken));
            }
            SpscStep::SecondConsumer => {
                assert_eq!(in_short(Form::Try, ring.consumer().try_pop()), Err(No::RoleTaken));
            }
            SpscStep::NewProducer => {
                drop(producer);
                producer = ring.producer();
                // It takes the role with the first use.
                let said = in_short(Form::Try, producer.try_push(0));
                assert_eq!(said, put);
                model.extend(put.map(|()| 0));
            }
            SpscStep::NewConsumer => {
                drop(consumer);
                consumer = ring.consumer();
                let expected = taken.map(|()| model.pop_front().unwrap());
                assert_eq!(in_short(Form::Try, consumer.try_pop()), expected);
            }
            SpscStep::CloseProducer => {
                producer.close().unwrap();
                is_closed = true;
            }
            SpscStep::CloseConsumer => {
                consumer.close().unwrap();
                is_closed = true;
            }
        }
        assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
    }
}

// Queues.

/// Whether it can be serialised, and deserialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    NotOut,
    NotIn,
}

impl Serialize for Mood {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Good => serializer.serialize_bool(true),
            Self::NotOut => Err(S::Error::custom("not this one")),
            Self::NotIn => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Mood {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if bool::deserialize(deserializer)? { Ok(Self::Good) } else { Err(D::Error::custom("not this one")) }
    }
}

/// Bytes, memory of the queue's own region, memory from elsewhere.
#[derive(Serialize, Deserialize)]
struct Object(Vec<u8>, Option<Value<u32>>, Option<Value<u32>>, Mood);

#[derive(Debug, Clone)]
enum QueueStep {
    Put { form: Form, bytes: usize, from_here: bool, from_elsewhere: bool, mood: Mood },
    Get(Form),
    TaskDone,
    Join(Form),
    Close,
}

fn queue_steps() -> impl Strategy<Value = Vec<QueueStep>> {
    let mood = prop_oneof![8 => Just(Mood::Good), 1 => Just(Mood::NotOut), 1 => Just(Mood::NotIn)];
    let bytes = prop_oneof![4 => 0..40_usize, 1 => 0..250_usize];
    let put = (form(), bytes, prop::bool::weighted(0.2), prop::bool::weighted(0.2), mood).prop_map(
        |(form, bytes, from_here, from_elsewhere, mood)| QueueStep::Put {
            form,
            bytes,
            from_here,
            from_elsewhere,
            mood,
        },
    );
    let step = prop_oneof![
        5 => put,
        4 => form().prop_map(QueueStep::Get),
        2 => Just(QueueStep::TaskDone),
        1 => form().prop_map(QueueStep::Join),
    ];
    let some = prop::collection::vec(step, 1..150);
    (some.clone(), any::<bool>(), some).prop_map(|(mut steps, closes, more)| {
        if closes {
            steps.push(QueueStep::Close);
            steps.extend(more);
        }
        steps
    })
}

/// Has the words of an empty queue count from just before the wrap on, and its circle begin anywhere.
fn count_on(path: &std::path::Path, queue: &Queue<Object>, mark: &str, messages: u32, units: u32) {
    /// Bytes of the words, which lie before the units; the bytes of the first object come after its title and length.
    const WORDS: u64 = 2816;
    let words = Words::find(path, mark.as_bytes(), WORDS + 8 + 1);
    assert!(words.start().is_multiple_of(128));
    let end = u64::from(messages) << 32 | u64::from(units);
    // Tail and head, and what is known of them at the other end; what is done.
    for at in [128, 384, 40, 296] {
        words.set_u64(at, end);
    }
    words.set_u32(304, messages);
    // The number of the last ticket, receipts, and the turns of the gates.
    words.set_u64(48, u64::MAX - 1);
    words.set_u32(312, u32::MAX);
    for gate in [512, 520, 528, 552] {
        words.set_u32(gate, u32::MAX - 1);
    }
    assert_eq!((queue.len(), queue.unfinished_tasks(), queue.is_full()), (0, 0, false));
}

fn check_queue(capacity: usize, max_items: usize, begins: Begins, at: u32, steps: Vec<QueueStep>) {
    const MOST: usize = 300;
    let folder = Folder::new();
    let path = folder.join("region");
    let region = Region::create(path.as_path(), 1 << 16).unwrap();
    let options = Queue::<Object>::options().max_items(max_items);
    let queue = options.capacity(capacity).create_in(&region, None).unwrap();
    let here = Value::new_in(&region, None, 1).unwrap();
    let elsewhere = Value::new(2).unwrap();
    // An error of a queue that is too small for anything tells how large an object is.
    let small = Queue::<Object>::options().capacity(1).create_in(&region, None).unwrap();
    let size = |object: &Object| {
        let padded = Object(vec![0; 20], object.1.clone(), object.2.clone(), Mood::Good);
        match small.try_put(&padded) {
            Err(Error::TooLarge { size, .. }) => {
                size as usize - 21 + object.0.len() + if object.0.len() < 128 { 1 } else { 2 }
            }
            other => panic!("{other:?}"),
        }
    };
    let units = capacity as u32 / 8 + 1;
    if let Begins::Before(messages) = begins {
        let mark = "m@rK";
        queue.put(&Object(mark.into(), None, None, Mood::Good)).unwrap();
        queue.get().unwrap();
        queue.task_done().unwrap();
        count_on(&path, &queue, mark, u32::MAX - messages, at % (2 * units));
    }
    let mut model: VecDeque<(Object, u32)> = VecDeque::new();
    let (mut used, mut unfinished, mut is_closed) = (0, 0_usize, false);
    for (step, number) in steps.into_iter().zip(0_u8..=255) {
        match step {
            QueueStep::Put { form, bytes, from_here, from_elsewhere, mood } => {
                let values = (from_here.then(|| here.clone()), from_elsewhere.then(|| elsewhere.clone()));
                let object = Object(vec![number; bytes.min(MOST)], values.0, values.1, mood);
                let needs = 1 + u32::from(from_elsewhere) + size(&object).div_ceil(8) as u32;
                let is_full = max_items != 0 && model.len() == max_items;
                let expected = match () {
                    () if mood == Mood::NotOut => Err(No::NotSendable),
                    () if needs > units => Err(No::TooLarge),
                    () if is_closed => Err(No::Closed),
                    () if used + needs > units || is_full => Err(No::NotNow),
                    () => Ok(()),
                };
                let said = say!(form, expected, queue, put, try_put, put_timeout, put_deadline(&object));
                assert_eq!(said, expected, "{needs} of {units} units, {used} used");
                if expected.is_ok() {
                    model.push_back((object, needs));
                    used += needs;
                    unfinished += 1;
                }
            }
            QueueStep::Get(form) => {
                let first = model.pop_front();
                let expected = match &first {
                    Some((object, _)) if object.3 == Mood::NotIn => Err(No::NotSendable),
                    Some(_) => Ok(()),
                    None if is_closed => Err(No::Closed),
                    None => Err(No::NotNow),
                };
                let said = say!(form, expected, queue, get, try_get, get_timeout, get_deadline());
                assert_eq!(said.as_ref().map(drop), expected.as_ref().map(drop));
                let Some((object, units)) = first else { continue };
                used -= units;
                // What cannot be had is done, if all were not already.
                unfinished = unfinished.saturating_sub(usize::from(expected.is_err()));
                if let Ok(found) = said {
                    assert_eq!(found.0, object.0);
                    assert_eq!((found.1.is_some(), found.2.is_some()), (object.1.is_some(), object.2.is_some()));
                    assert!(found.1.is_none_or(|value| value.is_same(&here)));
                    assert!(found.2.is_none_or(|value| value.is_same(&elsewhere)));
                }
            }
            QueueStep::TaskDone => {
                let expected = if unfinished == 0 { Err(No::TooOften) } else { Ok(()) };
                assert_eq!(in_short(Form::Try, queue.task_done()), expected);
                unfinished -= usize::from(expected.is_ok());
            }
            QueueStep::Join(form) => {
                let expected = if unfinished == 0 { Ok(()) } else { Err(No::NotNow) };
                assert_eq!(say!(form, expected, queue, join, try_join, join_timeout, join_deadline()), expected);
            }
            QueueStep::Close => {
                queue.close();
                is_closed = true;
            }
        }
        let is_full = units - used < 2 || max_items != 0 && model.len() == max_items;
        assert_eq!(
            (queue.len(), queue.is_empty(), queue.is_full(), queue.unfinished_tasks(), queue.is_closed()),
            (model.len(), model.is_empty(), is_full, unfinished, is_closed)
        );
    }
    // And all the rest.
    queue.close();
    let wanted: Vec<_> = model.iter().map(|(object, _)| (object.3 == Mood::Good).then_some(&object.0)).collect();
    let found: Vec<_> = queue.iter().map(Result::ok).collect();
    assert_eq!(found.iter().map(|object| object.as_ref().map(|object| &object.0)).collect::<Vec<_>>(), wanted);
}

proptest! {
    #![proptest_config(config(400))]

    /// The lap of a slot has 30 bits, and that of an end 32.
    #[test]
    fn a_ring(
        capacity in 1..6_usize,
        begins in begins(),
        bits in prop_oneof![Just(30_u32), Just(32)],
        steps in ring_steps(),
    ) {
        let _deadline = Deadline::seconds(60, "a case");
        check_ring(capacity, begins, bits, steps);
    }

    /// The counters wrap around every second lap.
    #[test]
    fn a_ring_of_two(capacity in 1..12_usize, steps in spsc_steps()) {
        let _deadline = Deadline::seconds(60, "a case");
        check_spsc(capacity, steps);
    }

    #[test]
    fn a_queue(
        capacity in (1..30_usize).prop_map(|units| 8 * units),
        max_items in prop_oneof![Just(0_usize), 1..5_usize],
        begins in begins(),
        at in any::<u32>(),
        steps in queue_steps(),
    ) {
        let _deadline = Deadline::seconds(60, "a case");
        check_queue(capacity, max_items, begins, at, steps);
    }
}
