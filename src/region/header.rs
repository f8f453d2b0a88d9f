//! The first bytes of every region: what it is, who made it, and where the rest lies.
//!
//! The header is written once, under the protocol of [`RawInit`], and only counters and links change after that. It is
//! read as hostile: [`Header::check`] is the gate that every attach passes.

#![expect(unsafe_code, reason = "declares the header a type that may be looked at in foreign bytes")]

use std::{
    mem::offset_of,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::memory::{Memory, Shared};
use crate::{
    Error, Result,
    os::{
        clock::Wait,
        files::FileId,
        identity::{boot_id, pid_namespace},
    },
    raw::{init::RawInit, mutex::RawMutex, points::point},
};

/// "shmkit" and two bytes that no text has.
const MAGIC: u64 = u64::from_le_bytes(*b"shmkit\x00\xA5");

/// Raised whenever a byte of the layout moves or changes its meaning.
pub(crate) const LAYOUT_VERSION: u32 = 1;

/// Reads as another number on a machine with another byte order.
const BYTE_ORDER: u32 = 0x0102_0304;

const POINTER_WIDTH: u32 = usize::BITS;

/// The layout. Zeroed memory is a region that nobody has begun to make.
#[repr(C)]
pub(crate) struct Header {
    magic: AtomicU64,
    version: AtomicU32,
    byte_order: AtomicU32,
    pointer_width: AtomicU32,
    /// [`SPARSE`] or nothing.
    flags: AtomicU32,
    /// Bytes of the whole region: of its file, and of every mapping of it.
    size: AtomicU64,
    /// Where the thread ids in the locks mean something: the pid namespace, this boot, this file.
    pid_namespace: AtomicU64,
    boot: [AtomicU64; 2],
    device: AtomicU64,
    inode: AtomicU64,
    /// The table of the directory: `buckets` offsets of first objects, from `table` on. A power of two.
    pub(super) table: AtomicU64,
    pub(super) buckets: AtomicU64,
    /// The first byte that no object has.
    pub(super) end: AtomicU64,
    /// The object that was allocated last, or is being so.
    pub(super) last: AtomicU64,
    /// The object that is the region's own content, where it was made for one; 0 else.
    pub(super) root: AtomicU64,
    /// The table of the members: where it begins, 0 as long as nobody needs one, and its number of slots.
    members: [AtomicU64; 2],
    /// Makes the header once; its lock then guards the directory.
    pub(super) init: RawInit,
    /// [`COMPLETE`] once the region's maker has put into it what it was made for.
    complete: AtomicU64,
    /// Bytes from the start that have memory and can be given to objects: grows, and never shrinks.
    committed: AtomicU64,
    unused: [AtomicU64; 6],
}

const _: () = {
    assert!(size_of::<Header>() == 240 && align_of::<Header>() == 8);
    assert!(
        offset_of!(Header, magic) == 0 && offset_of!(Header, version) == 8,
        "looked at before the version is known"
    );
    assert!(offset_of!(Header, init) == 128 && offset_of!(Header, complete) == 176);
    assert!(offset_of!(Header, committed) == 184);
};

/// What LAYOUT.md tells of it.
#[cfg(test)]
pub(super) const FIELDS: &[(&str, usize)] = &[
    ("magic", offset_of!(Header, magic)),
    ("version", offset_of!(Header, version)),
    ("byte_order", offset_of!(Header, byte_order)),
    ("pointer_width", offset_of!(Header, pointer_width)),
    ("flags", offset_of!(Header, flags)),
    ("size", offset_of!(Header, size)),
    ("pid_namespace", offset_of!(Header, pid_namespace)),
    ("boot", offset_of!(Header, boot)),
    ("device", offset_of!(Header, device)),
    ("inode", offset_of!(Header, inode)),
    ("table", offset_of!(Header, table)),
    ("buckets", offset_of!(Header, buckets)),
    ("end", offset_of!(Header, end)),
    ("last", offset_of!(Header, last)),
    ("root", offset_of!(Header, root)),
    ("members", offset_of!(Header, members)),
    ("member_slots", offset_of!(Header, members) + 8),
    ("init", offset_of!(Header, init)),
    ("complete", offset_of!(Header, complete)),
    ("committed", offset_of!(Header, committed)),
    ("unused", offset_of!(Header, unused)),
];

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for Header {}

/// The bytes of the header, and so the offset of the directory's table.
pub(super) const SIZE: u64 = size_of::<Header>() as u64;

/// In `flags`: memory comes with the first touch, and growing reserves none.
const SPARSE: u32 = 1;

/// What `complete` holds in the end.
const COMPLETE: u64 = 1;

/// The fewest bytes of a region: a header and a small table.
pub(super) const LEAST: u64 = 512;

/// The buckets of a region for one object.
pub(super) const SINGLE: u64 = 4;

/// Where the thread ids in a region's locks have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) pid_namespace: u64,
    pub(crate) boot: u128,
    pub(crate) file: FileId,
}

