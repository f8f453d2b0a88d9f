//! What a thousand rounds of everything leave in this process: no descriptor, mapping, thread, child, name or memory.
//!
//! Each test has some rounds before it counts: for the tables, threads and caches that come with the first use.
#![expect(unsafe_code, reason = "counts what is allocated, and takes slices of arrays without a lock")]

mod alone;
mod scratch;
mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeSet,
    fs::{self, File},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use scratch::{Folder, Name};
use serde::{Deserialize, Serialize};
use shmkit::{
    Array, AtomicArray, AtomicValue, Condvar, Error, Lock, Process, Queue, RLock, RawArray, ReadOnlyArray, Region,
    Result, Ring, Value,
    pipe::{self, Connection, Fd},
    process::{self, StartMethod, Stdio},
    region::Place,
    shared_memory::ShmemConf,
};

const ROUNDS: usize = 1000;
const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    shmkit::init();
    alone::run(&[
        ("anonymous_objects", anonymous_objects),
        ("objects_in_a_region", objects_in_a_region),
        ("named_objects", named_objects),
        ("objects_in_files", objects_in_files),
        ("names_without_nameless_files", names_without_nameless_files),
        ("read_only", read_only),
        ("adopted_segments", adopted_segments),
        ("failures", failures),
        ("locks_and_threads", locks_and_threads),
        ("locks_that_were_poisoned", locks_that_were_poisoned),
        ("conditions", conditions),
        ("rings", rings),
        ("queues", queues),
        ("pipes", pipes),
        ("pipes_without_descriptors", pipes_without_descriptors),
        ("spawned_processes", spawned_processes),
        ("forked_processes", forked_processes),
        ("processes_of_the_fork_server", processes_of_the_fork_server),
        ("processes_that_fail", processes_that_fail),
        ("processes_that_nobody_joins", processes_that_nobody_joins),
        ("standard_streams", standard_streams),
        ("pools", pools),
    ]);
}

/// What this process has.
#[derive(Debug, PartialEq)]
struct Possessions {
    descriptors: Vec<String>,
    mappings: usize,
    threads: usize,
    children: BTreeSet<u32>,
    names: Vec<String>,
}

impl Possessions {
    fn now() -> Self {
        let mut descriptors: Vec<_> = fs::read_dir("/proc/self/fd")
            .unwrap()
            // Among them the directory that is being read.
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .map(|path| without_numbers(&path.display().to_string()))
            .collect();
        descriptors.sort();
        let me = std::process::id().to_string();
        let names = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name().display().to_string());
        Self {
            descriptors,
            mappings: fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|line| is_of_a_file(line)).count(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            children: children(),
            // Others may be at work in the same directory: all names made here have the number of this process.
            names: names.filter(|name| name.contains(&me)).collect(),
        }
    }
}

/// Of every thread, since one that has ended leaves its children to another.
fn children() -> BTreeSet<u32> {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path().join("children"));
    let lists: Vec<_> = threads.filter_map(|list| fs::read_to_string(list).ok()).collect();
    lists.iter().flat_map(|list| list.split_ascii_whitespace()).map(|pid| pid.parse().unwrap()).collect()
}

/// Descriptors are told apart by what they lead to, not by its inode.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The system's allocator, which does not tell what it keeps for later from what is in use.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: hands every request on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above, and the memory is `System`'s.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Whether a line of `/proc/self/maps` is of a file, nameless ones too. Others are the allocator's and the stacks, of which
/// glibc keeps some for the threads to come: how many depends on how many ended a moment too late.
fn is_of_a_file(line: &str) -> bool {
    line.split_whitespace().nth(4).is_some_and(|inode| inode != "0")
}

