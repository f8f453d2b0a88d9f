//! Members of a region that are killed: what they had comes back, and those who wait go on.

mod support;

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use shmkit::BoundedSemaphore;
use support::{
    Board, Child, Deadline, End, Flag, Random, eventually, is_raised, kills::random_kills, raise, sleep_for_ever,
};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn random_kills_on_a_bounded_semaphore() {
    let semaphore = BoundedSemaphore::new(3).unwrap();
    random_kills("random_kills_on_a_bounded_semaphore", |progress| {
        let _permit = semaphore.acquire_timeout(SOON).unwrap();
        assert!(progress.pass_through() <= 3);
    });
    eventually(|| semaphore.available().unwrap() == 3);
}

/// A child that has a permit until it is killed.
fn owner(semaphore: &BoundedSemaphore, detached: bool) -> Child {
    let held = Board::<Flag>::new();
    let child = Child::start(|| {
        let permit = semaphore.acquire_timeout(SOON).unwrap();
        match detached {
            true => permit.detach(),
            false => std::mem::forget(permit),
        }
        raise(&held);
        sleep_for_ever()
    });
    eventually(|| is_raised(&held));
    child
}

#[test]
fn an_owner_is_killed_while_others_sleep() {
    let _deadline = Deadline::seconds(60, "an_owner_is_killed_while_others_sleep");
    for round in 0..20 {
        let semaphore = BoundedSemaphore::new(2).unwrap();
        let mut first = owner(&semaphore, round % 2 == 0);
        let _second = owner(&semaphore, false);
        let mut waiters = [(); 3].map(|()| {
            let child = Child::start(|| {
                drop(semaphore.acquire_timeout(SOON).unwrap());
                0
            });
            child.wait_until_asleep();
            child
        });
        first.kill();
        first.wait();
        assert!(waiters.iter_mut().all(|waiter| waiter.wait() == End::Code(0)));
        assert_eq!(semaphore.available().unwrap(), 1);
    }
}

#[test]
fn a_stopped_owner_is_not_dead() {
    let _deadline = Deadline::seconds(30, "a_stopped_owner_is_not_dead");
    let semaphore = BoundedSemaphore::new(1).unwrap();
    let owner = owner(&semaphore, false);
    owner.signal(libc::SIGSTOP);
    assert!(semaphore.acquire_timeout(Duration::from_millis(300)).unwrap_err().is_timed_out());
    owner.signal(libc::SIGCONT);
    assert!(semaphore.try_acquire().unwrap_err().is_would_block());
}

#[test]
fn exec_and_exit_give_permits_back() {
    let _deadline = Deadline::seconds(30, "exec_and_exit_give_permits_back");
    let semaphore = BoundedSemaphore::new(1).unwrap();
    let mut child = Child::start(|| {
        std::mem::forget(semaphore.acquire_timeout(SOON).unwrap());
        0
    });
    drop(semaphore.acquire_timeout(SOON).unwrap());
    assert_eq!(child.wait(), End::Code(0));

    let mut child = Child::start(|| {
        std::mem::forget(semaphore.acquire_timeout(SOON).unwrap());
        let error = std::os::unix::process::CommandExt::exec(std::process::Command::new("sleep").arg("1000"));
        error.raw_os_error().unwrap_or(1)
    });
    eventually(|| semaphore.available().unwrap() == 0 || child.has_ended());
    drop(semaphore.acquire_timeout(SOON).unwrap());
    assert!(!child.has_ended(), "it sleeps as another program");
}

/// N release at once what M have detached.
#[test]
fn releases_never_exceed_acquisitions() {
    let _deadline = Deadline::seconds(60, "releases_never_exceed_acquisitions");
    for _ in 0..20 {
        let semaphore = BoundedSemaphore::new(4).unwrap();
        let taken = [(); 3].map(|()| {
            let mut child = Child::start(|| {
                semaphore.acquire_timeout(SOON).unwrap().detach();
                0
            });
            assert_eq!(child.wait(), End::Code(0));
        });
        // The dead give theirs back, so that there is nothing to release.
        assert_eq!((taken.len(), semaphore.available().unwrap()), (3, 4));
        for _ in 0..3 {
            semaphore.acquire_timeout(SOON).unwrap().detach();
        }
        let (go, released) = (Board::<Flag>::new(), Board::<AtomicUsize>::new());
        let mut children: Vec<Child> = (0..8)
            .map(|_| {
                Child::start(|| {
                    eventually(|| is_raised(&go));
                    if semaphore.release().is_ok() {
                        released.fetch_add(1, SeqCst);
                    }
                    0
                })
            })
            .collect();
        raise(&go);
        assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)));
        assert_eq!((released.load(SeqCst), semaphore.available().unwrap()), (3, 4));
    }
}

#[test]
fn slots_of_the_dead_are_used_again() {
    let _deadline = Deadline::seconds(60, "slots_of_the_dead_are_used_again");
    let mut random = Random::new();
    let region = shmkit::Region::options().size(1 << 16).members(4).create().unwrap();
    let semaphore = BoundedSemaphore::new_in(&region, None, 8).unwrap();
    for _ in 0..100 {
        let mut child = owner(&semaphore, random.below(2) == 0);
        child.kill();
        child.wait();
    }
    let _owners: Vec<Child> = (0..4).map(|_| owner(&semaphore, false)).collect();
    let error = semaphore.try_acquire().unwrap_err();
    assert!(matches!(error, shmkit::Error::TooManyMembers { limit: 4 }), "{error}");
}

/// On kernels that wait on several words a death is seen at once; the bound here is the one for all others.
#[test]
fn a_death_is_noticed_within_a_second() {
    let _deadline = Deadline::seconds(60, "a_death_is_noticed_within_a_second");
    let semaphore = BoundedSemaphore::new(1).unwrap();
    let mut times = Vec::new();
    for _ in 0..20 {
        let child = owner(&semaphore, false);
        let waiter = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                drop(semaphore.acquire_timeout(SOON).unwrap());
                Instant::now()
            });
            std::thread::sleep(Duration::from_millis(5));
            let killed = Instant::now();
            child.kill();
            waiter.join().unwrap() - killed
        });
        times.push(waiter);
    }
    times.sort();
    println!("from SIGKILL to the permit: median {:?}, longest {:?}", times[10], times[19]);
}