impl Epoch {
    /// This process, now, with the region in `file`.
    pub(crate) fn here(file: FileId) -> Result<Self> {
        use std::sync::OnceLock;
        // Neither changes while a process runs; a namespace entered later holds for its children only.
        static HERE: OnceLock<(u64, u128)> = OnceLock::new();
        let (pid_namespace, boot) = match HERE.get() {
            Some(here) => *here,
            None => {
                let namespace = pid_namespace().map_err(|error| Error::os("reading /proc/self/ns/pid", error))?;
                let boot = boot_id().map_err(|error| Error::os("reading the boot id", error))?;
                *HERE.get_or_init(|| (namespace, boot))
            }
        };
        Ok(Self { pid_namespace, boot, file })
    }
}

/// What the first bytes of a file say, before it is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glance {
    /// Nothing was written yet.
    Empty,
    /// Ours, and its maker is at work or has died.
    Unfinished,
    /// Worth mapping: [`Header::check`] says more.
    Worth,
}

/// The bytes that [`glance`] wants to see.
pub(super) const GLANCE: usize = offset_of!(Header, complete) + 8;

/// The bytes that a maker writes first of all.
pub(super) const FIRST_BYTES: [u8; 8] = MAGIC.to_le_bytes();

pub(super) fn glance(bytes: &[u8]) -> Glance {
    if bytes.is_empty() {
        Glance::Empty
    } else if bytes.starts_with(&FIRST_BYTES) && bytes.get(GLANCE - 8..GLANCE).is_none_or(|complete| complete == [0; 8])
    {
        Glance::Unfinished
    } else {
        Glance::Worth
    }
}

/// The buckets of a region of `size` bytes for many objects: one for each 512 bytes.
pub(super) fn buckets_for(size: u64) -> u64 {
    (size / 512).max(SINGLE).next_power_of_two().min(1 << 16)
}

impl Header {
    pub(crate) fn of(memory: Memory<'_>) -> Result<&Header> {
        memory.at::<Header>(0).map_err(|_| Error::NotARegion { reason: format!("it has {} bytes only", memory.len()) })
    }

    /// Makes the region in zeroed memory, unless another process has. Returns whether this call did. The first
    /// `committed` bytes have memory, or get it when they are touched.
    pub(super) fn make(memory: Memory<'_>, buckets: u64, committed: u64, sparse: bool, epoch: Epoch) -> Result<bool> {
        let header = Self::of(memory)?;
        header.init.make(Wait::Forever, || {
            let objects = SIZE + buckets * 8;
            for (field, value) in [
                (&header.size, memory.len()),
                (&header.committed, committed),
                (&header.table, SIZE),
                (&header.buckets, buckets),
                (&header.last, 0),
                (&header.end, objects),
                (&header.root, 0),
            ] {
                point();
                field.store(value, Relaxed);
            }
            for bucket in memory.slice::<AtomicU64>(SIZE, buckets)? {
                bucket.store(0, Relaxed);
            }
            point();
            header.set_epoch(epoch);
            header.flags.store(if sparse { SPARSE } else { 0 }, Relaxed);
            header.byte_order.store(BYTE_ORDER, Relaxed);
            header.pointer_width.store(POINTER_WIDTH, Relaxed);
            header.version.store(LAYOUT_VERSION, Relaxed);
            point();
            header.magic.store(MAGIC, Relaxed);
            Ok(())
        })
    }

    /// Declares that the maker has finished.
    pub(super) fn set_complete(&self) {
        point();
        self.complete.store(COMPLETE, Release);
    }

    /// Whether the memory is zeroed as far as the header tells: nobody has begun, or who did died early.
    pub(super) fn is_blank(&self) -> bool {
        self.magic.load(Relaxed) == 0
    }

    /// Whether a header without a magic number is that of zeroed memory, or of a maker at work or dead: the size is what is
    /// written first.
    pub(super) fn could_be_unfinished(&self, size: u64) -> bool {
        let others = [&self.pid_namespace, &self.boot[0], &self.boot[1], &self.device, &self.inode]
            .into_iter()
            .chain([&self.table, &self.buckets, &self.end, &self.last, &self.root, &self.committed])
            .chain(&self.members)
            .chain(&self.unused);
        let words = [&self.version, &self.byte_order, &self.pointer_width, &self.flags];
        let zeroed = others.into_iter().all(|field| field.load(Relaxed) == 0)
            && words.into_iter().all(|field| field.load(Relaxed) == 0);
        // Read after the others: a maker that begins now has written it before them.
        let found = self.size.load(Relaxed);
        found == size || found == 0 && zeroed
    }

