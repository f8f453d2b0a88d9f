//! What a handle of a queue holds: the circle of units, the sockets beside it, and who else has it.

#![expect(unsafe_code, reason = "copies messages into shared memory and out of it")]

use std::{
    io,
    marker::PhantomData,
    mem,
    os::fd::{AsFd, OwnedFd},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use super::super::buffer;
use crate::{
    Error, Result,
    os::{
        clock::Wait,
        copy,
        courier::{self, Courier},
    },
    raw::{
        lives::MemberId,
        points::point,
        queue::{Company, MOST_UNITS, Queue as Raw, QueueWords, Room, UNIT, World},
    },
    region::{
        Dims, Fresh, Handle, Kind, Members, Region, Resident, Shared,
        ticket::{self, Arrived, Message, Route},
    },
};

/// The queue as an object of a region. The type of its messages goes on record, not their size.
pub(crate) struct QueueCell<T>(PhantomData<T>);

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for QueueWords {}

// SAFETY: the body is the words and the units; zeroed ones are an empty queue.
unsafe impl<T: Message> Resident for QueueCell<T> {
    const KIND: Kind = Kind::Queue;
    type Head = QueueWords;
    type Element = T;
    type Stored = AtomicU64;

    fn check(dims: Dims) -> Result<()> {
        match dims.as_slice() {
            [2..=MOST_UNITS] => Ok(()),
            other => {
                Err(Error::invalid_argument(format!("a queue of {other:?} units; 2 to {MOST_UNITS} are possible")))
            }
        }
    }
}

/// Room for so many bytes of a message, with what stands before them.
pub(super) fn dims(capacity: usize) -> Result<Dims> {
    match capacity.div_ceil(UNIT) {
        units @ 1..MOST_UNITS => Dims::new(&[units + 1]),
        _ => Err(Error::invalid_argument(format!(
            "a queue for {capacity} bytes; 1 to {} are possible",
            (MOST_UNITS - 1) * UNIT
        ))),
    }
}

/// Writes the limits of a new queue.
pub(super) fn limit(fresh: Fresh, most_messages: u32, waits_alone: bool) {
    // SAFETY: the start of a new body of a queue, zeroed, which begins with its words.
    let words = unsafe { fresh.head.cast::<QueueWords>().as_ref() };
    words.limit(most_messages, waits_alone);
}

/// The unit before a message: how many bytes it has, and how many descriptors were sent beside it. If any, their number
/// follows in the next unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Title {
    bytes: usize,
    descriptors: usize,
}

impl Title {
    /// Room for sizes of any queue.
    const SHIFT: u32 = 48;

    fn to_bits(self) -> u64 {
        self.bytes as u64 | (self.descriptors as u64) << Self::SHIFT
    }

    /// Reads a unit of shared memory, which may hold anything.
    fn from_bits(bits: u64) -> Self {
        Self { bytes: (bits & ((1 << Self::SHIFT) - 1)) as usize, descriptors: (bits >> Self::SHIFT) as usize }
    }

    /// Units before the bytes.
    fn length(self) -> u32 {
        1 + u32::from(self.descriptors > 0)
    }

    /// Units of the whole message, if any queue could hold it.
    fn units(self) -> Option<u32> {
        u32::try_from(self.bytes.div_ceil(UNIT)).ok()?.checked_add(self.length())
    }
}

pub(super) struct Ends<T> {
    handle: Handle<QueueCell<T>>,
    /// For the descriptors. `None` where others can come by the queue without a handle that was sent to them.
    courier: Option<Arc<Courier>>,
}

impl<T> Clone for Ends<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), courier: self.courier.clone() }
    }
}

impl<T> From<Handle<QueueCell<T>>> for Ends<T> {
    fn from(handle: Handle<QueueCell<T>>) -> Self {
        Self { handle, courier: None }
    }
}

/// How long is waited for other queues and programs.
const PAUSE: Duration = Duration::from_millis(10);

impl<T: Message> Ends<T> {
    /// A queue that `make` makes, and that others can come by only by a handle of this one.
    pub(super) fn with_courier(make: impl FnOnce() -> Result<Handle<QueueCell<T>>>) -> Result<Self> {
        // First, since what is made in a region stays there.
        let courier = Courier::new().map_err(|error| Error::os("socketpair", error))?;
        let handle = make()?;
        // From now on others know that somebody has it, forks of this process included.
        handle.member()?;
        handle.mark()?;
        Ok(Self { handle, courier: Some(Arc::new(courier)) })
    }

