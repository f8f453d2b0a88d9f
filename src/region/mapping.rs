//! A region in this process: its descriptor, its memory, and the table that keeps one mapping for each region.

#![expect(unsafe_code, reason = "hands out views of the mapped memory")]

use std::{
    collections::HashMap,
    io, mem,
    ops::Range,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    ptr::NonNull,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::{
    adopt::Belongings,
    directory::Directory,
    header::{Epoch, Header},
    members::{self, Members, Membership},
    memory::Memory,
};
use crate::{
    Error, Result,
    os::{
        files::{self, Facts, FileId},
        marks::Mark,
        own::{Held, Own},
        robust,
    },
    raw::lives::MemberId,
};

/// What a region rests on: decides what its descriptor can be and how far it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    Anonymous,
    Named,
    File,
}

/// A mapped region, checked.
///
/// Invariant: `map` is mapped for the life of this value, at least as long as the header says, and stays mapped while a
/// thread of this process holds a lock in it, for the thread's robust list leads there: for ever with a forgotten guard,
/// and until it has let go with the thread that keeps this process's lifeline.
pub(crate) struct Mapping {
    map: Arc<MmapRaw>,
    membership: Membership,
    fd: OwnedFd,
    id: FileId,
    backing: Backing,
    read_only: bool,
    /// By which forks of this process, and handles on their way from it, are told from nobody.
    mark: Mutex<Option<OwnedFd>>,
    /// What goes when this goes: names that an adopted segment's owner would have removed.
    belongings: OnceLock<Belongings>,
}

type Key = (FileId, bool);

/// A mapping in the table, and the addresses that it has.
struct Known {
    mapping: Weak<Mapping>,
    addresses: Range<usize>,
}

/// From this size on a region is left out of core dumps: writing less takes no time, and the advice would.
const LARGE: usize = 1 << 16;

/// The mappings of this process. A handle that arrives twice must be one mapping: two would be two addresses for one
/// lock, and the robust list knows addresses.
///
/// A fork that finds it held by another thread of its parent begins with an empty one. A region that it opens anew then has
/// two mappings in it, which is sound, for the links of the list are followed by value: whoever asks through the other
/// one whether this thread reads or waits there already is told no.
static MAPPINGS: Own<HashMap<Key, Known>> = Own::new();

impl Mapping {
    /// Maps a file that nobody else knows yet, or that is about to be made a region. Not yet in the table.
    pub(super) fn new(fd: OwnedFd, facts: Facts, backing: Backing, read_only: bool, dump: bool) -> Result<Self> {
        let len = usize::try_from(facts.size).map_err(|_| Error::invalid_size("it does not fit the address space"))?;
        let mut options = MmapOptions::new();
        // Huge pages would be set aside for all of it: what is there at first was, and the rest is as it grows.
        options.len(len).no_reserve_swap();
        let map = if read_only { options.map_raw_read_only(&fd) } else { options.map_raw(&fd) };
        let map = map.map_err(|error| Error::os("mmap", error))?;
        if !dump && len >= LARGE {
            // A core dump of a large region would keep its locks unmarked for seconds. Best effort.
            let _ = map.advise(Advice::DontDump);
        }
        Ok(Self {
            map: Arc::new(map),
            membership: Membership::default(),
            fd,
            id: facts.id,
            backing,
            read_only,
            mark: Mutex::default(),
            belongings: OnceLock::new(),
        })
    }

    /// The one mapping of the region behind `fd`, which may come from anywhere: made now unless there is one.
    pub(super) fn attach(fd: OwnedFd, backing: Backing, read_only: bool) -> Result<Arc<Self>> {
        let facts = files::facts(&fd).map_err(|error| Error::os("fstat", error))?;
        if let Some(known) = Self::known(facts.id, read_only) {
            return Ok(known);
        }
        let mapping = Self::new(fd, facts, backing, read_only, false)?;
        mapping.check()?;
        Ok(mapping.publish_found())
    }

    /// The gate for what others have made.
    pub(super) fn check(&self) -> Result<()> {
        self.check_epoch(Header::check(self.memory())?)
    }

