//! Handles of shared memory as objects of queues: the memory arrives whatever becomes of the sender, and descriptors
//! are neither lost nor left.
//!
//! One test at a time: they count what this process has, and fork.

#![allow(unsafe_code, reason = "limits of a process; the children's module forks")]

mod scratch;
mod support;

use std::{
    fs,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use shmkit::{
    Array, AtomicArray, Barrier, BoundedSemaphore, Condvar, Error, Event, Lock, Process, Queue, Region, Result, Ring,
    RwLock, Semaphore, Value, process::Message,
};
use support::{Board, Child, Deadline, End, Flag, eventually, is_raised, raise, wake_seldom};

shmkit::init_in_tests!();

const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);
/// The most descriptors of one object.
const MOST: usize = 253;

fn alone(what: &'static str) -> (MutexGuard<'static, ()>, Deadline) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    (ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner), Deadline::seconds(120, what))
}

fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(SOON)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Mappings of files, nameless ones too.
fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.split_whitespace().nth(4) != Some("0")).count()
}

/// How a sender ends after its `put`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Ends {
    Returns,
    Exits,
    IsKilled,
}

#[derive(Serialize, Deserialize)]
struct Bundle {
    name: String,
    value: Value<[u64; 4]>,
    array: Array<f32>,
    lock: Lock,
    queue: Queue<(String, Value<u8>)>,
    more: Vec<Option<Value<u16>>>,
    in_region: (Region, Array<u8>),
}

fn send(bundles: Queue<Bundle>, ends: Ends) -> Result<()> {
    let queue = Queue::with_capacity(200)?;
    queue.put(&("inner".into(), Value::new(77)?))?;
    let region = Region::anonymous(1 << 14)?;
    let array = Array::from_slice_in(&region, "array", b"in a region")?;
    let bundle = Bundle {
        name: format!("{ends:?}"),
        value: Value::new([1, 2, 3, 4])?,
        array: Array::from_iter((0..5000).map(|n| n as f32))?,
        lock: Lock::new()?,
        queue,
        more: (0..20).map(|n| Value::new(n).map(Some)).chain([Ok(None)]).collect::<Result<_>>()?,
        in_region: (region, array),
    };
    drop(bundle.lock.lock()?);
    bundles.put(&bundle)?;
    match ends {
        Ends::Returns => Ok(()),
        Ends::Exits => std::process::exit(0),
        Ends::IsKilled => {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
            support::sleep_for_ever()
        }
    }
}

/// The sender has ended before the receiver looks.
#[test]
fn the_sender_is_gone() {
    let _alone = alone("the_sender_is_gone");
    let bundles = Queue::new().unwrap();
    for ends in [Ends::Returns, Ends::Exits, Ends::IsKilled] {
        let sender = Process::spawn(send, (bundles.clone(), ends)).unwrap();
        let ended = joined(&sender);
        assert_eq!(ended.is_ok(), matches!(ends, Ends::Returns), "{ended:?}");
        let bundle = bundles.get().unwrap();
        assert_eq!(bundle.name, format!("{ends:?}"));
        assert_eq!(bundle.value.get().unwrap(), [1, 2, 3, 4]);
        bundle.value.set([5; 4]).unwrap();
        assert!(bundle.array.lock().unwrap().iter().enumerate().all(|(n, x)| *x == n as f32));
        drop(bundle.lock.try_lock().unwrap());
        let (name, inner) = bundle.queue.get().unwrap();
        assert_eq!((name.as_str(), inner.get().unwrap()), ("inner", 77));
        assert!(matches!(bundle.queue.get_timeout(SOON), Err(Error::Disconnected)), "its maker is gone");
        for (n, value) in bundle.more.iter().enumerate() {
            assert_eq!(value.as_ref().map(|value| value.get().unwrap()), (n < 20).then_some(n as u16));
        }
        let (region, array) = bundle.in_region;
        assert_eq!(array.to_vec().unwrap(), b"in a region");
        assert!(Array::<u8>::open_in(&region, "array").unwrap().is_same(&array));
    }
}

