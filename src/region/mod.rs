//! Shared memory: mappings, what lies in them, and how they are found again.
//!
//! A [`Region`] is one stretch of shared memory. Values and arrays make an anonymous one of their own unless told
//! otherwise; many small objects share one with the `*_in` constructors.
//!
//! # Trust
//!
//! Whatever is read from a region is checked before it is used. A region of another user, or one that others may
//! write to, is not opened at all. One thing cannot be had: a *named* or *file* region cannot be sealed, so a process
//! of the same user that truncates it ends (by `SIGBUS`) those who touch the memory behind the cut. Anonymous regions
//! are sealed against that.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

mod adopt;
mod build;
mod claims;
mod directory;
mod handle;
mod header;
pub mod layout;
mod mapping;
mod members;
mod memory;
mod object;
mod place;
mod placement;
pub(crate) mod ticket;
mod travel;

use self::{build::Recipe, directory::Directory, mapping::Mapping};
pub(crate) use self::{
    directory::Intent,
    handle::{Fresh, Handle, ReadOnly, Resident, resident_handle},
    mapping::locate,
    members::Members,
    memory::Shared,
    object::{Dims, Kind},
};
#[cfg(feature = "capi")]
pub(crate) use self::{
    handle::{Initialise, Site},
    object::{Description, MAX_NAME},
};
pub use place::Place;
pub use placement::{Numa, PageReport, Pages};

use crate::{Error, Result, os::pages, raw::lives::MemberId};

/// A stretch of shared memory that holds objects, with names or without.
///
/// Clones share it. It exists until its last user has gone, by any way of going; a named one or a file keeps its
/// name, and its contents, until it is [unlinked](Region::unlink).
///
/// # If a process dies
///
/// One that dies while it makes an object leaves none, and the space is used again. The objects themselves say what
/// a death means for them.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::{Array, Region, Value};
///
/// let region = Region::anonymous(1 << 20)?;
/// let step = Value::new_in(&region, "step", 0_u64)?;
/// let field = Array::<f32>::zeros_in(&region, "field", [64, 64])?;
/// step.set(1)?;
/// assert_eq!(Value::<u64>::open_in(&region, "step")?.get()?, 1);
/// assert_eq!(field.shape(), [64, 64]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Region(Arc<Mapping>);

impl Region {
    /// A new region without a name, of `size` bytes (rounded up to whole pages).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSize`] for 0, [`Error::OutOfMemory`] when there is no room, [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let region = shmkit::Region::anonymous(10_000)?;
    /// assert_eq!(region.size(), 12_288);
    /// # Ok(())
    /// # }
    /// ```
    pub fn anonymous(size: usize) -> Result<Self> {
        Self::options().size(size).create()
    }

