//! How much memory there is left, before it is asked for.
//!
//! `fallocate` on anonymous shared memory is bounded by nothing but the machine, and a cgroup's limit answers with a kill
//! instead of an error. So a large request is compared with what is left first. It is a check, not a reservation:
//! others may take the memory in between.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Requests below this are not checked: reading the limits would take longer than making the memory.
pub(crate) const UNCHECKED: u64 = 1 << 20;

/// Less is left than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) left: u64,
    pub(crate) place: String,
}

/// Compares `size` with the machine's available memory and with the memory limit of each enclosing cgroup.
pub(crate) fn check_room(size: u64) -> Result<(), Shortage> {
    if size < UNCHECKED {
        return Ok(());
    }
    let machine = available().map(|left| (left, "on this machine".to_owned()));
    let groups = cgroups(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
    let limits = groups.iter().filter_map(|group| Some((group_room(group)?, format!("in {}", group.display()))));
    match machine.into_iter().chain(limits).min_by_key(|(left, _)| *left) {
        Some((left, place)) if left < size => Err(Shortage { left, place }),
        _ => Ok(()),
    }
}

/// Bytes of a page.
pub(crate) fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// `MemAvailable`: what can be had without swapping.
fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The directories of this process's memory cgroups, each with its ancestors.
fn cgroups(membership: &Path, root: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(membership).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            // `hierarchy:controllers:path`; version 2 has hierarchy 0 and names no controllers.
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let base = match controllers {
                "" => root.to_owned(),
                list if list.split(',').any(|name| name == "memory") => root.join("memory"),
                _ => return None,
            };
            let group = base.join(path.trim_start_matches('/'));
            let inside: Vec<_> =
                group.ancestors().take_while(|dir| dir.starts_with(&base)).map(Path::to_owned).collect();
            Some(inside)
        })
        .flatten()
        .collect()
}

/// What the limit of one cgroup leaves; `None` where it has none.
fn group_room(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    // Version 2, then version 1. "max" is no number: no limit.
    let (limit, used) = match (read("memory.max"), read("memory.current")) {
        (Some(limit), Some(used)) => (limit, used),
        _ => (read("memory.limit_in_bytes")?, read("memory.usage_in_bytes")?),
    };
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_machine_has_is_refused() {
        assert!(check_room(1 << 20).is_ok());
        let shortage = check_room(u64::MAX).unwrap_err();
        assert!(shortage.left > 0 && !shortage.place.is_empty(), "{shortage:?}");
    }

    #[test]
    fn every_ancestor_counts() {
        let root = std::env::temp_dir().join(format!("shmkit-cgroup-{}", std::process::id()));
        let inner = root.join("outer/inner");
        fs::create_dir_all(&inner).unwrap();
        fs::write(root.join("membership"), "1:cpu:/elsewhere\n0::/outer/inner\n").unwrap();
        fs::write(root.join("outer/memory.max"), "1000\n").unwrap();
        fs::write(root.join("outer/memory.current"), "400\n").unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        let groups = cgroups(&root.join("membership"), &root);
        let rooms: Vec<_> = groups.iter().filter_map(|group| group_room(group)).collect();
        assert_eq!((groups.len(), rooms), (3, vec![600]));
        fs::remove_dir_all(&root).unwrap();
    }
}
