//! Deaths as those see them who wait for several processes, by either way to wait: on all lifelines at once, and on one
//! word for a slice at a time, as on kernels that cannot do better. Who survives goes on, by either.
//!
//! The second way needs the feature `death-points`.

#![allow(unsafe_code, reason = "asks the kernel; the children's module forks")]

mod support;

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use shmkit::{Barrier, BoundedSemaphore, Error, Result, RwLock};
use support::{Board, Child, Deadline, End, Flag, eventually, is_raised, raise, sleep_for_ever};

/// Longer than any wait that ends because of the death; one that times out has hung.
const SOON: Duration = Duration::from_secs(10);
/// As long as a waiter sleeps at most before it looks again.
const SLICE: Duration = Duration::from_millis(100);
const ROUNDS: u32 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    AllAtOnce,
    #[cfg(feature = "death-points")]
    BySlices,
}

const WAYS: &[Way] = &[
    Way::AllAtOnce,
    #[cfg(feature = "death-points")]
    Way::BySlices,
];

impl Way {
    /// For this process from now on: for children, so that each test has its own.
    fn choose(self) {
        #[cfg(feature = "death-points")]
        shmkit::test_hooks::without_waitv(self == Self::BySlices);
    }

    /// Whether a death ends the sleep at once.
    fn is_prompt(self) -> bool {
        let none = std::ptr::null::<u8>();
        // SAFETY: a wait for no words, which a kernel that knows the call refuses.
        let said = unsafe { libc::syscall(libc::SYS_futex_waitv, none, 0_usize, 0_usize, none, 0_usize) };
        let has_waitv = said == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
        self == Self::AllAtOnce && has_waitv
    }
}

/// One round: somebody dies, and others wait.
struct Scene {
    way: Way,
    start: Instant,
    /// When the last of the survivors went on, in nanoseconds.
    went_on: Board<AtomicU64>,
}

impl Scene {
    /// A child that waits, and must say that all is well. It makes an `attempt` before, in vain, for it sleeps also while
    /// it becomes a member.
    fn survivor(&self, attempt: impl FnOnce() -> bool, wait: impl FnOnce() -> bool) -> Child {
        let begins = Board::<Flag>::new();
        let mut child = Child::start(|| {
            self.way.choose();
            assert!(!attempt());
            raise(&begins);
            let is_well = wait();
            self.went_on.fetch_max(self.start.elapsed().as_nanos() as u64, SeqCst);
            i32::from(!is_well)
        });
        child.brings_about(|| is_raised(&begins));
        child.wait_until_asleep();
        child
    }

    /// Kills; all survivors must go on. Returns how long that took.
    fn dies(self, mut victim: Child, survivors: &mut [Child]) -> Duration {
        assert!(survivors.iter_mut().all(|survivor| !survivor.has_ended()), "nobody has died yet");
        let killed = self.start.elapsed();
        victim.kill();
        assert_eq!(victim.wait(), End::Signal(libc::SIGKILL));
        for survivor in survivors {
            assert_eq!(survivor.wait(), End::Code(0), "{:?}", self.way);
        }
        Duration::from_nanos(self.went_on.load(SeqCst)).saturating_sub(killed)
    }
}

/// Plays it several times, each way.
fn each_way(what: &'static str, play: impl Fn(Scene) -> Duration) {
    let _deadline = Deadline::seconds(100, what);
    for way in WAYS {
        let scene = || Scene { way: *way, start: Instant::now(), went_on: Board::new() };
        let mut times: Vec<Duration> = (0..ROUNDS).map(|_| play(scene())).collect();
        times.sort();
        let (quickest, slowest) = (times[0], times[times.len() - 1]);
        // Half of them, so that no load of the machine makes this fail; and nobody who has missed the death is so quick.
        assert!(times[times.len() / 2] < Duration::from_secs(1), "{what}, {way:?}: a death is noticed late: {times:?}");
        println!("{what}, {way:?}: from SIGKILL until all go on {quickest:?} to {slowest:?}");
        // The quickest of many: no load of the machine delays all of them, and without a wake-up none can be this quick.
        assert!(!way.is_prompt() || quickest < SLICE / 2, "{what}: a death wakes nobody");
    }
}

/// A child that has done `begin`, and dies as it sleeps thereafter.
fn victim(begin: impl FnOnce()) -> Child {
    let done = Board::<Flag>::new();
    let mut child = Child::start(|| {
        begin();
        raise(&done);
        sleep_for_ever()
    });
    child.brings_about(|| is_raised(&done));
    child
}

fn is_broken_by<T>(result: Result<T>, culprit: u32) -> bool {
    matches!(result, Err(Error::BarrierBroken { pid: Some(pid) }) if pid == culprit)
}

fn is_poisoned_by<T>(result: Result<T>, culprit: u32) -> bool {
    matches!(result, Err(Error::Poisoned { pid: Some(pid), .. }) if pid == culprit)
}

#[test]
fn a_party_that_waits_too() {
    each_way("a_party_that_waits_too", |scene| {
        let barrier = Barrier::new(4).unwrap();
        let arrive = || barrier.try_wait().is_ok();
        let victim = Child::start(|| i32::from(barrier.wait_timeout(SOON).is_ok()));
        eventually(|| barrier.n_waiting() == 1);
        let culprit = victim.pid();
        let mut survivors =
            [(); 2].map(|()| scene.survivor(arrive, || is_broken_by(barrier.wait_timeout(SOON), culprit)));
        eventually(|| barrier.n_waiting() == 3);
        scene.dies(victim, &mut survivors)
    });
}

