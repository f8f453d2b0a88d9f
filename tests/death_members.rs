//! Members of a region that are killed: what they had comes back, and those who wait go on.

#![allow(unsafe_code, reason = "long system calls")]

mod scratch;
mod support;

use std::{
    sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use shmkit::{Barrier, BoundedSemaphore, Error, RwLock};
use support::{
    Board, Child, Deadline, End, Flag, Random, eventually, is_raised, kills::random_kills, raise, sleep_for_ever,
    start_thread,
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

    let taken = Board::<Flag>::new();
    let mut child = Child::start(|| {
        std::mem::forget(semaphore.acquire_timeout(SOON).unwrap());
        raise(&taken);
        let error = std::os::unix::process::CommandExt::exec(std::process::Command::new("sleep").arg("1000"));
        error.raw_os_error().unwrap_or(1)
    });
    eventually(|| is_raised(&taken));
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

/// Seven or eight processes pass in groups of four, and make the barrier whole again after each death.
#[test]
fn random_kills_on_a_barrier() {
    let barrier = Barrier::new(4).unwrap();
    random_kills("random_kills_on_a_barrier", |progress| match barrier.wait_timeout(SOON) {
        Ok(_) => {}
        Err(Error::BarrierBroken { pid }) => {
            assert!(pid.is_none_or(|pid| progress.was_killed(pid)));
            if barrier.is_broken() {
                barrier.reset().unwrap();
            }
        }
        Err(_) => panic!(),
    });
}

/// A child that waits at the barrier and finds it broken by `culprit`.
fn waits_in_vain(barrier: &Barrier, culprit: &Board<AtomicUsize>) -> Child {
    let waiting = barrier.n_waiting();
    let child = Child::start(|| match barrier.wait_timeout(SOON) {
        Err(Error::BarrierBroken { pid: Some(pid) }) => i32::from(culprit.load(SeqCst) != pid as usize),
        _ => 2,
    });
    eventually(|| barrier.n_waiting() == waiting + 1);
    child
}

#[test]
fn a_waiting_party_is_killed() {
    let _deadline = Deadline::seconds(60, "a_waiting_party_is_killed");
    for round in 0..30 {
        let barrier = Barrier::new(4).unwrap();
        let culprit = Board::<AtomicUsize>::new();
        let mut others = vec![waits_in_vain(&barrier, &culprit)];
        let mut victim = waits_in_vain(&barrier, &culprit);
        others.push(waits_in_vain(&barrier, &culprit));
        culprit.store(victim.pid() as usize, SeqCst);
        if round % 3 == 0 {
            victim.signal(libc::SIGABRT);
        } else {
            victim.kill();
        }
        victim.wait();
        for other in &mut others {
            assert_eq!(other.wait(), End::Code(0), "round {round}");
        }
        // The one who comes late is told too.
        let error = barrier.wait_timeout(SOON).unwrap_err();
        assert!(matches!(error, Error::BarrierBroken { pid: Some(pid) } if pid == victim.pid()), "{error}");
        barrier.reset().unwrap();
        assert!(barrier.wait_timeout(Duration::from_millis(1)).unwrap_err().is_timed_out());
    }
}

/// It has passed once, and dies on its way to the next round.
#[test]
fn a_party_is_killed_before_it_arrives() {
    let _deadline = Deadline::seconds(60, "a_party_is_killed_before_it_arrives");
    for kill_first in [false, true] {
        let barrier = Barrier::new(2).unwrap();
        let mut victim = Child::start(|| {
            barrier.wait_timeout(SOON).unwrap();
            sleep_for_ever()
        });
        barrier.wait_timeout(SOON).unwrap();
        if kill_first {
            victim.kill();
            victim.wait();
        }
        let culprit = Board::<AtomicUsize>::new();
        culprit.store(victim.pid() as usize, SeqCst);
        let mut other = Child::start(|| match barrier.wait_timeout(SOON) {
            Err(Error::BarrierBroken { pid: Some(pid) }) => i32::from(culprit.load(SeqCst) != pid as usize),
            _ => 2,
        });
        if !kill_first {
            other.wait_until_asleep();
            victim.kill();
        }
        assert_eq!(other.wait(), End::Code(0), "killed first: {kill_first}");
    }
}

#[test]
fn the_leader_is_killed_in_the_action() {
    let _deadline = Deadline::seconds(60, "the_leader_is_killed_in_the_action");
    let barrier = Barrier::new(3).unwrap();
    let culprit = Board::<AtomicUsize>::new();
    let mut others = [(); 2].map(|()| waits_in_vain(&barrier, &culprit));
    let acting = Board::<Flag>::new();
    let mut leader = Child::start(|| {
        let _ = barrier.wait_with(|| {
            raise(&acting);
            sleep_for_ever()
        });
        0
    });
    eventually(|| is_raised(&acting));
    culprit.store(leader.pid() as usize, SeqCst);
    leader.kill();
    leader.wait();
    assert!(others.iter_mut().all(|other| other.wait() == End::Code(0)));
}

#[test]
fn a_stopped_party_is_not_dead() {
    let _deadline = Deadline::seconds(60, "a_stopped_party_is_not_dead");
    let barrier = Barrier::new(2).unwrap();
    let mut stopped = Child::start(|| {
        for _ in 0..2 {
            barrier.wait_timeout(SOON).unwrap();
        }
        0
    });
    eventually(|| barrier.n_waiting() == 1);
    stopped.signal(libc::SIGSTOP);
    barrier.wait_timeout(SOON).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| barrier.wait_timeout(SOON));
        eventually(|| barrier.n_waiting() == 1);
        std::thread::sleep(Duration::from_millis(300));
        assert!(!barrier.is_broken());
        stopped.signal(libc::SIGCONT);
        second.join().unwrap().unwrap();
    });
    assert_eq!(stopped.wait(), End::Code(0));
}

