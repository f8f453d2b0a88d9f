//! Workers of a pool that die at every point of what they do: their start, their orders, their tasks and their reports. No
//! task is lost or begun twice, none fails but theirs, and another worker takes their place.

#![cfg(feature = "death-points")]
#![allow(unsafe_code, reason = "the deadline's module forks")]

mod support;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::Ordering::{Relaxed, SeqCst},
};

use rustix::process::Signal;
use serde::{Deserialize, Deserializer, Serialize};
use shmkit::{Array, AtomicArray, AtomicValue, Error, Pool, pool::OnDeath, process::StartMethod, test_hooks::arm};
use support::{Deadline, eventually};

shmkit::init_in_tests!();

fn alone(what: &'static str) -> (MutexGuard<'static, ()>, Deadline) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    (ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner), Deadline::seconds(200, what))
}

/// What arms the first worker that gets hold of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Trap {
    /// At which point it dies; 0 when one was armed.
    point: AtomicValue<u32>,
    victim: AtomicValue<u32>,
}

impl Trap {
    fn new() -> Self {
        Self { point: AtomicValue::new(0).unwrap(), victim: AtomicValue::new(0).unwrap() }
    }

    fn set(&self, point: u32) {
        self.victim.store(0, SeqCst);
        self.point.store(point, SeqCst);
    }

    fn spring(&self) {
        let point = self.point.swap(0, SeqCst);
        if point > 0 {
            self.victim.store(std::process::id(), SeqCst);
            arm(point);
        }
    }
}

/// Springs as soon as a process has it.
#[derive(Debug, Clone, Serialize)]
struct Spring(Trap);

impl<'de> Deserialize<'de> for Spring {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let trap = Trap::deserialize(deserializer)?;
        trap.spring();
        Ok(Self(trap))
    }
}

type Count = AtomicArray<u32>;

/// A task: counts that it was begun. The third springs the trap.
fn task((begun, trap, x): (Count, Option<Trap>, u32)) -> u32 {
    begun[x as usize].fetch_add(1, Relaxed);
    if let Some(trap) = trap.filter(|_| x == 2) {
        trap.spring();
    }
    x * x
}

const TASKS: u32 = 30;

/// Has all tasks done, and sees what the death of the victim has cost. How many have failed.
fn tasks_are_done(pool: &Pool, begun: &Count, trap: &Trap, in_a_task: bool, on_death: OnDeath, n: u32) -> usize {
    begun.iter().for_each(|count| count.store(0, Relaxed));
    let items = (0..TASKS).map(|x| (begun.clone(), in_a_task.then(|| trap.clone()), x));
    let results: Vec<_> = if n.is_multiple_of(2) {
        pool.imap(task, items).unwrap().collect()
    } else {
        let tasks: Vec<_> = items.map(|item| pool.submit(task, (item,)).unwrap()).collect();
        tasks.iter().map(shmkit::pool::Task::get).collect()
    };
    assert_eq!(results.len(), TASKS as usize, "at point {n}");
    let mut failed = 0;
    for (x, result) in (0..).zip(results) {
        let times = begun[x as usize].load(Relaxed);
        match result {
            Ok(y) => assert!(y == x * x && times > 0, "task {x} at point {n}"),
            Err(Error::ChildDied { pid, status }) => {
                assert_eq!((pid, &*status), (trap.victim.load(SeqCst), "signal 9 (SIGKILL)"), "task {x} at point {n}");
                failed += 1;
            }
            Err(error) => panic!("task {x} at point {n}: {error}"),
        }
        assert!(times <= if on_death == OnDeath::Fail { 1 } else { 2 }, "task {x} begun {times} times at point {n}");
    }
    // One had begun and was not reported, or several of a chunk.
    assert!(on_death == OnDeath::Fail || failed == 0, "{failed} tasks failed at point {n}");
    failed
}

/// Rounds without a death after which there are no more points.
const QUIET: u32 = 5;

/// Lets one worker after the other die at one point after the other; how many did.
fn at_every_point(mut round: impl FnMut(u32) -> bool) -> u32 {
    let (mut n, mut quiet) = (0, 0);
    while quiet < QUIET && n < 400 {
        n += 1;
        quiet = if round(n) { 0 } else { quiet + 1 };
    }
    n - quiet
}

fn deaths_at_the_start(method: StartMethod, on_death: OnDeath) {
    let (begun, trap) = (Count::zeros(TASKS as usize).unwrap(), Trap::new());
    let points = at_every_point(|n| {
        trap.set(n);
        let builder = Pool::builder().workers(2).start_method(method).on_death(on_death);
        let pool = builder.initialiser(|_: Spring| {}, (Spring(trap.clone()),)).start().unwrap();
        tasks_are_done(&pool, &begun, &trap, false, on_death, n);
        let victim = trap.victim.load(SeqCst);
        assert_ne!(victim, 0);
        eventually(|| pool.pids().len() == 2);
        let died = !pool.pids().contains(&victim);
        pool.close();
        pool.join().unwrap();
        died
    });
    assert!(points >= 10, "{points} points");
}

