//! What nobody should do with the objects of `sync`, and many will: impossible numbers, more processes than there is room
//! for, handles dropped and names removed while others wait. It is an error at once, or harms nobody.

mod scratch;
mod support;

use std::{
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    thread,
    time::Duration,
};

use shmkit::{Array, Barrier, BoundedSemaphore, Condvar, Error, Event, Lock, RLock, Region, Result, RwLock, Semaphore};
use support::{Board, Child, Deadline, End, Flag, eventually, is_raised, raise, sleep_for_ever};

/// Longer than any wait that succeeds.
const SOON: Duration = Duration::from_secs(20);
const WHILE: Duration = Duration::from_millis(20);

fn is_invalid<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::InvalidArgument { .. }))
}

/// By every constructor, which then leaves nothing under the name.
macro_rules! refuses {
    ($type:ident, $counts:expr) => {
        let region = Region::anonymous(1 << 20).unwrap();
        for count in $counts {
            let name = scratch::Name::new();
            assert!(is_invalid($type::new(count)), "{count}");
            assert!(is_invalid($type::new_in(&region, "it", count)), "{count}");
            assert!(is_invalid($type::open_or_create_in(&region, "it", count)), "{count}");
            assert!(is_invalid($type::create(&*name, count)), "{count}");
            assert!(is_invalid($type::open_or_create(&*name, count)), "{count}");
            assert!(matches!($type::open(&*name), Err(Error::NotFound { .. })) && !name.path().exists());
        }
        assert!(matches!($type::open_in(&region, "it"), Err(Error::NotFound { .. })));
        assert!($type::new_in(&region, "it", 1).is_ok());
    };
}

#[test]
fn impossible_numbers() {
    const HUGE: [usize; 4] = [u32::MAX as usize, u32::MAX as usize + 1, usize::MAX / 8 + 1, usize::MAX];
    refuses!(Barrier, [0, Barrier::MAX + 1].into_iter().chain(HUGE));
    refuses!(BoundedSemaphore, [0, BoundedSemaphore::MAX + 1].into_iter().chain(HUGE));
    refuses!(Semaphore, [Semaphore::MAX + 1, usize::MAX / 8 + 1, usize::MAX]);
    // None at the start is a semaphore of use.
    assert_eq!(Semaphore::new(0).unwrap().value(), 0);
    assert!(Semaphore::new(Semaphore::MAX).unwrap().release_many(usize::MAX).is_err());
}

/// A child that tells what came of `enter`: 0 for success, 1 for no room in the region.
fn enters<T>(enter: impl FnOnce() -> Result<T>) -> End {
    Child::start(|| match enter() {
        Ok(_) => 0,
        Err(Error::TooManyMembers { limit: 2 }) => 1,
        Err(_) => 2,
    })
    .wait()
}

/// A child that enters a region and stays in.
fn stays<T>(enter: impl FnOnce() -> Result<T>) -> Child {
    let entered = Board::<Flag>::new();
    let child = Child::start(|| {
        std::mem::forget(enter().unwrap());
        raise(&entered);
        sleep_for_ever()
    });
    eventually(|| is_raised(&entered));
    child
}

/// Objects for more parties, owners and readers than the region has room for members: those without room are told.
#[test]
fn more_than_members() {
    let _deadline = Deadline::seconds(60, "more_than_members");
    let region = || Region::options().size(1 << 20).members(2).create().unwrap();

    let semaphore = BoundedSemaphore::new_in(&region(), None, 100).unwrap();
    let owners = [(); 2].map(|()| stays(|| semaphore.acquire()));
    assert_eq!(enters(|| semaphore.acquire_timeout(SOON)), End::Code(1));
    drop(owners);
    assert_eq!(enters(|| semaphore.acquire_timeout(SOON)), End::Code(0));
    assert_eq!(semaphore.available().unwrap(), 100);

    let lock = RwLock::new_in(&region(), None, 0_u8).unwrap();
    let readers = [(); 2].map(|()| stays(|| lock.read()));
    assert_eq!(enters(|| lock.read_timeout(SOON)), End::Code(1));
    assert_eq!(enters(|| lock.write_timeout(SOON)), End::Code(1));
    drop(readers);
    assert_eq!(enters(|| lock.write_timeout(SOON)), End::Code(0));

    let barrier = Barrier::new_in(&region(), None, 3).unwrap();
    let party = || Child::start(|| i32::from(barrier.wait_timeout(SOON).is_err()));
    let mut parties = [(); 2].map(|()| party());
    eventually(|| barrier.n_waiting() == 2);
    assert_eq!(enters(|| barrier.wait_timeout(SOON)), End::Code(1));
    assert_eq!((barrier.n_waiting(), barrier.is_broken()), (2, false), "nobody is disturbed");
    barrier.abort();
    assert!(parties.iter_mut().all(|party| party.wait() == End::Code(1)));
}

