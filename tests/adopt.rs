//! Segments of the `shared_memory` crate that become regions.
#![expect(unsafe_code, reason = "writes foreign bytes, and forks")]

mod scratch;

use std::{fs, path::Path};

use scratch::{Folder, Name, finish, part, role, succeed};
use shmkit::{
    Array, Error, Region, Value,
    shared_memory::{Shmem, ShmemConf},
};

fn segment(name: &str, size: usize) -> Shmem {
    ShmemConf::new().os_id(name).size(size).create().unwrap()
}

fn opened(name: &str) -> Shmem {
    ShmemConf::new().os_id(name).open().unwrap()
}

#[test]
fn smoke() {
    let name = Name::new();
    let region = Region::adopt(segment(&name, 5000)).unwrap();
    let value = Value::new_in(&region, "v", 7_u32).unwrap();
    let array = Array::<f64>::zeros_in(&region, "a", [4, 4]).unwrap();
    array.set([3, 3], 1.5).unwrap();
    assert_eq!(region.size(), 5000);
    assert_eq!(value.get().unwrap(), 7);
    let found = Region::open(&*name).unwrap();
    assert_eq!(Array::<f64>::open_in(&found, "a").unwrap().get(15).unwrap(), 1.5);
}

#[test]
fn one_segment_is_one_mapping() {
    let name = Name::new();
    let region = Region::adopt(segment(&name, 1 << 16)).unwrap();
    let again = Region::adopt(opened(&name)).unwrap();
    let found = Region::open(&*name).unwrap();
    assert!(region.is_same(&again) && region.is_same(&found));
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(maps.lines().filter(|line| line.ends_with(&name.path().display().to_string())).count(), 1);
    // Through two mappings, two addresses, this would be a deadlock that nobody sees.
    let value = Value::new_in(&region, "v", 0_u8).unwrap();
    let _held = value.lock().unwrap();
    let same = Value::<u8>::open_in(&again, "v").unwrap();
    assert!(matches!(same.lock(), Err(Error::WouldDeadlock)));
}

#[test]
fn the_owner_removes_name_and_link() {
    let (name, folder) = (Name::new(), Folder::new());
    let link = folder.join("link");
    let segment = ShmemConf::new().os_id(&*name).flink(&link).size(4096).create().unwrap();
    let region = Region::adopt(segment).unwrap();
    let value = Value::new_in(&region, "v", 1).unwrap();
    drop(region);
    assert!(name.path().exists() && link.exists(), "a handle is left");
    drop(value);
    assert!(!name.path().exists() && !link.exists());
}

#[test]
fn who_opened_it_removes_nothing() {
    let name = Name::new();
    let theirs = segment(&name, 4096);
    drop(Region::adopt(opened(&name)).unwrap());
    assert!(name.path().exists());
    drop(theirs);
    assert!(!name.path().exists());
}

#[test]
fn a_name_given_to_other_memory_is_not_removed() {
    let name = Name::new();
    let region = Region::adopt(segment(&name, 4096)).unwrap();
    Region::unlink(&*name).unwrap();
    let other = Region::create(&*name, 4096).unwrap();
    drop(region);
    assert!(Region::open(&*name).unwrap().is_same(&other));
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let name = Name::new();
    let first = segment(&name, 4096);
    fs::remove_file(name.path()).unwrap();
    assert!(matches!(Region::adopt(opened_again(first)), Err(Error::NotFound { .. })));
    let first = segment(&name, 4096);
    fs::remove_file(name.path()).unwrap();
    let mut second = segment(&name, 4096);
    let error = Region::adopt(opened_again(first)).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    second.set_owner(true);
}

/// The segment, which is to leave its name alone.
fn opened_again(mut segment: Shmem) -> Shmem {
    segment.set_owner(false);
    segment
}

#[test]
fn foreign_contents_are_refused_wherever_they_are() {
    for at in [0, 7, 8, 24, 239, 240, 1000, 99_999] {
        let name = Name::new();
        let mut segment = segment(&name, 100_000);
        // SAFETY: nobody else has the segment.
        let bytes = unsafe { segment.as_slice_mut() };
        bytes[at] = 1;
        let error = Region::adopt(segment).unwrap_err();
        assert!(matches!(error, Error::NotARegion { .. }), "byte {at}: {error}");
        assert!(!name.path().exists(), "dropped as its own crate drops it");
    }
}

#[test]
fn what_a_dead_adopter_left_is_finished() {
    // The size is the first field that is written, the magic number the last; the lock is the dead one's.
    for dead_lock in [0, 1_u32 << 30] {
        let name = Name::new();
        let mut segment = segment(&name, 8192);
        // SAFETY: nobody else has the segment.
        let bytes = unsafe { segment.as_slice_mut() };
        bytes[24..32].copy_from_slice(&8192_u64.to_ne_bytes());
        bytes[80..88].copy_from_slice(&12_u64.to_ne_bytes());
        bytes[128..132].copy_from_slice(&dead_lock.to_ne_bytes());
        let region = Region::adopt(segment).unwrap();
        Value::new_in(&region, "v", 1).unwrap();
    }
}

#[test]
fn a_segment_too_small_is_refused() {
    for size in [1, 239, 240, 511] {
        let name = Name::new();
        let error = Region::adopt(segment(&name, size)).unwrap_err();
        assert!(matches!(error, Error::InvalidSize { .. }), "{size}: {error}");
    }
}

#[test]
fn a_size_of_no_whole_words_can_be_filled() {
    for size in 1000..1016 {
        let name = Name::new();
        let region = Region::adopt(segment(&name, size)).unwrap();
        let mut values = Vec::new();
        let full = loop {
            match Value::new_in(&region, None, 7_u8) {
                Ok(value) => values.push(value),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, Error::RegionFull { .. }), "{full}");
        assert!(values.len() > 3 && values.iter().all(|value| value.get().unwrap() == 7));
    }
}

#[test]
fn many_processes_adopt_at_once() {
    if let Some(name) = role() {
        let region = Region::adopt(opened(&name)).unwrap();
        Value::open_or_create_in(&region, "count", 0_u32).unwrap().update(|n| n + 1).unwrap();
        return;
    }
    let name = Name::new();
    let theirs = segment(&name, 1 << 16);
    let parts: Vec<_> = (0..8)
        .map(|_| part("many_processes_adopt_at_once", &name).stdout(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    for part in parts {
        assert!(finish(part).status.success());
    }
    let region = Region::adopt(theirs).unwrap();
    assert_eq!(Value::<u32>::open_in(&region, "count").unwrap().get().unwrap(), 8);
}

#[test]
fn a_forked_child_removes_nothing() {
    let Some(name) = role() else {
        let name = Name::new();
        succeed(part("a_forked_child_removes_nothing", &name));
        return;
    };
    let region = Region::adopt(segment(&name, 4096)).unwrap();
    // SAFETY: this process runs one test, whose other threads wait and hold nothing that the child needs.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(region);
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: `status` is a live variable.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(Path::new("/dev/shm").join(&name).exists());
    drop(region);
    assert!(!Path::new("/dev/shm").join(&name).exists());
}
