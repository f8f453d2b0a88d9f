//! Memory that the ranks of an MPI program share inside a node. Feature `mpi`.
//!
//! Messages are for what is far: ranks on one machine see each other's data where it is. A [`NodeShared`] splits a
//! communicator by the machines that its ranks run on, and gives those of each machine arrays, locks and barriers in
//! common. Between the machines the same arrays are the buffers of messages: a claim or a guard is a slice, and a slice
//! is what the `mpi` crate sends and receives, with no copy of it in between.
//!
//! ```no_run
//! use shmkit::mpi::{NodeShared, rsmpi::{self, traits::*}};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let universe = rsmpi::initialize().ok_or("MPI runs already")?;
//!     let world = universe.world();
//!     let node = NodeShared::new(&world)?;
//!     // One array for each node; each of its ranks has touched its own slab of rows first.
//!     let field = node.array::<f64>([1000, 1000])?;
//!     field.claim_rows_mut(node.slab(&field, node.rank())?)?.fill(node.node() as f64);
//!     // Everybody on the node is ready, or dead, which is an error that says who.
//!     node.barrier().wait()?;
//!     // The first rank of each node sends the last row to the next node, from where it is, to where it belongs.
//!     if node.rank() == 0 {
//!         if let Some(next) = node.ranks_of(node.node() + 1) {
//!             world.process_at_rank(next[0]).send(&field.claim_rows(999..)?[..]);
//!         }
//!         if node.node() > 0 {
//!             let last = node.ranks_of(node.node() - 1).unwrap()[0];
//!             world.process_at_rank(last).receive_into(&mut field.claim_rows_mut(..1)?[..]);
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # How the memory comes to the others
//!
//! It has no name, so there is nothing to guess, nothing that a death leaves behind, and no limit by the size of
//! `/dev/shm`. Rank 0 of the node makes it and tells the others its process id and the number of its descriptor, in a
//! message; they open `/proc/<pid>/fd/<number>`, look whether that is the file that was meant, and map it. The kernel
//! lets them, since they are processes of the same user; not those of a program that has capabilities of its own, or
//! that has forbidden it (`PR_SET_DUMPABLE`). Ranks in pid namespaces of their own (each in a container for itself)
//! share no memory, which is an error in all of them.
//!
//! # If a process dies
//!
//! What MPI makes of a death is its own: usually `mpirun` or `srun` ends the whole job, and nothing is left of the
//! memory. Where they are told not to (Open MPI: `--enable-recovery`; Slurm: `--kill-on-bad-exit=0`):
//!
//! | dies | the others |
//! | --- | --- |
//! | before or while the communicator is split | wait in MPI, which decides |
//! | rank 0 of the node, before it has told where the memory is | the same; the memory is gone with it |
//! | rank 0, before the others have opened it | find no such process; who has opened it keeps it. They then tell each other, in MPI |
//! | another one, before or after it has opened it | as before; what it had of the memory is the kernel's to take back |
//! | any, once [`new`](NodeShared::new) has returned anywhere | [`barrier`](NodeShared::barrier): broken, with the process id, whether the dead one had ever come there or not |
//! | with a lock, a claim, a permit | as everywhere in this crate: poisoned, with the process id, or given back |
//! | in a message, or in a collective operation | wait in MPI, which decides |
//!
//! So who waits for ranks of its own node should wait in shared memory: there a death is an error at once. Who has seen
//! one can save what it has, and then end the job with `Communicator::abort`, or itself by `std::process::exit`: the
//! end of MPI (the drop of its `Universe`) waits for the dead too.
//!
//! # On a cluster, under Slurm
//!
//! One task for each core, each of them pinned, and one region for each node:
//!
//! ```text
//! #!/bin/bash
//! #SBATCH --nodes=4
//! #SBATCH --ntasks-per-node=32
//! #SBATCH --cpus-per-task=1
//! #SBATCH --hint=nomultithread
//! srun --mpi=pmix --distribution=block:block --cpu-bind=cores target/release/examples/mpi_heat --size 16384
//! ```
//!
//! * `--mpi` names the interface that MPI was built for: `srun --mpi=list` has those that there are. With `mpirun`
//!   inside a job it is `mpirun --map-by core --bind-to core`.
//! * `--distribution=block` puts ranks that follow each other on one node. It costs nothing to do without:
//!   [`NodeShared`] asks MPI who is where.
//! * `--cpu-bind` matters: [`NodeShared::array`] has each rank touch its slab first, so that its memory is on the
//!   memory node of the processor that the rank runs on then, and had better run on later. Where the launcher binds
//!   nothing, [`process::pin`](crate::process::pin()) with [`Pin::Compact`](crate::process::Pin::Compact) of
//!   [`rank`](NodeShared::rank) does it, before arrays are made.
//! * The job's memory limit holds for shared memory too: each page counts once, for whoever has touched it first.
//! * On large nodes, one region for each socket instead: [`by_color`](NodeShared::by_color) with the socket's number.
//!
//! # Threads and processes of ranks
//!
//! This crate starts a thread in each rank, which keeps its lifeline and never calls MPI: `Threading::Funneled` is
//! enough for `rsmpi::initialize_with_threading`. Ranks may start processes ([`Process::spawn`](crate::Process::spawn))
//! if `shmkit::init()` stands before the start of MPI, for the child goes no further than that; MPI libraries do not
//! bear [`StartMethod::Fork`](crate::StartMethod::Fork).