/// Runs the round often, and compares what this process has before and after.
fn steady(rounds: usize, mut round: impl FnMut(usize)) {
    (0..rounds / 10).for_each(&mut round);
    settle(|| process::active_children().is_empty());
    let (before, bytes) = (Possessions::now(), ALLOCATED.load(Relaxed));
    (0..rounds).for_each(&mut round);
    let mut after = None;
    // Threads that were joined, and children that nobody waits for, are gone a moment later; and so is what they had
    // mapped or open, which may be among what there was before.
    settle(|| {
        let mut now = Possessions::now();
        now.mappings = now.mappings.max(before.mappings);
        now.threads = now.threads.max(before.threads);
        if is_part(&now.descriptors, &before.descriptors) {
            now.descriptors.clone_from(&before.descriptors);
        }
        after.insert(now) == &before
    });
    assert_eq!(after.as_ref(), Some(&before));
    drop(after);
    // A table may have more room than before, if more children than ever ran at a time: that is no byte per round.
    let grown = || ALLOCATED.load(Relaxed).saturating_sub(bytes);
    settle(|| grown() < rounds);
    assert!(grown() < rounds, "{} bytes more than the {bytes} before {rounds} rounds", grown());
}

/// Whether all of a sorted list stands in another one, as often.
fn is_part(list: &[String], of: &[String]) -> bool {
    let mut of = of.iter();
    list.iter().all(|one| of.any(|other| other == one))
}

/// Waits for a condition, and not for ever; whoever calls checks it.
fn settle(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() && Instant::now() < end {
        std::thread::yield_now();
    }
}

fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(DEADLINE)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

fn anonymous_objects() {
    steady(ROUNDS, |i| {
        let value = Value::new(i).unwrap();
        assert_eq!(value.clone().update(|n| n + 1).unwrap(), i + 1);
        let array = Array::from_iter(i..i + 100).unwrap();
        assert_eq!(array.lock().unwrap()[99], i + 99);
        Array::<f64>::zeros([3, 4, 5]).unwrap().lock().unwrap()[[2, 3, 4]] = 1.0;
        AtomicValue::new(1_u64).unwrap().fetch_add(1, Relaxed);
        AtomicArray::<u32>::zeros(100).unwrap()[99].store(1, Relaxed);
        let raw = RawArray::<u8>::zeros(10_000).unwrap();
        // SAFETY: nobody else knows of the array.
        unsafe { raw.as_mut_slice() }.fill(1);
        drop(Lock::new().unwrap().lock().unwrap());
        let lock = RLock::new().unwrap();
        let held = (lock.lock().unwrap(), lock.lock().unwrap());
        drop(held);
    });
}

fn objects_in(region: &Region) {
    let value = Value::new_in(region, "value", 1).unwrap();
    let unnamed = Array::<u8>::zeros_in(region, None, 10).unwrap();
    let _others = (
        AtomicValue::new_in(region, "atomic value", 1).unwrap(),
        AtomicArray::<u64>::zeros_in(region, "atomic array", 5).unwrap(),
        RawArray::<u64>::zeros_in(region, "raw array", [1, 2]).unwrap(),
        Lock::new_in(region, "lock").unwrap(),
        RLock::new_in(region, "recursive lock").unwrap(),
    );
    let found = Value::<i32>::open_in(region, "value").unwrap();
    assert!(found.is_same(&Value::open_or_create_in(region, "value", 3).unwrap()) && found.is_same(&value));
    assert_eq!(region.names().unwrap().len(), 6);
    region.remove("value").unwrap();
    unnamed.set(3, 3).unwrap();
}

fn objects_in_a_region() {
    steady(ROUNDS, |_| {
        let region = Region::anonymous(4096).unwrap();
        objects_in(&region);
        drop(Region::options().size(1 << 20).sparse(true).core_dump(true).create().unwrap());
    });
    // In one that stays: it fills up, and has no more than its memory.
    let region = Region::anonymous(4 << 20).unwrap();
    steady(ROUNDS, |_| {
        objects_in(&region);
        for name in ["atomic value", "atomic array", "raw array", "lock", "recursive lock"] {
            region.remove(name).unwrap();
        }
    });
}

