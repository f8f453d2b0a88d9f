//! Locks whose holders and waiters are killed: the others go on, the data is whole or poisoned by the one who died.

#![allow(unsafe_code, reason = "exec, rlimits and glibc's mutexes")]

mod support;

use std::{
    mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use shmkit::{Array, Error, Lock, RLock, Region, Result, RwLock, Value};
use support::{
    Board, Child, Deadline, End, Flag, Random, eventually, is_raised, kills::random_kills, raise, sleep_for_ever,
    start_thread,
};

const SOON: Duration = Duration::from_secs(10);

/// Recovers from the death of one who was killed; anything else fails the worker.
macro_rules! lock_or_repair {
    ($lock:expr, $progress:expr, $repair:expr) => {
        match $lock.lock_timeout(SOON) {
            Ok(guard) => guard,
            Err(Error::Poisoned { pid, .. }) => {
                assert!(pid.is_some_and(|pid| $progress.was_killed(pid)));
                let mut guard = $lock.recover_timeout(SOON).unwrap();
                if guard.poison().is_some() {
                    $repair(&mut guard);
                    guard.clear_poison();
                }
                guard
            }
            Err(_) => panic!(),
        }
    };
}

#[test]
fn random_kills_on_a_lock() {
    let lock = Lock::new().unwrap();
    random_kills("random_kills_on_a_lock", |progress| {
        let _held = lock_or_repair!(lock, progress, |_: &mut _| progress.change_pair());
        progress.check_pair();
        progress.change_pair();
    });
}

#[test]
fn random_kills_on_a_nested_lock() {
    let lock = RLock::new().unwrap();
    random_kills("random_kills_on_a_nested_lock", |progress| {
        let _outer = lock_or_repair!(lock, progress, |_: &mut _| progress.change_pair());
        let _inner = lock.lock().unwrap();
        progress.check_pair();
        progress.change_pair();
    });
}

#[test]
fn random_kills_on_a_value() {
    let pair = Value::new([0_u64; 2]).unwrap();
    random_kills("random_kills_on_a_value", |progress| {
        let mut guard =
            lock_or_repair!(pair, progress, |guard: &mut shmkit::ValueGuard<'_, [u64; 2]>| guard[1] = guard[0]);
        assert_eq!(guard[0], guard[1]);
        guard[0] += 1;
        std::hint::black_box(&mut *guard);
        guard[1] += 1;
    });
}

#[test]
fn random_kills_on_an_array() {
    let array = Array::<u64>::zeros(512).unwrap();
    random_kills("random_kills_on_an_array", |progress| {
        let mut guard = lock_or_repair!(array, progress, |guard: &mut shmkit::ArrayGuard<'_, u64>| {
            let first = guard[0];
            guard.fill(first);
        });
        let next = guard[0] + 1;
        assert!(guard.iter().all(|element| *element == next - 1));
        for element in guard.iter_mut() {
            *element = next;
        }
    });
}

/// A child that holds the lock until it is killed.
fn holder(pair: &Value<[u64; 2]>) -> Child {
    let held = Board::<Flag>::new();
    let child = Child::start(|| {
        let _guard = pair.lock_timeout(SOON).unwrap();
        raise(&held);
        sleep_for_ever()
    });
    eventually(|| is_raised(&held));
    child
}

fn waiter(pair: &Value<[u64; 2]>) -> Child {
    let child = Child::start(|| {
        let mut guard = pair.recover_timeout(SOON).unwrap();
        guard[0] += 1;
        0
    });
    child.wait_until_asleep();
    child
}

#[test]
fn a_holder_is_killed_while_others_sleep() {
    let _deadline = Deadline::seconds(60, "a_holder_is_killed_while_others_sleep");
    for _ in 0..20 {
        let pair = Value::new([0_u64; 2]).unwrap();
        let mut victim = holder(&pair);
        let mut waiters = [(); 4].map(|()| waiter(&pair));
        victim.kill();
        victim.wait();
        assert!(waiters.iter_mut().all(|waiter| waiter.wait() == End::Code(0)));
        assert!(matches!(pair.lock(), Err(Error::Poisoned { pid, .. }) if pid == Some(victim.pid())));
        let mut guard = pair.recover().unwrap();
        assert_eq!(guard[0], 4);
        guard.clear_poison();
        drop(guard);
        pair.set([0; 2]).unwrap();
    }
}

/// Waiters are killed around the moment of their wake-up, with a barger at work: nobody sleeps on a free lock.
#[test]
fn a_wake_up_does_not_die_with_its_waiter() {
    let _deadline = Deadline::seconds(60, "a_wake_up_does_not_die_with_its_waiter");
    let mut random = Random::new();
    let pair = Value::new([0_u64; 2]).unwrap();
    for _ in 0..150 {
        let guard = pair.recover_timeout(SOON).unwrap();
        let mut victim = waiter(&pair);
        let mut other = waiter(&pair);
        drop(guard);
        random.pause(Duration::from_micros(60));
        victim.kill();
        drop(pair.recover_timeout(SOON).unwrap());
        let since = Instant::now();
        assert_eq!(other.wait(), End::Code(0));
        assert!(since.elapsed() < Duration::from_secs(5));
        victim.wait();
        pair.recover_timeout(SOON).unwrap().clear_poison();
    }
}

/// Memory for a lock of each kind to guard, so large that one system call for all of it, many times over, takes long.
type Block = [[u8; 4096]; 64];

/// A file of memory, for reads of it do not stop at a signal.
fn memory_file(size: i64) -> OwnedFd {
    // SAFETY: a string that ends with 0.
    let fd = unsafe { libc::memfd_create(c"block".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: the descriptor is this test's.
    assert_eq!(unsafe { libc::ftruncate(fd, size) }, 0);
    // SAFETY: made above, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// In a thread of its own that never ends the file is read into the block again and again, many times over in each call.
fn read_in_a_second_thread(source: &OwnedFd, block: &mut [u8]) {
    let (source, address, len) = (source.as_raw_fd(), block.as_mut_ptr().expose_provenance(), block.len());
    start_thread(move || {
        let base = std::ptr::with_exposed_provenance_mut(address);
        let parts = [libc::iovec { iov_base: base, iov_len: len }; 1000];
        loop {
            // SAFETY: the block is mapped for the life of this process.
            unsafe { libc::preadv(source, parts.as_ptr(), parts.len() as i32, 0) };
        }
    });
}

/// MECHANISMS 1: a thread of the victim writes into what is guarded from inside the kernel while the holder dies.
#[test]
fn nothing_changes_after_the_heir_got_in() {
    let _deadline = Deadline::seconds(60, "nothing_changes_after_the_heir_got_in");
    let (array, parts) =
        (Array::<u8>::zeros(size_of::<Block>()).unwrap(), Array::<u8>::zeros(size_of::<Block>()).unwrap());
    let (value, pair) = (Value::<Block>::new([[0; 4096]; 64]).unwrap(), RwLock::<Block>::new([[0; 4096]; 64]).unwrap());
    type Take<'a> = &'a dyn Fn(&mut dyn FnMut(&mut [u8]));
    let ways: [(&str, Take<'_>); 4] = [
        ("Array", &|with| with(&mut array.recover_timeout(SOON).unwrap())),
        ("a claim", &|with| with(&mut parts.recover_claim_mut_timeout(4096.., SOON).unwrap())),
        ("Value", &|with| with(value.recover_timeout(SOON).unwrap().as_flattened_mut())),
        ("RwLock", &|with| with(pair.recover_timeout(SOON).unwrap().as_flattened_mut())),
    ];
    // All holes, so it takes no memory.
    let source = memory_file(1 << 30);
    for (what, take) in ways {
        let busy = Board::<Flag>::new();
        let mut victim = Child::start(|| {
            take(&mut |block| {
                block.fill(1);
                read_in_a_second_thread(&source, block);
                let middle = &raw const block[block.len() / 2];
                // SAFETY: inside the block.
                eventually(|| unsafe { middle.read_volatile() } == 0);
                raise(&busy);
                sleep_for_ever()
            });
            1
        });
        eventually(|| is_raised(&busy));
        victim.kill();
        take(&mut |block| {
            block.fill(1);
            victim.wait();
            assert!(block.iter().all(|byte| *byte == 1), "{what}: the dead wrote on");
        });
    }
}

/// MECHANISMS 3: `exec` gives the calling thread another id before the kernel looks at its locks.
#[test]
fn exec_while_holding() {
    let _deadline = Deadline::seconds(60, "exec_while_holding");
    let pair = Value::new([0_u64; 2]).unwrap();
    let held = Board::<Flag>::new();
    let victim = Child::start(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _guard = pair.lock().unwrap();
                raise(&held);
                let (program, time) = (c"/bin/sleep", c"1000");
                let arguments = [program.as_ptr(), time.as_ptr(), std::ptr::null()];
                // SAFETY: strings that end with 0, in a list that ends with null.
                unsafe { libc::execv(program.as_ptr(), arguments.as_ptr()) };
            });
        });
        1
    });
    eventually(|| is_raised(&held));
    let guard = pair.recover_timeout(SOON).unwrap();
    assert_eq!(guard.poison().unwrap().pid, Some(victim.pid()));
}

