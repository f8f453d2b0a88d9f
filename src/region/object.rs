//! One object's block: what it is, its name, and where its body lies.
//!
//! ```text
//! 0     8     16     20 21 22 23  24       28      30     31        32    36      40
//! size  next  hash   st kd nl rk  element  align   tag_l  flags     body  spare   dims[rk], tag, name, body
//! ```
//!
//! | `state` | meaning | after a death of the maker |
//! | --- | --- | --- |
//! | `BUILDING` | between the allocation and its last step | taken back, or finished when its name is in the directory |
//! | `LIVE` | complete | stays |
//! | `REMOVED` | without a name; its users go on | stays |

#![expect(unsafe_code, reason = "declares the block's head a type that may be looked at in foreign bytes")]

use std::{
    borrow::Cow,
    fmt,
    mem::offset_of,
    sync::atomic::{
        AtomicU8, AtomicU16, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::memory::{Memory, Shared};
use crate::{
    Error, Result,
    raw::{barrier::BarrierWords, points::point, queue::QueueWords},
};

/// The most dimensions that a shape can have.
pub(crate) const MAX_RANK: usize = 8;

/// The most bytes of a name or a type's name.
pub(crate) const MAX_NAME: usize = 255;

/// The largest alignment of a body: mappings begin at pages.
pub(crate) const MAX_ALIGN: u64 = 4096;

/// Kinds of objects, as they are recorded. Never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Lock = 1,
    RLock = 2,
    Value = 3,
    Array = 4,
    AtomicValue = 5,
    AtomicArray = 6,
    RawArray = 7,
    /// The table of claims on an array: no object of a user's.
    Claims = 8,
    /// The table of the members: no object of a user's.
    Members = 9,
    Semaphore = 10,
    Event = 11,
    BoundedSemaphore = 12,
    Barrier = 13,
    Condvar = 14,
    RwLock = 15,
    Ring = 16,
    SpscRing = 17,
    Queue = 18,
    /// What a pool and its workers tell each other: no object of a user's.
    Pool = 19,
    /// Where a manager's server and its clients ring for each other: no object of a user's.
    Bell = 20,
    /// What a client and the server of a manager tell each other: no object of a user's.
    Line = 21,
}

impl Kind {
    const ALL: [Self; 21] = [
        Self::Lock,
        Self::RLock,
        Self::Value,
        Self::Array,
        Self::AtomicValue,
        Self::AtomicArray,
        Self::RawArray,
        Self::Claims,
        Self::Members,
        Self::Semaphore,
        Self::Event,
        Self::BoundedSemaphore,
        Self::Barrier,
        Self::Condvar,
        Self::RwLock,
        Self::Ring,
        Self::SpscRing,
        Self::Queue,
        Self::Pool,
        Self::Bell,
        Self::Line,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Where the locks are in the body.
    pub(crate) const fn locks(self) -> &'static [u64] {
        match self {
            Self::Lock | Self::RLock | Self::Value | Self::Array | Self::RwLock | Self::Condvar => &[0],
            Self::Queue => &[0, QueueWords::SECOND_LOCK],
            _ => &[],
        }
    }

    /// Whether an object is always one element, or none, and never has dimensions.
    pub(crate) const fn is_single(self) -> bool {
        !matches!(
            self,
            Self::Array
                | Self::AtomicArray
                | Self::RawArray
                | Self::Claims
                | Self::Members
                | Self::BoundedSemaphore
                | Self::Barrier
                | Self::Ring
                | Self::SpscRing
                | Self::Queue
                | Self::Pool
                | Self::Line
        )
    }

    /// Whether its operations need to know who lives, so that its region has a table of members.
    pub(crate) const fn needs_members(self) -> bool {
        matches!(
            self,
            Self::BoundedSemaphore
                | Self::Barrier
                | Self::Condvar
                | Self::RwLock
                | Self::Ring
                | Self::SpscRing
                | Self::Queue
                | Self::Pool
                | Self::Bell
        )
    }

    /// What those words are aligned to at least.
    pub(crate) const fn align(self) -> u64 {
        match self {
            Self::Ring | Self::SpscRing | Self::Queue | Self::Pool | Self::Bell | Self::Line => 128,
            _ => 8,
        }
    }

    /// Bytes of the words at the start of the body, before the elements.
    pub(crate) const fn head(self) -> u64 {
        match self {
            Self::Lock | Self::Value => 40,
            Self::Array => 56,
            Self::RLock => 48,
            Self::AtomicValue | Self::AtomicArray | Self::RawArray | Self::Members => 0,
            Self::Semaphore | Self::Event | Self::BoundedSemaphore => 8,
            Self::Barrier => BarrierWords::SIZE,
            Self::Claims => 192,
            Self::Condvar => 80 + 256 * 24,
            Self::RwLock => 48 + 8 * 64,
            Self::Ring => 512,
            Self::SpscRing => 384,
            Self::Queue => QueueWords::SIZE,
            Self::Pool => 384,
            Self::Bell | Self::Line => 256,
        }
    }
}

/// The lengths of an object's dimensions: none for a single value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dims {
    lengths: [usize; MAX_RANK],
    rank: usize,
    /// The most that the first length can be; 0 if it does not grow.
    most: usize,
}