/// The sender lives on, and only its handle is gone.
#[test]
fn the_handle_is_dropped() {
    let _alone = alone("the_handle_is_dropped");
    fn receive(values: Queue<Value<u64>>) -> Result<u64> {
        (0..50).map(|n| values.get_timeout(SOON)?.update(|value| value + n)).sum()
    }
    let values = Queue::new().unwrap();
    for n in 0..50 {
        values.put(&Value::new(n).unwrap()).unwrap();
    }
    let child = Process::spawn(receive, (values.clone(),)).unwrap();
    assert_eq!(joined(&child).unwrap(), 2 * (0..50).sum::<u64>());
    // Both ends in one process.
    let value = Value::new(1).unwrap();
    values.put(&value).unwrap();
    let same = values.get().unwrap();
    assert!(same.is_same(&value));
    values.put(&same).unwrap();
    drop((value, same));
    assert_eq!(values.get().unwrap().get().unwrap(), 1);
}

/// What one side does the other sees, for each kind of handle.
#[test]
fn all_kinds() {
    type All = (
        (Semaphore, BoundedSemaphore, Barrier, Condvar, Event, RwLock<u32>),
        (Ring<u32>, AtomicArray<u32>, Queue<Queue<u32>>),
    );
    fn receive(all: Queue<All>) -> Result<()> {
        let ((semaphore, bounded, barrier, _condvar, event, lock), (ring, atomics, queues)) = all.get_timeout(SOON)?;
        semaphore.release()?;
        bounded.acquire()?.detach();
        barrier.wait_timeout(SOON)?;
        ring.push(5)?;
        atomics[3].fetch_add(4, SeqCst);
        *lock.write()? += 1;
        queues.get_timeout(SOON)?.put(&6)?;
        event.set();
        Ok(())
    }
    let _alone = alone("all_kinds");
    let (all, queue) = (Queue::<All>::new().unwrap(), Queue::new().unwrap());
    let kinds = (
        (
            Semaphore::new(0).unwrap(),
            BoundedSemaphore::new(1).unwrap(),
            Barrier::new(2).unwrap(),
            Condvar::new().unwrap(),
            Event::new().unwrap(),
            RwLock::new(1).unwrap(),
        ),
        (Ring::with_capacity(2).unwrap(), AtomicArray::zeros(4).unwrap(), Queue::new().unwrap()),
    );
    all.put(&kinds).unwrap();
    let child = Process::spawn(receive, (all.clone(),)).unwrap();
    let ((semaphore, bounded, barrier, _, event, lock), (ring, atomics, queues)) = kinds;
    barrier.wait_timeout(SOON).unwrap();
    queues.put(&queue).unwrap();
    assert!(event.wait_timeout(SOON).unwrap());
    joined(&child).unwrap();
    assert_eq!((semaphore.value(), bounded.available().unwrap(), *lock.read().unwrap()), (1, 1, 2));
    assert_eq!((ring.pop().unwrap(), atomics[3].load(SeqCst), queue.get().unwrap()), (5, 4, 6));
}

/// However many tickets, there is one mapping, and one descriptor.
#[test]
fn one_mapping_for_a_region() {
    fn receive(many: Queue<Vec<Value<u32>>>) -> Result<()> {
        drop(many.get_timeout(SOON)?);
        let (mappings_before, descriptors_before) = (mappings(), descriptors());
        let handles: Vec<_> = (0..5).map(|_| many.get_timeout(SOON)).collect::<Result<_>>()?;
        let (maps, fds) = (mappings() - mappings_before, descriptors() - descriptors_before);
        assert_eq!((maps, fds), (1, 1));
        for values in &handles {
            assert!(values.iter().zip(0..).all(|(value, n)| value.get().unwrap() == n));
            assert!(values.iter().zip(&handles[0]).all(|(one, other)| one.is_same(other)));
        }
        drop(handles);
        assert_eq!((mappings(), descriptors()), (mappings_before, descriptors_before));
        Ok(())
    }
    let _alone = alone("one_mapping_for_a_region");
    let many = Queue::new().unwrap();
    many.put(&vec![Value::new(0).unwrap()]).unwrap();
    let region = Region::anonymous(1 << 18).unwrap();
    // More than there can be descriptors.
    let values: Vec<_> = (0..300).map(|n| Value::new_in(&region, None, n).unwrap()).collect();
    let before = descriptors();
    (0..5).for_each(|_| many.put(&values).unwrap());
    assert_eq!(descriptors(), before);
    joined(&Process::spawn(receive, (many.clone(),)).unwrap()).unwrap();
}

