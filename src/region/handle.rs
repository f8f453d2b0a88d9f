//! The handle of every kind of object: made, opened, cloned, sent and checked here, once for all of them.
//!
//! A kind adds its name in the type system (a [`Resident`]) and its operations; `resident_handle!` writes the part of
//! its public face that all kinds share.

#![expect(unsafe_code, reason = "hands out the body of an object in a mapping")]

use std::{
    fmt, io,
    marker::PhantomData,
    ops::Range,
    os::fd::{BorrowedFd, OwnedFd},
    ptr::NonNull,
    slice,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

use super::{
    Region, build,
    build::Recipe,
    claims,
    directory::{Directory, Intent, members_description},
    header,
    mapping::{Backing, Mapping},
    members::{self, Members},
    memory::{Memory, Shared},
    object::{BLOCK_ALIGN, Block, Description, Dims, Found, Kind, MAX_NAME, Spot, end_at_first, end_with},
    place::Place,
    placement::{Numa, Pages},
    ticket::{self, Seat},
    whole_pages,
};
use crate::{
    Error, Result,
    os::files::FileId,
    raw::{lives::MemberId, points::point},
};

/// In the place of a length: it is in the region. As a length it is right for one that does not grow.
const ASK: usize = usize::MAX;

/// An array that grows beyond what has memory gets that much at a time.
const STRIDE: u64 = 1 << 16;

/// A kind of object that can live in a region.
///
/// # Safety
///
/// - The body that [`Description::layout`] gives for `KIND` and the element is what the kind's operations use.
/// - Zeroed memory followed by `initialise` of the constructors is a valid body, and so is any contents that other
///   processes write there: elements are plain data, the rest is atomics.
/// - A kind whose body begins with words has `Head` for them, and one with a lock has that first.
pub(crate) unsafe trait Resident: 'static {
    const KIND: Kind;
    /// The words at the start of the body.
    type Head: Shared;
    /// The type of the elements as users name it, as it is stored: name, size and alignment go on record.
    type Element: 'static;
    type Stored;
    /// Bytes of the value in what is stored.
    const VALUE_SIZE: usize = size_of::<Self::Stored>();

    /// Whether an object can have this shape, beyond what its kind says.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for whoever wants to make one.
    fn check(_dims: Dims) -> Result<()> {
        Ok(())
    }

    /// Whether a process counts from the moment that it is given such a handle.
    const HAS_SEAT: bool = false;

    /// Keeps a place for a process that is to be given such a handle.
    fn reserve(_handle: &Handle<Self>) -> Option<Box<dyn Seat>>
    where
        Self: Sized,
    {
        None
    }

    /// The place that came with a handle.
    fn seat(_handle: &Handle<Self>, _number: u32) -> Option<Box<dyn Seat>>
    where
        Self: Sized,
    {
        None
    }

    fn description(dims: Dims) -> Description {
        Description {
            kind: Self::KIND,
            tag: if size_of::<Self::Stored>() == 0 { "" } else { last_segment::<Self::Element>() }.into(),
            element_size: u32::try_from(size_of::<Self::Stored>()).unwrap_or(u32::MAX),
            element_align: u16::try_from(align_of::<Self::Stored>()).unwrap_or(u16::MAX),
            value_size: u32::try_from(Self::VALUE_SIZE).unwrap_or(u32::MAX),
            dims,
        }
    }
}

/// The last segment of a type's path, with its parameters as they are: `Cell`, `Pair<f64, geometry::Point>`.
fn last_segment<T: 'static>() -> &'static str {
    let full = std::any::type_name::<T>();
    let outer = full.find(['<', '[', '(']).unwrap_or(full.len());
    let start = full[..outer].rfind(':').map_or(0, |at| at + 1);
    let mut end = full.len().min(start + MAX_NAME);
    while !full.is_char_boundary(end) {
        end -= 1;
    }
    &full[start..end]
}

/// An object of kind `R` in a mapped region.
///
/// Invariant: `body` points at a body of `R::description(dims)` inside `mapping`, checked when the handle was made. Where
/// its maker alone knows the type of the elements ([`make`](Handle::make), [`find`](Handle::find)) it is that of another
/// description with the same kind, and so the same head; elements then lie `stride` bytes apart.
pub(crate) struct Handle<R> {
    mapping: Arc<Mapping>,
    at: u64,
    body: NonNull<u8>,
    data: NonNull<u8>,
    shape: Shape,
    /// [`ASK`] of one that grows.
    len: usize,
    /// Bytes from one element to the next.
    stride: usize,
    _kind: PhantomData<R>,
}