/// Clean leaving breaks it for those who wait, with the process that left; and for nobody else.
#[test]
fn a_party_leaves() {
    let _deadline = Deadline::seconds(60, "a_party_leaves");
    let name = scratch::Name::new();
    let [made, passed, go] = [(); 3].map(|()| Board::<Flag>::new());
    // Forked before the barrier is made: a copy of the handle would keep it in.
    let leaver = Child::start(|| {
        eventually(|| is_raised(&made));
        let own = Barrier::open(&*name).unwrap();
        own.wait_timeout(SOON).unwrap();
        raise(&passed);
        eventually(|| is_raised(&go));
        drop(own);
        sleep_for_ever()
    });
    let barrier = Barrier::create(&*name, 2).unwrap();
    raise(&made);
    barrier.wait_timeout(SOON).unwrap();
    eventually(|| is_raised(&passed));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| barrier.wait_timeout(SOON));
        eventually(|| barrier.n_waiting() == 1);
        raise(&go);
        let error = waiter.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::BarrierBroken { pid: Some(pid) } if pid == leaver.pid()), "{error}");
    });
    barrier.reset().unwrap();
    // It is not waited for any more, and breaks nothing.
    assert!(barrier.wait_timeout(Duration::from_millis(50)).unwrap_err().is_timed_out());
}

#[test]
fn random_kills_on_a_read_write_lock() {
    let pair = RwLock::new([0_u64; 2]).unwrap();
    random_kills("random_kills_on_a_read_write_lock", |progress| {
        for _ in 0..3 {
            match pair.read_timeout(SOON) {
                Ok(guard) => assert_eq!(guard[0], guard[1]),
                Err(Error::Poisoned { pid, .. }) => {
                    assert!(pid.is_some_and(|pid| progress.was_killed(pid)));
                    break;
                }
                Err(_) => panic!(),
            }
        }
        let mut guard = pair.recover_timeout(SOON).unwrap();
        if let Some(poison) = guard.poison() {
            assert!(poison.pid.is_some_and(|pid| progress.was_killed(pid)));
            guard[1] = guard[0];
            guard.clear_poison();
        }
        guard[0] += 1;
        std::hint::black_box(&mut *guard);
        guard[1] += 1;
        let guard = guard.downgrade();
        assert_eq!(guard[0], guard[1]);
    });
}