    /// The gate: whether this is a region that this program may use, from the constant part of the header.
    pub(crate) fn check(memory: Memory<'_>) -> Result<&Header> {
        let header = Self::of(memory)?;
        let magic = header.magic.load(Relaxed);
        if magic == MAGIC.swap_bytes() || header.byte_order.load(Relaxed) == BYTE_ORDER.swap_bytes() {
            return Err(Error::OtherPlatform { reason: "it has the other byte order".into() });
        }
        if magic != MAGIC {
            return Err(Error::NotARegion { reason: format!("it begins with {:02x?}", magic.to_le_bytes()) });
        }
        let version = header.version.load(Relaxed);
        if version != LAYOUT_VERSION {
            return Err(Error::VersionMismatch { expected: LAYOUT_VERSION, found: version });
        }
        if header.byte_order.load(Relaxed) != BYTE_ORDER {
            return Err(Error::corrupt("the byte order mark is none"));
        }
        let width = header.pointer_width.load(Relaxed);
        if width != POINTER_WIDTH {
            return Err(Error::OtherPlatform {
                reason: format!("its pointers have {width} bits, here {POINTER_WIDTH}"),
            });
        }
        if !header.init.is_ready() {
            return Err(Error::corrupt("the header is there but not finished"));
        }
        let size = header.size.load(Relaxed);
        if size > memory.len() {
            return Err(Error::corrupt(format!("it was made with {size} bytes and has {} now", memory.len())));
        }
        let buckets = header.buckets.load(Relaxed);
        if !buckets.is_power_of_two() {
            return Err(Error::corrupt(format!("the directory has {buckets} buckets")));
        }
        memory.slice::<AtomicU64>(header.table.load(Relaxed), buckets)?;
        Ok(header)
    }

    /// Bytes of the region, checked against the mapping by [`check`](Self::check).
    pub(crate) fn size(&self, memory: Memory<'_>) -> u64 {
        self.size.load(Relaxed).min(memory.len())
    }

    /// Bytes that objects can have so far.
    pub(super) fn committed(&self, memory: Memory<'_>) -> u64 {
        // Acquire: who finds a larger number finds the memory too.
        self.committed.load(Acquire).min(self.size(memory))
    }

    /// For the holder of the directory's lock, who has seen to the memory.
    pub(super) fn set_committed(&self, bytes: u64) {
        point();
        self.committed.store(bytes, Release);
    }

    /// Whether memory comes with the first touch.
    pub(super) fn is_sparse(&self) -> bool {
        self.flags.load(Relaxed) & SPARSE != 0
    }

    /// Where the table of the members begins, 0 for none, and its number of slots.
    pub(super) fn members(&self) -> (u64, u64) {
        // Acquire: the slots are zeroed for whoever finds them.
        let at = self.members[0].load(Acquire);
        (at, self.members[1].load(Relaxed))
    }

    /// For the holder of the directory's lock, once.
    pub(super) fn set_members(&self, at: u64, count: u64) {
        point();
        self.members[1].store(count, Relaxed);
        point();
        self.members[0].store(at, Release);
    }

    /// The lock of the directory.
    pub(super) fn lock(&self) -> Result<&RawMutex> {
        self.init.lock()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        // Acquire on the part written last: see `set_epoch`.
        let inode = self.inode.load(Acquire);
        let boot = [self.boot[0].load(Relaxed), self.boot[1].load(Relaxed)];
        Epoch {
            pid_namespace: self.pid_namespace.load(Relaxed),
            boot: u128::from(boot[0]) | u128::from(boot[1]) << 64,
            file: FileId { device: self.device.load(Relaxed), inode },
        }
    }

    /// For the maker, or whoever holds the file's lock.
    pub(super) fn set_epoch(&self, epoch: Epoch) {
        self.pid_namespace.store(epoch.pid_namespace, Relaxed);
        self.boot[0].store(epoch.boot as u64, Relaxed);
        self.boot[1].store((epoch.boot >> 64) as u64, Relaxed);
        self.device.store(epoch.file.device, Relaxed);
        // Release: who reads the new inode sees locks that were reset before.
        self.inode.store(epoch.file.inode, Release);
    }
}