/// Made, found, found or made, and removed.
fn objects_at(place: &Place) {
    let region = Region::create(place.clone(), 4096).unwrap();
    objects_in(&region);
    assert!(Region::open(place.clone()).unwrap().is_same(&region));
    assert!(Region::options().at(place.clone()).size(1).open_or_create().unwrap().is_same(&region));
    Region::unlink(place.clone()).unwrap();
    drop(region);

    let value = Value::open_or_create(place.clone(), 1).unwrap();
    assert!(Value::<i32>::open(place.clone()).unwrap().is_same(&value));
    Value::<i32>::unlink(place.clone()).unwrap();
    let array = Array::<u8>::create(place.clone(), 10).unwrap();
    assert!(Array::<u8>::open_or_create(place.clone(), 10).unwrap().is_same(&array));
    Array::<u8>::unlink(place.clone()).unwrap();
    drop(RawArray::<u64>::create(place.clone(), [4, 4]).unwrap());
    drop(RawArray::<u64>::open(place.clone()).unwrap());
    RawArray::<u64>::unlink(place.clone()).unwrap();
    drop(AtomicValue::create(place.clone(), true).unwrap());
    AtomicValue::<bool>::unlink(place.clone()).unwrap();
    drop(AtomicArray::<i8>::create(place.clone(), 4).unwrap());
    AtomicArray::<i8>::unlink(place.clone()).unwrap();
    drop(Lock::create(place.clone()).unwrap().lock());
    Lock::unlink(place.clone()).unwrap();
    drop(RLock::open_or_create(place.clone()).unwrap().lock());
    RLock::unlink(place.clone()).unwrap();
}

fn named_objects() {
    steady(ROUNDS, |_| objects_at(&Place::from(&*Name::new())));
    let name = Name::new();
    let kept = Value::create(&*name, 0).unwrap();
    steady(ROUNDS, |_| drop(Value::<i32>::open(&*name).unwrap().update(|n| n + 1)));
    assert!(kept.get().unwrap() > 0);
}

fn objects_in_files() {
    let folder = Folder::new();
    let path: PathBuf = folder.join("region");
    steady(ROUNDS, |_| objects_at(&Place::from(&path)));
    assert_eq!(fs::read_dir(folder.join(".")).unwrap().count(), 0);
}

/// In a process of its own, which never again makes a nameless file.
fn names_without_nameless_files() {
    #[cfg(feature = "death-points")]
    {
        let child = Process::fork(|| {
            shmkit::test_hooks::without_nameless_files();
            named_objects();
            objects_in_files();
            let name = Name::new();
            steady(ROUNDS, |_| {
                let error = Region::options().name(&*name).size(1 << 50).open_or_create().unwrap_err();
                assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
            });
        });
        joined(&child.unwrap()).unwrap();
    }
}

fn read_only() {
    let name = Name::new();
    let array = Array::<u16>::create(&*name, 100).unwrap();
    steady(ROUNDS, |i| {
        array.set(7, i as u16).unwrap();
        let view: ReadOnlyArray<u16> = Array::open_read_only(&*name).unwrap();
        assert_eq!(view.get(7).unwrap(), i as u16);
        let region = Region::options().name(&*name).read_only(true).open().unwrap();
        assert!(region.is_read_only() && region.names().unwrap().is_empty());
    });
}

fn adopted_segments() {
    let folder = Folder::new();
    steady(ROUNDS, |_| {
        let (name, link) = (Name::new(), folder.join("link"));
        let segment = ShmemConf::new().os_id(&*name).flink(&link).size(5000).create().unwrap();
        let region = Region::adopt(segment).unwrap();
        objects_in(&region);
        drop(Region::adopt(ShmemConf::new().os_id(&*name).open().unwrap()).unwrap());
    });
}

