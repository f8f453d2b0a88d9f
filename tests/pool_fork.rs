//! Pools whose workers are forks. Not under libtest, whose threads a fork cannot copy: `main` runs the tests one after the
//! other.

#![allow(unsafe_code, reason = "kills workers")]

mod alone;

use std::{
    process::abort,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    AtomicArray, Error, Pool, Process, Value,
    pool::{Builder, OnDeath},
    process::StartMethod,
};

fn main() {
    shmkit::init();
    alone::run(&[
        ("smoke", smoke),
        ("a_death", a_death),
        ("an_initialiser", an_initialiser),
        ("a_share", a_share),
        ("random_kills", random_kills),
        ("a_copy_of_a_pool", a_copy_of_a_pool),
        ("forks_beside_a_pool", forks_beside_a_pool),
        ("a_fork_beside_a_callback", a_fork_beside_a_callback),
        ("a_start_that_fails", a_start_that_fails),
    ]);
}

fn forks(workers: usize) -> Builder {
    Pool::builder().workers(workers).start_method(StartMethod::Fork)
}

fn square(x: u64) -> u64 {
    x * x
}

fn smoke() {
    let pool = forks(2).start().unwrap();
    assert_eq!(pool.apply(square, (7,)).unwrap(), 49);
    assert_eq!(pool.map(square, 0..100_000).unwrap(), (0..100_000).map(square).collect::<Vec<_>>());
    let total = Value::new(0_u64).unwrap();
    pool.map_tuples(|total: Value<u64>, x: u64| total.update(|sum| sum + x), (0..100).map(|x| (total.clone(), x)))
        .unwrap();
    assert_eq!(total.get().unwrap(), 4950);
    assert_eq!(pool.map_with(&5_u64, |a: &u64, b: u64| a * b, 0..3).unwrap(), [0, 5, 10]);
    let tasks: Vec<_> = (0..100).map(|x| pool.submit(square, (x,)).unwrap()).collect();
    assert!(tasks.iter().zip(0..).all(|(task, x)| task.get().unwrap() == x * x));
    pool.close();
    pool.join().unwrap();
}

fn dies(x: u64) -> u64 {
    if x == 13 {
        abort();
    }
    x
}

fn a_death() {
    let pool = forks(2).on_death(OnDeath::Retry(1)).start().unwrap();
    let results: Vec<_> = pool.imap(dies, 0..200).unwrap().collect();
    assert!(results.iter().zip(0..).all(|(result, x)| result.as_ref().map_or(x == 13, |y| *y == x)));
    assert_eq!(pool.pids().len(), 2);
}

fn an_initialiser() {
    let pool = forks(2).initialiser(|x: u64| if x > 7 { Err("too many") } else { Ok(()) }, (7,)).start().unwrap();
    assert_eq!(pool.apply(square, (2,)).unwrap(), 4);
    let pool = forks(2).initialiser(|x: u64| if x > 7 { Err("too many") } else { Ok(()) }, (8,)).start().unwrap();
    assert_eq!(pool.apply(square, (2,)).unwrap_err().to_string(), "too many");
}

fn a_share() {
    let pool = forks(2).max_tasks_per_child(5).start().unwrap();
    let pids = pool.map(|_: u8| std::process::id(), [0; 60]).unwrap();
    assert!(pids.iter().all(|pid| pids.iter().filter(|other| *other == pid).count() <= 5));
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
