//! The machine's processors and memory nodes, as `/sys/devices/system` tells them.
//!
//! See the kernel's `Documentation/ABI/stable/sysfs-devices-system-cpu` and `-node`.

use std::{fs, io, path::Path};

/// A processor: what runs one thread at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) number: usize,
    /// The socket (package) that it is in.
    pub(crate) socket: usize,
    /// The core that it is a hardware thread of; unique in its socket.
    pub(crate) core: usize,
    /// Which of the core's hardware threads it is.
    pub(crate) thread: usize,
    pub(crate) node: usize,
}

/// Reads one text below `/sys/devices/system`.
type Read<'r> = &'r dyn Fn(&str) -> Option<String>;

fn sys(path: &str) -> Option<String> {
    fs::read_to_string(Path::new("/sys/devices/system").join(path)).ok()
}

/// The processors that are there and running, by number.
///
/// # Errors
///
/// Where `/sys` does not tell.
pub(crate) fn cpus() -> io::Result<Vec<Cpu>> {
    cpus_of(&sys)
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "/sys/devices/system/cpu tells no processors"))
}

/// The memory nodes that are there. A kernel without NUMA has one.
pub(crate) fn nodes() -> Vec<usize> {
    nodes_of(&sys)
}

fn nodes_of(read: Read<'_>) -> Vec<usize> {
    read("node/has_memory").or_else(|| read("node/online")).and_then(|text| list(&text)).unwrap_or_else(|| vec![0])
}

fn cpus_of(read: Read<'_>) -> Option<Vec<Cpu>> {
    let online = list(&read("cpu/online")?)?;
    let nodes: Vec<(usize, Vec<usize>)> = read("node/online")
        .and_then(|text| list(&text))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|node| Some((node, list(&read(&format!("node/node{node}/cpulist"))?)?)))
        .collect();
    let number = |path: String| read(&path)?.trim().parse::<usize>().ok();
    let mut cpus: Vec<Cpu> = Vec::with_capacity(online.len());
    for cpu in online {
        // Some machines tell -1, some virtual ones nothing: then each processor is a core of one socket.
        let socket = number(format!("cpu/cpu{cpu}/topology/physical_package_id")).unwrap_or(0);
        let core = number(format!("cpu/cpu{cpu}/topology/core_id")).unwrap_or(cpu);
        let thread = cpus.iter().filter(|other| (other.socket, other.core) == (socket, core)).count();
        let node = nodes.iter().find(|(_, cpus)| cpus.contains(&cpu)).map_or(0, |(node, _)| *node);
        cpus.push(Cpu { number: cpu, socket, core, thread, node });
    }
    (!cpus.is_empty()).then_some(cpus)
}

/// A list of numbers as the kernel writes it: `0-3,8,10-11`. `None` where it is none.
pub(crate) fn list(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if last < first || last > 1 << 20 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// The processors in an order in which neighbours share as much as they can: sockets, then cores, then their threads.
pub(crate) fn compact(mut cpus: Vec<Cpu>) -> Vec<Cpu> {
    cpus.sort_by_key(|cpu| (cpu.socket, cpu.core, cpu.thread));
    cpus
}

/// The processors in an order in which neighbours share as little as they can: one of each socket in turn, and second
/// threads of a core only after the first ones of all.
pub(crate) fn scatter(cpus: Vec<Cpu>) -> Vec<Cpu> {
    let ordered = compact(cpus);
    let mut ranked: Vec<_> = ordered
        .iter()
        .map(|cpu| {
            let of_socket = |other: &&Cpu| other.socket == cpu.socket && other.thread == cpu.thread;
            let before = ordered.iter().filter(of_socket).take_while(|other| *other != cpu).count();
            (cpu.thread, before, cpu.socket, *cpu)
        })
        .collect();
    ranked.sort_by_key(|(thread, before, socket, _)| (*thread, *before, *socket));
    ranked.into_iter().map(|(.., cpu)| cpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sockets with two cores of two threads each, numbered as Linux does: the second threads last.
    fn two_sockets(path: &str) -> Option<String> {
        let text = match path {
            "cpu/online" => "0-7\n",
            "node/online" | "node/has_memory" => "0-1\n",
            "node/node0/cpulist" => "0-1,4-5\n",
            "node/node1/cpulist" => "2-3,6-7\n",
            _ => {
                let (cpu, file) = path.strip_prefix("cpu/cpu")?.split_once("/topology/")?;
                let cpu: usize = cpu.parse().ok()?;
                return match file {
                    "physical_package_id" => Some(format!("{}\n", cpu / 2 % 2)),
                    // Cores are numbered with gaps on real machines.
                    "core_id" => Some(format!("{}\n", cpu % 2 * 8)),
                    _ => None,
                };
            }
        };
        Some(text.into())
    }

    fn numbers(cpus: Vec<Cpu>) -> Vec<usize> {
        cpus.into_iter().map(|cpu| cpu.number).collect()
    }

    #[test]
    fn a_machine_of_two_sockets() {
        let cpus = cpus_of(&two_sockets).unwrap();
        assert_eq!(cpus[6], Cpu { number: 6, socket: 1, core: 0, thread: 1, node: 1 });
        assert_eq!(numbers(compact(cpus.clone())), [0, 4, 1, 5, 2, 6, 3, 7]);
        assert_eq!(numbers(scatter(cpus)), [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(nodes_of(&two_sockets), [0, 1]);
    }

    #[test]
    fn a_machine_that_tells_little() {
        let little = |path: &str| (path == "cpu/online").then(|| "0,2-3".to_owned());
        let cpus = cpus_of(&little).unwrap();
        assert_eq!(numbers(scatter(cpus.clone())), [0, 2, 3]);
        assert!(cpus.iter().all(|cpu| (cpu.socket, cpu.thread, cpu.node) == (0, 0, 0)));
        // A package id of -1, as some ARM firmware has it.
        let minus = |path: &str| Some(if path == "cpu/online" { "0-1" } else { "-1" }.to_owned());
        assert_eq!(cpus_of(&minus).unwrap().len(), 2);
        assert_eq!(cpus_of(&|_| None), None);
        assert_eq!(nodes_of(&|_| None), [0]);
    }

    #[test]
    fn lists_of_numbers() {
        assert_eq!(list("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(list("\n"), Some(vec![]));
        for text in ["x", "3-1", "1-", "0-99999999999"] {
            assert_eq!(list(text), None, "{text}");
        }
    }

    #[test]
    fn this_machine() {
        assert!(cpus().unwrap().iter().any(|cpu| cpu.number == crate::os::affinity::current_cpu()));
        assert!(!nodes().is_empty());
    }
}
