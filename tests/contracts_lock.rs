//! What Python's `multiprocessing` promises of locks, under each start method. The comments name the tests of CPython's
//! suite. That a lock is released once, and by who holds it, is in the types: a guard is dropped once, by the thread that
//! got it.

mod alone;

use std::{
    sync::atomic::Ordering::{Relaxed, SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    AtomicValue, Error, Lock, Process, RLock, Result, Semaphore, Value,
    process::{Message, Outcome, StartMethod, Target},
};

const DEADLINE: Duration = Duration::from_secs(60);
const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::Fork];

fn main() {
    shmkit::init();
    alone::run(&[
        ("lock", lock),
        ("rlock", rlock),
        ("guards_release", guards_release),
        ("an_owner_that_exits_does_not_keep_it", an_owner_that_exits_does_not_keep_it),
        ("a_semaphore_is_released_elsewhere", a_semaphore_is_released_elsewhere),
        ("time_outs", time_outs),
        ("debug_says_whose_it_is", debug_says_whose_it_is),
        ("processes_and_threads_exclude_each_other", processes_and_threads_exclude_each_other),
    ]);
}

fn start<F: Target<A>, A: Message>(
    method: StartMethod,
    target: F,
    args: A,
) -> Process<<F::Outcome as Outcome>::Output> {
    Process::builder(target).args(args).start_method(method).start().unwrap()
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

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// `test_lock`: here and in a child.
fn lock() {
    fn check(lock: Lock) -> Result<()> {
        let guard = lock.lock()?;
        assert!(lock.try_lock().unwrap_err().is_would_block());
        assert!(matches!(lock.lock(), Err(Error::WouldDeadlock)));
        drop(guard);
        lock.try_lock().map(drop)
    }
    let lock = Lock::new().unwrap();
    check(lock.clone()).unwrap();
    for method in METHODS {
        joined(&start(method, check, (lock.clone(),))).unwrap();
    }
    // Held here, it is not free there.
    let guard = lock.lock().unwrap();
    let tries = |lock: Lock| lock.try_lock().is_err_and(|error| error.is_would_block());
    assert!(joined(&start(StartMethod::Spawn, tries, (lock.clone(),))).unwrap());
    drop(guard);
}

/// `test_rlock`: taken three times, released three times.
fn rlock() {
    fn check(lock: RLock) -> Result<()> {
        let mut guards = vec![lock.lock()?, lock.lock()?, lock.try_lock()?];
        let is_free = || thread::scope(|scope| scope.spawn(|| lock.try_lock().is_ok()).join().unwrap());
        while guards.pop().is_some() {
            assert_eq!(is_free(), guards.is_empty());
        }
        Ok(())
    }
    let lock = RLock::new().unwrap();
    check(lock.clone()).unwrap();
    for method in METHODS {
        joined(&start(method, check, (lock.clone(),))).unwrap();
    }
}

/// `test_lock_context`: at the end of a block, by an early return, by `?`.
fn guards_release() {
    fn early(lock: &Lock) -> Result<()> {
        let _guard = lock.lock()?;
        Err(Error::TimedOut)
    }
    let lock = Lock::new().unwrap();
    {
        let _guard = lock.lock().unwrap();
    }
    assert!(early(&lock).unwrap_err().is_timed_out());
    lock.try_lock().map(drop).unwrap();
}

/// `TestSyncManagerTypes.test_lock`: a child takes it and ends. The next one gets it, and is told.
fn an_owner_that_exits_does_not_keep_it() {
    for method in METHODS {
        let lock = Lock::new().unwrap();
        let child = start(method, |lock: Lock| lock.lock().map(std::mem::forget), (lock.clone(),));
        joined(&child).unwrap();
        let error = lock.lock_timeout(DEADLINE).unwrap_err();
        assert!(matches!(error, Error::Poisoned { pid, .. } if pid == Some(child.pid())), "{error}");
        lock.recover().unwrap().clear_poison();
        lock.lock().map(drop).unwrap();
    }
}

/// The same test, for programs that mean to release elsewhere: a semaphore of one.
fn a_semaphore_is_released_elsewhere() {
    for method in METHODS {
        let semaphore = Semaphore::new(1).unwrap();
        joined(&start(method, |semaphore: Semaphore| semaphore.acquire(), (semaphore.clone(),))).unwrap();
        assert!(semaphore.try_acquire().is_err());
        semaphore.release().unwrap();
        semaphore.try_acquire().unwrap();
    }
}

fn time_outs() {
    const TIME: Duration = Duration::from_millis(120);
    fn hold(lock: Lock, held: AtomicValue<bool>, end: AtomicValue<bool>) -> Result<()> {
        let _guard = lock.lock()?;
        held.store(true, SeqCst);
        until("the end", || end.load(SeqCst));
        Ok(())
    }
    for method in METHODS {
        let lock = Lock::new().unwrap();
        let [held, end] = [(); 2].map(|()| AtomicValue::new(false).unwrap());
        let child = start(method, hold, (lock.clone(), held.clone(), end.clone()));
        until("the child holds it", || held.load(SeqCst));
        let begin = Instant::now();
        assert!(lock.try_lock().unwrap_err().is_would_block());
        assert!(lock.lock_timeout(Duration::ZERO).unwrap_err().is_timed_out());
        assert!(lock.lock_deadline(begin).unwrap_err().is_timed_out());
        let begin = Instant::now();
        assert!(lock.lock_timeout(TIME).unwrap_err().is_timed_out());
        assert!(begin.elapsed() >= TIME);
        let begin = Instant::now();
        assert!(lock.recover_deadline(begin + TIME).unwrap_err().is_timed_out());
        assert!(begin.elapsed() >= TIME);
        end.store(true, SeqCst);
        lock.lock_timeout(Duration::MAX).map(drop).unwrap();
        joined(&child).unwrap();
    }
}

/// The states of `repr`: nobody, this thread, another one, another process.
fn debug_says_whose_it_is() {
    fn look(lock: Lock, again: RLock, value: Value<u32>, parent: u32) {
        let owner = format!("owner: process {parent}");
        for text in [format!("{lock:?}"), format!("{again:?}"), format!("{value:?}")] {
            assert!(text.contains(&owner), "{text}");
        }
    }
    let (lock, again, value) = (Lock::new().unwrap(), RLock::new().unwrap(), Value::new(1_u32).unwrap());
    let texts = || [format!("{lock:?}"), format!("{again:?}"), format!("{value:?}")];
    assert!(texts().iter().all(|text| text.contains("owner: none")), "{:?}", texts());
    let guards = (lock.lock().unwrap(), again.lock().unwrap(), value.lock().unwrap());
    assert!(texts().iter().all(|text| text.contains("owner: this thread")), "{:?}", texts());
    thread::scope(|scope| {
        scope.spawn(|| assert!(texts().iter().all(|text| text.contains("owner: another thread")), "{:?}", texts()));
    });
    let args = (lock.clone(), again.clone(), value.clone(), std::process::id());
    joined(&start(StartMethod::Spawn, look, args)).unwrap();
    drop(guards);
    assert!(texts().iter().all(|text| text.contains("owner: none")), "{:?}", texts());
}

/// Two processes by each method, and two threads in each.
fn processes_and_threads_exclude_each_other() {
    const TURNS: u64 = 2000;
    fn add(lock: Lock, again: RLock, halves: AtomicValue<u64>) -> Result<()> {
        let turns = || -> Result<()> {
            for _ in 0..TURNS {
                let _outer = again.lock()?;
                let _guard = lock.lock()?;
                let _inner = again.lock()?;
                // Two steps, of which others must not see the first alone.
                let before = halves.load(Relaxed);
                assert_eq!(before % 2, 0);
                halves.store(before + 1, Relaxed);
                halves.store(before + 2, Relaxed);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let other = scope.spawn(turns);
            turns()?;
            other.join().unwrap()
        })
    }
    let (lock, again, halves) = (Lock::new().unwrap(), RLock::new().unwrap(), AtomicValue::new(0_u64).unwrap());
    let children: Vec<_> = [METHODS, METHODS]
        .concat()
        .iter()
        .map(|method| start(*method, add, (lock.clone(), again.clone(), halves.clone())))
        .collect();
    for child in &children {
        joined(child).unwrap();
    }
    assert_eq!(halves.load(Relaxed), 4 * 2 * 2 * TURNS);
}