    /// Has the descriptor be one that was opened by the name that the file has got. Of one that was made before, the kernel
    /// does not tell it.
    pub(super) fn reopen(&mut self, path: &Path) {
        // No harm if the name is gone again: then there is none to be told.
        if let Ok(fd) = files::open_existing(path, self.read_only)
            && files::facts(&fd).is_ok_and(|facts| facts.id == self.id)
        {
            self.fd = fd;
        }
    }

    /// Removes the names with the last handle. Of two owners the first does.
    pub(super) fn own(&self, belongings: Belongings) {
        let _ = self.belongings.set(belongings);
    }

    pub(super) fn known(id: FileId, read_only: bool) -> Option<Arc<Self>> {
        table().get(&(id, read_only)).and_then(|known| known.mapping.upgrade())
    }

    /// Puts the mapping of a new region into the table, unless another thread was faster: then that one is the mapping.
    pub(super) fn publish(self) -> Arc<Self> {
        self.publish_after(|_| ())
    }

    /// [`publish`](Self::publish) for a region that others may have made. What this process has in it then is from
    /// before an `exec`, when it was another program: nothing can be had of a region without a mapping in the table.
    pub(super) fn publish_found(self) -> Arc<Self> {
        self.publish_after(|fresh| {
            // A fork has been no other program, and what was lost of the table may be held.
            if !fresh.read_only
                && !MAPPINGS.is_remade()
                && let Ok(directory) = fresh.directory()
            {
                directory.bury(robust::stamp());
            }
        })
    }

    /// Does `first` only if this is to be the mapping, before anybody else sees it.
    fn publish_after(self, first: impl FnOnce(&Self)) -> Arc<Self> {
        let key = (self.id, self.read_only);
        let fresh = Arc::new(self);
        let mut table = table();
        if let Some(known) = table.get(&key).and_then(|known| known.mapping.upgrade()) {
            // Before `fresh` is dropped, which looks into the table.
            drop(table);
            return known;
        }
        first(&fresh);
        let start = fresh.map.as_mut_ptr().addr();
        let addresses = start..start + fresh.map.len();
        table.insert(key, Known { mapping: Arc::downgrade(&fresh), addresses });
        fresh
    }

    /// Where it is in this process.
    pub(super) fn addresses(&self) -> Range<usize> {
        let start = self.map.as_mut_ptr().addr();
        start..start + self.map.len()
    }

    /// Tells the kernel something about a part.
    pub(super) fn advise(&self, advice: Advice, bytes: Range<usize>) -> io::Result<()> {
        self.map.advise_range(advice, bytes.start, bytes.end - bytes.start)
    }

    /// Bytes of its pages: the file system's.
    pub(super) fn page_size(&self) -> Result<usize> {
        files::page_size(&self.fd).map_err(|error| Error::os("fstatfs", error))
    }