impl Dims {
    /// The shape of a single value.
    pub(crate) const NONE: Self = Self { lengths: [0; MAX_RANK], rank: 0, most: 0 };

    pub(crate) fn new(lengths: &[usize]) -> Result<Self> {
        if lengths.is_empty() || lengths.len() > MAX_RANK {
            return Err(Error::invalid_size(format!("{} dimensions; 1 to {MAX_RANK} are possible", lengths.len())));
        }
        let mut dims = Self { rank: lengths.len(), ..Self::NONE };
        dims.lengths[..lengths.len()].copy_from_slice(lengths);
        Ok(dims)
    }

    /// With a first length that can grow up to `most`.
    pub(crate) fn growing(self, most: usize) -> Result<Self> {
        if most == 0 || most < self.lengths[0] {
            return Err(Error::invalid_size(format!("a shape of {self:?} that has room for {most} rows")));
        }
        Ok(Self { most, ..self })
    }

    /// The most that the first length can be, if it grows.
    pub(crate) fn most(&self) -> Option<usize> {
        (self.most > 0).then_some(self.most)
    }

    pub(crate) fn as_slice(&self) -> &[usize] {
        &self.lengths[..self.rank]
    }

    /// The number of elements: 1 for a single value.
    pub(crate) fn count(&self) -> Result<usize> {
        let product = self.as_slice().iter().try_fold(1_usize, |count, length| count.checked_mul(*length));
        product.ok_or_else(|| Error::invalid_size(format!("{self:?} elements overflow")))
    }
}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// What an object is: enough to make its body, and to tell whether a found one is the one expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) kind: Kind,
    /// The last segment of the element type's path: full paths differ between programs.
    pub(crate) tag: Cow<'static, str>,
    pub(crate) element_size: u32,
    pub(crate) element_align: u16,
    /// Bytes of the value in an element: fewer where words stand beside it.
    pub(crate) value_size: u32,
    pub(crate) dims: Dims,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)?;
        if !self.tag.is_empty() {
            write!(f, "<{}> ({} bytes, aligned to {}", self.tag, self.element_size, self.element_align)?;
            if self.value_size != self.element_size {
                write!(f, ", with values of {}", self.value_size)?;
            }
            write!(f, ")")?;
        }
        if self.dims != Dims::NONE {
            write!(f, " of shape {:?}", self.dims)?;
        }
        if let Some(most) = self.dims.most() {
            write!(f, " that grows to {most} rows")?;
        }
        Ok(())
    }
}

/// How a body is laid out: follows from the [`Description`] alone, so that every program agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: u64,
    pub(crate) align: u64,
    /// Where the data begins in the body.
    pub(crate) data: u64,
}

/// Bodies with at least this many bytes of data begin at a cache line, for vector loads and against false sharing.
const WIDE: u64 = 256;
const CACHE_LINE: u64 = 64;