fn deaths_in_tasks(method: StartMethod, on_death: OnDeath) {
    let (begun, trap) = (Count::zeros(TASKS as usize).unwrap(), Trap::new());
    let pool = Pool::builder().workers(2).start_method(method).on_death(on_death).start().unwrap();
    let mut failed = 0;
    let points = at_every_point(|n| {
        trap.set(n);
        failed += tasks_are_done(&pool, &begun, &trap, true, on_death, n);
        let victim = trap.victim.load(SeqCst);
        eventually(|| pool.pids().len() == 2);
        let died = !pool.pids().contains(&victim);
        if !died {
            // It would die in a later round, whose victim is another.
            let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(victim as i32).unwrap(), Signal::KILL);
            eventually(|| !pool.pids().contains(&victim));
        }
        died
    });
    assert!(points >= 10, "{points} points");
    assert_eq!(failed > 0, on_death == OnDeath::Fail, "{failed} tasks failed");
}

/// Workers die at the points of writing their values into an array, too.
fn deaths_in_place(method: StartMethod, on_death: OnDeath) {
    let (begun, trap) = (Count::zeros(TASKS as usize).unwrap(), Trap::new());
    let pool = Pool::builder().workers(2).start_method(method).on_death(on_death).start().unwrap();
    let array = Array::<u32>::zeros(TASKS as usize).unwrap();
    let squares: Vec<_> = (0..TASKS).map(|x| x * x).collect();
    let items = |trap: Option<&Trap>| {
        let item = |x| (begun.clone(), trap.cloned(), x);
        (0..TASKS).map(item).collect::<Vec<_>>()
    };
    let (mut failed, mut poisoned) = (0, 0);
    let points = at_every_point(|n| {
        array.lock().unwrap().fill(0);
        trap.set(n);
        let result = pool.map_into(&array, task, items(Some(&trap)));
        let victim = trap.victim.load(SeqCst);
        match result {
            Ok(()) => assert_eq!(array.to_vec().unwrap(), squares, "at point {n}"),
            Err(Error::ChildDied { pid, .. }) => {
                assert_eq!((pid, on_death), (victim, OnDeath::Fail), "at point {n}");
                failed += 1;
                for (x, square) in squares.iter().enumerate() {
                    match array.get(x) {
                        Ok(found) => assert!(found == *square || found == 0, "element {x} is {found} at point {n}"),
                        Err(Error::Poisoned { pid, .. }) => {
                            assert_eq!(pid, Some(victim), "at point {n}");
                            poisoned += 1;
                        }
                        Err(error) => panic!("element {x} at point {n}: {error}"),
                    }
                }
            }
            Err(error) => panic!("at point {n}: {error}"),
        }
        eventually(|| pool.pids().len() == 2);
        let died = !pool.pids().contains(&victim);
        if !died {
            let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(victim as i32).unwrap(), Signal::KILL);
            eventually(|| !pool.pids().contains(&victim));
        }
        // Whoever writes them anew mends them.
        pool.map_into(&array, task, items(None)).unwrap();
        assert_eq!(array.to_vec().unwrap(), squares, "after point {n}");
        died
    });
    assert!(points >= 10, "{points} points");
    assert_eq!((failed > 0, poisoned > 0), (on_death == OnDeath::Fail, on_death == OnDeath::Fail));
}

#[test]
fn at_every_point_of_writing_in_place() {
    let _alone = alone("at_every_point_of_writing_in_place");
    deaths_in_place(StartMethod::ForkServer, OnDeath::Fail);
}

#[test]
fn at_every_point_of_writing_in_place_with_retries() {
    let _alone = alone("at_every_point_of_writing_in_place_with_retries");
    deaths_in_place(StartMethod::Spawn, OnDeath::Retry(1));
}

#[test]
fn at_every_point_of_the_start() {
    let _alone = alone("at_every_point_of_the_start");
    deaths_at_the_start(StartMethod::ForkServer, OnDeath::Fail);
}

#[test]
fn at_every_point_of_the_start_with_retries() {
    let _alone = alone("at_every_point_of_the_start_with_retries");
    deaths_at_the_start(StartMethod::Spawn, OnDeath::Retry(1));
}

#[test]
fn at_every_point_of_tasks() {
    let _alone = alone("at_every_point_of_tasks");
    deaths_in_tasks(StartMethod::Spawn, OnDeath::Fail);
}

#[test]
fn at_every_point_of_tasks_with_retries() {
    let _alone = alone("at_every_point_of_tasks_with_retries");
    deaths_in_tasks(StartMethod::ForkServer, OnDeath::Retry(1));
}