/// MECHANISMS 6: a truncated region is lost; locks in others are recovered all the same.
#[test]
fn a_truncated_region_does_not_keep_others_locked() {
    let _deadline = Deadline::seconds(60, "a_truncated_region_does_not_keep_others_locked");
    let name = format!("shmkit-death-truncated-{}", std::process::id());
    let lost = Lock::create(&name).unwrap();
    let (before, after) = (Lock::new().unwrap(), Lock::new().unwrap());
    let held = Board::<Flag>::new();
    let mut victim = Child::start(|| {
        let _held = [before.lock().unwrap(), lost.lock().unwrap(), after.lock().unwrap()];
        raise(&held);
        sleep_for_ever()
    });
    eventually(|| is_raised(&held));
    // Nobody may touch it from now on, not even to drop it.
    std::mem::forget(lost);
    std::fs::OpenOptions::new().write(true).open(format!("/dev/shm/{name}")).unwrap().set_len(0).unwrap();
    std::fs::remove_file(format!("/dev/shm/{name}")).unwrap();
    victim.kill();
    victim.wait();
    for lock in [&before, &after] {
        assert!(matches!(lock.lock_timeout(SOON), Err(Error::Poisoned { pid, .. }) if pid == Some(victim.pid())));
    }
}

/// MECHANISMS 8.
#[test]
fn an_abort_is_a_death() {
    let _deadline = Deadline::seconds(60, "an_abort_is_a_death");
    let pair = Value::new([0_u64; 2]).unwrap();
    let mut victim = Child::start(|| {
        let _guard = pair.lock().unwrap();
        std::process::abort()
    });
    assert!(pair.recover_timeout(SOON).is_ok());
    assert_eq!(victim.wait(), End::Signal(libc::SIGABRT));
    assert!(matches!(pair.lock_timeout(SOON), Err(Error::Poisoned { pid, .. }) if pid == Some(victim.pid())));
}