impl Description {
    pub(crate) fn layout(&self) -> Result<Layout> {
        let too_large = || Error::invalid_size(format!("{self} does not fit the address space"));
        let count = self.dims.count()? as u64;
        let bytes = count.checked_mul(u64::from(self.element_size)).ok_or_else(too_large)?;
        let least = if bytes >= WIDE || self.dims.most > 0 { CACHE_LINE } else { 8 }.max(self.kind.align());
        let align = u64::from(self.element_align).max(least);
        if !align.is_power_of_two() || align > MAX_ALIGN {
            return Err(Error::invalid_size(format!("an alignment of {align}; the most is {MAX_ALIGN}")));
        }
        let data = up(self.kind.head(), align).ok_or_else(too_large)?;
        let size = data.checked_add(bytes).filter(|size| *size <= isize::MAX as u64).ok_or_else(too_large)?;
        Ok(Layout { size, align, data })
    }

    /// Bytes of one step along the first dimension.
    pub(crate) fn row(&self) -> Result<u64> {
        let too_large = || Error::invalid_size(format!("{self} does not fit the address space"));
        let lengths = self.dims.as_slice().get(1..).unwrap_or_default();
        let row =
            lengths.iter().try_fold(u64::from(self.element_size), |bytes, length| bytes.checked_mul(*length as u64));
        row.ok_or_else(too_large)
    }

    /// Bytes that the body can have in the end: those of `layout`, unless it grows.
    pub(super) fn room(&self, layout: Layout) -> Result<u64> {
        if self.dims.most == 0 {
            return Ok(layout.size);
        }
        if self.row()? == 0 {
            return Err(Error::invalid_size("rows without a byte, of which there are to be more"));
        }
        let room = self.row()?.checked_mul(self.dims.most as u64).and_then(|bytes| bytes.checked_add(layout.data));
        let room = room.filter(|room| *room <= isize::MAX as u64);
        room.map(|room| room.max(layout.size)).ok_or_else(|| {
            Error::invalid_size(format!("{} rows of {self} do not fit the address space", self.dims.most))
        })
    }
}

/// The next multiple of `align`, a power of two.
pub(super) fn up(offset: u64, align: u64) -> Option<u64> {
    Some(offset.checked_add(align - 1)? & !(align - 1))
}

/// In `flags`: the first length may grow, as far as the block has room, and the data begin where those of a large
/// object would.
const GROWS: u8 = 1;

pub(super) const BUILDING: u8 = 1;
pub(super) const LIVE: u8 = 2;
pub(super) const REMOVED: u8 = 3;

/// The fixed part of a block.
#[repr(C)]
pub(super) struct Block {
    /// Bytes of the whole block.
    pub(super) size: AtomicU64,
    /// The next block of the same bucket; 0 ends the chain.
    pub(super) next: AtomicU64,
    pub(super) hash: AtomicU32,
    pub(super) state: AtomicU8,
    kind: AtomicU8,
    name_len: AtomicU8,
    rank: AtomicU8,
    element_size: AtomicU32,
    element_align: AtomicU16,
    tag_len: AtomicU8,
    /// [`GROWS`] or nothing.
    flags: AtomicU8,
    /// Where the body begins, from the start of the block.
    body: AtomicU32,
    value_size: AtomicU32,
}

const _: () = {
    assert!(size_of::<Block>() == 40 && align_of::<Block>() == 8);
    assert!(offset_of!(Block, element_size) == 24 && offset_of!(Block, body) == 32);
};

/// What LAYOUT.md tells of it.
#[cfg(test)]
pub(super) const FIELDS: &[(&str, usize)] = &[
    ("size", offset_of!(Block, size)),
    ("next", offset_of!(Block, next)),
    ("hash", offset_of!(Block, hash)),
    ("state", offset_of!(Block, state)),
    ("kind", offset_of!(Block, kind)),
    ("name_len", offset_of!(Block, name_len)),
    ("rank", offset_of!(Block, rank)),
    ("element_size", offset_of!(Block, element_size)),
    ("element_align", offset_of!(Block, element_align)),
    ("tag_len", offset_of!(Block, tag_len)),
    ("flags", offset_of!(Block, flags)),
    ("body", offset_of!(Block, body)),
    ("value_size", offset_of!(Block, value_size)),
];

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for Block {}