    #[inline]
    pub(super) fn raw(&self) -> Raw<'_> {
        Raw { words: self.handle.head(), units: self.handle.len() as u32 }
    }

    pub(super) fn region(&self) -> Region {
        self.handle.region()
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.handle.is_same(&other.handle)
    }

    /// Bytes of the longest message.
    pub(super) fn capacity(&self) -> usize {
        (self.handle.len() - 1) * UNIT
    }

    pub(super) fn member(&self) -> Result<MemberId> {
        self.handle.member()
    }

    pub(super) fn route(&self) -> Route {
        Route { home: Some(self.handle.home()), bytes_only: self.courier.is_none() }
    }

    /// For who waits.
    pub(super) fn world(&self) -> Result<World<Members<'_>, impl Fn() -> Company>> {
        let me = self.handle.member()?;
        let lives = self.handle.members()?;
        Ok(World { lives, company: move || self.company(lives, me) })
    }

    /// Who else has the queue. Those of the same region count, since they can come by it.
    fn company(&self, members: Members<'_>, me: MemberId) -> Company {
        let raw = self.raw();
        if raw.waits_alone() || !self.handle.is_anonymous() {
            return Company::Somebody;
        }
        let before = members.others(me);
        if let Some(id) = before.present {
            return Company::Member(id);
        }
        // Forks that have not used it, and handles on their way.
        match self.handle.has_company() {
            Ok(false) => {}
            Ok(true) => {
                raw.give();
                return Company::Somebody;
            }
            // It cannot be told.
            Err(_) => return Company::Somebody,
        }
        // Whoever was on the way at the first look, and has arrived before the second.
        let after = members.others(me);
        match after.present {
            Some(id) => Company::Member(id),
            None if after == before && (after.ever > 0 || raw.was_given()) => Company::None,
            None => Company::Somebody,
        }
    }

    #[inline]
    pub(super) fn put(&self, value: &T, wait: Wait) -> Result<()> {
        let mut buffer = buffer::take();
        let encoded = ticket::encode_into(value, self.route(), &mut buffer);
        let result = encoded.and_then(|descriptors| self.put_bytes(&buffer, &descriptors, wait));
        buffer::keep(buffer);
        result
    }

    #[inline]
    pub(super) fn put_bytes(&self, bytes: &[u8], descriptors: &[OwnedFd], wait: Wait) -> Result<()> {
        // Who puts something in has the queue, and the others are to know.
        self.handle.member()?;
        if descriptors.len() > courier::MOST {
            return Err(too_many(descriptors.len()));
        }
        let title = Title { bytes: bytes.len(), descriptors: descriptors.len() };
        let raw = self.raw();
        let Some(units) = title.units().filter(|units| *units <= raw.units) else {
            return Err(too_large(self.capacity(), title));
        };
        loop {
            let room = raw.room(units, || self.world(), wait)?;
            self.unit(room.at).store(title.to_bits(), Relaxed);
            self.write(room.at + title.length(), bytes);
            if let (Some(courier), true) = (&self.courier, !descriptors.is_empty()) {
                let receipts = raw.receipts();
                let number = raw.next_ticket(&room);
                self.unit(room.at + 1).store(number, Relaxed);
                point();
                if !self.send(courier, &room, number, descriptors)? {
                    drop(room);
                    self.wait_for_the_courier(receipts, wait)?;
                    continue;
                }
            }
            let next = room.at + units;
            raw.publish(room);
            // While the caller makes the next object.
            copy::prepare_to_store(ptr::from_ref(self.unit(next)).cast());
            return Ok(());
        }
    }

    /// Sends descriptors for the message that `room` is for. `false` when too much is under way.
    fn send(&self, courier: &Courier, room: &Room<'_>, number: u64, descriptors: &[OwnedFd]) -> Result<bool> {
        let send = || courier.send(number, descriptors).map_err(|error| Error::os("sending descriptors", error));
        Ok(send()? || self.discard_what_the_dead_sent(courier, room)? && send()?)
    }

    /// Takes away what was sent for messages that were never published, and says whether there was anything. Nothing is
    /// sent meanwhile: that takes the room.
    #[cold]
    fn discard_what_the_dead_sent(&self, courier: &Courier, room: &Room<'_>) -> Result<bool> {
        // While it is held, nobody takes anything.
        let first = match self.raw().look(room) {
            // A consumer was stopped with that lock: what the dead sent is left to others.
            Err(Error::WouldBlock) => return Ok(false),
            other => other?,
        };
        let (mut at, mut left, mut next) = (first.at, first.most, None);
        while left > 0 && next.is_none() {
            let (title, units) = self.title(at, left)?;
            next = (title.descriptors > 0).then(|| self.unit(at + 1).load(Relaxed));
            at = self.wrapped(at + units) as u32;
            left -= units;
        }
        courier.discard_until(next).map_err(|error| Error::os("receiving descriptors", error))
    }

    /// Waits until less is under way.
    fn wait_for_the_courier(&self, receipts: u32, wait: Wait) -> Result<()> {
        let raw = self.raw();
        if raw.len() > 0 || wait == Wait::No {
            return raw.wait_for_a_receipt(receipts, || self.world(), wait);
        }
        // Other queues and programs of this user have sent as much as it may send, and nothing tells when that is over.
        if wait.is_over() {
            return Err(Error::TimedOut);
        }
        thread::sleep(wait.slice(PAUSE).remaining());
        Ok(())
    }

    #[inline]
    pub(super) fn get(&self, wait: Wait) -> Result<T> {
        let me = self.handle.member()?;
        let mut buffer = buffer::take();
        let arrived = self.get_parcel(me, &mut buffer, wait, Arrived::new)?;
        let taken = Taken { ends: self, me, wait };
        let value = ticket::decode_from(&buffer, arrived, self.route());
        buffer::keep(buffer);
        if value.is_ok() {
            mem::forget(taken);
        }
        value
    }

    /// Takes the next message as it is.
    pub(super) fn get_bytes(&self, buffer: &mut Vec<u8>, wait: Wait) -> Result<Vec<OwnedFd>> {
        self.get_parcel(self.handle.member()?, buffer, wait, Ok).map(Option::unwrap_or_default)
    }

    /// Takes the next message; `unpack` is given the descriptors, if there are, before it is taken.
    #[inline]
    fn get_parcel<P>(
        &self,
        me: MemberId,
        buffer: &mut Vec<u8>,
        wait: Wait,
        unpack: impl Fn(Vec<OwnedFd>) -> io::Result<P>,
    ) -> Result<Option<P>> {
        let raw = self.raw();
        let first = raw.first(|| self.world(), wait)?;
        let (title, units) = self.title(first.at, first.most)?;
        self.read(first.at + title.length(), title.bytes, buffer);
        let mut arrived = None;
        if title.descriptors > 0 {
            let number = self.unit(first.at + 1).load(Relaxed);
            // The message stays if this process can open no more of them.
            let looked = self
                .look(number)
                .and_then(|found| found.map(|descriptors| Ok((descriptors.len(), unpack(descriptors)?))).transpose());
            arrived = looked.map_err(|error| Error::os("receiving descriptors", error))?;
        }
        raw.take(&first, units, me)?;
        if let (Some(courier), Some(_)) = (&self.courier, &arrived) {
            point();
            // If it fails, the packet is passed over.
            let _ = courier.take();
            raw.receive(&first);
        }
        drop(first);
        raw.notify_room();
        let count = arrived.as_ref().map_or(0, |(count, _)| *count);
        if count != title.descriptors {
            drop(Taken { ends: self, me, wait });
            return Err(Error::corrupt(format!("{count} of {} descriptors", title.descriptors)));
        }
        Ok(arrived.map(|(_, parcel)| parcel))
    }

    pub(super) fn task_done(&self, me: MemberId, wait: Wait) -> Result<()> {
        self.raw().task_done(me, &self.handle.members()?, wait)
    }

    fn look(&self, number: u64) -> io::Result<Option<Vec<OwnedFd>>> {
        let Some(courier) = &self.courier else { return Ok(None) };
        courier.look(number)
    }

    /// The title of the message at a unit, and the units of it, which are `most` at most.
    #[inline]
    fn title(&self, at: u32, most: u32) -> Result<(Title, u32)> {
        let title = Title::from_bits(self.unit(at).load(Relaxed));
        match title.units() {
            Some(units) if units <= most => Ok((title, units)),
            _ => Err(Error::corrupt(format!("a message of {} bytes in a queue", title.bytes))),
        }
    }

    /// A unit; positions after the last one begin at the first again.
    #[inline]
    fn unit(&self, at: u32) -> &AtomicU64 {
        &self.handle.elements()[self.wrapped(at)]
    }

    #[inline]
    fn wrapped(&self, at: u32) -> usize {
        let (at, units) = (at as usize, self.handle.len());
        if at < units { at } else { at - units }
    }

    /// Writes bytes, at most as many as the circle has, from a unit on, in room that this process has.
    #[inline]
    fn write(&self, at: u32, bytes: &[u8]) {
        let (start, rest) = self.parts(at, bytes.len());
        let units: *mut u8 = self.handle.data().as_ptr();
        let (first, second) = bytes.split_at(bytes.len() - rest);
        // SAFETY: `parts` gives a start inside the circle, and as many bytes as lie from there to its end at most.
        unsafe { copy::hand_over(first.as_ptr(), units.wrapping_add(start), first.len()) };
        // SAFETY: the rest fits the circle, of which it fills the beginning.
        unsafe { copy::hand_over(second.as_ptr(), units, second.len()) };
    }

    /// Reads so many bytes, at most as many as the circle has, from a unit on.
    #[inline]
    fn read(&self, at: u32, count: usize, buffer: &mut Vec<u8>) {
        let (start, rest) = self.parts(at, count);
        let units: *const u8 = self.handle.data().as_ptr();
        buffer.clear();
        buffer::reserve(buffer, count);
        let into = buffer.as_mut_ptr();
        // SAFETY: as in `write`, with room for `count` bytes in the buffer.
        unsafe { copy::load(units.wrapping_add(start), into, count - rest) };
        // SAFETY: as above; `count - rest` bytes of the buffer are filled.
        unsafe { copy::load(units, into.wrapping_add(count - rest), rest) };
        // SAFETY: `count` bytes are filled.
        unsafe { buffer.set_len(count) };
    }

    /// Where bytes from a unit on begin, and how many of them lie at the beginning of the circle.
    #[inline]
    fn parts(&self, at: u32, count: usize) -> (usize, usize) {
        let (start, size) = (self.wrapped(at) * UNIT, self.handle.len() * UNIT);
        assert!(count <= size, "{count} bytes of {size}");
        (start, count.saturating_sub(size - start))
    }
}

