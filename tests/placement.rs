//! Where memory is, in which pages, and where processes run: what a machine has not is said in an error's own words.

mod support;

use std::fs;

use shmkit::{
    Array, AtomicArray, Error, Process, Region,
    process::{Pin, StartMethod, pin},
    region::{Numa, Pages},
};

use support::{Child, End, refuse};

shmkit::init_in_tests!();

const SIZE: usize = 1 << 20;

fn page() -> usize {
    Region::anonymous(1).unwrap().size()
}

/// Whether the machine can, and if not it says so as it should.
#[track_caller]
fn obtained<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Unsupported { reason }) => {
            assert!(!reason.is_empty());
            eprintln!("not here: {reason}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn nodes() -> usize {
    fs::read_dir("/sys/devices/system/node").map_or(1, |entries| {
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("node")).count()
    })
}

#[test]
fn regions_on_nodes() {
    for numa in [Numa::Interleave, Numa::Bind(0), Numa::Local, Numa::FirstTouch] {
        let Some(region) = obtained(Region::options().size(SIZE).numa(numa).create()) else { continue };
        let array = Array::<u8>::zeros_in(&region, "array", SIZE / 2).unwrap();
        array.lock().unwrap().fill(1);
        let Some(found) = obtained(region.nodes()) else { continue };
        assert_eq!(found.len(), SIZE / page());
        let touched: Vec<_> = found[..SIZE / 2 / page()].iter().map(|node| node.unwrap()).collect();
        assert!(touched.iter().all(|node| *node < 1024));
        if numa == Numa::Bind(0) || nodes() == 1 {
            assert!(touched.iter().all(|node| *node == touched[0]), "{numa:?}: {touched:?}");
        }
    }
}

#[test]
fn a_node_that_is_not_there() {
    let error = Region::options().size(SIZE).numa(Numa::Bind(4000)).create().unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument { reason } if reason.contains("4000")), "{error}");
}

#[test]
fn parts_of_arrays() {
    let array = AtomicArray::<u64>::zeros([256, 1024]).unwrap();
    let rank = 256 * 512;
    if obtained(array.place(0..rank, Numa::Bind(0))).is_some() {
        array.store_from(0, &vec![1; 2 * rank]).unwrap();
        if let Some(found) = obtained(array.nodes(0..rank)) {
            assert!(found.iter().all(Option::is_some));
        }
    }
    assert!(matches!(array.place(0..2 * rank + 1, Numa::Local), Err(Error::OutOfRange { .. })));
    // Less than a page: nothing to place.
    let _ = obtained(array.place(0..1, Numa::Interleave));
}

#[test]
fn huge_pages_or_a_word() {
    if let Some(region) = obtained(Region::options().size(SIZE).max_size(16 << 20).pages(Pages::Huge).create()) {
        let pages = region.pages().unwrap();
        assert!(pages.page_size > page() && region.size() >= pages.page_size);
        Array::<u8>::zeros_in(&region, None, SIZE).unwrap().lock().unwrap().fill(1);
    }
    let name = format!("shmkit-test-huge-{}", std::process::id());
    let error = Region::options().name(&name).size(SIZE).pages(Pages::Huge).create().unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");

    let region = Region::options().size(4 << 20).pages(Pages::Transparent).create().unwrap();
    Array::<u8>::zeros_in(&region, None, 3 << 20).unwrap().lock().unwrap().fill(1);
    let pages = region.pages().unwrap();
    assert!(pages.resident >= 3 << 20 && pages.huge <= pages.resident, "{pages:?}");
    assert_eq!(pages.page_size, page());
}

#[test]
fn memory_is_touched_in_parallel() {
    for threads in [1, 3, 7] {
        let region = Region::options().size(SIZE + page()).max_size(1 << 30).sparse(true).create().unwrap();
        assert!(region.pages().unwrap().resident < SIZE);
        if obtained(region.prefault(threads)).is_none() {
            return;
        }
        assert_eq!(region.pages().unwrap().resident, SIZE + page());
    }
    assert!(Region::options().size(SIZE).prefault(100_000).create().is_ok());
    assert!(matches!(Region::anonymous(1).unwrap().prefault(0), Err(Error::InvalidArgument { .. })));
}

/// A sandbox, or a kernel without NUMA.
#[test]
fn a_kernel_that_refuses() {
    let region = Region::options().size(SIZE).create().unwrap();
    for call in [libc::SYS_mbind, libc::SYS_move_pages, libc::SYS_madvise] {
        let mut child = Child::start(|| {
            if !refuse(call) {
                return 0;
            }
            let placed = region.place(Numa::Bind(0));
            let found = region.nodes();
            let is_refused = match call {
                libc::SYS_mbind => matches!(placed, Err(Error::Unsupported { .. })),
                libc::SYS_move_pages => matches!(found, Err(Error::Unsupported { .. })),
                _ => region.prefault(1).is_err(),
            };
            i32::from(!is_refused)
        });
        assert_eq!(child.wait(), End::Code(0), "{call}");
    }
}

fn allowed() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    line.trim().to_owned()
}

#[test]
fn threads_are_pinned() {
    std::thread::spawn(|| {
        let all = Pin::Node(0).cpus().or_else(|_| Pin::Socket(0).cpus()).unwrap();
        assert!(!all.is_empty());
        let cpus = pin(&Pin::Scatter(0)).unwrap();
        assert_eq!(allowed(), cpus[0].to_string());
        // What it may not use any more does not count.
        assert_eq!(Pin::Compact(5).cpus().unwrap(), cpus);
        assert!(matches!(Pin::Socket(100_000).cpus(), Err(Error::InvalidArgument { .. })));
        assert!(matches!(pin(&Pin::Cpus(vec![])), Err(Error::InvalidArgument { .. })));
    })
    .join()
    .unwrap();
}

#[test]
fn processes_are_pinned() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        for rank in 0..3 {
            let cpus = Pin::Compact(rank).cpus().unwrap();
            let child = Process::builder(allowed).pin(Pin::Compact(rank)).start_method(method).start().unwrap();
            assert_eq!(child.join().unwrap(), cpus[0].to_string());
        }
    }
    assert!(matches!(Process::builder(allowed).pin(Pin::Core(100_000)).start(), Err(Error::InvalidArgument { .. })));
}
