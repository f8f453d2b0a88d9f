//! Making and opening shared memory, and what an object in it costs. See `benches/README.md`.

#[path = "support/compare.rs"]
mod compare;

use std::{cell::Cell, process, time::Instant};

use compare::{Comparison, Run, Unit, criterion, in_earnest};
use criterion::Criterion;
use shared_memory::ShmemConf;
use shmkit::{Region, Value};

fn main() {
    shmkit::init();
    let mut criterion = criterion();
    anonymous(&mut criterion);
    named(&mut criterion);
    many();
    criterion.final_summary();
}

fn anonymous(criterion: &mut Criterion) {
    Comparison::new("make and drop", Unit::Microseconds)
        .time("Value::new", || drop(Value::new(0_u64).expect("a value")))
        .time("Region::anonymous, 4 KiB", || drop(Region::anonymous(4096).expect("a region")))
        .time("shared_memory, 4 KiB", || drop(ShmemConf::new().size(4096).create().expect("a segment")))
        .goal_alone("Value::new", 20.0)
        .criterion(criterion)
        .table();
}

fn named(criterion: &mut Criterion) {
    let name = format!("shmkit-bench-{}", process::id());
    let theirs = format!("/shmkit-bench-theirs-{}", process::id());
    Comparison::new("create, open, unlink", Unit::Microseconds)
        .time("Value", || {
            let made = Value::create(&name, 0_u64).expect("a new name");
            let opened = Value::<u64>::open(&name).expect("the name");
            Value::<u64>::unlink(&name).expect("the name");
            drop((made, opened));
        })
        .time("Region, 4 KiB", || {
            let made = Region::create(&name, 4096).expect("a new name");
            let opened = Region::open(&name).expect("the name");
            Region::unlink(&name).expect("the name");
            drop((made, opened));
        })
        .time("shared_memory, 4 KiB", || {
            // Its creator unlinks when it is dropped.
            let made = ShmemConf::new().size(4096).os_id(&theirs).create().expect("a new name");
            let opened = ShmemConf::new().os_id(&theirs).open().expect("the name");
            drop((opened, made));
        })
        .criterion(criterion)
        .table();
}

/// Many values in one region, without names: time and bytes for each.
fn many() {
    let values = if in_earnest() { 10_000 } else { 100 };
    let bytes = Cell::new(0.0);
    let one_round = |time_drop: bool| {
        let region = Region::anonymous(4 << 20).expect("a region");
        let before = region.left().expect("sound");
        let start = Instant::now();
        let made: Vec<_> = (0..values).map(|i| Value::new_in(&region, None, i).expect("room")).collect();
        let made_in = start.elapsed();
        bytes.set((before - region.left().expect("sound")) as f64 / values as f64);
        let start = Instant::now();
        drop(made);
        let time = if time_drop { start.elapsed() } else { made_in };
        Run { operations: values, time, note: bytes.get() }
    };
    Comparison::new("10,000 values in one region", Unit::Nanoseconds)
        .note("bytes each")
        .custom("Value::new_in", |_| one_round(false))
        .custom("drop", |_| one_round(true))
        .custom("Value::new_in, by name", |_| {
            let region = Region::anonymous(4 << 20).expect("a region");
            let names: Vec<_> = (0..values).map(|i| format!("value-{i}")).collect();
            let before = region.left().expect("sound");
            let start = Instant::now();
            let made: Vec<_> = names.iter().map(|name| Value::new_in(&region, &**name, 0_u64).expect("room")).collect();
            let time = start.elapsed();
            let bytes = (before - region.left().expect("sound")) as f64 / values as f64;
            drop(made);
            Run { operations: values, time, note: bytes }
        })
        .goal_alone("Value::new_in", 200.0)
        .table();
    let verdict = if bytes.get() < 128.0 { "met" } else { "MISSED" };
    println!("  goal: Value<u64> below 128 bytes each: {:.1}, {verdict}", bytes.get());
}