/// [`Dims`] as handles keep them, of which there may be thousands, nearly all of single values.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Scalar,
    Line(usize),
    Grid(Arc<[usize]>),
    /// Whose first length grows.
    Growing(Arc<Growing>),
}

/// The shape of an array that grows.
///
/// Invariant: `rows` points into the mapping of the handle that has this.
#[derive(Debug)]
pub(crate) struct Growing {
    /// The first length, as it is now; untrusted.
    rows: NonNull<AtomicU64>,
    /// The most that the first one can be, and the others.
    widest: Box<[usize]>,
    most: usize,
    /// Elements of a row: 1 or more.
    row: usize,
    /// The shapes that were asked for, in the order of their first lengths. What is in a box here is never changed, and
    /// stays as long as this.
    seen: Mutex<Vec<Box<[usize]>>>,
}

// SAFETY: `rows` leads to an atomic in a mapping that whoever has this keeps; the rest is `Send`.
unsafe impl Send for Growing {}
// SAFETY: as above, and the rest is `Sync`.
unsafe impl Sync for Growing {}

impl Growing {
    #[inline]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: the invariant; an atomic is valid whatever is written there.
        unsafe { self.rows.as_ref() }
    }

    #[inline]
    fn rows(&self) -> usize {
        // Acquire: pairs with the Release of whoever published the length, so the elements are there.
        (self.word().load(Acquire) as usize).min(self.most)
    }

    /// The shape with so many rows.
    fn shape(&self, rows: usize) -> &[usize] {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let at = seen.binary_search_by_key(&rows, |shape| shape[0]).unwrap_or_else(|at| {
            // At the end nearly always.
            seen.insert(at, [&[rows], &self.widest[1..]].concat().into());
            at
        });
        let shape: *const [usize] = &*seen[at];
        // SAFETY: the field's promise: the box stays unchanged as long as `self`.
        unsafe { &*shape }
    }
}

impl From<Dims> for Shape {
    fn from(dims: Dims) -> Self {
        match dims.as_slice() {
            [] => Self::Scalar,
            [length] => Self::Line(*length),
            lengths => Self::Grid(lengths.into()),
        }
    }
}

impl Shape {
    fn as_slice(&self) -> &[usize] {
        match self {
            Self::Scalar => &[],
            Self::Line(length) => slice::from_ref(length),
            Self::Grid(lengths) => lengths,
            Self::Growing(growing) => growing.shape(growing.rows()),
        }
    }

    /// How many elements there are now.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Growing(growing) => growing.rows() * growing.row,
            shape => shape.as_slice().iter().product(),
        }
    }
}

// SAFETY: a handle is a counted reference to shared memory. What is done with the body is the kind's matter; the handle
// hands out pointers, and references to the lock, which is made of atomics.
unsafe impl<R> Send for Handle<R> {}
// SAFETY: as above.
unsafe impl<R> Sync for Handle<R> {}

/// Writes the first contents of a body, zeroed, which nobody else sees yet.
pub(crate) type Initialise<'f> = &'f dyn Fn(Fresh);

/// The parts of a new body.
#[derive(Clone, Copy)]
pub(crate) struct Fresh {
    /// The words at its start.
    pub(crate) head: NonNull<u8>,
    pub(crate) data: NonNull<u8>,
}

impl Fresh {
    fn of(memory: Memory<'_>, spot: Spot) -> Result<Self> {
        let head = memory.bytes(spot.body, spot.layout.size, spot.layout.align)?;
        Ok(Self { head, data: data(memory, spot)? })
    }
}

impl<R: Resident> Handle<R> {
    /// In an anonymous region of its own.
    pub(crate) fn new(dims: Dims, initialise: Initialise<'_>) -> Result<Self> {
        let description = R::description(dims);
        let mapping = build::anonymous(single(&description)?, &|directory| fill(directory, &description, initialise))?;
        Self::root(mapping, None)
    }