#[test]
fn too_many_regions() {
    let _alone = alone("too_many_regions");
    let many = Queue::new().unwrap();
    let mut values: Vec<_> = (0..=MOST as u32).map(|n| Value::new(n).unwrap()).collect();
    let before = descriptors();
    assert!(matches!(many.put(&values), Err(Error::InvalidArgument { .. })));
    assert!(many.is_empty() && descriptors() == before);
    values.pop();
    many.put(&values).unwrap();
    values.clear();
    let values = many.get().unwrap();
    assert!(values.len() == MOST && values.iter().zip(0..).all(|(value, n)| value.get().unwrap() == n));
}

/// What lies in the memory of the queue needs no descriptor, and is held by that.
#[test]
fn handles_of_its_own_region() {
    fn receive(queue: Queue<(Value<u32>, Value<u32>)>) -> Result<(u32, u32)> {
        let (inside, outside) = queue.get_timeout(SOON)?;
        assert!(inside.region().is_same(&queue.region()));
        Ok((inside.get()?, outside.get()?))
    }
    let _alone = alone("handles_of_its_own_region");
    let region = Region::anonymous(1 << 16).unwrap();
    let queue = Queue::options().capacity(1000).create_in(&region, None).unwrap();
    let inside = Value::new_in(&region, None, 3).unwrap();
    queue.put(&(inside, Value::new(4).unwrap())).unwrap();
    drop(region);
    assert_eq!(joined(&Process::spawn(receive, (queue.clone(),)).unwrap()).unwrap(), (3, 4));
}

/// Such a queue can be found by those to whom nobody sends anything: so only what they can find goes.
#[test]
fn queues_by_name() {
    fn receive(name: String) -> Result<Vec<u32>> {
        let queue = Queue::<Vec<Value<u32>>>::open(name.as_str())?;
        queue.get_timeout(SOON)?.iter().map(|value| value.update(|n| n + 10)).collect()
    }
    let _alone = alone("queues_by_name");
    let (at, other, folder) = (scratch::Name::new(), scratch::Name::new(), scratch::Folder::new());
    let queue = Queue::<Vec<Value<u32>>>::create(&*at).unwrap();
    let is_refused = |values: Vec<Value<u32>>| matches!(queue.put(&values), Err(Error::NotSendable { .. }));
    let named = Value::create(&*other, 1).unwrap();
    let filed = Value::create(folder.join("value"), 2).unwrap();
    assert!(is_refused(vec![Value::new(1).unwrap()]));
    assert!(is_refused(vec![named.clone(), Value::new(1).unwrap()]));
    assert!(queue.is_empty());
    let before = descriptors();
    queue.put(&vec![named.clone(), filed.clone()]).unwrap();
    let said = joined(&Process::spawn(receive, (at.to_string(),)).unwrap()).unwrap();
    assert_eq!((said, named.get().unwrap()), (vec![11, 12], 11));
    assert_eq!(descriptors(), before);

    // A name that is gone, or another's, when the object is taken: an error that says so, and the next one comes.
    queue.put(&vec![filed.clone()]).unwrap();
    queue.put(&vec![filed.clone()]).unwrap();
    queue.put(&Vec::new()).unwrap();
    Value::<u32>::unlink(folder.join("value")).unwrap();
    assert!(is_refused(vec![filed.clone()]), "it has no name any more");
    let reason = |said: Result<_>| match said {
        Err(Error::NotSendable { reason, .. }) => reason,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("found"),
    };
    let error = reason(queue.get());
    assert!(error.contains("does not exist"), "{error}");
    let _new = Value::create(folder.join("value"), 9_u32).unwrap();
    let error = reason(queue.get());
    assert!(error.contains("as it was"), "{error}");
    assert_eq!((queue.get().unwrap().len(), queue.unfinished_tasks()), (0, 2));
}

/// A queue under a name in a region that has none takes what lies beside it.
#[test]
fn queues_by_name_in_a_region() {
    let _alone = alone("queues_by_name_in_a_region");
    let region = Region::anonymous(1 << 16).unwrap();
    let queue = Queue::options().capacity(500).create_in(&region, "queue").unwrap();
    let beside = Value::new_in(&region, None, 5_u8).unwrap();
    queue.put(&beside).unwrap();
    assert!(matches!(queue.put(&Value::new(6).unwrap()), Err(Error::NotSendable { .. })));
    assert!(Queue::<Value<u8>>::open_in(&region, "queue").unwrap().get().unwrap().is_same(&beside));
    assert!(queue.is_empty());
}