/// The bytes of [`Block`], after which the dimensions follow.
const HEAD: u64 = size_of::<Block>() as u64;

/// Blocks begin at multiples of this.
pub(super) const BLOCK_ALIGN: u64 = 8;

/// Where a block's parts lie, before it is written: `at` is its own offset.
pub(super) struct Plan {
    /// From the start of the block to the body.
    body: u32,
    pub(super) size: u64,
    /// Of these the bytes that are there at first: all, unless it grows.
    pub(super) at_first: u64,
    layout: Layout,
}

impl Plan {
    /// For the `first` object of a region the body begins at a cache line, whatever it is: it is often the only one, and
    /// a lock whose word and links lie in two lines costs two transfers where it is contended.
    pub(super) fn new(at: u64, name: &str, description: &Description, is_first: bool) -> Result<Self> {
        let layout = description.layout()?;
        let align = if is_first { layout.align.max(CACHE_LINE) } else { layout.align };
        let dims = 8 * description.dims.as_slice().len() as u64;
        let head = HEAD + dims + description.tag.len() as u64 + name.len() as u64;
        let too_large = || Error::invalid_size(format!("{description} does not fit the address space"));
        let body = at.checked_add(head).and_then(|end| up(end, align)).ok_or_else(too_large)?;
        let end_of = |size| body.checked_add(size).and_then(|end| up(end, BLOCK_ALIGN)).ok_or_else(too_large);
        let (at_first, end) = (end_of(layout.size)?, end_of(description.room(layout)?)?);
        Ok(Self { body: (body - at) as u32, size: end - at, at_first: at_first - at, layout })
    }

    /// Writes the block at `at`, whose bytes are zero and which nobody else uses: state `BUILDING`.
    pub(super) fn write(&self, memory: Memory<'_>, at: u64, hash: u32, name: &str, what: &Description) -> Result<()> {
        memory.bytes(at, self.size, BLOCK_ALIGN)?;
        let block = memory.at::<Block>(at)?;
        block.size.store(self.size, Relaxed);
        block.hash.store(hash, Relaxed);
        block.state.store(BUILDING, Relaxed);
        block.kind.store(what.kind as u8, Relaxed);
        block.name_len.store(name.len() as u8, Relaxed);
        block.rank.store(what.dims.as_slice().len() as u8, Relaxed);
        block.element_size.store(what.element_size, Relaxed);
        block.element_align.store(what.element_align, Relaxed);
        block.value_size.store(what.value_size, Relaxed);
        block.tag_len.store(what.tag.len() as u8, Relaxed);
        block.flags.store(if what.dims.most > 0 { GROWS } else { 0 }, Relaxed);
        block.body.store(self.body, Relaxed);
        let dims = memory.slice::<AtomicU64>(at + HEAD, what.dims.as_slice().len() as u64)?;
        for (place, length) in dims.iter().zip(what.dims.as_slice()) {
            place.store(*length as u64, Relaxed);
        }
        let text = memory.slice::<AtomicU8>(at + HEAD + 8 * dims.len() as u64, (what.tag.len() + name.len()) as u64)?;
        for (place, byte) in text.iter().zip(what.tag.bytes().chain(name.bytes())) {
            place.store(byte, Relaxed);
        }
        Ok(())
    }

    pub(super) fn spot(&self, at: u64) -> Spot {
        Spot { at, body: at + u64::from(self.body), layout: self.layout }
    }
}

/// Where an arena that ends at `at` would end with this nameless object too, as it is at first.
pub(super) fn end_at_first(at: u64, description: &Description, is_first: bool) -> Result<u64> {
    Ok(at + Plan::new(at, "", description, is_first)?.at_first)
}