#[cold]
fn too_many(descriptors: usize) -> Error {
    Error::invalid_argument(format!("a message with {descriptors} descriptors; the most is {}", courier::MOST))
}

#[cold]
fn too_large(capacity: usize, title: Title) -> Error {
    let limit = capacity - (title.length() as usize - 1) * UNIT;
    Error::TooLarge { size: title.bytes as u64, limit: limit as u64 }
}

/// An object that was taken. Dropped when nothing came of it: nobody has got it to declare it done.
///
/// That takes the lock of the consumers. Who waits with a time limit has a slice for it, be the time over or not: more
/// than that is for the case that a process was stopped with the lock, and then the object counts as one that is not
/// done.
struct Taken<'a, T: Message> {
    ends: &'a Ends<T>,
    me: MemberId,
    wait: Wait,
}

impl<T: Message> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        let wait = if self.wait == Wait::Forever { Wait::Forever } else { Wait::No };
        let _ = self.ends.task_done(self.me, wait);
    }
}

/// What goes with the handle: the sockets, if there are, and a [mark](crate::os::marks) by which it is seen on its way.
#[derive(Serialize, Deserialize)]
struct Luggage {
    courier: Option<(u32, u32)>,
    mark: Option<u32>,
}

impl Luggage {
    fn pack<T: Message>(ends: &Ends<T>) -> Result<Self> {
        let pack = |courier: &Arc<Courier>| -> Result<(u32, u32)> {
            Ok((ticket::pack(courier.sender.as_fd())?, ticket::pack(courier.receiver.as_fd())?))
        };
        let courier = ends.courier.as_ref().map(pack).transpose()?;
        let is_seen = ends.handle.is_anonymous() && !ticket::route()?.bytes_only;
        let mark = is_seen.then(|| ends.handle.with_mark(ticket::pack)).transpose()?;
        ends.raw().give();
        Ok(Self { courier, mark })
    }

    fn unpack<T: Message>(self, handle: Handle<QueueCell<T>>) -> Result<Ends<T>> {
        let unpack = |(sender, receiver): (u32, u32)| -> Result<Arc<Courier>> {
            Ok(Arc::new(Courier { sender: ticket::unpack(sender)?, receiver: ticket::unpack(receiver)? }))
        };
        let courier = self.courier.map(unpack).transpose()?;
        // Who has it is known to the others from now on: before the mark goes that it came with.
        handle.member()?;
        if let Some(mark) = self.mark {
            handle.adopt_mark(ticket::unpack(mark)?);
        }
        Ok(Ends { handle, courier })
    }
}

impl<T: Message> Serialize for Ends<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let luggage = Luggage::pack(self).map_err(|error| S::Error::custom(ticket::keep_reason(error)))?;
        (&self.handle, luggage).serialize(serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Ends<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (handle, luggage) = <(Handle<QueueCell<T>>, Luggage)>::deserialize(deserializer)?;
        luggage.unpack(handle).map_err(|error| D::Error::custom(ticket::keep_reason(error)))
    }
}