/// More processes than a barrier keeps records of: those too many are refused, the others not disturbed.
#[test]
fn more_processes_than_parties() {
    let _deadline = Deadline::seconds(60, "more_processes_than_parties");
    let barrier = Barrier::new(2).unwrap();
    let pass = || barrier.wait_timeout(SOON);
    let mut parties = Vec::new();
    for _ in 0..2 {
        let passed = Board::<AtomicU32>::new();
        parties.extend([(); 2].map(|()| {
            Child::start(|| {
                pass().unwrap();
                passed.fetch_add(1, SeqCst);
                sleep_for_ever()
            })
        }));
        eventually(|| passed.load(SeqCst) == 2);
    }
    for _ in 0..3 {
        let refused = Child::start(|| i32::from(!is_invalid(pass()))).wait();
        assert_eq!((refused, barrier.n_waiting(), barrier.is_broken()), (End::Code(0), 0, false));
    }
    // One of the parties dies: there is room again, when all know.
    let mut victim = parties.remove(0);
    victim.kill();
    victim.wait();
    assert!(matches!(pass(), Err(Error::BarrierBroken { pid: Some(pid) }) if pid == victim.pid()));
    barrier.reset().unwrap();
    assert!(barrier.wait_timeout(WHILE).unwrap_err().is_timed_out());
}

/// The state of a thread of this process.
fn sleeps(thread: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// Processes and perhaps a thread of this one wait, when this thread drops its handle: they get what another process gives
/// them. `give` does at once what keeps them waiting, if anything must, and gives when its argument returns.
fn outlasts_a_drop<T: Clone + Send + 'static>(
    make: impl Fn(usize) -> T,
    wait: fn(&T) -> bool,
    give: impl Fn(&T, usize, &dyn Fn()),
) {
    for with_thread in [true, false] {
        let waiters = if with_thread { 3 } else { 2 };
        let handle = make(waiters);
        let (ready, go) = (Board::<Flag>::new(), Board::<Flag>::new());
        let mut giver = Child::start(|| {
            give(&handle, waiters, &|| {
                raise(&ready);
                eventually(|| is_raised(&go));
            });
            0
        });
        eventually(|| is_raised(&ready));
        let mut children = [(); 2].map(|()| Child::start(|| i32::from(!wait(&handle))));
        let id = Board::<AtomicU32>::new();
        let thread = with_thread.then(|| {
            let (clone, id) = (handle.clone(), id.get());
            thread::spawn(move || {
                id.store(rustix::thread::gettid().as_raw_nonzero().get() as u32, SeqCst);
                wait(&clone)
            })
        });
        children.iter().for_each(Child::wait_until_asleep);
        eventually(|| !with_thread || sleeps(id.load(SeqCst)));
        drop(handle);
        assert!(children.iter_mut().all(|child| !child.has_ended()) && !giver.has_ended());
        raise(&go);
        assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
        assert!(thread.is_none_or(|thread| thread.join().unwrap()));
        assert_eq!(giver.wait(), End::Code(0));
    }
}