fn failures() {
    let (name, other) = (Name::new(), Name::new());
    let kept = Value::create(&*name, 1_u32).unwrap();
    let region = Region::anonymous(4096).unwrap();
    fs::write(other.path(), "no region").unwrap();
    steady(ROUNDS, |_| {
        assert!(matches!(Value::create(&*name, 1_u32), Err(Error::AlreadyExists { .. })));
        assert!(matches!(Value::<f32>::open(&*name), Err(Error::TypeMismatch { .. })));
        assert!(matches!(Array::<u32>::open_or_create(&*name, 3), Err(Error::TypeMismatch { .. })));
        assert!(matches!(Array::<u32>::open_read_only(&*name), Err(Error::TypeMismatch { .. })));
        assert!(Value::<u32>::open(&*other).is_err() && Value::open_or_create(&*other, 1_u32).is_err());
        assert!(matches!(Region::open("no-such-region"), Err(Error::NotFound { .. })));
        assert!(matches!(Region::anonymous(1 << 50), Err(Error::OutOfMemory { .. })));
        assert!(matches!(Region::create(&*Name::new(), 1 << 50), Err(Error::OutOfMemory { .. })));
        assert!(matches!(Array::<u8>::zeros_in(&region, "a", 5000), Err(Error::RegionFull { .. })));
        assert!(matches!(Value::<u8>::open_in(&region, "a"), Err(Error::NotFound { .. })));
        let foreign = ShmemConf::new().size(100).create().unwrap();
        assert!(matches!(Region::adopt(foreign), Err(Error::InvalidSize { .. })));
    });
    assert_eq!(kept.get().unwrap(), 1);
}

fn locks_and_threads() {
    let (value, lock) = (Value::new(0_usize).unwrap(), RLock::new().unwrap());
    steady(ROUNDS, |i| {
        let (value, lock) = (value.clone(), lock.clone());
        let held = value.lock().unwrap();
        let thread = std::thread::spawn({
            let value = value.clone();
            move || {
                let (_outer, _inner) = (lock.lock().unwrap(), lock.lock().unwrap());
                assert!(value.lock_timeout(Duration::from_micros(i as u64 % 50)).unwrap_err().is_timed_out());
                drop(Lock::new().unwrap().lock().unwrap());
            }
        });
        thread.join().unwrap();
        drop(held);
    });
}

/// A death under a lock, a dead process whose region goes with its last handle, and the repair.
fn locks_that_were_poisoned() {
    steady(ROUNDS / 5, |_| {
        let value = Value::new(0_u32).unwrap();
        let child = Process::fork(|| {
            let _held = value.lock().unwrap();
            std::process::abort()
        });
        let child: Process<()> = child.unwrap();
        assert!(matches!(joined(&child), Err(Error::ChildDied { .. })));
        assert!(matches!(value.lock(), Err(Error::Poisoned { pid, .. }) if pid == Some(child.pid())));
        value.recover().unwrap().clear_poison();
        value.set(1).unwrap();
    });
}

/// One that goes, with its region and the lifeline there, and one that stays; each is waited for in vain, and then with
/// success.
fn conditions() {
    let (lock, stays) = (Lock::new().unwrap(), Condvar::new().unwrap());
    steady(ROUNDS, |i| {
        let goes = Condvar::new().unwrap();
        for condition in [&goes, &stays] {
            let mut guard = lock.lock().unwrap();
            let time = Duration::from_micros(i as u64 % 50);
            assert!(condition.wait_timeout(&mut guard, time).unwrap_err().is_timed_out());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // It is free once the other waits.
                    drop(lock.lock().unwrap());
                    assert_eq!(condition.notify_all().unwrap(), 1);
                });
                condition.wait_timeout(&mut guard, DEADLINE).unwrap();
            });
        }
    });
}

/// Of both kinds, in regions of their own and in one that stays; with places given up and roles given back.
fn rings() {
    let region = Region::anonymous(1 << 16).unwrap();
    let stays = Ring::with_capacity_in(&region, None, 4).unwrap();
    steady(ROUNDS, |_| {
        let goes = Ring::with_capacity(4).unwrap();
        for ring in [&goes, &stays] {
            ring.push(1).unwrap();
            drop(ring.reserve().unwrap());
            assert_eq!(*ring.pop_ref().unwrap(), 1);
            assert!(ring.try_pop().unwrap_err().is_would_block());
        }
        let (mut producer, mut consumer) = Ring::spsc(4).unwrap();
        producer.push(2).unwrap();
        assert_eq!(consumer.pop().unwrap(), 2);
    });
}