mod post;

use std::{fmt, ops::Range};

use ::mpi::{
    collective::SystemOperation,
    topology::{Color, Rank, SimpleCommunicator},
    traits::{Communicator, CommunicatorCollectives, Root},
};
use bytemuck::Pod;

/// The `mpi` crate that this one was built with: its types are those of [`NodeShared`].
pub use ::mpi as rsmpi;

use crate::{
    Array, Barrier, Error, RawArray, Region, Result, Shape,
    data::share,
    os::identity::{Stamp, pid_namespace},
    process::Message,
};

/// The ranks of a communicator that share memory, because they run on one machine.
///
/// Drop it before MPI ends: before the `Universe` of the `mpi` crate, that is.
///
/// # If a process dies
///
/// See [the module](self).
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use shmkit::{AtomicArray, mpi::{NodeShared, rsmpi}};
/// use std::sync::atomic::Ordering::Relaxed;
///
/// let universe = rsmpi::initialize().ok_or("MPI runs already")?;
/// let node = NodeShared::new(&universe.world())?;
/// let hits = node.share(|| AtomicArray::<u64>::zeros(node.size()))?;
/// hits[node.rank()].fetch_add(1, Relaxed);
/// node.barrier().wait()?;
/// assert!(hits.iter().all(|hits| hits.load(Relaxed) == 1));
/// # Ok(())
/// # }
/// ```
pub struct NodeShared {
    /// Those of this node.
    ranks: SimpleCommunicator,
    /// The ranks of each node in the communicator that was split.
    nodes: Vec<Vec<Rank>>,
    node: usize,
    /// The processes of this node, by rank.
    processes: Vec<Stamp>,
    barrier: Barrier,
}