    /// As [`new`](Self::new), zeroed, and without memory for the elements: see [`commit`](Self::commit).
    #[cfg(feature = "mpi")]
    pub(crate) fn new_without_memory(dims: Dims) -> Result<Self> {
        let description = R::description(dims);
        let recipe = Recipe { sparse: true, ..single(&description)? };
        build::check_room(recipe.size - recipe.later)?;
        Self::root(build::anonymous(recipe, &|directory| fill(directory, &description, &|_| {}))?, None)
    }

    /// In a region, under `name` or without one.
    pub(crate) fn new_in(region: &Region, name: Option<&str>, dims: Dims, initialise: Initialise<'_>) -> Result<Self> {
        let mapping = region.mapping();
        let directory = Self::directory(mapping)?;
        let description = R::description(dims);
        let spot = directory.create(name, &description, |memory, spot| {
            initialise(Fresh::of(memory, spot)?);
            Ok(())
        })?;
        match dims.most() {
            // How much room there is follows from the block.
            Some(_) => Self::at_offset(Arc::clone(mapping), spot.at),
            None => Self::of(Arc::clone(mapping), spot, &description),
        }
    }

    /// In a region, under `name`: the one that is there, or a new one.
    pub(crate) fn open_or_create_in(
        region: &Region,
        name: &str,
        dims: Dims,
        initialise: Initialise<'_>,
    ) -> Result<Self> {
        let mapping = region.mapping();
        let directory = Self::directory(mapping)?;
        let (found, _) =
            directory.open_or_create(name, Intent::OpenOrCreate, &R::description(dims), |memory, spot| {
                initialise(Fresh::of(memory, spot)?);
                Ok(())
            })?;
        Self::adopt(Arc::clone(mapping), found, Some(dims))
    }

    /// The directory of a region that is to have one more such object.
    fn directory(mapping: &Mapping) -> Result<Directory<'_>> {
        let directory = mapping.writable()?.directory()?;
        if R::KIND.needs_members() {
            directory.provide_members(members::slots_for(directory.committed()))?;
        }
        Ok(directory)
    }

    /// The object `name` of a region.
    pub(crate) fn open_in(region: &Region, name: &str) -> Result<Self> {
        let mapping = region.mapping();
        let found = mapping.writable()?.directory()?.open(name)?;
        Self::adopt(Arc::clone(mapping), found, None)
    }

    /// In a region of its own at `place`.
    pub(crate) fn at_place(place: &Place, intent: Intent, dims: Dims, initialise: Initialise<'_>) -> Result<Self> {
        let description = R::description(dims);
        let mapping = build::at_place(place, intent, single(&description)?, &|directory| {
            fill(directory, &description, initialise)
        })?;
        Self::root(mapping, Some(dims).filter(|dims| dims.most().is_none()))
    }

    /// The object that a region at `place` was made for.
    pub(crate) fn open(place: &Place) -> Result<Self> {
        Self::root(build::open(place, false)?, None)
    }

    /// The elements of the object that a region at `place` was made for, in a mapping that cannot be written.
    pub(crate) fn open_read_only(place: &Place) -> Result<ReadOnly> {
        let mapping = build::open(place, true)?;
        let dims = mapping.directory()?.root()?.description.dims;
        let Self { mapping, data, mut shape, mut len, .. } = Self::root(mapping, None)?;
        if let Shape::Growing(growing) = &shape {
            // As it is now: there is no later look at it. It may have grown since the first one, and never shrinks.
            (len, shape) = (dims.count()?.min(growing.most * growing.row), dims.into());
        }
        Ok(ReadOnly { _mapping: mapping, data, shape, len })
    }

    fn root(mapping: Arc<Mapping>, dims: Option<Dims>) -> Result<Self> {
        let found = mapping.directory()?.root()?;
        Self::adopt(mapping, found, dims)
    }

    /// The object whose block lies at `at`, an offset that may come from anywhere.
    pub(crate) fn at_offset(mapping: Arc<Mapping>, at: u64) -> Result<Self> {
        let found = mapping.writable()?.directory()?.at(at)?;
        Self::adopt(mapping, found, None)
    }

    /// The gate: whether `found` is a `R`, of the expected shape where one is expected.
    fn adopt(mapping: Arc<Mapping>, found: Found, dims: Option<Dims>) -> Result<Self> {
        let expected = R::description(dims.unwrap_or(found.description.dims));
        Self::adopt_as(mapping, &found, &expected)
    }

    /// The gate, for whoever knows best what is expected.
    fn adopt_as(mapping: Arc<Mapping>, found: &Found, expected: &Description) -> Result<Self> {
        let is_single = found.description.dims == Dims::NONE;
        let may_grow = R::KIND == Kind::Array || found.description.dims.most().is_none();
        if found.description != *expected || is_single != R::KIND.is_single() || !may_grow {
            return Err(mismatch(expected, &found.description));
        }
        R::check(found.description.dims).map_err(|error| Error::corrupt(error.to_string()))?;
        Self::of(mapping, found.spot, &found.description)
    }

    /// The handle of what is known to be a `R` of this description.
    fn of(mapping: Arc<Mapping>, spot: Spot, description: &Description) -> Result<Self> {
        if R::HAS_SEAT {
            ticket::has_seats();
        }
        let memory = mapping.memory();
        let body = memory.bytes(spot.body, spot.layout.size, spot.layout.align)?;
        let data = data(memory, spot)?;
        let dims = description.dims;
        let shape = match dims.most() {
            None => dims.into(),
            Some(most) => {
                let widest: Box<[usize]> = [&[most], &dims.as_slice()[1..]].concat().into();
                // Without an overflow: `most` of them lie in the block.
                let row = widest[1..].iter().product();
                let rows = NonNull::from(Block::first_length(memory, spot.at)?);
                Shape::Growing(Arc::new(Growing { rows, widest, most, row, seen: Mutex::default() }))
            }
        };
        let len = if dims.most().is_some() { ASK } else { dims.count()? };
        let stride = description.element_size as usize;
        Ok(Self { at: spot.at, body, data, len, shape, stride, mapping, _kind: PhantomData })
    }
}

