//! Where the memory of a region is: on which nodes, in pages of which size, and from when on.

use std::{io, ops::Range, thread};

use memmap2::Advice;

use super::{Region, mapping::Mapping};
use crate::{
    Error, Result,
    os::{memory::page_size, numa, pages, topology},
};

/// On which memory node pages are to be, of a region or a part of an array.
///
/// It holds for all processes that share the memory. Memory in ordinary files is the kernel's page cache, for which the
/// system may not heed it. [`Region::nodes`] tells what came of it.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::{Error, Region, region::Numa};
///
/// match Region::options().size(1 << 20).numa(Numa::Interleave).create() {
///     Ok(region) => assert_eq!(region.nodes()?.len(), (1 << 20) / 4096),
///     // A kernel without NUMA, or a sandbox.
///     Err(Error::Unsupported { reason }) => println!("{reason}"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Numa {
    /// Page by page on all nodes in turn.
    Interleave,
    /// On this node alone; memory that it has not is an error.
    Bind(usize),
    /// On the node that the calling thread runs on, as long as that has some.
    Local,
    /// Each page on the node of whoever touches it first. A region that is made so gets its memory by touches alone, as
    /// with [`sparse`](super::RegionOptions::sparse): touches should come from the processes that will work with the
    /// pages.
    FirstTouch,
}

/// In pages of which size a region is to be. [`Region::pages`] tells what came of it.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::{Error, Region, region::Pages};
///
/// let region = Region::options().size(4 << 20).pages(Pages::Transparent).create()?;
/// let pages = region.pages()?;
/// println!("{} of {} bytes in huge pages", pages.huge, pages.resident);
///
/// match Region::options().size(4 << 20).pages(Pages::Huge).create() {
///     Ok(region) => assert!(region.pages()?.page_size > 4096),
///     Err(Error::Unsupported { reason }) => println!("{reason}"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pages {
    /// As the system has them.
    #[default]
    Usual,
    /// Huge ones where the kernel has some to give (`/sys/kernel/mm/transparent_hugepage/shmem_enabled` at `advise` or
    /// more), usual ones else. Who opens the region later finds the same pages, and may map them in smaller parts.
    Transparent,
    /// Huge ones that the administrator has set aside (`/proc/sys/vm/nr_hugepages`), of the machine's usual size, or an
    /// error. For regions without a name only. Sizes are rounded up to whole ones.
    Huge,
}

/// What pages a process has of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageReport {
    /// Bytes of a page, as the region was made.
    pub page_size: usize,
    /// Bytes that this process has touched.
    pub resident: usize,
    /// Of these the bytes in huge pages.
    pub huge: usize,
}

impl Region {
    /// What pages this process has of it.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where `/proc/self/smaps` cannot be read.
    ///
    /// # Examples
    ///
    /// See [`Pages`].
    pub fn pages(&self) -> Result<PageReport> {
        let found = pages::at(self.0.addresses());
        let pages = found.map_err(|error| Error::unsupported(format!("reading /proc/self/smaps: {error}")))?;
        let [page_size, resident, huge] = [pages.size, pages.resident, pages.huge].map(|bytes| bytes as usize);
        Ok(PageReport { page_size, resident, huge })
    }

    /// Says on which nodes its pages are to be from now on. Pages that no other process has touched move.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] when there is no such node; [`Error::Unsupported`] where the kernel has no NUMA or a
    /// sandbox forbids it; [`Error::Os`].
    ///
    /// # Examples
    ///
    /// See [`Numa`].
    pub fn place(&self, numa: Numa) -> Result<()> {
        self.0.place(0..self.0.memory().len() as usize, numa)
    }

    /// The node of each page that it has so far, `None` for those that this process has not touched.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where the kernel does not tell or a sandbox forbids it.
    ///
    /// # Examples
    ///
    /// See [`Numa`].
    pub fn nodes(&self) -> Result<Vec<Option<usize>>> {
        self.0.nodes(0..self.size())
    }

    /// Touches all pages that it has so far, with so many threads, so that later touches find them: in parallel, for
    /// zeroing memory takes time, and on the nodes of these threads where those of the first touch count.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] before kernel 5.14, [`Error::InvalidArgument`] for no threads, [`Error::ReadOnly`],
    /// [`Error::Os`] when there is no memory.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let region = shmkit::Region::options().size(1 << 20).sparse(true).create()?;
    /// match region.prefault(2) {
    ///     Ok(()) => assert_eq!(region.pages()?.resident, 1 << 20),
    ///     Err(shmkit::Error::Unsupported { reason }) => println!("{reason}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefault(&self, threads: usize) -> Result<()> {
        self.0.writable()?.prefault(self.size(), threads)
    }
}

impl Mapping {
    /// Says where the whole pages among these bytes are to be.
    pub(super) fn place(&self, bytes: Range<usize>, numa: Numa) -> Result<()> {
        let (page, addresses) = (page_size() as usize, self.addresses());
        let (start, end) = (bytes.start.next_multiple_of(page), bytes.end / page * page);
        if start >= end {
            return Ok(());
        }
        let (mode, nodes) = match numa {
            Numa::Interleave => (numa::Mode::Interleave, topology::nodes()),
            Numa::Bind(node) => {
                let nodes = topology::nodes();
                if !nodes.contains(&node) {
                    return Err(Error::invalid_argument(format!("node {node}; this machine has {nodes:?}")));
                }
                (numa::Mode::Bind, vec![node])
            }
            Numa::Local => {
                (numa::Mode::Preferred, vec![numa::current_node().map_err(|error| refused("getcpu", error))?])
            }
            Numa::FirstTouch => (numa::Mode::Default, Vec::new()),
        };
        debug_assert!(end <= addresses.len());
        let place = self.memory().bytes(start as u64, (end - start) as u64, 1)?;
        numa::set_policy(place.as_ptr(), end - start, mode, &nodes).map_err(|error| refused("mbind", error))
    }

    /// The nodes of all pages that have any of these bytes.
    pub(super) fn nodes(&self, bytes: Range<usize>) -> Result<Vec<Option<usize>>> {
        let (page, addresses) = (page_size() as usize, self.addresses());
        let pages = addresses.start + bytes.start / page * page..addresses.start + bytes.end.min(addresses.len());
        numa::nodes_of(pages, page).map_err(|error| refused("move_pages", error))
    }

    /// Touches the first `len` bytes, by so many threads.
    pub(super) fn prefault(&self, len: usize, threads: usize) -> Result<()> {
        if threads == 0 {
            return Err(Error::invalid_argument("memory is touched by 1 thread or more"));
        }
        let page = self.page_size()?;
        let part = len.div_ceil(threads).next_multiple_of(page);
        let touch = |start: usize| self.advise(Advice::PopulateWrite, start..len.min(start + part));
        let touched: io::Result<()> = thread::scope(|scope| {
            let others: Vec<_> = (part..len).step_by(part).map(|start| scope.spawn(move || touch(start))).collect();
            let first = touch(0);
            others.into_iter().fold(first, |so_far, other| so_far.and(other.join().expect("it does not panic")))
        });
        touched.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => Error::unsupported("MADV_POPULATE_WRITE (Linux 5.14)"),
            _ => Error::os("touching memory", error),
        })
    }
}

/// What a system call's error means.
fn refused(call: &str, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM) => {
            Error::unsupported(format!("{call}: the kernel has no NUMA, or a sandbox forbids it ({error})"))
        }
        _ => Error::os(call.to_owned(), error),
    }
}