impl NodeShared {
    /// Splits a communicator by machines (`MPI_Comm_split_type`). All of its ranks call this.
    ///
    /// # Errors
    ///
    /// In all ranks of a node: [`OtherPidNamespace`](Error::OtherPidNamespace) when they are in containers of
    /// their own; [`Os`](Error::Os) when the kernel does not let them open each other's memory; and as
    /// [`Region::create`].
    ///
    /// # If a process dies
    ///
    /// See [the module](self).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn new(communicator: &impl Communicator) -> Result<Self> {
        let node = communicator.split_shared(communicator.rank());
        Self::of(communicator, node)
    }

    /// As [`new`](Self::new), and splits the ranks of each machine by `color` as well, a number that is not negative:
    /// to have several nodes on one machine, be it to try a program out, or because the sockets of a large machine are
    /// to have a region each.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`InvalidArgument`](Error::InvalidArgument) for a negative number, in all ranks.
    ///
    /// # If a process dies
    ///
    /// See [the module](self).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use shmkit::mpi::{NodeShared, rsmpi::{self, traits::*}};
    ///
    /// let universe = rsmpi::initialize().ok_or("MPI runs already")?;
    /// let world = universe.world();
    /// // Every two ranks are a node.
    /// let node = NodeShared::by_color(&world, world.rank() / 2)?;
    /// assert!(node.size() <= 2);
    /// assert!(NodeShared::by_color(&world, -1).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn by_color(communicator: &impl Communicator, color: i32) -> Result<Self> {
        let color = match color {
            0.. => Ok(Color::with_value(color)),
            _ => Err(Error::invalid_argument(format!("the colour {color} of a node: 0 and more are possible"))),
        };
        let color = agree(communicator, color)?;
        let machine = communicator.split_shared(communicator.rank());
        // Only the undefined colour leads to no communicator.
        let node = machine.split_by_color_with_key(color, machine.rank());
        Self::of(communicator, node.unwrap_or_else(SimpleCommunicator::self_comm))
    }

    /// With the ranks of a node in `ranks`, in the order that they have in `communicator`.
    fn of(communicator: &impl Communicator, ranks: SimpleCommunicator) -> Result<Self> {
        let mut first = communicator.rank();
        ranks.process_at_rank(0).broadcast_into(&mut first);
        let mut firsts: Vec<Rank> = vec![0; communicator.size() as usize];
        communicator.all_gather_into(&first, &mut firsts[..]);
        let nodes = nodes(&firsts);
        let node = nodes.iter().position(|node| node[0] == first).unwrap_or(0);

        let namespace = agree(&ranks, pid_namespace().map_err(|error| Error::os("reading /proc/self/ns/pid", error)))?;
        let mut known = vec![0; 2 * ranks.size() as usize];
        ranks.all_gather_into(&[Stamp::of_this_process().to_bits(), namespace][..], &mut known[..]);
        let (known, _) = known.as_chunks::<2>();
        // In rank 0 they are all the same, or nowhere.
        if let Some([_, found]) = known.iter().find(|[_, other]| *other != known[0][1]) {
            return Err(Error::OtherPidNamespace { expected: known[0][1], found: *found });
        }
        let processes: Vec<_> = known.iter().map(|[stamp, _]| Stamp::from_bits(*stamp)).collect();

        let barrier = post::share(&ranks, &processes, || {
            let parties = processes.len();
            // Two members for each, since ranks can give the barrier to processes that they start.
            let region = Region::options().size((1 << 14) + (parties << 8)).members((2 * parties).clamp(16, 4096));
            Barrier::new_in(&region.create()?, None, parties)
        })?;
        Ok(Self { ranks, nodes, node, processes, barrier })
    }

    /// The rank of this process in its node.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.ranks.rank() as usize
    }

    /// The number of ranks in this node.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn size(&self) -> usize {
        self.processes.len()
    }

    /// The number of this node: they are in the order of their first ranks.
    ///
    /// # Examples
    ///
    /// See [the module](self).
    #[must_use]
    pub fn node(&self) -> usize {
        self.node
    }

    /// The number of nodes.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use shmkit::mpi::{NodeShared, rsmpi::{self, traits::*}};
    /// # let universe = rsmpi::initialize().ok_or("MPI runs already")?;
    /// # let world = universe.world();
    /// let node = NodeShared::new(&world)?;
    /// let ranks: usize = (0..node.nodes()).filter_map(|other| node.ranks_of(other)).map(<[_]>::len).sum();
    /// assert_eq!(ranks, world.size() as usize);
    /// assert_eq!(node.ranks_of(node.node()).unwrap()[node.rank()], world.rank());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The ranks that the processes of a node have in the communicator that was split; `None` when there is no such
    /// node.
    ///
    /// # Examples
    ///
    /// See [`nodes`](Self::nodes).
    #[must_use]
    pub fn ranks_of(&self, node: usize) -> Option<&[Rank]> {
        self.nodes.get(node).map(Vec::as_slice)
    }

    /// The ranks of this node as a communicator.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use shmkit::mpi::{NodeShared, rsmpi::{self, traits::*}};
    /// # let universe = rsmpi::initialize().ok_or("MPI runs already")?;
    /// let node = NodeShared::new(&universe.world())?;
    /// assert_eq!(node.communicator().size() as usize, node.size());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn communicator(&self) -> &SimpleCommunicator {
        &self.ranks
    }

    /// A barrier of all ranks of this node, through shared memory: faster than MPI's, and an error when one of them
    /// dies.
    ///
    /// # If a process dies
    ///
    /// The barrier [breaks](Error::BarrierBroken), from the moment on that this `NodeShared` was made, also if the dead
    /// one had never come to it. So it does when one drops its `NodeShared` while the others wait.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// What rank 0 of this node makes, for all its ranks. All of them call this, and that of rank 0 is called.
    ///
    /// It can be anything that a process can be given, of which the shared memory is the point: regions, values,
    /// arrays, locks, barriers, rings, and tuples of them. What has a socket too cannot go this way: connections, and
    /// queues, except those that have a [name](crate::Queue::create).
    ///
    /// # Errors
    ///
    /// In all ranks: what `make` returns, [`NotSendable`](Error::NotSendable),
    /// [`Unsupported`](Error::Unsupported) for what has a socket, [`Os`](Error::Os).
    ///
    /// # If a process dies
    ///
    /// See [the module](self). Of a barrier that is shared so, all ranks are parties, whether they come there or die
    /// before.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn share<T: Message>(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        post::share(&self.ranks, &self.processes, make)
    }

    /// Zeros, in memory of their own, for all ranks of this node, each of which gives its [slab](Self::slab) memory: on
    /// the memory node that it runs on. All of them call this, with the same shape.
    ///
    /// # Errors
    ///
    /// As [`Array::zeros`], in all ranks.
    ///
    /// # If a process dies
    ///
    /// See [the module](self).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use shmkit::mpi::{NodeShared, rsmpi::{self, traits::*}};
    /// # let universe = rsmpi::initialize().ok_or("MPI runs already")?;
    /// # let world = universe.world();
    /// let node = NodeShared::new(&world)?;
    /// let field = node.array::<f64>([100, 10])?;
    /// field.claim_rows_mut(node.slab(&field, node.rank())?)?.fill(1.5);
    /// node.barrier().wait()?;
    ///
    /// // A claim as the buffer of a message: sent from where it is, received to where it is to be.
    /// if node.rank() == 0 {
    ///     let row = field.claim_rows(99..)?;
    ///     let mut first = field.claim_rows_mut(..1)?;
    ///     let this = world.this_process();
    ///     rsmpi::point_to_point::send_receive_into(&row[..], &this, &mut first[..], &this);
    ///     assert_eq!(first[..], [1.5; 10]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn array<T: Pod>(&self, shape: impl Shape) -> Result<Array<T>> {
        let array = self.share(|| Array::zeros_without_memory(&shape))?;
        let mine = self.slab(&array, self.rank()).and_then(|rows| array.row_range(rows));
        agree(&self.ranks, mine.and_then(|mine| array.commit(mine)))?;
        Ok(array)
    }

    /// As [`array`](Self::array), without a lock and claims, which take a microsecond of a step: for programs whose ranks
    /// have nothing but the [barrier](Self::barrier) between them, and keep the peace by it.
    ///
    /// # Errors
    ///
    /// As [`array`](Self::array).
    ///
    /// # If a process dies
    ///
    /// See [the module](self). Nobody is told of what it had half written, but by the barrier.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use shmkit::mpi::{NodeShared, rsmpi::{self, traits::*}};
    /// # let universe = rsmpi::initialize().ok_or("MPI runs already")?;
    /// let node = NodeShared::new(&universe.world())?;
    /// let field = node.raw_array::<f64>([100, 10])?;
    /// let rows = node.rows_of(100, node.rank())?;
    /// // SAFETY: these rows lie in the array, and are those of this rank alone.
    /// let mine = unsafe { std::slice::from_raw_parts_mut(field.as_mut_ptr().add(10 * rows.start), 10 * rows.len()) };
    /// mine.fill(1.0);
    /// node.barrier().wait()?;
    /// // SAFETY: nobody writes after the barrier.
    /// assert_eq!(unsafe { field.as_slice() }, [1.0; 1000]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn raw_array<T: Pod>(&self, shape: impl Shape) -> Result<RawArray<T>> {
        let array = self.share(|| RawArray::zeros_without_memory(&shape))?;
        let (len, count) = (array.len(), array.shape()[0]);
        let row = len.checked_div(count).unwrap_or(0);
        let mine = self.rows_of(count, self.rank());
        agree(&self.ranks, mine.and_then(|rows| array.commit(rows.start * row..rows.end * row)))?;
        Ok(array)
    }

    /// The share of a rank of this node when so many rows are divided among its ranks.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) when there is no such rank.
    ///
    /// # Examples
    ///
    /// See [`raw_array`](Self::raw_array).
    pub fn rows_of(&self, rows: usize, rank: usize) -> Result<Range<usize>> {
        share(rows, rank, self.size())
    }

    /// The rows (elements, if it has one dimension) of an array that are the share of a rank of this node.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) when there is no such rank.
    ///
    /// # Examples
    ///
    /// See [`array`](Self::array).
    pub fn slab<T: Pod>(&self, array: &Array<T>, rank: usize) -> Result<Range<usize>> {
        array.rows_for(rank, self.size())
    }
}

