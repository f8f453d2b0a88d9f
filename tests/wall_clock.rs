//! Time-outs do not depend on the wall clock, which anybody may set while others wait. To set it here would disturb the
//! whole machine, so it is seen from the other side: the monotonic clock jumps, for one child alone; and a filter lets no
//! system call pass that reads the wall clock or waits by it.

#![allow(unsafe_code, reason = "a namespace and a filter for children")]

mod support;

use std::{
    fs::File,
    os::fd::AsRawFd,
    sync::atomic::{AtomicI32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use shmkit::{
    Array, Barrier, BoundedSemaphore, Condvar, Error, Event, Lock, Process, RLock, Result, RwLock, Semaphore, Value,
};
use support::{Child, Deadline, End};

shmkit::init_in_tests!();

/// So long would a wait last whose clock did not jump.
const LONG: Duration = Duration::from_secs(600);
const JUMP: &str = "monotonic 3600 0\n";

/// The exit code of a child that may not have a clock of its own.
const REFUSED: i32 = 77;

/// Waits in a child whose monotonic clock jumps by an hour meanwhile, as a signal tells it to.
fn in_a_jump(wait: impl Fn() -> Result<()>) -> End {
    static NAMESPACE: AtomicI32 = AtomicI32::new(-1);
    extern "C" fn jump(_: i32) {
        // SAFETY: takes plain numbers. Where it fails the wait is not over, and the test's deadline is.
        unsafe { libc::setns(NAMESPACE.load(Relaxed), libc::CLONE_NEWTIME) };
    }
    let mut child = Child::start(|| {
        // SAFETY: takes a number.
        let enter = |what| unsafe { libc::unshare(what) } == 0;
        if !enter(libc::CLONE_NEWTIME) && !enter(libc::CLONE_NEWUSER | libc::CLONE_NEWTIME) {
            return REFUSED;
        }
        if std::fs::write("/proc/self/timens_offsets", JUMP).is_err() {
            return REFUSED;
        }
        let Ok(namespace) = File::open("/proc/self/ns/time_for_children") else { return REFUSED };
        NAMESPACE.store(namespace.as_raw_fd(), Relaxed);
        // SAFETY: the handler does what a handler may do.
        unsafe { libc::signal(libc::SIGALRM, jump as extern "C" fn(i32) as usize) };
        let start = Instant::now();
        let said = wait();
        i32::from(!said.is_err_and(|error| error.is_timed_out()) || start.elapsed() < LONG)
    });
    child.wait_until_asleep();
    child.signal(libc::SIGALRM);
    child.wait()
}

/// Only those that are members of nothing: a member has a thread more, and so may not change its namespace.
#[test]
fn a_wait_ends_with_the_monotonic_clock() {
    let _deadline = Deadline::seconds(60, "a_wait_ends_with_the_monotonic_clock");
    let (lock, again, value) = (Lock::new().unwrap(), RLock::new().unwrap(), Value::new(0_u8).unwrap());
    let (semaphore, event) = (Semaphore::new(0).unwrap(), Event::new().unwrap());
    let _held = (lock.lock().unwrap(), again.lock().unwrap(), value.lock().unwrap());
    let waits: [(&str, &dyn Fn() -> Result<()>); 7] = [
        ("Lock", &|| lock.lock_timeout(LONG).map(drop)),
        ("Lock, a deadline", &|| lock.lock_deadline(Instant::now() + LONG).map(drop)),
        ("RLock", &|| again.lock_timeout(LONG).map(drop)),
        ("Value", &|| value.lock_timeout(LONG).map(drop)),
        ("Semaphore", &|| semaphore.acquire_timeout(LONG)),
        ("Event", &|| event.wait_timeout(LONG).and_then(|is_set| if is_set { Ok(()) } else { Err(Error::TimedOut) })),
        ("Event, a deadline", &|| match event.wait_deadline(Instant::now() + LONG)? {
            true => Ok(()),
            false => Err(Error::TimedOut),
        }),
    ];
    for (what, wait) in waits {
        match in_a_jump(wait) {
            End::Code(REFUSED) => return println!("skipped: no time namespaces here"),
            end => assert_eq!(end, End::Code(0), "{what}"),
        }
    }
}

/// Kills this process when it reads the wall clock by a system call, or waits by it. `false` where filters are refused.
fn forbid_the_wall_clock() -> bool {
    const FIRST: u32 = 16; // where the arguments begin in `struct seccomp_data`
    let load = |at: u32| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: at };
    let unless_equal = |value: u32, skip: u8| libc::sock_filter { code: 0x15, jt: 0, jf: skip, k: value };
    let unless_any_bit = |bits: u32, skip: u8| libc::sock_filter { code: 0x45, jt: 0, jf: skip, k: bits };
    let answer = |action: u32| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: action };
    let kill = answer(libc::SECCOMP_RET_KILL_PROCESS);

    let mut program = Vec::new();
    let mut forbid = |call: libc::c_long, argument: u32, unless: &dyn Fn(u8) -> libc::sock_filter| {
        program.extend([load(0), unless_equal(call as u32, 3), load(FIRST + 8 * argument), unless(1), kill]);
    };
    let realtime = |skip| unless_equal(libc::CLOCK_REALTIME as u32, skip);
    forbid(libc::SYS_futex, 1, &|skip| unless_any_bit(libc::FUTEX_CLOCK_REALTIME as u32, skip));
    forbid(libc::SYS_futex, 1, &|skip| unless_equal(libc::FUTEX_LOCK_PI as u32, skip));
    forbid(libc::SYS_futex_waitv, 4, &realtime);
    forbid(libc::SYS_clock_gettime, 0, &realtime);
    forbid(libc::SYS_timerfd_create, 0, &realtime);
    forbid(libc::SYS_timer_create, 0, &realtime);
    program.push(answer(libc::SECCOMP_RET_ALLOW));

    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: takes plain numbers.
    let may_filter = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
    // SAFETY: reads a live struct, and the live program that it points at.
    may_filter && unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) } == 0
}