/// Where an arena that ends at `at` would end with this nameless object too.
pub(super) fn end_with(at: u64, description: &Description, is_first: bool) -> Result<u64> {
    Ok(at + Plan::new(at, "", description, is_first)?.size)
}

/// Where an object lies in a region, checked: its body lies inside and is as large as its description says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    /// The offset of the block: names the object for as long as the region exists.
    pub(crate) at: u64,
    /// The offset of the body.
    pub(crate) body: u64,
    pub(crate) layout: Layout,
}

/// An object that was there already.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) spot: Spot,
    pub(crate) description: Description,
}

impl Block {
    /// The block at `at`, if that can be one: inside the first `end` bytes.
    pub(super) fn at(memory: Memory<'_>, at: u64, end: u64) -> Result<&Block> {
        let block = memory.at::<Block>(at)?;
        let size = block.size.load(Relaxed);
        if size < HEAD || size % BLOCK_ALIGN != 0 || at.checked_add(size).is_none_or(|stop| stop > end) {
            return Err(Error::corrupt(format!("the object at {at} has {size} bytes")));
        }
        Ok(block)
    }

    pub(super) fn kind(&self) -> Result<Kind> {
        let byte = self.kind.load(Relaxed);
        Kind::from_byte(byte).ok_or_else(|| Error::corrupt(format!("an object of the unknown kind {byte}")))
    }

    /// The bytes of the tag and the name, at `at`.
    fn text<'a>(&self, memory: Memory<'a>, at: u64) -> Result<(&'a [AtomicU8], &'a [AtomicU8])> {
        let (rank, tag) = (self.rank.load(Relaxed), self.tag_len.load(Relaxed));
        let tag_at = at + HEAD + 8 * u64::from(rank);
        let tag_text = memory.slice::<AtomicU8>(tag_at, u64::from(tag))?;
        let name = memory.slice::<AtomicU8>(tag_at + u64::from(tag), u64::from(self.name_len.load(Relaxed)))?;
        Ok((tag_text, name))
    }

    pub(super) fn is_named(&self, memory: Memory<'_>, at: u64, name: &str) -> Result<bool> {
        let (_, found) = self.text(memory, at)?;
        Ok(found.len() == name.len() && found.iter().zip(name.bytes()).all(|(found, byte)| found.load(Relaxed) == byte))
    }

    pub(super) fn name(&self, memory: Memory<'_>, at: u64) -> Result<String> {
        let (_, name) = self.text(memory, at)?;
        Ok(read_text(name))
    }

    /// Where the body begins.
    pub(super) fn body(&self, at: u64) -> Result<u64> {
        at.checked_add(u64::from(self.body.load(Relaxed))).ok_or_else(|| Error::corrupt("a body past the end"))
    }

    /// All that the block says, checked against its size.
    pub(super) fn read(&self, memory: Memory<'_>, at: u64) -> Result<Found> {
        let rank = usize::from(self.rank.load(Relaxed));
        if rank > MAX_RANK {
            return Err(Error::corrupt(format!("an object of {rank} dimensions")));
        }
        let mut dims = Dims { rank, ..Dims::NONE };
        for (length, place) in dims.lengths.iter_mut().zip(memory.slice::<AtomicU64>(at + HEAD, rank as u64)?) {
            // Acquire: of an array that grows, with its elements.
            *length = place.load(Acquire) as usize;
        }
        let (tag, name) = self.text(memory, at)?;
        let head = HEAD + 8 * rank as u64 + (tag.len() + name.len()) as u64;
        let mut description = Description {
            kind: self.kind()?,
            tag: read_text(tag).into(),
            element_size: self.element_size.load(Relaxed),
            element_align: self.element_align.load(Relaxed),
            value_size: self.value_size.load(Relaxed),
            dims,
        };
        let corrupt = |error: Error| Error::corrupt(error.to_string());
        // One look: it may be another number by now than the one that `at` has checked.
        let (body, size) = (self.body(at)?, self.size.load(Relaxed));
        memory.bytes(at, size, BLOCK_ALIGN)?;
        let grows = self.flags.load(Relaxed) & GROWS != 0 && rank > 0;
        // Any number has the same layout; how many there can be follows from it.
        description.dims.most = usize::from(grows);
        let layout = description.layout().map_err(corrupt)?;
        if grows {
            let room = at.saturating_add(size).saturating_sub(body.saturating_add(layout.data));
            let most = room.checked_div(description.row().map_err(corrupt)?).unwrap_or(0);
            if most == 0 {
                return Err(Error::corrupt("an array that grows and has no room for a row"));
            }
            // Fewer than the region has bytes: all of them lie in it.
            description.dims.most = most as usize;
        }
        let fits = body >= at + head && body.checked_add(layout.size).is_some_and(|end| end <= at.saturating_add(size));
        if !fits || body % layout.align != 0 {
            return Err(Error::corrupt(format!("{description} has its body at {} of {size} bytes", body - at)));
        }
        memory.bytes(body, description.room(layout).map_err(corrupt)?, layout.align)?;
        Ok(Found { spot: Spot { at, body, layout }, description })
    }

    pub(super) fn set_state(&self, state: u8) {
        point();
        // Release: publishes what was written before; pairs with the Acquire of `is_live`.
        self.state.store(state, Release);
    }

    /// The first length, of a block whose description was read.
    pub(super) fn first_length(memory: Memory<'_>, at: u64) -> Result<&AtomicU64> {
        memory.at::<AtomicU64>(at + HEAD)
    }

    pub(super) fn is_live(&self) -> bool {
        self.state.load(Acquire) == LIVE
    }
}