/// Cannot be deserialised if it is so told.
#[derive(Serialize)]
struct Picky(bool);

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match bool::deserialize(deserializer)? {
            true => Ok(Self(true)),
            false => Err(D::Error::custom("not this one")),
        }
    }
}

/// By `put` and `get`, such as fail too, and the end of a queue that is full.
#[test]
fn no_descriptor_is_left() {
    let _alone = alone("no_descriptor_is_left");
    let values: Vec<_> = (0..5_u32).map(|n| Value::new(n).unwrap()).collect();
    let queue = Queue::<(Vec<Value<u32>>, Picky)>::options().max_items(2).create().unwrap();
    let small = Queue::<(Vec<Value<u32>>, [u64; 9])>::with_capacity(60).unwrap();
    let named = scratch::Name::new();
    let named = Queue::<Vec<Value<u32>>>::create(&*named).unwrap();
    let before = descriptors();
    for n in 0..200 {
        let object = |arrives| (values.clone(), Picky(arrives));
        queue.put(&object(true)).unwrap();
        queue.put(&object(false)).unwrap();
        assert!(queue.try_put(&object(true)).unwrap_err().is_would_block());
        assert!(queue.put_timeout(&object(true), Duration::ZERO).unwrap_err().is_timed_out());
        assert!(matches!(small.put(&(values.clone(), [1 << 60; 9])), Err(Error::TooLarge { limit: 56, .. })));
        assert!(matches!(named.put(&values), Err(Error::NotSendable { .. })));
        assert!(queue.get().is_ok());
        assert!(matches!(queue.get(), Err(Error::NotSendable { .. })));
        assert!(queue.is_empty());
        let full = Queue::<Value<u32>>::options().max_items(3).create().unwrap();
        (0..3).for_each(|n| full.put(&values[n]).unwrap());
        if n % 2 == 0 {
            full.close();
            assert!(matches!(full.put(&values[0]), Err(Error::Closed)));
        }
    }
    assert_eq!(descriptors(), before);
}

/// The number that a new descriptor gets, when all below it are taken.
fn next_descriptor() -> u64 {
    let numbers = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
    let highest = numbers.filter_map(|name| name.to_str()?.parse().ok()).max().unwrap();
    loop {
        // Fills the gaps, for good.
        // SAFETY: takes the number of a descriptor that is open.
        let copy = unsafe { libc::dup(2) };
        if copy >= highest {
            return copy as u64 + 1;
        }
    }
}