impl fmt::Debug for NodeShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeShared")
            .field("node", &self.node)
            .field("nodes", &self.nodes.len())
            .field("rank", &self.rank())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// The ranks of each node, from the first rank of each rank's node.
fn nodes(firsts: &[Rank]) -> Vec<Vec<Rank>> {
    let mut nodes = std::collections::BTreeMap::<_, Vec<_>>::new();
    for (rank, first) in (0..).zip(firsts) {
        nodes.entry(*first).or_default().push(rank);
    }
    nodes.into_values().collect()
}

/// What a rank has, if all ranks have something; else its error, or that of the first one that has one. All call this:
/// nobody goes on while another has failed, and waits for it later.
fn agree<T>(ranks: &impl Communicator, mine: Result<T>) -> Result<T> {
    let (rank, size) = (ranks.rank(), ranks.size());
    let mut failed = size;
    ranks.all_reduce_into(&if mine.is_ok() { size } else { rank }, &mut failed, SystemOperation::min());
    if failed == size {
        return mine;
    }
    let text = mine.as_ref().err().filter(|_| failed == rank).map(postcard::to_stdvec);
    let mut text = text.and_then(|text| text.ok()).unwrap_or_default();
    tell(ranks, failed, &mut text);
    mine.and_then(|_| {
        let told = postcard::from_bytes::<Error>(&text);
        Err(told.unwrap_or_else(|error| Error::corrupt(format!("an error of rank {failed}: {error}"))))
    })
}