/// In regions of their own and in one that stays, dropped when they are empty and when they are not, with memory under way.
fn queues() {
    let region = Region::anonymous(1 << 16).unwrap();
    let stays = Queue::options().capacity(1000).create_in(&region, None).unwrap();
    steady(ROUNDS, |i| {
        let goes = Queue::with_capacity(1000).unwrap();
        let inner = Queue::<u8>::with_capacity(100).unwrap();
        for queue in [&goes, &stays] {
            let object = (i, Value::new(i).unwrap(), Some(inner.clone()));
            queue.put(&object).unwrap();
            queue.put(&(i, object.1.clone(), None)).unwrap();
            assert!(matches!(queue.put_timeout(&object, Duration::ZERO), Ok(()) | Err(Error::TimedOut)));
            drop(object);
            let (number, value, inner) = queue.get().unwrap();
            assert!(number == i && value.get().unwrap() == i && inner.is_some());
        }
        while stays.try_get().is_ok() {
            stays.task_done().unwrap();
        }
    });
}

type Parcel = (usize, Value<usize>, Vec<Fd>, Option<Connection<u8>>);

#[derive(Serialize, Deserialize)]
struct Circle(Connection<Self>, Value<usize>);

fn fd() -> Fd {
    OwnedFd::from(File::open("/dev/null").unwrap()).into()
}

/// What is received, dropped unreceived, refused, cut short by the end, and sent in a circle.
fn pipes() {
    steady(ROUNDS, |i| {
        let (a, b) = pipe::duplex::<Parcel>().unwrap();
        let parcel = || (i, Value::new(i).unwrap(), vec![fd(), fd()], Some(pipe::duplex().unwrap().0));
        for _ in 0..3 {
            a.send(&parcel()).unwrap();
            a.send_bytes(&[1; 1 << 17]).unwrap();
        }
        let (number, value, fds, end) = b.recv().unwrap();
        assert!(number == i && value.get().unwrap() == i && fds.len() == 2 && end.unwrap().recv().is_err());
        assert_eq!(b.recv_bytes().unwrap().len(), 1 << 17);
        // Neither is what is asked for.
        assert!(matches!(b.recv_bytes(), Err(Error::TypeMismatch { .. })));
        assert!(matches!(b.recv(), Err(Error::TypeMismatch { .. })));
        // Not sent.
        let too_many = (i, value, (0..260).map(|_| fd()).collect(), None);
        assert!(matches!(a.send(&too_many), Err(Error::InvalidArgument { .. })));
        // Under way in itself: nobody can ever receive it.
        if i % 10 == 0 {
            let (c, d) = pipe::duplex().unwrap();
            c.send(&Circle(d, too_many.1)).unwrap();
        }

        let (caller, responder) = pipe::call::<Fd, Fd>().unwrap();
        assert!(caller.call_timeout(&fd(), Duration::ZERO).unwrap_err().is_timed_out());
        drop(responder.recv().unwrap());
        assert!(caller.call_timeout(&fd(), Duration::ZERO).unwrap_err().is_timed_out());
        let (fd, reply) = responder.recv().unwrap();
        assert!(matches!(reply.send(&fd), Err(Error::Closed)));
        assert!(caller.call_timeout(&fd, Duration::ZERO).unwrap_err().is_timed_out());
        let sources: [&dyn AsFd; 3] = [&a, &b, &responder];
        assert_eq!(pipe::wait(&sources).unwrap(), [1, 2]);
    });
}