    #[inline]
    pub(crate) fn memory(&self) -> Memory<'_> {
        memory_of(&self.map)
    }

    /// This process as a member of the region, which it becomes now if it is none.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyMembers`], [`Error::ReadOnly`], [`Error::Os`] when the thread that keeps the lifeline cannot be
    /// started.
    #[inline(always)]
    pub(crate) fn member(&self) -> Result<MemberId> {
        match self.membership.get(robust::generation()?) {
            Some(id) => Ok(id),
            None => members::join(&self.writable()?.map, &self.membership),
        }
    }

    #[inline(always)]
    pub(crate) fn known_member(&self) -> Option<MemberId> {
        self.membership.get(robust::generation().ok()?)
    }

    /// The members of the region, of which there must be a table.
    pub(crate) fn members(&self) -> Result<Members<'_>> {
        Members::of(self.memory())
    }

    /// Runs `f` with the descriptor of this process's mark on the region's file: copies of it are seen by others.
    pub(crate) fn with_mark<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
        let mut kept = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            *kept = Some(Mark::new(&self.fd).map_err(|error| Error::os("marking a region's file", error))?.into_fd());
        }
        f(kept.as_ref().expect("made above").as_fd())
    }

    /// Makes a mark that came from another process this one's, which so far has seen the other one by it.
    pub(crate) fn adopt_mark(&self, mark: OwnedFd) {
        // In a fork whose parent was at work on it in another thread, nobody can.
        if let Ok(mut kept) = self.mark.try_lock() {
            kept.get_or_insert(mark);
        }
    }

    /// Whether anybody else has a mark: another process that has one of its own, a fork with a copy of this one's, or a
    /// message on its way.
    ///
    /// # Errors
    ///
    /// When it cannot be told: another thread is at it, or no descriptors are left.
    pub(crate) fn has_company(&self) -> io::Result<bool> {
        let Ok(mut kept) = self.mark.try_lock() else { return Err(io::ErrorKind::WouldBlock.into()) };
        // A new one: whatever has a copy of the last one is another.
        let mark = Mark::new(&self.fd)?;
        *kept = None;
        let has_company = mark.has_company();
        *kept = Some(mark.into_fd());
        has_company
    }

    pub(crate) fn directory(&self) -> Result<Directory<'_>> {
        let memory = self.memory();
        Ok(Directory::new(memory, Header::of(memory)?, self))
    }

    /// # Errors
    ///
    /// [`Error::ReadOnly`] where nothing may be written.
    pub(crate) fn writable(&self) -> Result<&Self> {
        if self.read_only { Err(Error::ReadOnly) } else { Ok(self) }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    pub(crate) fn backing(&self) -> Backing {
        self.backing
    }

    /// Whether the thread ids in the locks mean something here; a file from before a restart, or a copy, is mended.
    fn check_epoch(&self, header: &Header) -> Result<()> {
        let here = Epoch::here(self.id)?;
        let found = header.epoch();
        if found == here || self.read_only {
            return Ok(());
        }
        let same_run = found.boot == here.boot && found.file == here.file;
        if same_run {
            return Err(Error::OtherPidNamespace { expected: here.pid_namespace, found: found.pid_namespace });
        }
        if self.backing != Backing::File {
            return Err(Error::corrupt("it was made in another file, or before the machine's last start"));
        }
        files::lock_file(&self.fd).map_err(|error| Error::os("locking the region's file", error))?;
        let mended = if header.epoch() == here {
            Ok(())
        } else {
            // Nobody holds these locks any more: their ids are of another run, or of the file this one is a copy of.
            // A death on the way leaves the old epoch, and the next one mends again.
            self.directory().and_then(|directory| directory.reset_locks()).map(|()| header.set_epoch(here))
        };
        files::unlock_file(&self.fd);
        mended
    }
}

/// The memory of a map.
#[inline]
pub(super) fn memory_of(map: &MmapRaw) -> Memory<'_> {
    let base = NonNull::new(map.as_mut_ptr()).expect("a mapping has an address");
    // SAFETY: a map is `len` bytes from a page on, mapped as long as it lives.
    unsafe { Memory::new(base, map.len()) }
}

impl AsFd for Mapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut table = table();
        if table.get(&(self.id, self.read_only)).is_some_and(|known| known.mapping.strong_count() == 0) {
            table.remove(&(self.id, self.read_only));
        }
        drop(table);
        let held = !self.read_only && self.directory().is_ok_and(|directory| directory.is_held_by(robust::stamp()));
        if held {
            mem::forget(Arc::clone(&self.map));
        }
        self.membership.leave(&self.map);
    }
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping")
            .field("len", &self.map.len())
            .field("backing", &self.backing)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

fn table() -> Held<'static, HashMap<Key, Known>> {
    // A panic cannot leave the table half changed.
    MAPPINGS.lock()
}

/// The region that has `address` in this process, and the offset there. `None` if there is none, and where nobody
/// can tell: in a child whose parent was changing the table in another thread when it forked.
pub(crate) fn locate(address: usize) -> Option<(FileId, u64)> {
    let table = table();
    // One that nobody has any more may be unmapped, and another one have its addresses.
    let here = |known: &Known| known.addresses.contains(&address) && known.mapping.strong_count() > 0;
    let ((id, _), known) = table.iter().find(|(_, known)| here(known))?;
    Some((*id, (address - known.addresses.start) as u64))
}