/// Lets no descriptor of this process have this number or a higher one.
fn limit_descriptors(number: u64) {
    // SAFETY: plain data, of which zero is a value.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: writes a live struct.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = number;
    // SAFETY: reads a live struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// A process that can open no more is told, and takes nothing; however few it lacks.
#[test]
fn a_receiver_without_descriptors() {
    fn receive(queue: Queue<(Value<u32>, Vec<Value<u32>>)>) -> Result<usize> {
        // So that it has all that it needs besides.
        queue.get_timeout(SOON)?;
        let (mut refused, next) = (0, next_descriptor());
        for more in 0..40 {
            limit_descriptors(next + more);
            match queue.get_timeout(SOON) {
                Err(_) => assert_eq!(queue.len(), 1, "it is lost, with {more} descriptors"),
                Ok((value, values)) => {
                    assert_eq!((value.get()?, values.len()), (7, 4));
                    assert!(values.iter().zip(0..).all(|(value, n)| value.get().unwrap() == n));
                    return Ok(refused);
                }
            }
            refused += 1;
        }
        Ok(refused)
    }
    let _alone = alone("a_receiver_without_descriptors");
    let queue = Queue::new().unwrap();
    let values: Vec<_> = (0..4).map(|n| Value::new(n).unwrap()).collect();
    (0..2).for_each(|_| queue.put(&(Value::new(7).unwrap(), values.clone())).unwrap());
    let refused = joined(&Process::spawn(receive, (queue.clone(),)).unwrap()).unwrap();
    assert!((5..30).contains(&refused), "{refused}");
}

/// A sender that can open no more is told, too, and puts in nothing.
#[test]
fn a_sender_without_descriptors() {
    fn send(queue: Queue<Vec<Value<u32>>>) -> Result<()> {
        let values: Vec<_> = (0..4).map(|n| Value::new(n).unwrap()).collect();
        queue.put(&values)?;
        let next = next_descriptor();
        for more in 0..4 {
            limit_descriptors(next + more);
            assert!(queue.try_put(&values).is_err());
            assert_eq!(queue.len(), 1);
        }
        limit_descriptors(next + 4);
        queue.put(&values)
    }
    let _alone = alone("a_sender_without_descriptors");
    let queue = Queue::new().unwrap();
    joined(&Process::spawn(send, (queue.clone(),)).unwrap()).unwrap();
    for _ in 0..2 {
        assert!(queue.get().unwrap().iter().zip(0..).all(|(value, n)| value.get().unwrap() == n));
    }
}

/// Puts in tickets until no more go. Returns how many objects are in then.
fn fill<T: Message>(queue: &Queue<T>, object: &T) -> usize {
    while queue.put_timeout(object, SHORT).is_ok() {}
    assert!(queue.try_put(object).unwrap_err().is_would_block());
    assert!(queue.put_timeout(object, SHORT).unwrap_err().is_timed_out());
    assert!(!queue.is_full());
    queue.len()
}

/// The kernel keeps so many at a time; who has more to send waits as for room.
#[test]
fn many_under_way() {
    let _alone = alone("many_under_way");
    let queue = Queue::new().unwrap();
    let count = fill(&queue, &(0, Some(Value::new(5_u32).unwrap())));
    assert!(count >= 20, "{count}");
    // What has none needs no such room.
    queue.try_put(&(1, None)).unwrap();
    let mut sender = Child::start(|| {
        let value = Value::new(6).unwrap();
        (0..500).for_each(|n| queue.put(&(n, Some(value.clone()))).unwrap());
        0
    });
    sender.wait_until_asleep();
    (0..count).for_each(|_| assert_eq!(queue.get().unwrap().1.unwrap().get().unwrap(), 5));
    assert!(queue.get().unwrap().1.is_none());
    for n in 0..500 {
        let (number, value) = queue.get_timeout(SOON).unwrap();
        assert_eq!((number, value.unwrap().get().unwrap()), (n, 6));
    }
    assert_eq!(sender.wait(), End::Code(0));

    // And who is told of the end meanwhile. Until then it sleeps, as who waits for room.
    let (queue, object) = (Queue::new().unwrap(), Value::new(5_u32).unwrap());
    fill(&queue, &object);
    let mut sender = [Child::start(|| i32::from(!matches!(queue.put_timeout(&object, SOON), Err(Error::Closed))))];
    wake_seldom(&sender);
    queue.close();
    assert_eq!(sender[0].wait(), End::Code(0));
}

/// Who makes way by taking away what the dead had sent leaves what belongs to objects that are in: also to those that no
/// consumer has looked for yet.
#[test]
fn what_is_under_way_stays() {
    let _alone = alone("what_is_under_way_stays");
    for looked_at in 0..3 {
        let queue = Queue::new().unwrap();
        (0..3).for_each(|n| queue.put(&(n, None)).unwrap());
        (0..looked_at).for_each(|n| assert_eq!(queue.get().unwrap().0, n));
        let count = fill(&queue, &(9, Some(Value::new(5_u32).unwrap()))) as u32;
        (looked_at..3).for_each(|n| assert_eq!(queue.get().unwrap().0, n));
        for _ in 0..count - (3 - looked_at) {
            assert_eq!(queue.get().unwrap().1.unwrap().get().unwrap(), 5);
        }
        assert!(queue.is_empty());
    }
}

/// A user without privileges may have as many under way, over all sockets, as a process of his may have open.
#[test]
fn as_many_under_way_as_may_be() {
    let _alone = alone("as_many_under_way_as_may_be");
    let queue = Queue::new().unwrap();
    let value = Value::new(5_u32).unwrap();
    let object = (value.clone(), value);
    queue.put(&object).unwrap();
    drop(queue.get().unwrap());
    let (count, is_full) = (Board::<AtomicU32>::new(), Board::<Flag>::new());
    let mut sender = Child::start(|| {
        // So that it has become a member, which takes more than this user may have.
        queue.put(&object).unwrap();
        if scratch::is_root() {
            // SAFETY: takes a number.
            assert_eq!(unsafe { libc::seteuid(65534) }, 0);
        }
        let limit = libc::rlimit { rlim_cur: 40, rlim_max: 40 };
        // SAFETY: reads a live struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let end = std::time::Instant::now() + SHORT;
        while queue.put_deadline(&object, end).is_ok() {
            count.fetch_add(1, SeqCst);
        }
        raise(&is_full);
        (0..100).for_each(|_| queue.put_timeout(&object, SOON).unwrap());
        0
    });
    eventually(|| is_raised(&is_full) || sender.has_ended());
    let at_once = count.load(SeqCst);
    assert!((5..=41).contains(&at_once), "{at_once} went at once");
    for _ in 0..101 + at_once {
        assert_eq!(queue.get_timeout(SOON).unwrap().1.get().unwrap(), 5);
    }
    assert_eq!(sender.wait(), End::Code(0));
}

/// Does something to the queue while it is itself on its way: it is put in and taken among others that are.
struct Hook {
    depth: u32,
    inner: Option<Box<Nested>>,
}

/// What comes before and after the hook has its own memory.
type Nested = (Value<u32>, Hook, Value<u32>);

fn nested(depth: u32) -> Nested {
    (Value::new(depth).unwrap(), Hook { depth, inner: None }, Value::new(depth + 100).unwrap())
}

static NESTED: Mutex<Option<Queue<Nested>>> = Mutex::new(None);

fn nested_queue() -> Queue<Nested> {
    NESTED.lock().unwrap().clone().expect("set by the test")
}

impl Serialize for Hook {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.depth > 0 {
            nested_queue().put(&nested(self.depth - 1)).unwrap();
        }
        serializer.serialize_u32(self.depth)
    }
}