fn read_text(bytes: &[AtomicU8]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| byte.load(Relaxed)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(kind: Kind, element_size: u32, element_align: u16, dims: Dims) -> Description {
        Description { kind, tag: "t".into(), element_size, element_align, value_size: element_size, dims }
    }

    #[test]
    fn layouts_follow_from_the_description() {
        let value = description(Kind::Value, 8, 8, Dims::NONE).layout().unwrap();
        assert_eq!(value, Layout { size: 48, align: 8, data: 40 });
        let array = description(Kind::Array, 8, 8, Dims::new(&[100, 3]).unwrap()).layout().unwrap();
        assert_eq!(array, Layout { size: 64 + 2400, align: 64, data: 64 });
        let small = description(Kind::RawArray, 1, 1, Dims::new(&[3]).unwrap()).layout().unwrap();
        assert_eq!(small, Layout { size: 3, align: 8, data: 0 });
    }

    /// As it may be when somebody writes there between two looks.
    #[test]
    fn a_block_that_leaves_the_region_is_refused() {
        #[repr(align(4096))]
        struct Page([AtomicU64; 64]);
        let page = Page([const { AtomicU64::new(0) }; 64]);
        // SAFETY: `page` is 512 bytes, aligned, and outlives `memory`.
        let memory = unsafe { Memory::new(std::ptr::NonNull::from(&page).cast(), 512) };
        let what = description(Kind::Array, 8, 8, Dims::new(&[1]).unwrap().growing(8).unwrap());
        let plan = Plan::new(0, "", &what, true).unwrap();
        plan.write(memory, 0, 0, "", &what).unwrap();
        let block = Block::at(memory, 0, 512).unwrap();
        assert_eq!(block.read(memory, 0).unwrap().description.dims.most(), Some(8));
        block.size.store(1 << 20, Relaxed);
        assert!(block.read(memory, 0).is_err());
        assert_eq!(page.0[0].load(Relaxed), 1 << 20);
    }

    #[test]
    fn sizes_that_overflow_are_errors() {
        for dims in [&[usize::MAX, 2][..], &[usize::MAX / 2], &[1 << 32, 1 << 32]] {
            assert!(description(Kind::Array, 8, 8, Dims::new(dims).unwrap()).layout().is_err(), "{dims:?}");
        }
        assert!(Dims::new(&[]).is_err());
        assert!(Dims::new(&[1; 9]).is_err());
        assert!(description(Kind::Value, 8192, 8192, Dims::NONE).layout().is_err());
    }
}