/// Gives all ranks the bytes that the rank `from` has.
fn tell(ranks: &impl Communicator, from: Rank, bytes: &mut Vec<u8>) {
    let from = ranks.process_at_rank(from);
    let mut length = bytes.len() as u64;
    from.broadcast_into(&mut length);
    bytes.resize(length as usize, 0);
    // A count is 31 bits in MPI.
    for part in bytes.chunks_mut(1 << 30) {
        from.broadcast_into(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_in_the_order_of_their_first_ranks() {
        assert_eq!(nodes(&[0, 0, 0]), [[0, 1, 2]]);
        assert_eq!(nodes(&[0, 1, 0, 1, 4]), [vec![0, 2], vec![1, 3], vec![4]]);
    }

    #[test]
    fn memory_comes_slab_by_slab() {
        use std::os::unix::fs::MetadataExt;

        const LEN: usize = 3_456_789;
        let array = Array::<u8>::zeros_without_memory(&LEN).unwrap();
        // The only file of about this size.
        let allocated = || {
            let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let mut facts = files.filter_map(|file| std::fs::metadata(file.path()).ok());
            let file = facts.find(|facts| (LEN..LEN + 100_000).contains(&(facts.size() as usize))).unwrap();
            file.blocks() as usize * 512
        };
        assert!(allocated() <= 3 * 4096, "{}", allocated());
        array.commit(array.chunk_for(1, 3).unwrap()).unwrap();
        assert!((LEN / 3..LEN / 3 + 5 * 4096).contains(&allocated()), "{}", allocated());
        array.commit(array.chunk_for(0, 3).unwrap()).unwrap();
        array.commit(array.chunk_for(2, 3).unwrap()).unwrap();
        assert!(allocated() >= LEN);
        assert!(array.to_vec().unwrap().iter().all(|byte| *byte == 0));
    }
}