/// Where an object is made or found.
#[cfg(feature = "capi")]
pub(crate) enum Site<'a> {
    Anonymous,
    Place(Place),
    Within(&'a Region, Option<&'a str>),
}

/// For callers that learn at run time where an object is, and what its elements are.
#[cfg(feature = "capi")]
impl<R: Resident> Handle<R> {
    /// Makes an object of `description`, whose kind is that of `R`, or finds it if `intent` says so.
    pub(crate) fn make(
        site: &Site<'_>,
        intent: Intent,
        description: &Description,
        initialise: Initialise<'_>,
    ) -> Result<Self> {
        debug_assert_eq!(description.kind, R::KIND);
        R::check(description.dims)?;
        let fill = |directory: Directory<'_>| fill(directory, description, initialise);
        let adopt = |mapping: Arc<Mapping>, found: Found| match description.dims.most() {
            // How much room there is follows from the block.
            Some(_) => {
                Self::adopt_as(mapping, &found, &Description { dims: found.description.dims, ..description.clone() })
            }
            None => Self::adopt_as(mapping, &found, description),
        };
        let of_root = |mapping: Arc<Mapping>| {
            let found = mapping.directory()?.root()?;
            adopt(mapping, found)
        };
        match site {
            Site::Anonymous => of_root(build::anonymous(single(description)?, &fill)?),
            Site::Place(place) => of_root(build::at_place(place, intent, single(description)?, &fill)?),
            Site::Within(region, name) => {
                let mapping = region.mapping();
                let directory = Self::directory(mapping)?;
                let initialise = |memory: Memory<'_>, spot: Spot| {
                    initialise(Fresh::of(memory, spot)?);
                    Ok(())
                };
                let found = match (name, intent) {
                    (Some(name), Intent::OpenOrCreate) => {
                        directory.open_or_create(name, intent, description, initialise)?.0
                    }
                    _ => directory.at(directory.create(*name, description, initialise)?.at)?,
                };
                adopt(Arc::clone(mapping), found)
            }
        }
    }

    /// Finds an object of this kind. `accept` has the last word on its description, and may refuse it by returning another.
    pub(crate) fn find(
        site: &Site<'_>,
        accept: impl FnOnce(&Description) -> Description,
    ) -> Result<(Self, Description)> {
        let (mapping, found) = match site {
            Site::Place(place) => {
                let mapping = build::open(place, false)?;
                let found = mapping.directory()?.root()?;
                (mapping, found)
            }
            Site::Within(region, Some(name)) => {
                let mapping = region.mapping();
                (Arc::clone(mapping), mapping.writable()?.directory()?.open(name)?)
            }
            _ => return Err(Error::invalid_argument("only what has a name can be opened")),
        };
        let description = found.description.clone();
        let mut expected = accept(&description);
        expected.kind = R::KIND;
        Ok((Self::adopt_as(mapping, &found, &expected)?, description))
    }
}