#[test]
fn handles_dropped_while_others_wait() {
    let _deadline = Deadline::seconds(100, "handles_dropped_while_others_wait");
    outlasts_a_drop(
        |_| Semaphore::new(0).unwrap(),
        |semaphore| semaphore.acquire_timeout(SOON).is_ok(),
        |semaphore, waiters, until_go| {
            until_go();
            semaphore.release_many(waiters).unwrap();
        },
    );
    for auto_reset in [false, true] {
        outlasts_a_drop(
            |_| if auto_reset { Event::auto_reset().unwrap() } else { Event::new().unwrap() },
            |event| event.wait_timeout(SOON).unwrap(),
            |event, waiters, until_go| {
                until_go();
                for _ in 0..waiters {
                    event.set();
                    eventually(|| !event.is_auto_reset() || !event.is_set());
                }
            },
        );
    }
    outlasts_a_drop(
        |_| Lock::new().unwrap(),
        |lock| lock.lock_timeout(SOON).is_ok(),
        |lock, _, until_go| {
            let _held = lock.lock().unwrap();
            until_go();
        },
    );
    outlasts_a_drop(
        |_| RLock::new().unwrap(),
        |lock| lock.lock_timeout(SOON).is_ok(),
        |lock, _, until_go| {
            let _held = (lock.lock().unwrap(), lock.lock().unwrap());
            until_go();
        },
    );
    outlasts_a_drop(
        |_| RwLock::new(1_u8).unwrap(),
        |lock| lock.read_timeout(SOON).is_ok_and(|value| *value == 2),
        |lock, _, until_go| {
            let mut value = lock.write().unwrap();
            until_go();
            *value = 2;
        },
    );
    outlasts_a_drop(
        |_| RwLock::new(1_u8).unwrap(),
        |lock| lock.write_timeout(SOON).is_ok(),
        |lock, _, until_go| {
            let _value = lock.read().unwrap();
            until_go();
        },
    );
    outlasts_a_drop(
        |_| BoundedSemaphore::new(1).unwrap(),
        |semaphore| semaphore.acquire_timeout(SOON).is_ok(),
        |semaphore, _, until_go| {
            let _permit = semaphore.acquire().unwrap();
            until_go();
        },
    );
    outlasts_a_drop(
        |_| (Lock::new().unwrap(), Condvar::new().unwrap()),
        |(lock, condition)| condition.wait_timeout(&mut lock.lock().unwrap(), SOON).is_ok(),
        |(_, condition), waiters, until_go| {
            until_go();
            // One that sleeps may do so on its way here, as a new member of the region.
            eventually(|| condition.n_waiting().unwrap() == waiters);
            assert_eq!(condition.notify_all().unwrap(), waiters);
        },
    );
    outlasts_a_drop(
        |_| Array::<u8>::zeros(10).unwrap(),
        |array| array.claim_mut_timeout(3..5, SOON).is_ok_and(|part| part[1] == 2),
        |array, _, until_go| {
            let mut part = array.claim_mut(4..6).unwrap();
            until_go();
            part.fill(2);
        },
    );
    outlasts_a_drop(
        |_| Array::<u8>::zeros(10).unwrap(),
        |array| array.lock_timeout(SOON).is_ok(),
        |array, _, until_go| {
            let _part = array.claim(4..6).unwrap();
            until_go();
        },
    );
    // This process is no party where it has not arrived.
    outlasts_a_drop(
        |waiters| Barrier::new(waiters + 1).unwrap(),
        |barrier| barrier.wait_timeout(SOON).is_ok(),
        |barrier, _, until_go| {
            until_go();
            barrier.wait_timeout(SOON).unwrap();
        },
    );
}

/// A party that was there, and drops its last handle while others wait, breaks the barrier for those; not one of its
/// several handles.
#[test]
fn a_party_drops_its_handles() {
    let _deadline = Deadline::seconds(60, "a_party_drops_its_handles");
    for _ in 0..10 {
        let barrier = Barrier::new(3).unwrap();
        let me = std::process::id();
        let mut others = [(); 2].map(|()| {
            Child::start(|| {
                barrier.wait_timeout(SOON).unwrap();
                let said = barrier.wait_timeout(SOON);
                i32::from(!matches!(said, Err(Error::BarrierBroken { pid: Some(pid) }) if pid == me))
            })
        });
        barrier.wait_timeout(SOON).unwrap();
        let clone = barrier.clone();
        eventually(|| clone.n_waiting() == 2);
        drop(barrier);
        thread::sleep(WHILE);
        assert!(!clone.is_broken() && clone.n_waiting() == 2);
        drop(clone);
        assert!(others.iter_mut().all(|other| other.wait() == End::Code(0)));
    }
}