#[test]
fn a_reader_is_killed_while_a_writer_waits() {
    let _deadline = Deadline::seconds(60, "a_reader_is_killed_while_a_writer_waits");
    for _ in 0..20 {
        let value = RwLock::new(1_u32).unwrap();
        let readers = [(); 3].map(|()| {
            let reads = Board::<Flag>::new();
            let child = Child::start(|| {
                let guard = value.read_timeout(SOON).unwrap();
                raise(&reads);
                std::mem::forget(guard);
                sleep_for_ever()
            });
            eventually(|| is_raised(&reads));
            child
        });
        let mut writer = Child::start(|| {
            *value.write_timeout(SOON).unwrap() += 1;
            0
        });
        // From when on a writer waits, nobody else begins to read.
        eventually(|| value.try_read().is_err_and(|error| error.is_would_block()));
        for mut reader in readers {
            assert!(!writer.has_ended());
            reader.kill();
            reader.wait();
        }
        assert_eq!(writer.wait(), End::Code(0));
        assert_eq!(*value.read_timeout(SOON).unwrap(), 2, "a reader's death poisons nothing");
    }
}

/// Reads into memory of its own in a thread of its own, again and again, each time for long and whatever signal comes.
fn work_in_the_kernel() {
    // SAFETY: a string that ends with 0.
    let source = unsafe { libc::memfd_create(c"source".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: the descriptor was just made. All holes, so it takes no memory.
    assert_eq!(unsafe { libc::ftruncate(source, 1 << 30) }, 0);
    let block: &'static [AtomicU8] =
        std::iter::repeat_with(|| AtomicU8::new(1)).take(1 << 18).collect::<Vec<_>>().leak();
    start_thread(move || {
        let base = block.as_ptr().cast_mut().cast();
        let parts = [libc::iovec { iov_base: base, iov_len: block.len() }; 300];
        loop {
            // SAFETY: of atomics, and there for ever.
            unsafe { libc::preadv(source, parts.as_ptr(), parts.len() as i32, 0) };
        }
    });
    eventually(|| block[1000].load(SeqCst) == 0);
}

/// MECHANISMS 1: the kernel's mark comes while a thread of the victim is at work still. Who only tries looks at every
/// moment in between, also when the first thread has given its memory up, and must not get in before the last has ended.
#[test]
fn nobody_gets_in_before_the_whole_process_is_gone() {
    let _deadline = Deadline::seconds(100, "nobody_gets_in_before_the_whole_process_is_gone");
    let (lock, semaphore) = (RwLock::new(0_u8).unwrap(), BoundedSemaphore::new(1).unwrap());
    let take = |reads| match reads {
        true => std::mem::forget(lock.read_timeout(SOON).unwrap()),
        false => std::mem::forget(semaphore.acquire_timeout(SOON).unwrap()),
    };
    let try_take = |reads| match reads {
        true => lock.try_write().map(drop),
        false => semaphore.try_acquire().map(drop),
    };
    for round in 0..200 {
        let (reads, works) = (round % 4 != 0, Board::<Flag>::new());
        let mut victim = Child::start(|| {
            take(reads);
            work_in_the_kernel();
            raise(&works);
            sleep_for_ever()
        });
        eventually(|| is_raised(&works));
        victim.kill();
        eventually(|| try_take(reads).is_ok());
        assert!(victim.has_ended(), "in round {round}");
    }
}

#[test]
fn a_stopped_reader_is_not_dead() {
    let _deadline = Deadline::seconds(60, "a_stopped_reader_is_not_dead");
    let value = RwLock::new(1_u32).unwrap();
    let reads = Board::<Flag>::new();
    let reader = Child::start(|| {
        std::mem::forget(value.read_timeout(SOON).unwrap());
        raise(&reads);
        sleep_for_ever()
    });
    eventually(|| is_raised(&reads));
    reader.signal(libc::SIGSTOP);
    assert!(value.write_timeout(Duration::from_millis(250)).unwrap_err().is_timed_out(), "stopped is not dead");
    reader.kill();
    drop(value.write_timeout(SOON).unwrap());
}
