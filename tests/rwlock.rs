//! The lock for many readers or one writer, between processes and threads: who gets in, who waits, who is refused.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use shmkit::{AtomicValue, Error, Process, Result, RwLock};

shmkit::init_in_tests!();

const DEADLINE: Duration = Duration::from_secs(60);
const WHILE: Duration = Duration::from_millis(120);

fn joined<T>(process: &Process<T>) -> T {
    match process.join_timeout(DEADLINE).unwrap() {
        Some(answer) => answer,
        None => {
            process.kill().unwrap();
            panic!("{process:?} has not ended");
        }
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

/// Reads and holds the read until it is told to end.
fn hold(lock: RwLock<u64>, readers: AtomicValue<u64>, end: AtomicValue<bool>) -> Result<u64> {
    let guard = lock.read_timeout(DEADLINE)?;
    readers.fetch_add(1, SeqCst);
    until("the end of the read", || end.load(SeqCst));
    Ok(*guard)
}

#[test]
fn readers_of_all_processes_share_it_and_keep_writers_out() {
    let lock = RwLock::new(5_u64).unwrap();
    let (readers, end) = (AtomicValue::new(0_u64).unwrap(), AtomicValue::new(false).unwrap());
    let processes = [(); 3].map(|()| Process::spawn(hold, (lock.clone(), readers.clone(), end.clone())).unwrap());
    thread::scope(|scope| {
        let here = scope.spawn(|| hold(lock.clone(), readers.clone(), end.clone()));
        until("all four read", || readers.load(SeqCst) == 4);
        assert!(lock.try_write().unwrap_err().is_would_block());
        let start = Instant::now();
        assert!(lock.write_timeout(WHILE).unwrap_err().is_timed_out());
        assert!(lock.write_deadline(start + 2 * WHILE).unwrap_err().is_timed_out());
        assert!(start.elapsed() >= 2 * WHILE);
        // Who gave up is in nobody's way.
        assert_eq!(*lock.try_read().unwrap(), 5);
        end.store(true, SeqCst);
        assert_eq!(here.join().unwrap().unwrap(), 5);
    });
    for process in &processes {
        assert_eq!(joined(process), 5);
    }
    *lock.try_write().unwrap() = 6;
    assert_eq!(*lock.read().unwrap(), 6);
}

/// Eight processes and threads, two of which write.
#[test]
fn nothing_is_torn_or_lost() {
    fn work(lock: RwLock<[u64; 8]>, writes: u64) -> Result<()> {
        for turn in 0..2000 {
            if writes > 0 && turn % 4 == 0 {
                let mut guard = lock.write_timeout(DEADLINE)?;
                let next = guard[0] + 1;
                guard.fill(next);
            } else {
                let guard = lock.read_timeout(DEADLINE)?;
                assert!(guard.iter().all(|one| *one == guard[0]));
            }
        }
        Ok(())
    }
    let lock = RwLock::new([0_u64; 8]).unwrap();
    let processes: Vec<_> = (0..4).map(|at| Process::spawn(work, (lock.clone(), at % 2)).unwrap()).collect();
    thread::scope(|scope| {
        for at in 0..4 {
            let lock = lock.clone();
            scope.spawn(move || work(lock, at % 2).unwrap());
        }
    });
    processes.iter().for_each(joined);
    assert_eq!(lock.read().unwrap()[7], 4 * 500);
}

/// While readers come and go so that there is always one, a writer gets in.
#[test]
fn a_writer_is_not_starved() {
    let lock = RwLock::new(0_u32).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    let guard = lock.read_timeout(DEADLINE).unwrap();
                    thread::sleep(Duration::from_micros(300));
                    drop(guard);
                }
            });
        }
        for _ in 0..20 {
            *lock.write_timeout(DEADLINE).unwrap() += 1;
        }
        done.store(true, SeqCst);
    });
    assert_eq!(*lock.read().unwrap(), 20);
}

#[test]
fn the_same_thread_is_refused_and_does_not_wait_for_itself() {
    let lock = RwLock::new(0_u32).unwrap();
    let reading = lock.read().unwrap();
    assert!(matches!(lock.write(), Err(Error::WouldDeadlock)));
    assert!(lock.try_write().unwrap_err().is_would_block());
    thread::scope(|scope| {
        let writer = scope.spawn(|| drop(lock.write_timeout(DEADLINE).unwrap()));
        until("a writer waits", || {
            lock.try_read().is_ok() && thread::scope(|s| s.spawn(|| lock.try_read().is_err()).join().unwrap())
        });
        // Another thread is kept out by the writer that waits, this one is not.
        assert_eq!(*lock.read().unwrap(), 0);
        drop(reading);
        writer.join().unwrap();
    });
    let writing = lock.write().unwrap();
    assert!(matches!(lock.write(), Err(Error::WouldDeadlock)));
    assert!(matches!(lock.read(), Err(Error::WouldDeadlock)));
    assert!(lock.try_read().unwrap_err().is_would_block());
    drop(writing);
    drop(lock.write().unwrap());
}

#[test]
fn a_downgrade_lets_readers_in_and_keeps_writers_out() {
    let lock = RwLock::new(1_u32).unwrap();
    let mut guard = lock.write().unwrap();
    *guard = 2;
    let guard = guard.downgrade();
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(*lock.try_read().unwrap(), 2);
            assert!(lock.try_write().unwrap_err().is_would_block());
        });
    });
    drop(guard);
    drop(lock.try_write().unwrap());
}

#[test]
fn a_panicking_writer_poisons_and_a_panicking_reader_does_not() {
    let lock = RwLock::new(1_u32).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let _guard = lock.read().unwrap();
            panic!("while it reads");
        });
        assert!(reader.join().is_err());
        assert!(lock.read().is_ok());
        let writer = scope.spawn(|| {
            let _guard = lock.write().unwrap();
            panic!("while it writes");
        });
        assert!(writer.join().is_err());
    });
    assert!(lock.read().unwrap_err().is_poisoned());
    assert!(lock.write().unwrap_err().is_poisoned());
    assert!(lock.try_read().unwrap_err().is_poisoned());
    let mut guard = lock.recover().unwrap();
    assert_eq!(guard.poison().unwrap().pid, Some(std::process::id()));
    guard.clear_poison();
    drop(guard);
    assert_eq!(*lock.read().unwrap(), 1);
}

/// Guards are forgotten: writers are kept out for as long as this process is there, and nothing worse.
#[test]
fn forgotten_guards() {
    let lock = RwLock::new(1_u32).unwrap();
    std::mem::forget(lock.read().unwrap());
    assert_eq!(*lock.read().unwrap(), 1);
    thread::scope(|scope| {
        scope.spawn(|| assert!(lock.write_timeout(WHILE).unwrap_err().is_timed_out()));
    });
    let other = RwLock::new(1_u32).unwrap();
    std::mem::forget(other.write().unwrap());
    drop(other);
    drop(lock);
}

/// More processes than there are records read at the same time, some of them as the writers' guests.
#[test]
fn more_readers_than_records() {
    fn look(lock: RwLock<u64>) -> Result<u64> {
        let mut sum = 0;
        for _ in 0..50 {
            sum += *lock.read_timeout(DEADLINE)?;
        }
        Ok(sum)
    }
    let lock = RwLock::new(1_u64).unwrap();
    let readers: Vec<_> = (0..80).map(|_| Process::spawn(look, (lock.clone(),)).unwrap()).collect();
    for _ in 0..20 {
        drop(lock.write_timeout(DEADLINE).unwrap());
    }
    for reader in &readers {
        assert_eq!(joined(reader), 50);
    }
}