/// Forgotten guards and detached permits go with the last handle: whoever waits for them goes on, though the process lives.
#[test]
fn what_was_forgotten_goes_with_the_last_handle() {
    let _deadline = Deadline::seconds(60, "what_was_forgotten_goes_with_the_last_handle");
    let semaphore = BoundedSemaphore::new(2).unwrap();
    semaphore.acquire().unwrap().detach();
    std::mem::forget(semaphore.acquire().unwrap());
    let mut waiters = [(); 2].map(|()| Child::start(|| semaphore.acquire_timeout(SOON).map_or(1, |_| 0)));
    waiters.iter().for_each(Child::wait_until_asleep);
    drop(semaphore);
    assert!(waiters.iter_mut().all(|waiter| waiter.wait() == End::Code(0)));

    let lock = RwLock::new(0_u8).unwrap();
    std::mem::forget(lock.read().unwrap());
    let mut writer = Child::start(|| lock.write_timeout(SOON).map_or(1, |_| 0));
    writer.wait_until_asleep();
    drop(lock);
    assert_eq!(writer.wait(), End::Code(0));
}

/// The name goes, and comes to be another object's: those who wait are with the first.
#[test]
fn names_removed_while_others_wait() {
    let _deadline = Deadline::seconds(60, "names_removed_while_others_wait");
    macro_rules! outlasts_its_name {
        ($make:expr, $open:expr, $unlink:expr, $wait:expr, $give:expr) => {
            let name = scratch::Name::new();
            let first = $make(&*name);
            let begun = Board::<Flag>::new();
            let mut waiter = Child::start(|| {
                let own = $open(&*name).unwrap();
                raise(&begun);
                i32::from(!$wait(&own))
            });
            eventually(|| is_raised(&begun));
            waiter.wait_until_asleep();
            $unlink(&*name).unwrap();
            assert!(matches!($open(&*name), Err(Error::NotFound { .. })));
            let second = $make(&*name);
            assert!(!second.is_same(&first));
            assert!(!waiter.has_ended());
            $give(&first);
            assert_eq!(waiter.wait(), End::Code(0));
            drop(second);
        };
    }
    outlasts_its_name!(
        |name: &str| Semaphore::create(name, 0).unwrap(),
        |name: &str| Semaphore::open(name),
        |name: &str| Semaphore::unlink(name),
        |semaphore: &Semaphore| semaphore.acquire_timeout(SOON).is_ok(),
        |semaphore: &Semaphore| semaphore.release().unwrap()
    );
    outlasts_its_name!(
        |name: &str| Event::create(name).unwrap(),
        |name: &str| Event::open(name),
        |name: &str| Event::unlink(name),
        |event: &Event| event.wait_timeout(SOON).unwrap(),
        |event: &Event| event.set()
    );
    outlasts_its_name!(
        |name: &str| Barrier::create(name, 2).unwrap(),
        |name: &str| Barrier::open(name),
        |name: &str| Barrier::unlink(name),
        |barrier: &Barrier| barrier.wait_timeout(SOON).is_ok(),
        |barrier: &Barrier| barrier.wait_timeout(SOON).unwrap()
    );
    outlasts_its_name!(
        |name: &str| {
            let semaphore = BoundedSemaphore::create(name, 1).unwrap();
            semaphore.acquire().unwrap().detach();
            semaphore
        },
        |name: &str| BoundedSemaphore::open(name),
        |name: &str| BoundedSemaphore::unlink(name),
        |semaphore: &BoundedSemaphore| semaphore.acquire_timeout(SOON).is_ok(),
        |semaphore: &BoundedSemaphore| semaphore.release().unwrap()
    );

    let name = scratch::Name::new();
    let lock = RwLock::create(&*name, 1_u8).unwrap();
    let mut value = lock.write().unwrap();
    let begun = Board::<Flag>::new();
    let mut reader = Child::start(|| {
        let own = RwLock::<u8>::open(&*name).unwrap();
        raise(&begun);
        own.read_timeout(SOON).map_or(2, |value| i32::from(*value != 2))
    });
    eventually(|| is_raised(&begun));
    reader.wait_until_asleep();
    RwLock::<u8>::unlink(&*name).unwrap();
    let second = RwLock::create(&*name, 9_u8).unwrap();
    *value = 2;
    drop(value);
    assert_eq!(reader.wait(), End::Code(0));
    assert_eq!(*second.read().unwrap(), 9);
}