    /// How a region is made or opened, step by step.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let region = shmkit::Region::options().size(1 << 16).sparse(true).create()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn options() -> RegionOptions {
        RegionOptions::default()
    }

    /// A new region with a name or in a file.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] when anything has the name, else as [`anonymous`](Self::anonymous).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Region;
    ///
    /// let name = format!("shmkit-doc-region-create-{}", std::process::id());
    /// let region = Region::create(&name, 4096)?;
    /// assert!(Region::create(&name, 4096).is_err());
    /// Region::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(at: impl Into<Place>, size: usize) -> Result<Self> {
        Self::options().at(at).size(size).create()
    }

    /// The region of this name or in this file.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::NotReady`] when its creator has not finished, or died; and a reason not to trust
    /// what is there: [`Error::WrongOwner`], [`Error::NotARegion`], [`Error::Corrupt`], [`Error::VersionMismatch`],
    /// [`Error::OtherPlatform`], [`Error::OtherPidNamespace`].
    ///
    /// # Examples
    ///
    /// ```
    /// let error = shmkit::Region::open("no-such-region").unwrap_err();
    /// assert!(matches!(error, shmkit::Error::NotFound { .. }));
    /// ```
    pub fn open(at: impl Into<Place>) -> Result<Self> {
        Self::options().at(at).open()
    }

    /// Removes the name. Who has the region open keeps it; it is freed with its last user.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(shmkit::Region::unlink("no-such-region").is_err());
    /// ```
    pub fn unlink(at: impl Into<Place>) -> Result<()> {
        build::unlink(&at.into())
    }

    /// Bytes that it has: of one that [grows](Self::grow), so far.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert_eq!(shmkit::Region::anonymous(1)?.size(), 4096);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn size(&self) -> usize {
        // What was checked when it was mapped is there.
        self.0.directory().map_or(0, Directory::committed) as usize
    }

    /// The most bytes that it can [grow](Self::grow) to.
    ///
    /// # Examples
    ///
    /// See [`grow`](Self::grow).
    #[must_use]
    pub fn max_size(&self) -> usize {
        // What was checked when it was mapped is there.
        self.0.directory().map_or(0, Directory::size) as usize
    }

    /// Gives it `size` bytes (rounded up to whole pages), if it has fewer. All who use it can use them at once.
    ///
    /// All addresses were reserved when it was made ([`RegionOptions::max_size`]), so nothing moves: pointers, guards
    /// and handles stay what they are, here and in every other process.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSize`] for more than [`max_size`](Self::max_size), [`Error::OutOfMemory`] when there is no room;
    /// it then has what it had. [`Error::ReadOnly`], [`Error::Corrupt`].
    ///
    /// # If a process dies
    ///
    /// One that dies meanwhile leaves the old size or the new one. Memory that it had reserved and not given yet is
    /// there for the next who grows it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Array, Region};
    ///
    /// let region = Region::options().size(4096).max_size(1 << 30).create()?;
    /// assert!(Array::<u8>::zeros_in(&region, "large", 1 << 20).is_err());
    /// region.grow(2 << 20)?;
    /// let large = Array::<u8>::zeros_in(&region, "large", 1 << 20)?;
    /// assert_eq!((region.size(), region.max_size()), (2 << 20, 1 << 30));
    /// # Ok(())
    /// # }
    /// ```
    pub fn grow(&self, size: usize) -> Result<()> {
        self.0.writable()?.directory()?.grow(whole_pages(size as u64)?)
    }

    /// Bytes that new objects may still take, each with some tens of bytes for its record and name.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let region = shmkit::Region::anonymous(4096)?;
    /// let before = region.left()?;
    /// let value = shmkit::Value::new_in(&region, "x", 0_u64)?;
    /// assert!(before - region.left()? <= 128);
    /// # Ok(())
    /// # }
    /// ```
    pub fn left(&self) -> Result<usize> {
        Ok(self.0.directory()?.left() as usize)
    }

    /// The names of the objects in it, in no particular order.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let region = shmkit::Region::anonymous(4096)?;
    /// let value = shmkit::Value::new_in(&region, "x", 0_u64)?;
    /// assert_eq!(region.names()?, ["x"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn names(&self) -> Result<Vec<String>> {
        self.0.directory()?.names()
    }

    /// Takes the name from an object. Its users keep it, and its space is not used again while the region exists.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::ReadOnly`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let region = shmkit::Region::anonymous(4096)?;
    /// let value = shmkit::Value::new_in(&region, "x", 7)?;
    /// region.remove("x")?;
    /// assert_eq!(value.get()?, 7);
    /// assert!(shmkit::Value::<i32>::open_in(&region, "x").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove(&self, name: &str) -> Result<()> {
        self.0.writable()?.directory()?.remove(name)
    }

    /// Whether this process can only read it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert!(!shmkit::Region::anonymous(4096)?.is_read_only());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    /// Whether both are the same memory.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let region = shmkit::Region::anonymous(4096)?;
    /// assert!(region.is_same(&region.clone()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }

    fn mapping(&self) -> &Arc<Mapping> {
        &self.0
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("size", &self.size())
            .field("backing", &self.0.backing())
            .field("read_only", &self.is_read_only())
            .finish_non_exhaustive()
    }
}

/// How a region is made or opened. From [`Region::options`].
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Region;
///
/// let name = format!("shmkit-doc-options-{}", std::process::id());
/// let region = Region::options().name(&name).size(1 << 20).open_or_create()?;
/// assert!(Region::options().name(&name).open()?.is_same(&region));
/// Region::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "options make nothing: end with create, open or open_or_create"]
pub struct RegionOptions {
    place: Option<Place>,
    size: usize,
    max_size: usize,
    members: Option<usize>,
    sparse: bool,
    core_dump: bool,
    read_only: bool,
    numa: Option<Numa>,
    pages: Pages,
    prefault: Option<usize>,
}

