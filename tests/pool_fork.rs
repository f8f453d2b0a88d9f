//! Pools whose workers are forks. `contracts/pool.rs` says what they promise as all others do. Not under libtest, whose threads
//! a fork cannot copy: `main` runs the tests one after the other.

#![allow(unsafe_code, reason = "kills workers")]

mod alone;
#[path = "contracts/pool.rs"]
#[allow(dead_code, reason = "some are not of forks")]
mod contracts;
mod support;

use std::{
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    AtomicArray, Error, Pool, Process, Value,
    pool::{Builder, OnDeath},
    process::{StartMethod, set_start_method},
};

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), contracts::$name as fn())),*]
    };
}

const CONTRACTS: &[(&str, fn())] = &contracts::for_each_pool_contract!(tests);

const FORKS_ONLY: &[(&str, fn())] = &[
    ("random_kills", random_kills),
    ("a_copy_of_a_pool", a_copy_of_a_pool),
    ("forks_beside_a_pool", forks_beside_a_pool),
    ("a_fork_beside_a_callback", a_fork_beside_a_callback),
    ("a_start_that_fails", a_start_that_fails),
];

fn main() {
    shmkit::init();
    set_start_method(StartMethod::Fork).unwrap();
    alone::run(&[CONTRACTS, FORKS_ONLY].concat());
}

fn forks(workers: usize) -> Builder {
    Pool::builder().workers(workers).start_method(StartMethod::Fork)
}

fn square(x: u64) -> u64 {
    x * x
}

fn random_kills() {
    let pool = forks(3).on_death(OnDeath::Retry(1000)).start().unwrap();
    let begun = AtomicArray::<u64>::zeros(1).unwrap();
    for round in 0..200_u64 {
        let mut results = pool
            .imap(
                |(_, x): (AtomicArray<u64>, u64)| {
                    let until = Instant::now() + Duration::from_micros(x % 100);
                    while Instant::now() < until {}
                    x
                },
                (0..100).map(|x| (begun.clone(), x)),
            )
            .unwrap();
        for x in 0..100 {
            if x % 20 == round % 20 {
                let pids = pool.pids();
                if let Some(pid) = pids.get((round + x) as usize % pids.len().max(1)) {
                    // SAFETY: takes plain numbers; a worker that was not waited for a moment ago.
                    unsafe { libc::kill(*pid as i32, libc::SIGKILL) };
                }
            }
            assert_eq!(results.next().unwrap().unwrap(), x, "round {round}");
        }
        assert!(results.next().is_none());
    }
}

fn a_copy_of_a_pool() {
    let pool = forks(1).start().unwrap();
    let task = pool.submit(square, (3,)).unwrap();
    let other = pool.submit(square, (5,)).unwrap();
    let (sender, receiver) = channel();
    let child = Process::fork(|| {
        let refused = |error: Error| matches!(error, Error::InvalidArgument { .. });
        assert!(refused(pool.apply(square, (1,)).unwrap_err()));
        assert!(refused(pool.map(square, [1]).unwrap_err()));
        assert!(refused(task.get().unwrap_err()));
        assert!(refused(pool.join().unwrap_err()));
        other.on_ready(move |result| sender.send(result).unwrap());
        assert!(refused(receiver.recv().unwrap().unwrap_err()));
        assert!(pool.pids().is_empty());
        pool.close();
        pool.terminate();
    })
    .unwrap();
    child.join().unwrap();
    assert_eq!(task.get().unwrap(), 9);
    assert_eq!(pool.apply(square, (4,)).unwrap(), 16);
}

/// The pool's own thread is at work while this one forks.
fn forks_beside_a_pool() {
    let pool = Pool::builder().workers(2).start_method(StartMethod::Spawn).start().unwrap();
    let (sender, receiver) = channel();
    for x in 0..300_u64 {
        let sender = sender.clone();
        pool.submit(square, (x,)).unwrap().on_ready(move |y| sender.send(y.unwrap()).unwrap());
        if x % 10 == 0 {
            let child = loop {
                match Process::fork(move || Value::new(x).and_then(|value| value.get())) {
                    Ok(child) => break child,
                    // A callback runs.
                    Err(Error::ForkRefused { .. }) => thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            };
            assert_eq!(child.join().unwrap(), x);
        }
    }
    assert_eq!((0..300).map(|_| receiver.recv().unwrap()).sum::<u64>(), (0..300).map(square).sum());
}

fn a_fork_beside_a_callback() {
    let pool = Pool::builder().workers(1).start_method(StartMethod::Spawn).start().unwrap();
    let (begun, has_begun) = channel();
    let (release, released) = channel();
    pool.submit(square, (3,)).unwrap().on_ready(move |nine| {
        begun.send(nine.unwrap()).unwrap();
        released.recv().unwrap();
    });
    assert_eq!(has_begun.recv().unwrap(), 9);
    assert!(matches!(Process::fork(|| {}), Err(Error::ForkRefused { .. })));
    release.send(()).unwrap();
    // It has ended when what it owned is gone.
    assert!(has_begun.recv().is_err());
    let child = loop {
        match Process::fork(|| {}) {
            Ok(child) => break child,
            Err(Error::ForkRefused { .. }) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    child.join().unwrap();
}

fn a_start_that_fails() {
    let held = shmkit::Lock::new().unwrap();
    let guard = held.lock().unwrap();
    assert!(matches!(forks(2).start(), Err(Error::ForkRefused { .. })));
    drop(guard);
    // The second one cannot be started: the first is ended.
    let before = shmkit::process::active_children().len();
    let result = forks(3).pin_to_cpus([0, 1_000_000]).start();
    match result {
        // A fork tells only later that it could not be bound.
        Ok(pool) => assert!(pool.map(square, [1; 100]).is_err()),
        Err(error) => assert!(matches!(error, Error::Os { .. }), "{error}"),
    }
    assert_eq!(shmkit::process::active_children().len(), before);
}