#[test]
fn a_party_that_has_not_arrived() {
    each_way("a_party_that_has_not_arrived", |scene| {
        let barrier = Barrier::new(3).unwrap();
        let arrive = || barrier.try_wait().is_ok();
        // It takes part, by an attempt that it gives up.
        let victim = victim(|| {
            assert!(barrier.wait_timeout(Duration::ZERO).unwrap_err().is_timed_out());
            barrier.reset().unwrap();
        });
        let culprit = victim.pid();
        let mut survivors =
            [(); 2].map(|()| scene.survivor(arrive, || is_broken_by(barrier.wait_timeout(SOON), culprit)));
        eventually(|| barrier.n_waiting() == 2);
        scene.dies(victim, &mut survivors)
    });
}

#[test]
fn the_leader_in_its_action() {
    each_way("the_leader_in_its_action", |scene| {
        let (barrier, acts, culprit) = (Barrier::new(3).unwrap(), Board::<Flag>::new(), Board::<AtomicU64>::new());
        let arrive = || barrier.try_wait().is_ok();
        let in_vain = || is_broken_by(barrier.wait_timeout(SOON), culprit.load(SeqCst) as u32);
        let mut survivors = [(); 2].map(|()| scene.survivor(arrive, in_vain));
        eventually(|| barrier.n_waiting() == 2);
        let leader = Child::start(|| {
            let _ = barrier.wait_with(|| {
                raise(&acts);
                sleep_for_ever()
            });
            0
        });
        eventually(|| is_raised(&acts));
        culprit.store(u64::from(leader.pid()), SeqCst);
        scene.dies(leader, &mut survivors)
    });
}

#[test]
fn a_reader_before_a_writer() {
    each_way("a_reader_before_a_writer", |scene| {
        let lock = RwLock::new(0_u32).unwrap();
        let (read, write) = (|| lock.try_read().is_ok(), || lock.try_write().is_ok());
        let victim = victim(|| std::mem::forget(lock.read().unwrap()));
        let mut survivors =
            vec![scene.survivor(write, || lock.write_timeout(SOON).map(|mut guard| *guard += 1).is_ok())];
        // From when on the writer waits, nobody else begins to read.
        eventually(|| lock.try_read().is_err_and(|error| error.is_would_block()));
        // It waits behind the writer, for the same death.
        survivors.push(scene.survivor(read, || lock.read_timeout(SOON).is_ok_and(|guard| *guard == 1)));
        scene.dies(victim, &mut survivors)
    });
}

#[test]
fn a_writer_before_readers_and_writers() {
    each_way("a_writer_before_readers_and_writers", |scene| {
        let lock = RwLock::new(0_u32).unwrap();
        let read = || lock.try_read().is_ok();
        let victim = victim(|| std::mem::forget(lock.write().unwrap()));
        let culprit = victim.pid();
        let mut survivors = [
            scene.survivor(read, || is_poisoned_by(lock.read_timeout(SOON), culprit)),
            scene.survivor(read, || is_poisoned_by(lock.write_timeout(SOON), culprit)),
            scene.survivor(read, || is_poisoned_by(lock.read_timeout(SOON), culprit)),
        ];
        scene.dies(victim, &mut survivors)
    });
}

/// A writer that waits for a reader, and dies: nothing was changed, and those behind it go on.
#[test]
fn a_writer_that_waits() {
    each_way("a_writer_that_waits", |scene| {
        let lock = RwLock::new(0_u32).unwrap();
        let read = || lock.try_read().is_ok();
        let reading = lock.read().unwrap();
        let victim = Child::start(|| lock.write_timeout(SOON).map_or(1, |_| 0));
        victim.wait_until_asleep();
        eventually(|| std::thread::scope(|scope| scope.spawn(|| lock.try_read().is_err()).join().unwrap()));
        let mut survivors =
            [(); 2].map(|()| scene.survivor(read, || lock.read_timeout(SOON).is_ok_and(|guard| *guard == 0)));
        let time = scene.dies(victim, &mut survivors);
        drop(reading);
        assert!(lock.try_write().is_ok(), "not poisoned");
        time
    });
}

#[test]
fn an_owner_of_permits() {
    each_way("an_owner_of_permits", |scene| {
        let semaphore = BoundedSemaphore::new(3).unwrap();
        let take = || semaphore.try_acquire().is_ok();
        let _other = semaphore.acquire().unwrap();
        let victim = victim(|| {
            semaphore.acquire().unwrap().detach();
            std::mem::forget(semaphore.acquire().unwrap());
        });
        // More than it has permits: the last one is woken by a release.
        let mut survivors = [(); 3].map(|()| scene.survivor(take, || semaphore.acquire_timeout(SOON).is_ok()));
        let time = scene.dies(victim, &mut survivors);
        assert_eq!(semaphore.available().unwrap(), 2);
        time
    });
}

/// The kernel wakes one of those who sleep on a death, and that one keeps what it gets: the other ones are told all the
/// same.
#[test]
fn an_owner_of_a_permit_for_each() {
    each_way("an_owner_of_a_permit_for_each", |scene| {
        let semaphore = BoundedSemaphore::new(3).unwrap();
        let (take, taken) = (|| semaphore.try_acquire().is_ok(), Board::<AtomicU64>::new());
        let victim = victim(|| (0..3).for_each(|_| semaphore.acquire().unwrap().detach()));
        let mut survivors = [(); 3].map(|()| {
            scene.survivor(take, || {
                let _permit = semaphore.acquire_timeout(SOON).unwrap();
                taken.fetch_add(1, SeqCst);
                eventually(|| taken.load(SeqCst) == 3);
                true
            })
        });
        scene.dies(victim, &mut survivors)
    });
}