impl<R> Handle<R> {
    /// The words that the body begins with.
    #[inline]
    pub(crate) fn head(&self) -> &R::Head
    where
        R: Resident,
    {
        const { assert!(size_of::<R::Head>() as u64 == R::KIND.head()) };
        const { assert!(align_of::<R::Head>() as u64 <= R::KIND.align()) };
        // SAFETY: the invariant: `body` is a live body of this kind, aligned as `Kind::align` says, which begins with a `Head`;
        // `Shared` makes any contents valid and any change by others allowed.
        unsafe { self.body.cast::<R::Head>().as_ref() }
    }

    /// The start of the elements: `len` of them lie here.
    #[inline]
    pub(crate) fn data(&self) -> NonNull<u8> {
        self.data
    }

    /// Bytes from one element to the next.
    #[inline]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The number of elements; 1 for a single value. Not for what grows.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether the number of elements stands in the region: [`len_now`](Self::len_now) tells it.
    #[inline]
    pub(crate) fn grows(&self) -> bool {
        self.len == ASK
    }

    /// The number of elements now.
    #[inline]
    pub(crate) fn len_now(&self) -> usize {
        if self.grows() { self.ask_len() } else { self.len }
    }

    /// Out of the way of the others: a lock is taken in a few nanoseconds.
    #[cold]
    fn ask_len(&self) -> usize {
        self.shape.count()
    }

    /// The shape as the handle has it.
    #[inline]
    pub(super) fn kept_shape(&self) -> &Shape {
        &self.shape
    }

    /// The most elements that there can be.
    #[inline]
    pub(crate) fn most(&self) -> usize {
        match &self.shape {
            Shape::Growing(growing) => growing.most * growing.row,
            _ => self.len,
        }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        self.shape.as_slice()
    }

    /// The lengths but for the first one, which alone may grow.
    #[inline]
    pub(crate) fn others(&self) -> &[usize] {
        match &self.shape {
            Shape::Growing(growing) => &growing.widest[1..],
            shape => shape.as_slice().get(1..).unwrap_or_default(),
        }
    }

    /// The first length, as it is now.
    #[inline]
    pub(crate) fn rows_now(&self) -> usize {
        match &self.shape {
            Shape::Growing(growing) => growing.rows(),
            shape => shape.as_slice()[0],
        }
    }

    /// The first length when it has, or had, `len` elements.
    #[inline]
    pub(crate) fn rows_of(&self, len: usize) -> usize {
        match &self.shape {
            Shape::Growing(growing) => len / growing.row,
            shape => shape.as_slice()[0],
        }
    }

    /// The shape when it has, or had, `len` elements.
    #[inline]
    pub(crate) fn shape_of<'a>(&'a self, len: &'a usize) -> &'a [usize] {
        match &self.shape {
            Shape::Growing(growing) if growing.widest.len() == 1 => slice::from_ref(len),
            Shape::Growing(growing) => growing.shape(len / growing.row),
            shape => shape.as_slice(),
        }
    }

    /// The same for a moment: nothing is kept.
    #[cold]
    pub(crate) fn lengths_of(&self, len: usize) -> Vec<usize> {
        match &self.shape {
            Shape::Growing(_) => [&[self.rows_of(len)], self.others()].concat(),
            shape => shape.as_slice().to_vec(),
        }
    }

    /// A shape to index elements by, of which there may be fewer: the first length is the most that it can be. It takes no
    /// time that an index without need of it would pay.
    #[inline]
    pub(crate) fn index_shape(&self) -> &[usize] {
        match &self.shape {
            Shape::Growing(growing) => &growing.widest,
            Shape::Grid(lengths) => lengths,
            Shape::Line(length) => slice::from_ref(length),
            Shape::Scalar => &[],
        }
    }