/// Whatever the first thing is that finds no descriptor left.
fn pipes_without_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let (mut failed, mut worked) = ([0; 7], [0; 7]);
    let limit = getrlimit(Resource::Nofile);
    steady(ROUNDS / 10, |i| {
        let left = i as u64 % 10;
        let (a, b) = pipe::duplex::<Parcel>().unwrap();
        let (caller, responder) = pipe::call::<Fd, Fd>().unwrap();
        let parcel = (i, Value::new(i).unwrap(), vec![fd(), fd()], Some(pipe::duplex().unwrap().0));
        b.send(&parcel).unwrap();
        b.send_bytes(&[1; 1 << 17]).unwrap();
        b.send(&parcel).unwrap();
        b.send_bytes(&[1; 10]).unwrap();
        // Each gets the lowest number that is free: the last one's is, and all below it are taken.
        let mut fillers: Vec<_> = (0..100).map(|_| OwnedFd::from(fd())).collect();
        let last = fillers.pop().unwrap();
        let lowest = last.as_raw_fd() as u64;
        drop(last);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lowest + left), ..limit }).unwrap();
        let results = [
            pipe::simplex::<u8>().map(drop),
            a.send(&parcel),
            a.send_bytes(&[1; 1 << 17]),
            a.recv().map(|got| assert!(got.0 == i && got.2.len() == 2)),
            a.recv_bytes().map(|got| assert_eq!(got.len(), 1 << 17)),
            caller.call_timeout(&parcel.2[0], Duration::ZERO).map(drop),
            responder.recv_timeout(Duration::ZERO).map(drop),
        ];
        setrlimit(Resource::Nofile, limit).unwrap();
        drop(fillers);
        for (at, result) in results.into_iter().enumerate() {
            match result {
                Ok(()) => worked[at] += 1,
                Err(error) if error.is_timed_out() => worked[at] += usize::from(at == 5),
                Err(Error::Os { .. } | Error::NotSendable { .. }) => failed[at] += 1,
                Err(error) => panic!("{error} with {left} left"),
            }
        }
        // What there were too few for is lost, and nothing else.
        assert!(a.recv().is_ok() && a.recv_bytes().unwrap() == [1; 10]);
        assert!(a.try_recv().unwrap_err().is_would_block());
        drop(b.try_recv());
        a.send(&parcel).unwrap();
    });
    // Where there are enough to ask, there are enough to receive the request.
    assert!(failed[..6].iter().chain(&worked).all(|times| *times > 0), "{failed:?} {worked:?}");
}

/// Numbers of descriptors, mappings and threads of the child itself.
type Counts = (usize, usize, usize);

fn work(value: Value<usize>, array: Array<u64>, region: Region, lock: Lock) -> Result<(Counts, Value<u8>)> {
    let _held = lock.lock()?;
    value.update(|n| n + 1)?;
    array.lock()?[2] += 1;
    Value::open_or_create_in(&region, "count", 0)?.update(|n: u32| n + 1)?;
    let own = Possessions::now();
    Ok(((own.descriptors.len(), own.mappings, own.threads), Value::new(7)?))
}

fn processes(method: StartMethod) {
    let (value, lock) = (Value::new(0).unwrap(), Lock::new().unwrap());
    let region = Region::anonymous(4096).unwrap();
    let array = Array::zeros_in(&region, "array", 10).unwrap();
    let mut first = None;
    steady(ROUNDS, |_| {
        let args = (value.clone(), array.clone(), region.clone(), lock.clone());
        let child = Process::builder(work).args(args).start_method(method).start().unwrap();
        let (counts, made) = joined(&child).unwrap();
        assert_eq!(made.get().unwrap(), 7);
        // The thousandth child inherits no more than the first. Where it is loaded may add a mapping or two.
        let first = *first.get_or_insert(counts);
        assert_eq!((counts.0, counts.2), (first.0, first.2));
        assert!(counts.1 <= first.1 + 8, "{} mappings after {}", counts.1, first.1);
    });
    let count = value.get().unwrap();
    assert_eq!((count, array.get(2).unwrap()), (ROUNDS / 10 + ROUNDS, count as u64));
}

fn spawned_processes() {
    processes(StartMethod::Spawn);
}

fn forked_processes() {
    processes(StartMethod::Fork);
}

fn processes_of_the_fork_server() {
    processes(StartMethod::ForkServer);
}