/// MECHANISMS 9.
#[test]
fn a_thousand_locks_and_no_more() {
    let _deadline = Deadline::seconds(60, "a_thousand_locks_and_no_more");
    let region = Region::anonymous(1 << 20).unwrap();
    let locks: Vec<Lock> = (0..1001).map(|_| Lock::new_in(&region, None).unwrap()).collect();
    let mut victim = Child::start(|| {
        for lock in &locks[..1000] {
            std::mem::forget(lock.lock().unwrap());
        }
        i32::from(!matches!(locks[1000].lock(), Err(Error::TooManyLocks { limit: 1000 })))
    });
    assert_eq!(victim.wait(), End::Code(0));
    for lock in &locks[..1000] {
        assert!(matches!(lock.lock_timeout(SOON), Err(Error::Poisoned { pid, .. }) if pid == Some(victim.pid())));
    }
    assert!(locks[1000].lock().is_ok());
}

/// MECHANISMS 11: the copy of a guard is not the child's, however the child was made.
#[test]
fn a_forked_guard_is_a_copy() {
    let _deadline = Deadline::seconds(60, "a_forked_guard_is_a_copy");
    let pair = Value::new([0_u64; 2]).unwrap();
    let mut guard = Some(pair.lock().unwrap());
    let mut child = Child::start(|| {
        drop(guard.take());
        i32::from(!pair.try_lock().is_err_and(|error| error.is_would_block()))
    });
    assert_eq!(child.wait(), End::Code(0));
    // SAFETY: a plain fork, without the handlers of pthread_atfork; the child keeps to the rules of `support`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32;
    if pid == 0 {
        drop(guard.take());
        // Not `WouldBlock`: such a child has no robust list, so it cannot lock at all.
        let code = i32::from(!matches!(pair.try_lock(), Err(Error::Unsupported { .. })));
        // SAFETY: ends the child.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
    // `_Fork` runs no handlers either, but gives the child a robust list.
    // SAFETY: a lookup of a string that ends with 0.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_Fork".as_ptr()) };
    if !address.is_null() {
        // SAFETY: `pid_t _Fork(void)`, since glibc 2.34.
        let bare_fork = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> libc::pid_t>(address) };
        let pid = bare_fork();
        if pid == 0 {
            drop(guard.take());
            let code = i32::from(!pair.try_lock().is_err_and(|error| error.is_would_block()));
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) };
        }
        // SAFETY: the child made above.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
    }
    assert!(pair.try_lock().unwrap_err().is_would_block());
    drop(guard);
    assert!(pair.try_lock().is_ok());
}

