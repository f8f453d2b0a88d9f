//! The objects of a region: an arena that hands out blocks from front to back, and a hash table of their names.
//!
//! All changes happen under the directory's lock, in an order that leaves something recognisable after each step:
//!
//! | step | store | after a death here, the next holder of the lock |
//! | --- | --- | --- |
//! | 1 | `last` := the new block's offset, which is `end` | sees `last == end`: nothing happened |
//! | 2 | the block, state `BUILDING`, its body initialised | the same |
//! | 3 | `end` := the end of the block | sees the last block `BUILDING` and not in its bucket: takes `end` back |
//! | 4 | its bucket := the block (if it has a name) | sees it `BUILDING` but in its bucket: finishes with step 5 |
//! | 5 | state := `LIVE` | nothing is left to do |
//!
//! Removing a name is one store to the link before it, and then state := `REMOVED`; after a death in between the next
//! holder of the lock finds a block that is `LIVE` and in no bucket, and finishes. Blocks are not used again while the region exists: others may
//! hold the object still, and nobody can count the holders that died.
//!
//! Readers that cannot lock (a read-only mapping) walk the chains all the same: links are published whole.

use std::{
    ops::Range,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::{
    build, claims,
    header::Header,
    mapping::{Backing, Mapping},
    members::{self, Members},
    memory::Memory,
    object::{BLOCK_ALIGN, BUILDING, Block, Description, Dims, Found, Kind, LIVE, MAX_NAME, Plan, REMOVED, Spot, up},
};
use crate::{
    Error, Result,
    os::{clock::Wait, files, memory},
    raw::{
        claims::ClaimWords,
        mutex::{self, Hold, RawMutex, Use},
        points::point,
    },
};

/// What to do when a name is taken, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Create,
    Open,
    OpenOrCreate,
}

/// A region's directory: the header and the memory, both checked.
#[derive(Clone, Copy)]
pub(crate) struct Directory<'a> {
    memory: Memory<'a>,
    header: &'a Header,
    mapping: &'a Mapping,
    /// Where objects come, nothing has ever been written.
    is_new: bool,
}

impl<'a> Directory<'a> {
    pub(crate) fn new(memory: Memory<'a>, header: &'a Header, mapping: &'a Mapping) -> Self {
        Self { memory, header, mapping, is_new: false }
    }

    /// Of a region that this process is making, from a file that was empty.
    pub(super) fn of_new(self) -> Self {
        Self { is_new: true, ..self }
    }