    /// Appends rows of `count` elements in all, which `write` puts at the place that it is given, and publishes the new
    /// length. For the holder of the array's lock.
    ///
    /// | dead after | what is left |
    /// | --- | --- |
    /// | the region has grown | the old length; the memory is there for the next one |
    /// | some elements stand behind the end | the same: nobody sees them |
    /// | the length | the new length, with all elements |
    pub(crate) fn append(&self, count: usize, write: impl FnOnce(NonNull<u8>)) -> Result<()>
    where
        R: Resident,
    {
        let Shape::Growing(growing) = &self.shape else {
            return Err(Error::invalid_argument("this array was made without room to grow"));
        };
        let (rows, row) = (growing.rows(), growing.row);
        if row == 0 || !count.is_multiple_of(row) {
            return Err(Error::invalid_argument(format!("{count} elements are no whole rows of {row}")));
        }
        let (wanted, size) = ((growing.most - rows) * row, self.stride);
        if count > wanted {
            let needed = count.saturating_mul(size) as u64;
            return Err(Error::RegionFull { needed, left: (wanted * size) as u64 });
        }
        let directory = self.directory_of()?;
        let base = self.mapping.memory().offset_of(self.data);
        let end = base + ((rows * row + count) * size) as u64;
        if end > directory.committed() {
            // Some more at a time than a page, if there is room.
            let more = whole_pages(end.next_multiple_of(STRIDE)).unwrap_or(u64::MAX).min(directory.size());
            directory.grow(more.max(end))?;
        }
        // SAFETY: the block has room for `most` rows from `data` on, of which fewer stand before this place.
        let place = unsafe { self.data.add(rows * row * size) };
        write(place);
        point();
        // Release: publishes the elements; pairs with the Acquire of `Growing::rows`.
        growing.word().store((rows + count / row) as u64, Release);
        point();
        Ok(())
    }

    /// Says on which nodes the whole pages of these elements are to be.
    pub(crate) fn place(&self, elements: Range<usize>, numa: Numa) -> Result<()>
    where
        R: Resident,
    {
        self.mapping.writable()?.place(self.bytes_of(elements), numa)
    }

    /// Reserves the memory of the pages that these elements have a part of, where it has none yet: on the node of the
    /// calling thread, unless the thread or the memory is to have another one.
    #[cfg(feature = "mpi")]
    pub(crate) fn commit(&self, elements: Range<usize>) -> Result<()>
    where
        R: Resident,
    {
        if elements.is_empty() {
            return Ok(());
        }
        let (bytes, page) = (self.bytes_of(elements), crate::os::memory::page_size());
        let bytes = bytes.start as u64 / page * page..(bytes.end as u64).next_multiple_of(page);
        build::reserve(self.mapping.writable()?, bytes, self.mapping.backing())
    }

    /// The nodes of the pages that these elements have a part of.
    pub(crate) fn nodes(&self, elements: Range<usize>) -> Result<Vec<Option<usize>>>
    where
        R: Resident,
    {
        self.mapping.nodes(self.bytes_of(elements))
    }

    /// Where in the region these elements are.
    fn bytes_of(&self, elements: Range<usize>) -> Range<usize>
    where
        R: Resident,
    {
        let (base, size) = (self.mapping.memory().offset_of(self.data) as usize, self.stride);
        base + elements.start * size..base + elements.end * size
    }

    /// The elements, of a kind whose elements are atomics.
    #[inline]
    pub(crate) fn elements(&self) -> &[R::Stored]
    where
        R: Resident,
        R::Stored: Shared,
    {
        // SAFETY: the invariant: `len` elements of this type begin at `data`; `Shared` makes any contents valid and any
        // change by others allowed.
        unsafe { slice::from_raw_parts(self.data.cast().as_ptr(), self.len) }
    }

    /// This process as a member of the region, if it is one already.
    #[inline(always)]
    pub(crate) fn known_member(&self) -> Option<MemberId> {
        self.mapping.known_member()
    }

    /// This process as a member of the region, which it becomes now if it is none.
    #[inline]
    pub(crate) fn member(&self) -> Result<MemberId> {
        self.mapping.member()
    }