impl RegionOptions {
    /// Shared memory of this name: 1 to 255 bytes without a slash.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.at(Place::Name(name.into()))
    }

    /// A file, for data that outlives the machine's run. Not on a network file system.
    pub fn file(self, path: impl AsRef<Path>) -> Self {
        self.at(PathBuf::from(path.as_ref()))
    }

    /// A name or a file.
    pub fn at(mut self, at: impl Into<Place>) -> Self {
        self.place = Some(at.into());
        self
    }

    /// Bytes of a new region, rounded up to whole pages. An existing one keeps its own.
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Reserves addresses for so many bytes, so that the region can [grow](Region::grow). They cost nothing but a
    /// longer mapping (and show as the size of a file or name, which `ulimit -f` may bound); memory comes as it grows.
    /// Without it a region does not grow.
    pub fn max_size(mut self, bytes: usize) -> Self {
        self.max_size = bytes;
        self
    }

    /// The most processes that can use what needs to know who lives (barriers, read-write locks and their like) at the
    /// same time: 64 bytes each, 1 to 4,096. Without it a new region has one for each 4 KiB, at least 16 and at most
    /// 1,024.
    pub fn members(mut self, most: usize) -> Self {
        self.members = Some(most);
        self
    }

    /// Does not reserve the memory of a new region: what is never touched costs nothing, and a touch that finds no
    /// memory ends the process (`SIGBUS`).
    pub fn sparse(mut self, sparse: bool) -> Self {
        self.sparse = sparse;
        self
    }

    /// Includes the region in core dumps. By default one of 64 KiB or more is left out: writing a large region delays the moment at which
    /// the others learn of the death by seconds.
    pub fn core_dump(mut self, include: bool) -> Self {
        self.core_dump = include;
        self
    }

    /// Opens the region for reading only: the mapping itself cannot be written.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// On which memory nodes a new region is to be.
    pub fn numa(mut self, numa: Numa) -> Self {
        self.numa = Some(numa);
        self
    }

    /// In pages of which size a new region is to be.
    pub fn pages(mut self, pages: Pages) -> Self {
        self.pages = pages;
        self
    }

    /// Touches all of a new region's memory, with so many threads: see [`Region::prefault`]. Where that fails there is no
    /// region. One that is there already is left as it is.
    pub fn prefault(mut self, threads: usize) -> Self {
        self.prefault = Some(threads);
        self
    }

    /// Makes the region.
    ///
    /// # Errors
    ///
    /// As [`Region::create`].
    pub fn create(&self) -> Result<Region> {
        let recipe = self.recipe()?;
        self.make(Intent::Create, recipe, &|directory| self.fill(directory))
    }

    /// Opens the region.
    ///
    /// # Errors
    ///
    /// As [`Region::open`]; [`Error::InvalidArgument`] without a name or file.
    pub fn open(&self) -> Result<Region> {
        let place =
            self.place.as_ref().ok_or_else(|| Error::invalid_argument("only a name or a file can be opened"))?;
        build::open(place, self.read_only).map(Region)
    }

    /// Opens the region, or makes it: also one whose creator died on the way.
    ///
    /// # Errors
    ///
    /// As [`Region::create`] and [`Region::open`].
    pub fn open_or_create(&self) -> Result<Region> {
        if self.read_only {
            return self.open();
        }
        let recipe = self.recipe()?;
        self.make(Intent::OpenOrCreate, recipe, &|directory| self.fill(directory))
    }

    fn recipe(&self) -> Result<Recipe> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let (huge, is_huge) = (pages::huge_page_size(), self.pages == Pages::Huge);
        let whole = |size: usize| {
            let size = whole_pages(size as u64)?;
            if is_huge { whole_pages(object::up(size, huge.max(1)).unwrap_or(u64::MAX)) } else { Ok(size) }
        };
        if is_huge && (self.place.is_some() || !huge.is_power_of_two()) {
            let reason = if huge == 0 { "this machine has none" } else { "only a region without a name can have them" };
            return Err(Error::unsupported(format!("huge pages: {reason}")));
        }
        let size = whole(self.size)?;
        if let Some(members) = self.members
            && !(1..=MemberId::MOST as usize).contains(&members)
        {
            return Err(Error::invalid_argument(format!("{members} members; 1 to {} are possible", MemberId::MOST)));
        }
        if self.prefault == Some(0) {
            return Err(Error::invalid_argument("memory is touched by 1 thread or more"));
        }
        let most = whole(self.max_size.max(self.size))?;
        // Enough for what it grows to, as long as they are a small part of what there is at first.
        let buckets = header::buckets_for(most).min(header::buckets_for(size.saturating_mul(8)));
        let sparse = self.sparse || self.numa == Some(Numa::FirstTouch);
        let (later, numa, pages, prefault) = (most - size, self.numa, self.pages, self.prefault);
        Ok(Recipe { size: most, buckets, later, sparse, dump: self.core_dump, numa, pages, prefault })
    }

    /// What a new region begins with.
    fn fill(&self, directory: Directory<'_>) -> Result<()> {
        self.members.map_or(Ok(()), |members| directory.provide_members(members as u64))
    }

    fn make(&self, intent: Intent, recipe: Recipe, fill: build::Fill<'_>) -> Result<Region> {
        let mapping = match &self.place {
            Some(place) => build::at_place(place, intent, recipe, fill),
            None => build::anonymous(recipe, fill),
        };
        mapping.map(Region)
    }
}

fn whole_pages(size: u64) -> Result<u64> {
    let page = crate::os::memory::page_size();
    match object::up(size, page) {
        Some(0) => Err(Error::invalid_size("a region of 0 bytes")),
        Some(rounded) if rounded <= isize::MAX as u64 => Ok(rounded),
        _ => Err(Error::invalid_size(format!("{size} bytes do not fit the address space"))),
    }
}