#[test]
fn the_filter_works() {
    let mut child = Child::start(|| {
        if !forbid_the_wall_clock() {
            return REFUSED;
        }
        let (word, until) = (0_u32, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        let wait = libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME;
        let (at, none) = (&raw const word, std::ptr::null::<u32>());
        // SAFETY: sleeps on a live word, with a live time in the past.
        unsafe { libc::syscall(libc::SYS_futex, at, wait, 0, &raw const until, none, u32::MAX) };
        0
    });
    assert!(matches!(child.wait(), End::Code(REFUSED) | End::Signal(libc::SIGSYS)), "{child:?}");
}

/// Whatever may be held, and is, by another process.
type Held = (Lock, RLock, Value<u8>, Array<u8>, RwLock<u8>, RwLock<u8>, BoundedSemaphore);

/// All waits that have an end, in a process that may not look at the wall clock. Returns those that did not time out.
fn wait_for_all(held: Held) -> Result<Vec<String>> {
    const SHORT: Duration = Duration::from_millis(130); // more than a slice of a wait
    if !forbid_the_wall_clock() {
        println!("skipped: no filters here");
        return Ok(Vec::new());
    }
    let (lock, again, value, array, read, written, permits) = held;
    let (semaphore, event, barrier) = (Semaphore::new(0)?, Event::new()?, Barrier::new(2)?);
    let (condition, mutex) = (Condvar::new()?, Lock::new()?);
    let child = Process::spawn(|event: Event| drop(event.wait()), (event.clone(),))?;
    let late = |in_time| if in_time { Ok(()) } else { Err(Error::TimedOut) };
    let waits: [(&str, &dyn Fn() -> Result<()>); 13] = [
        ("Lock", &|| lock.lock_timeout(SHORT).map(drop)),
        ("RLock", &|| again.lock_timeout(SHORT).map(drop)),
        ("Value", &|| value.lock_timeout(SHORT).map(drop)),
        ("Array", &|| array.claim_timeout(.., SHORT).map(drop)),
        ("RwLock, behind a reader", &|| read.write_timeout(SHORT).map(drop)),
        ("RwLock, behind a writer", &|| written.read_timeout(SHORT).map(drop)),
        ("RwLock, both writers", &|| written.write_timeout(SHORT).map(drop)),
        ("BoundedSemaphore", &|| permits.acquire_timeout(SHORT).map(drop)),
        ("Semaphore", &|| semaphore.acquire_timeout(SHORT)),
        ("Event", &|| event.wait_timeout(SHORT).and_then(late)),
        ("Barrier", &|| barrier.wait_timeout(SHORT).map(drop)),
        ("Condvar", &|| condition.wait_timeout(&mut mutex.lock()?, SHORT).map(drop)),
        ("Process", &|| child.join_timeout(SHORT).and_then(|ended| late(ended.is_some()))),
    ];
    let in_time = waits.iter().filter(|(_, wait)| !wait().is_err_and(|error| error.is_timed_out()));
    let in_time = in_time.map(|(what, _)| (*what).into()).collect();
    event.set();
    child.join()?;
    Ok(in_time)
}

#[test]
fn no_wait_looks_at_the_wall_clock() {
    let _deadline = Deadline::seconds(60, "no_wait_looks_at_the_wall_clock");
    let (lock, again, value) = (Lock::new().unwrap(), RLock::new().unwrap(), Value::new(0_u8).unwrap());
    let (array, permits) = (Array::<u8>::zeros(4).unwrap(), BoundedSemaphore::new(1).unwrap());
    let (read, written) = (RwLock::new(0_u8).unwrap(), RwLock::new(0_u8).unwrap());
    let args =
        (lock.clone(), again.clone(), value.clone(), array.clone(), read.clone(), written.clone(), permits.clone());
    let _held = (lock.lock().unwrap(), again.lock().unwrap(), value.lock().unwrap());
    let _claim = array.claim_mut(..).unwrap();
    let _guards = (read.read().unwrap(), written.write().unwrap(), permits.acquire().unwrap());
    let process = Process::builder(wait_for_all).args((args,)).daemon(true).may_have_children(true).start().unwrap();
    assert_eq!(process.join().unwrap(), Vec::<String>::new());
}