    #[inline]
    pub(super) fn memory(&self) -> Memory<'_> {
        self.mapping.memory()
    }

    /// The directory of the region, to be changed.
    pub(super) fn directory_of(&self) -> Result<Directory<'_>> {
        self.mapping.writable()?.directory()
    }

    /// Those who take part in the region.
    pub(crate) fn members(&self) -> Result<Members<'_>> {
        self.mapping.members()
    }

    /// Has others see forks of this process as holders of the region.
    pub(crate) fn mark(&self) -> Result<()> {
        self.with_mark(|_| Ok(()))
    }

    /// See [`Mapping::with_mark`].
    pub(crate) fn with_mark<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
        self.mapping.with_mark(f)
    }

    /// See [`Mapping::adopt_mark`].
    pub(crate) fn adopt_mark(&self, mark: OwnedFd) {
        self.mapping.adopt_mark(mark);
    }

    /// See [`Mapping::has_company`].
    pub(crate) fn has_company(&self) -> io::Result<bool> {
        self.mapping.has_company()
    }

    /// Whether nobody can come by it but by a handle that is sent.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.mapping.backing() == Backing::Anonymous
    }

    /// What tells the region from every other.
    pub(crate) fn home(&self) -> FileId {
        self.mapping.id()
    }

    pub(crate) fn region(&self) -> Region {
        Region(Arc::clone(&self.mapping))
    }

    pub(crate) fn offset(&self) -> u64 {
        self.at
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.mapping.id() == other.mapping.id() && self.at == other.at
    }
}

/// Elements that can be read and not written; of which kind and type was checked when they were opened.
pub(crate) struct ReadOnly {
    _mapping: Arc<Mapping>,
    data: NonNull<u8>,
    shape: Shape,
    len: usize,
}

// SAFETY: as for `Handle`: a counted reference to memory, of which it hands out a pointer.
unsafe impl Send for ReadOnly {}
// SAFETY: as above.
unsafe impl Sync for ReadOnly {}

impl ReadOnly {
    /// The elements of whatever kind of data a region at `place` was made for. `accept` has the last word on its description,
    /// and may refuse it by returning another.
    #[cfg(feature = "capi")]
    pub(crate) fn open(place: &Place, accept: impl FnOnce(&Description) -> Description) -> Result<(Self, Description)> {
        let mapping = build::open(place, true)?;
        let Found { spot, description } = mapping.directory()?.root()?;
        let expected = accept(&description);
        let (kind, dims) = (description.kind, description.dims);
        let is_data =
            matches!(kind, Kind::Value | Kind::Array | Kind::RawArray | Kind::AtomicValue | Kind::AtomicArray);
        if !is_data || expected != description || (dims == Dims::NONE) != kind.is_single() {
            return Err(mismatch(&expected, &description));
        }
        // The block was read as one of so many elements.
        let (data, len) = (data(mapping.memory(), spot)?, dims.count()?);
        Ok((Self { _mapping: mapping, data, shape: dims.into(), len }, description))
    }

    pub(crate) fn data(&self) -> NonNull<u8> {
        self.data
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn shape(&self) -> &[usize] {
        self.shape.as_slice()
    }
}

impl<R> Clone for Handle<R> {
    fn clone(&self) -> Self {
        Self { mapping: Arc::clone(&self.mapping), shape: self.shape.clone(), ..*self }
    }
}

impl<R> fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("at", &self.at).field("shape", &self.shape()).finish_non_exhaustive()
    }
}

fn mismatch(expected: &Description, found: &Description) -> Error {
    Error::TypeMismatch { expected: expected.to_string(), found: found.to_string() }
}

fn data(memory: Memory<'_>, spot: Spot) -> Result<NonNull<u8>> {
    memory.bytes(spot.body + spot.layout.data, spot.layout.size - spot.layout.data, 1)
}

/// A region that has room for one object.
fn single(description: &Description) -> Result<Recipe> {
    let begin = header::SIZE + 8 * header::SINGLE;
    let at_first = end_at_first(begin, description, true)?;
    let mut size = end_with(begin, description, true)?;
    if description.kind.needs_members() {
        size = end_with(size, &members_description(members::SINGLE as usize)?, false)?;
    }
    // What grows has no members.
    let at_first = whole_pages(if description.dims.most().is_some() { at_first } else { size })?;
    if description.kind == Kind::Array {
        // Room for the claims, which gets its memory when there are any: see `Handle::claims`.
        let layout = description.layout()?;
        // One row more than asked for may fit, where the block is rounded.
        let data = description.room(layout)? - layout.data + BLOCK_ALIGN;
        size = end_with(size, &claims::description(claims::slots_for(data))?, false)?;
    }
    let size = whole_pages(size)?;
    let (later, numa, pages) = (size - at_first, None, Pages::Usual);
    Ok(Recipe { size, buckets: header::SINGLE, later, sparse: false, dump: false, numa, pages, prefault: None })
}