/// Errors, panics and deaths of the child, and starts that come to nothing, with handles among the arguments.
fn processes_that_fail() {
    fn fail(value: Value<usize>, how: usize) -> Result<Value<usize>> {
        match how {
            0 => Err(Error::TimedOut),
            1 => std::process::exit(3),
            2 => std::process::abort(),
            // By itself, and not by `kill` of the parent, which may come before the arguments do.
            _ => {
                let _held = value.lock()?;
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
                loop {
                    std::thread::park();
                }
            }
        }
    }
    for method in [StartMethod::Spawn, StartMethod::Fork, StartMethod::ForkServer] {
        steady(ROUNDS / 5, |i| {
            let value = Value::new(i).unwrap();
            let builder = || Process::builder(fail).args((value.clone(), i % 4)).start_method(method);
            let child = builder().start().unwrap();
            assert!(joined(&child).is_err());
            assert!(joined(&child).is_err(), "again");
            let killed = builder().start().unwrap();
            killed.kill().unwrap();
            assert!(joined(&killed).is_err());
            assert!(builder().current_dir("/nowhere/at/all").start().is_err());
            assert!(builder().env("A=B", "c").start().is_err());
            value.recover().unwrap().clear_poison();
        });
    }
}

/// Pipes, files and lines with names: of children that end, and of starts that come to nothing.
fn standard_streams() {
    let null = std::fs::File::options().write(true).open("/dev/null").unwrap();
    let pipes = || Possessions::now().descriptors.iter().filter(|name| name.contains("pipe")).count();
    let before = pipes();
    for method in [StartMethod::Spawn, StartMethod::Fork, StartMethod::ForkServer] {
        steady(ROUNDS / 5, |i| {
            let builder = || Process::builder(|| println!("a line")).start_method(method);
            let piped = || builder().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let child = piped().start().unwrap();
            // Taken, or left to the handle.
            let ends = i.is_multiple_of(2).then(|| (child.take_stdin(), child.take_stdout()));
            joined(&child).unwrap();
            let named = || builder().stdout(null.try_clone().unwrap()).prefix_lines(true);
            joined(&named().start().unwrap()).unwrap();
            drop(named().start().unwrap());
            assert!(piped().prefix_lines(true).env("A=B", "c").start().is_err());
            assert!(named().current_dir("/nowhere/at/all").start().is_err());
            // The thread that passes lines on sees the end of a pipe a moment later.
            drop((child, ends));
            settle(|| process::active_children().is_empty() && pipes() == before);
        });
    }
}

/// Handles that are dropped at once: the crate waits for the children itself.
fn processes_that_nobody_joins() {
    for method in [StartMethod::Spawn, StartMethod::Fork, StartMethod::ForkServer] {
        let value = Value::new(0_usize).unwrap();
        let add = |value: Value<usize>| value.update(|n| n + 1);
        steady(ROUNDS / 2, |i| {
            drop(Process::builder(add).args((value.clone(),)).start_method(method).start().unwrap());
            // Not all at a time.
            if i % 20 == 0 {
                support::eventually(|| process::active_children().is_empty());
            }
        });
        assert_eq!(value.get().unwrap(), ROUNDS / 2 + ROUNDS / 20);
    }
}

/// With everything that workers do: work, die, end, and be ended while others wait.
fn pools() {
    fn dies(x: u32) -> u32 {
        assert!(x != 3, "three");
        if x == 5 {
            std::process::abort();
        }
        x
    }
    for method in [StartMethod::Spawn, StartMethod::Fork, StartMethod::ForkServer] {
        let value = Value::new(1_u64).unwrap();
        steady(ROUNDS / 50, |_| {
            let pool = shmkit::Pool::builder().workers(2).start_method(method).start().unwrap();
            assert_eq!(pool.map(|x: u32| x, 0..100).unwrap().len(), 100);
            assert!(pool.map(dies, 0..100).is_err());
            pool.map_with(&value, |value: &Value<u64>, _: u8| value.get(), [0; 50]).unwrap();
            assert_eq!(pool.apply(|size: usize| vec![0_u8; size], (1 << 20,)).unwrap().len(), 1 << 20);
            let task = pool.submit(|value: Value<u64>| Ok::<_, Error>(value), (value.clone(),));
            let _ = task.map(|task| task.get());
            let _left = pool.submit(|| std::thread::sleep(DEADLINE), ()).unwrap();
            let mut some = pool.imap(|x: u32| x, 0..).unwrap();
            assert_eq!(some.next().unwrap().unwrap(), 0);
        });
    }
}
