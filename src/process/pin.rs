//! Which processors threads and processes run on.

use crate::{
    Error, Result,
    os::{affinity, topology},
};

/// Processors, by what they are or by how they are to be shared.
///
/// Only those count that the calling thread may use: in a container, or under `taskset`, there may be fewer than the
/// machine has. Numbers of cores and ranks begin at 0, and ranks begin again after the last processor.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::process::{Pin, pin};
///
/// # std::thread::spawn(|| -> shmkit::Result<()> {
/// // The first of several workers that share little: caches, memory channels.
/// let cpus = pin(&Pin::Scatter(0))?;
/// assert_eq!(cpus.len(), 1);
/// # Ok(())
/// # }).join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pin {
    /// These, by the kernel's numbers.
    Cpus(Vec<usize>),
    /// The hardware threads of one core: that of this rank, socket by socket.
    Core(usize),
    /// All of one socket, by its number.
    Socket(usize),
    /// All of one memory node, by its number.
    Node(usize),
    /// One: that of this rank, where neighbours share as much as they can: a core, then a socket.
    Compact(usize),
    /// One: that of this rank, where neighbours share as little as they can: sockets in turn, and second threads of
    /// cores last.
    Scatter(usize),
}

impl Pin {
    /// The processors that this means here, by the kernel's numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where the system does not tell its processors (`/sys/devices/system/cpu`);
    /// [`Error::InvalidArgument`] when there is no such core, socket or node.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::process::Pin;
    ///
    /// assert_eq!(Pin::Compact(0).cpus()?.len(), 1);
    /// assert!(Pin::Socket(100_000).cpus().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn cpus(&self) -> Result<Vec<usize>> {
        if let Self::Cpus(cpus) = self {
            return if cpus.is_empty() { Err(Error::invalid_argument("no processors")) } else { Ok(cpus.clone()) };
        }
        let mut cpus = topology::cpus().map_err(|error| Error::unsupported(error.to_string()))?;
        cpus.retain(|cpu| affinity::allows(cpu.number));
        self.among(cpus)
            .ok_or_else(|| Error::invalid_argument(format!("{self:?}: this thread may use no such processor")))
    }

    fn among(&self, cpus: Vec<topology::Cpu>) -> Option<Vec<usize>> {
        let chosen: Vec<_> = match self {
            Self::Cpus(numbers) => return Some(numbers.clone()),
            Self::Core(rank) => {
                let cpus = topology::compact(cpus);
                let mut cores: Vec<_> = cpus.iter().map(|cpu| (cpu.socket, cpu.core)).collect();
                cores.dedup();
                let core = *cores.get(*rank)?;
                cpus.into_iter().filter(|cpu| (cpu.socket, cpu.core) == core).collect()
            }
            Self::Socket(socket) => cpus.into_iter().filter(|cpu| cpu.socket == *socket).collect(),
            Self::Node(node) => cpus.into_iter().filter(|cpu| cpu.node == *node).collect(),
            Self::Compact(rank) => at_rank(&topology::compact(cpus), *rank),
            Self::Scatter(rank) => at_rank(&topology::scatter(cpus), *rank),
        };
        let numbers: Vec<_> = chosen.into_iter().map(|cpu| cpu.number).collect();
        (!numbers.is_empty()).then_some(numbers)
    }
}

fn at_rank(cpus: &[topology::Cpu], rank: usize) -> Vec<topology::Cpu> {
    rank.checked_rem(cpus.len()).map(|at| cpus[at]).into_iter().collect()
}

/// Has the calling thread, and the threads and processes that it starts from now on, run on these processors only,
/// which are the answer. At the beginning of `main` that is the whole process.
///
/// # Errors
///
/// As [`Pin::cpus`], and [`Error::Os`] when the thread may run on none of them.
///
/// # Examples
///
/// See [`Pin`].
pub fn pin(pin: &Pin) -> Result<Vec<usize>> {
    let cpus = pin.cpus()?;
    pin_to(&cpus)?;
    Ok(cpus)
}

pub(super) fn pin_to(cpus: &[usize]) -> Result<()> {
    affinity::pin_to(cpus).map_err(|error| Error::os(format!("pinning to the processors {cpus:?}"), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::topology::Cpu;

    #[test]
    fn processors_of_a_machine_of_two_sockets() {
        // Two cores of two threads in each.
        let cpus: Vec<_> =
            (0..8).map(|n| Cpu { number: n, socket: n / 2 % 2, core: n % 2, thread: n / 4, node: n / 2 % 2 }).collect();
        let of = |pin: Pin| pin.among(cpus.clone());
        assert_eq!(of(Pin::Core(1)), Some(vec![1, 5]));
        assert_eq!(of(Pin::Core(4)), None);
        assert_eq!(of(Pin::Socket(1)), Some(vec![2, 3, 6, 7]));
        assert_eq!(of(Pin::Node(2)), None);
        let four = |pin: fn(usize) -> Pin| (0..4).map(|rank| of(pin(rank)).unwrap()[0]).collect::<Vec<_>>();
        assert_eq!(four(Pin::Compact), [0, 4, 1, 5]);
        assert_eq!(four(Pin::Scatter), [0, 2, 1, 3]);
        assert_eq!(of(Pin::Scatter(8)), Some(vec![0]));
        assert_eq!(Pin::Compact(3).among(Vec::new()), None);
    }
}