/// The thread that forgot its guard ends, its process lives: what the guard lent may be in use by other threads. Nobody may
/// get in before that process is gone. So it is between the kernel's mark and the end of a process that is killed.
#[test]
fn a_forgotten_guard_locks_until_its_process_dies() {
    let _deadline = Deadline::seconds(60, "a_forgotten_guard_locks_until_its_process_dies");
    let (value, array) = (Value::new([0_u64; 2]).unwrap(), Array::<u8>::zeros(10).unwrap());
    let (read, written) = (RwLock::new(0_u8).unwrap(), RwLock::new(0_u8).unwrap());
    const SHORT: Duration = Duration::from_millis(250);
    type Form<'a> = &'a (dyn Fn() + Sync);
    type Want<'a> = &'a (dyn Fn(Duration) -> Result<()> + Sync);
    // How it is taken and forgotten, who would have it, and whether the death poisons it.
    let ways: [(&str, Form<'_>, Want<'_>, bool); 6] = [
        ("Value", &|| mem::forget(value.lock().unwrap()), &|time| value.lock_timeout(time).map(drop), true),
        ("Array", &|| mem::forget(array.lock().unwrap()), &|time| array.claim_timeout(.., time).map(drop), true),
        ("claim", &|| mem::forget(array.claim(3..).unwrap()), &|time| array.lock_timeout(time).map(drop), false),
        (
            "claim_mut",
            &|| mem::forget(array.claim_mut(3..).unwrap()),
            &|time| array.claim_timeout(2..4, time).map(drop),
            true,
        ),
        ("read", &|| mem::forget(read.read().unwrap()), &|time| read.write_timeout(time).map(drop), false),
        ("write", &|| mem::forget(written.write().unwrap()), &|time| written.read_timeout(time).map(drop), true),
    ];
    for (what, forget, want, poisons) in ways {
        let ready = Board::<Flag>::new();
        let mut victim = Child::start(|| {
            std::thread::scope(|scope| {
                scope.spawn(forget);
            });
            if what == "Value" && !matches!(value.lock(), Err(Error::WouldDeadlock)) {
                return 1;
            }
            raise(&ready);
            sleep_for_ever()
        });
        eventually(|| is_raised(&ready) || victim.has_ended());
        assert!(want(SHORT).unwrap_err().is_timed_out(), "{what}");
        victim.kill();
        match want(SOON) {
            Ok(()) => assert!(!poisons, "{what}"),
            Err(Error::Poisoned { pid, .. }) => assert!(poisons && pid == Some(victim.pid()), "{what}"),
            Err(error) => panic!("{what}: {error}"),
        }
        array.recover().unwrap().clear_poison();
    }
}

