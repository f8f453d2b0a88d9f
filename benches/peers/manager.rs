//! A dict in a manager's server, used by one client, against Python's. See `README.md`.

#[path = "../support/compare.rs"]
mod compare;
mod python;
#[path = "../support/shared.rs"]
mod shared;
#[path = "../support/workers.rs"]
mod workers;

use std::{thread, time::Instant};

use compare::{Comparison, Run, Unit, in_earnest};
use shmkit::{
    Manager,
    manager::{Dict, Object},
};
use workers::pin;

const ITEMS: u64 = 1000;
const GET: &str = "Python Manager().dict(), get";
const SET: &str = "Python Manager().dict(), set";

fn main() {
    shmkit::init();
    let keys: Vec<_> = (0..ITEMS).map(|n| format!("key {n}")).collect();
    let dict = |manager: &Manager| manager.dict_from(keys.iter().map(String::as_str).zip(0..ITEMS)).expect("a dict");
    let [apart, anywhere] = [(); 2].map(|()| Manager::start().expect("a manager"));
    pin(apart.process().expect("this one's").pid(), 1);
    let [read, written] = [(); 2].map(|()| dict(&apart));
    let [read_anywhere, written_anywhere] = [(); 2].map(|()| dict(&anywhere));
    let mut comparison = Comparison::new("a dict of a manager, one client", Unit::PerMillisecond)
        .rounds(9)
        .custom("Dict::get", |operations| on_first_core(|| get(&read, &keys, operations)))
        .custom("Dict::insert", |operations| on_first_core(|| insert(&written, &keys, operations)))
        .custom("Dict::get, on any cores", |operations| get(&read_anywhere, &keys, operations))
        .custom("Dict::insert, on any cores", |operations| insert(&written_anywhere, &keys, operations));
    if python::is_there() {
        let operations = if in_earnest() { 5_000 } else { 500 };
        comparison = comparison
            .custom(GET, move |_| python::run("python_manager.py", operations, "get"))
            .custom(SET, move |_| python::run("python_manager.py", operations, "set"))
            .goal("Dict::get", 30.0, &[GET])
            .goal("Dict::insert", 30.0, &[SET])
            .goal("Dict::get, on any cores", 30.0, &[GET])
            .goal("Dict::insert, on any cores", 30.0, &[SET]);
    }
    comparison.table();
}

/// In a thread, so that Python may run where it likes.
fn on_first_core(run: impl FnOnce() -> Run + Send) -> Run {
    let pinned = || {
        pin(0, 0);
        run()
    };
    thread::scope(|scope| scope.spawn(pinned).join().expect("a run"))
}

fn get(dict: &Dict, keys: &[String], operations: u64) -> Run {
    let start = Instant::now();
    for (n, key) in (0..ITEMS).zip(keys).cycle().take(operations as usize) {
        let got = dict.get(key.as_str()).expect("a value");
        assert!(got == Object::from(n), "got {got}, not {n}");
    }
    Run { operations, time: start.elapsed(), note: 0.0 }
}

fn insert(dict: &Dict, keys: &[String], operations: u64) -> Run {
    let start = Instant::now();
    for (n, key) in (0..operations).zip(keys.iter().cycle()) {
        dict.insert(key.as_str(), n).expect("an insertion");
    }
    let time = start.elapsed();
    // What each key got last.
    let last = (0..operations).zip(keys.iter().cycle()).skip(operations.saturating_sub(ITEMS) as usize);
    for (n, key) in last {
        assert_eq!(dict.get(key.as_str()).expect("a value"), Object::from(n));
    }
    Run { operations, time, note: 0.0 }
}