    /// Makes an object and publishes it: under `name`, or for its offset alone when the name is `None`.
    ///
    /// `initialise` is given the body, zeroed. What it writes is published with the object; if it fails, or this
    /// process dies, there is no object.
    pub(crate) fn create(
        self,
        name: Option<&str>,
        description: &Description,
        initialise: impl FnOnce(Memory<'a>, Spot) -> Result<()>,
    ) -> Result<Spot> {
        check_name(name)?;
        let _held = self.lock()?;
        if let Some(name) = name
            && self.find(name)?.is_some()
        {
            return Err(Error::AlreadyExists { name: name.into() });
        }
        self.create_locked(name, description, initialise)
    }

    /// The object `name`, made first if there is none and the intent says so. The second part of the answer tells
    /// whether it was made.
    pub(crate) fn open_or_create(
        self,
        name: &str,
        intent: Intent,
        description: &Description,
        initialise: impl FnOnce(Memory<'a>, Spot) -> Result<()>,
    ) -> Result<(Found, bool)> {
        check_name(Some(name))?;
        let _held = self.lock()?;
        match (self.find(name)?, intent) {
            (Some(_), Intent::Create) => Err(Error::AlreadyExists { name: name.into() }),
            (Some(found), _) => Ok((found, false)),
            (None, Intent::Open) => Err(Error::NotFound { name: name.into() }),
            (None, _) => {
                let spot = self.create_locked(Some(name), description, initialise)?;
                Ok((Found { spot, description: description.clone() }, true))
            }
        }
    }

    /// The object `name`.
    pub(crate) fn open(self, name: &str) -> Result<Found> {
        check_name(Some(name))?;
        self.find(name)?.ok_or_else(|| Error::NotFound { name: name.into() })
    }

    /// The object whose block lies at `at`, which may come from anywhere.
    pub(crate) fn at(self, at: u64) -> Result<Found> {
        if !at.is_multiple_of(BLOCK_ALIGN) || at < self.first() {
            return Err(Error::corrupt(format!("no object can be at {at}")));
        }
        let block = Block::at(self.memory, at, self.end())?;
        if !matches!(block.state.load(Acquire), LIVE | REMOVED) {
            return Err(Error::corrupt(format!("no object is at {at}")));
        }
        block.read(self.memory, at)
    }

    /// The object that the region was made for.
    pub(crate) fn root(self) -> Result<Found> {
        match self.header.root.load(Acquire) {
            0 => Err(Error::TypeMismatch {
                expected: "a region that holds one object".into(),
                found: "a region of objects with names".into(),
            }),
            at => self.at(at),
        }
    }

    /// Makes `at` the object that [`root`](Self::root) answers.
    pub(crate) fn set_root(self, at: u64) {
        point();
        self.header.root.store(at, Release);
    }

    /// Takes the name from an object. Those who hold it keep it.
    pub(crate) fn remove(self, name: &str) -> Result<()> {
        check_name(Some(name))?;
        let _held = self.lock()?;
        let hash = hash(name);
        let mut link = self.bucket(hash)?;
        for _ in 0..self.most_blocks() {
            let at = link.load(Acquire);
            if at == 0 {
                return Err(Error::NotFound { name: name.into() });
            }
            let block = Block::at(self.memory, at, self.end())?;
            if block.hash.load(Relaxed) == hash && block.is_named(self.memory, at, name)? {
                point();
                link.store(block.next.load(Relaxed), Release);
                block.set_state(REMOVED);
                return Ok(());
            }
            link = &block.next;
        }
        Err(Error::corrupt("the directory goes round in circles"))
    }

    /// Makes the table of `count` members unless there is one.
    ///
    /// A death between the two steps, the object and its publication, costs the space of the object.
    pub(crate) fn provide_members(self, count: u64) -> Result<()> {
        let _held = self.lock()?;
        if Members::is_in(self.memory) {
            return Ok(());
        }
        let count = usize::try_from(count).map_err(|_| Error::invalid_size(format!("{count} members")))?;
        let table = members_description(count)?;
        let spot = self.create_locked(None, &table, |_, _| Ok(()))?;
        self.header.set_members(spot.body + spot.layout.data, count as u64);
        Ok(())
    }

    /// Makes the table of `count` claims unless `place`, which tells where it is, is set already.
    ///
    /// A death between the two steps costs the space of the table, until there is no other.
    pub(super) fn provide_claims(self, place: &AtomicU64, count: usize) -> Result<()> {
        let _held = self.lock()?;
        if place.load(Relaxed) == 0 {
            let body = match self.create_locked(None, &claims::description(count)?, |_, _| Ok(())) {
                Ok(spot) => spot.body,
                Err(error @ Error::RegionFull { .. }) => self.orphaned_claims(count)?.ok_or(error)?,
                Err(error) => return Err(error),
            };
            point();
            // Release: who finds the table finds it zeroed.
            place.store(body, Release);
        }
        Ok(())
    }

    /// A table of so many claims that no array has: its maker died before it could say whose it is. Nobody has used it.
    fn orphaned_claims(self, count: usize) -> Result<Option<u64>> {
        let (mut tables, mut taken) = (Vec::new(), Vec::new());
        self.for_each_block(|at, block| {
            match block.kind()? {
                Kind::Claims => {
                    let spot = block.read(self.memory, at)?.spot;
                    if claims::slots_in(spot.layout) == count {
                        tables.push(spot.body);
                    }
                }
                Kind::Array => taken.push(self.memory.at::<ClaimWords>(block.body(at)?)?.table.load(Relaxed)),
                _ => {}
            }
            Ok(())
        })?;
        Ok(tables.into_iter().find(|table| !taken.contains(table)))
    }

    /// The names in the directory, in no particular order.
    pub(crate) fn names(self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.for_each_block(|at, block| {
            if block.is_live() {
                names.push(block.name(self.memory, at)?);
            }
            Ok(())
        })?;
        names.retain(|name| !name.is_empty());
        Ok(names)
    }

    /// Bytes that objects may still take.
    pub(crate) fn left(self) -> u64 {
        self.committed().saturating_sub(self.end())
    }

    /// Bytes from the start of the region that objects can have.
    pub(crate) fn committed(self) -> u64 {
        self.header.committed(self.memory)
    }

    /// Bytes of the whole region.
    pub(super) fn size(self) -> u64 {
        self.header.size(self.memory)
    }

    /// Gives objects the first `bytes` of the region, if they have fewer.
    ///
    /// | dead after | what is left |
    /// | --- | --- |
    /// | memory was reserved | nobody knows of it; the next one who grows has it |
    /// | `committed` := its end | the region has grown |
    pub(crate) fn grow(self, bytes: u64) -> Result<()> {
        if bytes <= self.committed() {
            return Ok(());
        }
        let size = self.header.size(self.memory);
        let page = self.mapping.page_size()? as u64;
        // A huge page is there as a whole.
        let bytes = up(bytes, page).filter(|whole| *whole <= size).unwrap_or(bytes);
        if bytes > size {
            let reason = format!("a region of {bytes} bytes; it was made for at most {size}");
            return Err(Error::InvalidSize { reason });
        }
        // One after the other: a reservation that fails takes back what another one has of the same bytes.
        let _held = self.lock()?;
        let before = self.committed();
        if bytes > before {
            self.reserve(before..bytes)?;
            self.header.set_committed(bytes);
        }
        Ok(())
    }

    /// Sees to the memory of these bytes.
    fn reserve(self, bytes: Range<u64>) -> Result<()> {
        if self.header.is_sparse() || bytes.is_empty() {
            return Ok(());
        }
        let is_huge = self.mapping.page_size()? as u64 != memory::page_size();
        // Of small steps those that reach another mebibyte ask for one: many of them are much.
        let is_much = bytes.start / memory::UNCHECKED != bytes.end / memory::UNCHECKED;
        if self.mapping.backing() != Backing::File && !is_huge && is_much {
            build::check_room((bytes.end - bytes.start).max(memory::UNCHECKED))?;
        }
        build::reserve(self.mapping, bytes, self.mapping.backing())
    }

    /// Whether a thread of the process `stamp` holds a lock in this region.
    pub(crate) fn is_held_by(self, stamp: u64) -> bool {
        let mut held = self.header.lock().is_ok_and(|lock| lock.is_held_by(stamp));
        // An image too corrupt to walk has locks that cannot be found: then it counts as held.
        let walked = self.for_each_lock(|lock| held |= lock.is_held_by(stamp));
        held || walked.is_err()
    }

    /// Calls `each` with the lock of every object that has one.
    pub(crate) fn for_each_lock(self, mut each: impl FnMut(&RawMutex)) -> Result<()> {
        self.for_each_block(|at, block| {
            let kind = block.kind()?;
            for lock in kind.locks() {
                each(self.memory.at::<RawMutex>(block.body(at)?.saturating_add(*lock))?);
            }
            if kind == Kind::Claims {
                let spot = block.read(self.memory, at)?.spot;
                let (_, slots) = claims::table(self.memory, spot.body, claims::slots_in(spot.layout))
                    .ok_or_else(|| claims::no_table(spot.body))?;
                slots.iter().for_each(|slot| each(&slot.mutex));
            }
            Ok(())
        })
    }

    fn for_each_block(self, mut each: impl FnMut(u64, &Block) -> Result<()>) -> Result<()> {
        let (mut at, end) = (self.first(), self.end());
        while at < end {
            let block = Block::at(self.memory, at, end)?;
            each(at, block)?;
            at += block.size.load(Relaxed).max(BLOCK_ALIGN);
        }
        Ok(())
    }

    /// Zeroes bytes that nobody uses: what died half way may have left anything there.
    fn clear(self, bytes: Range<u64>) -> Result<()> {
        let written = match self.header.is_sparse() && self.mapping.backing() != Backing::File {
            // A look at what nobody has touched would give it memory, here and now.
            true => files::written(self.mapping, bytes),
            false => vec![bytes],
        };
        for bytes in written {
            // Blocks begin at whole words, pages too.
            for part in self.memory.slice::<AtomicU64>(bytes.start, (bytes.end - bytes.start) / 8)? {
                if part.load(Relaxed) != 0 {
                    part.store(0, Relaxed);
                }
            }
        }
        Ok(())
    }

    /// Makes an object under the lock; its name is free.
    fn create_locked(
        self,
        name: Option<&str>,
        description: &Description,
        initialise: impl FnOnce(Memory<'a>, Spot) -> Result<()>,
    ) -> Result<Spot> {
        let text = name.unwrap_or_default();
        let (hash, at) = (hash(text), self.end());
        let plan = Plan::new(at, text, description, at == self.first())?;
        // What grows has addresses for all of it, and memory for what is there; claims find room where nothing else
        // does.
        let goes_beyond = description.dims.most().is_some() || description.kind == Kind::Claims;
        let left = if goes_beyond { self.header.size(self.memory).saturating_sub(at) } else { self.left() };
        if plan.size > left {
            return Err(Error::RegionFull { needed: plan.size, left });
        }
        if at + plan.at_first > self.committed() {
            self.reserve(at.max(self.committed())..at + plan.at_first)?;
        }
        let bucket = self.bucket(hash)?;
        point();
        self.header.last.store(at, Relaxed);
        point();
        // To look whether a large body is zero gives it all of its pages, by reads; the user's writes then fault again.
        if !(self.is_new && at == self.first()) {
            self.clear(at..at + plan.at_first)?;
        }
        plan.write(self.memory, at, hash, text, description)?;
        let spot = plan.spot(at);
        initialise(self.memory, spot)?;
        let block = self.memory.at::<Block>(at)?;
        block.next.store(bucket.load(Relaxed), Relaxed);
        point();
        // Release, here and below: the block is whole for whoever finds it.
        self.header.end.store(at + plan.size, Release);
        if name.is_some() {
            point();
            bucket.store(at, Release);
        }
        block.set_state(LIVE);
        Ok(spot)
    }

    fn find(self, name: &str) -> Result<Option<Found>> {
        let hash = hash(name);
        // Acquire: pairs with the Release of `create_locked`.
        let mut at = self.bucket(hash)?.load(Acquire);
        for _ in 0..self.most_blocks() {
            if at == 0 {
                return Ok(None);
            }
            let block = Block::at(self.memory, at, self.end())?;
            if block.hash.load(Relaxed) == hash && block.is_named(self.memory, at, name)? {
                return block.read(self.memory, at).map(Some);
            }
            at = block.next.load(Acquire);
        }
        Err(Error::corrupt("the directory goes round in circles"))
    }

    fn bucket(self, hash: u32) -> Result<&'a AtomicU64> {
        let buckets = self.header.buckets.load(Relaxed);
        let at = u64::from(hash) & (buckets.wrapping_sub(1));
        self.memory.at::<AtomicU64>(self.header.table.load(Relaxed).saturating_add(at.saturating_mul(8)))
    }

    /// More links than this are a circle.
    fn most_blocks(self) -> u64 {
        self.memory.len() / size_of::<Block>() as u64
    }

    fn first(self) -> u64 {
        let table = self.header.table.load(Relaxed);
        table.saturating_add(self.header.buckets.load(Relaxed).saturating_mul(8))
    }

    fn end(self) -> u64 {
        // Acquire: blocks below are whole. Clamped: it indexes the memory.
        self.header.end.load(Acquire).min(self.header.size(self.memory))
    }

    fn lock(self) -> Result<Hold<'a>> {
        let lock = self.header.lock()?;
        let found = lock.lock(Use::Table, Wait::Forever)?;
        let held = Hold(lock);
        if found == mutex::Found::Inherited {
            self.repair()?;
        }
        self.check_end()?;
        Ok(held)
    }

    fn check_end(self) -> Result<()> {
        let end = self.header.end.load(Relaxed);
        if end < self.first() || end > self.header.size(self.memory) || up(end, BLOCK_ALIGN) != Some(end) {
            return Err(Error::corrupt(format!("the arena ends at {end}")));
        }
        Ok(())
    }

    /// Finishes or takes back what the last holder of the lock left: the table above.
    fn repair(self) -> Result<()> {
        self.repair_creation()?;
        self.repair_removal()
    }

    fn repair_removal(self) -> Result<()> {
        self.for_each_block(|at, block| {
            if block.is_live() && !block.name(self.memory, at)?.is_empty() && !self.is_linked(at, block)? {
                block.set_state(REMOVED);
            }
            Ok(())
        })
    }

    /// Whether the chain of its hash leads to the block at `at`.
    fn is_linked(self, at: u64, block: &Block) -> Result<bool> {
        let mut link = self.bucket(block.hash.load(Relaxed))?.load(Acquire);
        for _ in 0..self.most_blocks() {
            match link {
                0 => return Ok(false),
                _ if link == at => return Ok(true),
                _ => link = Block::at(self.memory, link, self.end())?.next.load(Acquire),
            }
        }
        Err(Error::corrupt("the directory goes round in circles"))
    }

    fn repair_creation(self) -> Result<()> {
        let (last, end) = (self.header.last.load(Relaxed), self.end());
        if last < self.first() || last >= end {
            return Ok(());
        }
        let block = Block::at(self.memory, last, end)?;
        if block.state.load(Acquire) != BUILDING {
            return Ok(());
        }
        if self.bucket(block.hash.load(Relaxed))?.load(Acquire) == last {
            block.set_state(LIVE);
        } else {
            point();
            self.header.end.store(last, Release);
        }
        Ok(())
    }

    /// Has others see what the process `stamp` was before it called `exec` as one that is gone: [`RawMutex::bury`].
    pub(super) fn bury(self, stamp: u64) {
        if let Ok(members) = Members::of(self.memory) {
            members.bury(stamp);
        }
        // An image too corrupt to walk has locks that cannot be found.
        let _ = self.for_each_lock(|lock| lock.bury(stamp));
    }

    /// Frees every lock, and poisons what was held: for whoever knows that no holder lives, and keeps others out.
    pub(super) fn reset_locks(self) -> Result<()> {
        let lock = self.header.lock()?;
        let was_held = lock.reset(Use::Table);
        if was_held {
            self.repair()?;
        }
        if let Ok(members) = Members::of(self.memory) {
            members.reset();
        }
        self.for_each_lock(|lock| {
            lock.reset(Use::Data);
        })
    }
}

/// What the table of `count` members is, as an object of the arena.
pub(super) fn members_description(count: usize) -> Result<Description> {
    Ok(Description {
        kind: Kind::Members,
        tag: "".into(),
        element_size: members::SLOT,
        element_align: members::SLOT as u16,
        value_size: members::SLOT,
        dims: Dims::new(&[count])?,
    })
}

fn check_name(name: Option<&str>) -> Result<()> {
    let reason = match name {
        Some("") => "it is empty".into(),
        Some(name) if name.len() > MAX_NAME => format!("it has {} bytes, the most is {MAX_NAME}", name.len()),
        Some(name) if name.contains('\0') => "it contains a NUL".into(),
        _ => return Ok(()),
    };
    Err(Error::InvalidName { name: name.unwrap_or_default().into(), reason })
}

/// FNV-1a, 32 bits (Fowler, Noll and Vo; draft-eastlake-fnv): part of the layout, so a fixed and simple one.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
