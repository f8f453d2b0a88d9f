//! Tasks for processes that run already, beside rayon's threads. See `benches/README.md`.

#[path = "support/compare.rs"]
mod compare;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use compare::{Comparison, Unit, criterion};
use criterion::Criterion;
use rayon::prelude::*;
use shmkit::{Array, Pool};

fn main() {
    shmkit::init();
    let mut criterion = criterion();
    let workers = shmkit::process::cpu_count();
    let pool = Pool::new(workers).expect("a pool");
    rayon::ThreadPoolBuilder::new().num_threads(workers).build_global().expect("threads");
    one_task(&mut criterion, &pool);
    trivial_tasks(&mut criterion, &pool);
    short_tasks(&mut criterion, &pool, "10,000 tasks of 10 us", 10_000, 10);
    short_tasks(&mut criterion, &pool, "200 tasks of 1 ms", 200, 1000);
    criterion.final_summary();
}

fn increment(x: u64) -> u64 {
    x + 1
}

fn one_task(criterion: &mut Criterion, pool: &Pool) {
    Comparison::new("one task there and back", Unit::Microseconds)
        .time("Pool::apply", || pool.apply(increment, (1,)).expect("a number"))
        .time("Pool::apply, a String", || pool.apply(|s: String| s, ("hello".to_owned(),)).expect("a string"))
        .time("Pool::submit, 10 at a time, each", || {
            let tasks: Vec<_> = (0..10).map(|x| pool.submit(increment, (x,)).expect("a task")).collect();
            tasks.iter().map(|task| task.get().expect("a number")).sum::<u64>()
        })
        .time("rayon::join from without", || {
            let (sender, receiver) = std::sync::mpsc::channel();
            rayon::spawn(move || sender.send(increment(black_box(1))).expect("a receiver"));
            receiver.recv().expect("a number")
        })
        .goal_alone("Pool::apply", 5.0)
        .criterion(criterion)
        .table();
}

const MILLION: u64 = 1_000_000;

/// The decimal digits, added up: some ten nanoseconds.
fn digits(mut x: u64) -> u64 {
    let mut sum = 0;
    while x > 0 {
        sum += x % 10;
        x /= 10;
    }
    sum
}

fn trivial_tasks(criterion: &mut Criterion, pool: &Pool) {
    let array = Array::<u64>::zeros(MILLION as usize).expect("an array");
    Comparison::new("a million trivial tasks", Unit::Milliseconds)
        .time("Pool::map", || pool.map(digits, 0..MILLION).expect("numbers"))
        .time("Pool::map_into", || pool.map_into(&array, digits, 0..MILLION).expect("numbers"))
        .time("Pool::map, of strings", || {
            pool.map(|text: String| text.len(), (0..MILLION).map(|x| x.to_string())).expect("numbers")
        })
        .time("rayon", || (0..MILLION).into_par_iter().map(digits).collect::<Vec<_>>())
        .time("rayon, from an iterator", || {
            let mut all: Vec<_> = (0..MILLION).par_bridge().map(|x| (x, digits(x))).collect();
            all.par_sort_unstable();
            all
        })
        .goal("Pool::map", 3.0, &["rayon"])
        .criterion(criterion)
        .table();
    // No work at all: what is measured is the way there and back, which rayon's tasks do not make.
    Comparison::new("a million increments", Unit::Milliseconds)
        .time("Pool::map", || pool.map(increment, 0..MILLION).expect("numbers"))
        .time("rayon", || (0..MILLION).into_par_iter().map(increment).collect::<Vec<_>>())
        .criterion(criterion)
        .table();
}

/// Keeps a core busy for so many microseconds.
fn busy(micros: u64) -> u64 {
    let until = Instant::now() + Duration::from_micros(micros);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    micros
}

fn short_tasks(criterion: &mut Criterion, pool: &Pool, title: &'static str, tasks: usize, micros: u64) {
    Comparison::new(title, Unit::Milliseconds)
        .time("Pool::map", || pool.map(busy, vec![micros; tasks]).expect("numbers"))
        .time("rayon", || vec![micros; tasks].into_par_iter().map(busy).collect::<Vec<_>>())
        .goal("Pool::map", 1.1, &["rayon"])
        .criterion(criterion)
        .table();
}