impl<'de> Deserialize<'de> for Hook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let depth = u32::deserialize(deserializer)?;
        Ok(Self { depth, inner: nested_queue().try_get().ok().map(Box::new) })
    }
}

#[test]
fn objects_that_use_their_queue() {
    const DEPTH: u32 = 4;
    let _alone = alone("objects_that_use_their_queue");
    *NESTED.lock().unwrap() = Some(Queue::new().unwrap());
    let queue = nested_queue();
    let before = descriptors();
    queue.put(&nested(DEPTH)).unwrap();
    assert_eq!((queue.len(), descriptors()), (DEPTH as usize + 1, before));
    // Each was put in before the one that did it was.
    let mut found = Some(Box::new(queue.get().unwrap()));
    for depth in 0..=DEPTH {
        let (one, hook, other) = *found.unwrap();
        assert_eq!((one.get().unwrap(), hook.depth, other.get().unwrap()), (depth, depth, depth + 100));
        found = hook.inner;
    }
    assert!(found.is_none() && queue.is_empty());
    *NESTED.lock().unwrap() = None;
}

/// Panics when it is serialised (1) or deserialised (2).
struct Explosive(u8);

impl Serialize for Explosive {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, 1, "as it should");
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Explosive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kind = u8::deserialize(deserializer)?;
        assert_ne!(kind, 2, "as it should");
        Ok(Self(kind))
    }
}

/// A panic is an error, with no more consequences.
#[test]
fn objects_that_panic() {
    let _alone = alone("objects_that_panic");
    let queue = Queue::<(Value<u8>, Explosive)>::options().max_items(2).create().unwrap();
    let value = Value::new(9).unwrap();
    let before = descriptors();
    let panics = |run: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
    for _ in 0..20 {
        assert!(panics(&|| queue.put(&(value.clone(), Explosive(1))).unwrap()));
        assert_eq!((queue.len(), queue.unfinished_tasks(), descriptors()), (0, 0, before));
        // Nor does the next handle go along with it.
        assert!(postcard::to_stdvec(&value).is_err());
        [2, 3].iter().for_each(|kind| queue.put(&(value.clone(), Explosive(*kind))).unwrap());
        assert!(panics(&|| drop(queue.get())));
        assert_eq!((queue.len(), queue.unfinished_tasks()), (1, 1));
        let found = queue.try_get().unwrap();
        assert!(found.0.is_same(&value) && found.1.0 == 3);
        queue.task_done().unwrap();
        queue.try_join().unwrap();
        drop(found);
    }
    assert_eq!(descriptors(), before);
}