/// The handle is dropped after its guard was forgotten: the memory must stay, for the thread's list leads there.
#[test]
fn a_forgotten_guard_keeps_its_memory() {
    let _deadline = Deadline::seconds(60, "a_forgotten_guard_keeps_its_memory");
    let other = Lock::new().unwrap();
    let name = format!("shmkit-death-forgotten-{}", std::process::id());
    let lock = Lock::create(&name).unwrap();
    let mut victim = Child::start(move || {
        std::mem::forget(lock.lock().unwrap());
        drop(lock);
        // Walks the list through the forgotten entry.
        drop(other.lock().unwrap());
        0
    });
    assert_eq!(victim.wait(), End::Code(0));
    let again = Lock::open(&name).unwrap();
    Lock::unlink(&name).unwrap();
    assert!(matches!(again.lock_timeout(SOON), Err(Error::Poisoned { pid, .. }) if pid == Some(victim.pid())));
}

#[test]
fn relocking_and_panics() {
    let _deadline = Deadline::seconds(60, "relocking_and_panics");
    let pair = Value::new([0_u64; 2]).unwrap();
    let guard = pair.lock().unwrap();
    assert!(matches!(pair.lock(), Err(Error::WouldDeadlock)));
    assert!(matches!(pair.lock_timeout(SOON), Err(Error::WouldDeadlock)));
    drop(guard);
    let panicked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let _guard = pair.lock().unwrap();
                panic!("on purpose");
            })
            .join()
    });
    assert!(panicked.is_err());
    assert!(matches!(pair.lock(), Err(Error::Poisoned { pid, .. }) if pid == Some(std::process::id())));
    pair.recover().unwrap().clear_poison();
    assert!(pair.lock().is_ok());
}

/// glibc's robust mutexes are on the same list, before, between and after ours.
#[test]
fn robust_mutexes_of_the_c_library_between_ours() {
    let _deadline = Deadline::seconds(60, "robust_mutexes_of_the_c_library_between_ours");
    let locks = [(); 3].map(|()| Lock::new().unwrap());
    let theirs = Board::<[AtomicU64; 16]>::new();
    let mutex = |at: usize| theirs[8 * at].as_ptr().cast::<libc::pthread_mutex_t>();
    assert!(size_of::<libc::pthread_mutex_t>() <= 64);
    for at in 0..2 {
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: glibc's own order of making a robust, process-shared mutex in shared memory of its size.
        unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
        // SAFETY: initialised above.
        unsafe { libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: as above.
        unsafe { libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: as above; the memory is nobody else's.
        assert_eq!(unsafe { libc::pthread_mutex_init(mutex(at), attributes.as_ptr()) }, 0);
    }
    for release_first in [false, true] {
        let mut victim = Child::start(|| {
            let take = |at| {
                // SAFETY: made above.
                let result = unsafe { libc::pthread_mutex_lock(mutex(at)) };
                assert_eq!(result, 0);
            };
            let first = locks[0].lock().unwrap();
            take(0);
            std::mem::forget(locks[1].lock().unwrap());
            take(1);
            std::mem::forget(locks[2].lock().unwrap());
            if release_first {
                drop(first);
            } else {
                std::mem::forget(first);
            }
            0
        });
        assert_eq!(victim.wait(), End::Code(0));
        for (at, lock) in locks.iter().enumerate() {
            let released = release_first && at == 0;
            assert_eq!(lock.lock_timeout(SOON).is_err_and(|error| error.is_poisoned()), !released);
            lock.recover().unwrap().clear_poison();
        }
        for at in 0..2 {
            // SAFETY: made above.
            assert_eq!(unsafe { libc::pthread_mutex_trylock(mutex(at)) }, libc::EOWNERDEAD);
            // SAFETY: held now.
            unsafe { libc::pthread_mutex_consistent(mutex(at)) };
            // SAFETY: held now.
            unsafe { libc::pthread_mutex_unlock(mutex(at)) };
        }
    }
}