fn fill(directory: Directory<'_>, description: &Description, initialise: Initialise<'_>) -> Result<()> {
    let spot = directory.create(None, description, |memory, spot| {
        initialise(Fresh::of(memory, spot)?);
        Ok(())
    })?;
    if description.kind.needs_members() {
        directory.provide_members(members::SINGLE)?;
    }
    directory.set_root(spot.at);
    Ok(())
}

/// The face that the handles of all kinds share: `Clone`, equality of identity, the region, and opening by name.
macro_rules! resident_handle {
    ($name:ident $(<$t:ident: $bound:path>)?, $resident:ty, $example:literal) => {
        impl$(<$t: $bound>)? $name$(<$t>)? {
            #[doc = concat!("The ", $example, " that a region at this name or file was made for.")]
            ///
            /// # Errors
            ///
            /// [`Error::NotFound`](crate::Error::NotFound), [`Error::TypeMismatch`](crate::Error::TypeMismatch) when it
            /// is something else, and as [`Region::open`](crate::Region::open).
            ///
            /// # Examples
            ///
            /// See [`create`](Self::create).
            pub fn open(at: impl Into<$crate::region::Place>) -> $crate::Result<Self> {
                $crate::region::Handle::<$resident>::open(&at.into()).map(|handle| Self(handle.into()))
            }

            #[doc = concat!("The ", $example, " of this name in a region.")]
            ///
            /// # Errors
            ///
            /// [`Error::NotFound`](crate::Error::NotFound), [`Error::TypeMismatch`](crate::Error::TypeMismatch),
            /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::ReadOnly`](crate::Error::ReadOnly).
            ///
            /// # Examples
            ///
            /// See [`Region`](crate::Region).
            pub fn open_in(region: &$crate::Region, name: &str) -> $crate::Result<Self> {
                $crate::region::Handle::<$resident>::open_in(region, name).map(|handle| Self(handle.into()))
            }

            /// Removes a name or file. Those who have it open keep it.
            ///
            /// # Errors
            ///
            /// As [`Region::unlink`](crate::Region::unlink).
            ///
            /// # Examples
            ///
            /// See [`create`](Self::create).
            pub fn unlink(at: impl Into<$crate::region::Place>) -> $crate::Result<()> {
                $crate::Region::unlink(at)
            }

            /// The region that it lies in.
            ///
            /// # Examples
            ///
            /// See [`Region::is_same`](crate::Region::is_same).
            #[must_use]
            pub fn region(&self) -> $crate::Region {
                self.0.region()
            }

            /// Whether both are the same object in the same memory.
            ///
            /// # Examples
            ///
            /// See [`Region::is_same`](crate::Region::is_same).
            #[must_use]
            pub fn is_same(&self, other: &Self) -> bool {
                self.0.is_same(&other.0)
            }
        }

        #[cfg(feature = "capi")]
        impl$(<$t: $bound>)? From<$crate::region::Handle<$resident>> for $name$(<$t>)? {
            fn from(handle: $crate::region::Handle<$resident>) -> Self {
                Self(handle.into())
            }
        }

        impl$(<$t: $bound>)? Clone for $name$(<$t>)? {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl$(<$t: $bound>)? serde::Serialize for $name$(<$t>)? {
            fn serialize<Z: serde::Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                serde::Serialize::serialize(&self.0, serializer)
            }
        }

        impl<'de $(, $t: $bound)?> serde::Deserialize<'de> for $name$(<$t>)? {
            fn deserialize<Z: serde::Deserializer<'de>>(deserializer: Z) -> Result<Self, Z::Error> {
                serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    };
}
pub(crate) use resident_handle;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_last_segments() {
        assert_eq!(last_segment::<f64>(), "f64");
        assert_eq!(last_segment::<std::num::Wrapping<u8>>(), "Wrapping<u8>");
        assert_eq!(last_segment::<[std::num::Wrapping<u8>; 3]>(), "[core::num::wrapping::Wrapping<u8>; 3]");
    }
}
