//! Arrays: whole passes, first touch, copies, and single elements. See `benches/README.md`.

#![expect(unsafe_code, reason = "the slices of a `RawArray` are given on the caller's word")]

#[path = "support/compare.rs"]
mod compare;

use std::{
    hint::black_box,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use compare::{Comparison, Run, Unit, criterion, in_earnest};
use criterion::Criterion;
use shmkit::{Array, AtomicArray, AtomicValue, RawArray};

/// Bytes that no cache holds.
const LARGE: usize = 64 << 20;

fn main() {
    shmkit::init();
    let mut criterion = criterion();
    passes(&mut criterion);
    first_touch();
    for (load, store, bytes) in COPIES {
        copies(&mut criterion, load, store, if in_earnest() { *bytes } else { bytes / 64 });
    }
    element_loops(&mut criterion);
    single(&mut criterion);
    criterion.final_summary();
}

/// Elements of `LARGE`, or of a trifle in a test run.
fn large<T>() -> usize {
    (if in_earnest() { LARGE } else { LARGE >> 10 }) / size_of::<T>()
}

fn sum(elements: &[i64]) -> i64 {
    elements.iter().fold(0, |sum, x| sum.wrapping_add(*x))
}

fn negate(elements: &mut [i64]) {
    elements.iter_mut().for_each(|x| *x = x.wrapping_neg());
}

/// Warm passes over 64 MiB by the same functions on plain slices.
fn passes(criterion: &mut Criterion) {
    let n = large::<i64>();
    let mut vec = vec![7_i64; n];
    let array = Array::from_slice(&vec).expect("an array");
    let raw = RawArray::<i64>::zeros(n).expect("an array");
    let mut guard = array.lock().expect("lock");
    // SAFETY: nobody else has the array, and this is its only slice.
    let raw = unsafe { raw.as_mut_slice() };
    raw.copy_from_slice(&vec);

    Comparison::new("sum of 64 MiB", Unit::Milliseconds)
        .time("Vec", || sum(black_box(&vec)))
        .time("Array", || sum(black_box(&guard)))
        .time("RawArray", || sum(black_box(raw)))
        .goal("Array", 1.03, &["Vec"])
        .goal("RawArray", 1.03, &["Vec"])
        .criterion(criterion)
        .table();
    Comparison::new("negate 64 MiB", Unit::Milliseconds)
        .time("Vec", || negate(black_box(&mut vec)))
        .time("Array", || negate(black_box(&mut guard)))
        .time("RawArray", || negate(black_box(raw)))
        .goal("Array", 1.03, &["Vec"])
        .goal("RawArray", 1.03, &["Vec"])
        .criterion(criterion)
        .table();
    Comparison::new("fill 64 MiB", Unit::Milliseconds)
        .time("Vec", || black_box(&mut vec).fill(black_box(3)))
        .time("Array", || black_box(&mut *guard).fill(black_box(3)))
        .time("RawArray", || black_box(&mut *raw).fill(black_box(3)))
        .goal("Array", 1.03, &["Vec"])
        .goal("RawArray", 1.03, &["Vec"])
        .criterion(criterion)
        .table();
}

/// The first pass over 64 MiB that nobody has touched. An `Array` is committed when it is made: a row of its own.
fn first_touch() {
    let n = large::<i64>();
    let touch = |elements: &mut [i64]| {
        let start = Instant::now();
        black_box(elements).fill(black_box(3));
        Run { operations: 1, time: start.elapsed(), note: 0.0 }
    };
    Comparison::new("first touch of 64 MiB", Unit::Milliseconds)
        .custom("Vec", |_| touch(&mut vec![0; n]))
        .custom("Array, committed", |_| touch(&mut Array::zeros(n).expect("an array").lock().expect("lock")))
        .custom("Array, making it", |_| {
            let start = Instant::now();
            let array = Array::<i64>::zeros(n).expect("an array");
            let time = start.elapsed();
            drop(array);
            Run { operations: 1, time, note: 0.0 }
        })
        .goal("Array, committed", 1.1, &["Vec"])
        .table();
}

const COPIES: &[(&str, &str, usize)] = &[
    ("load 64 B", "store 64 B", 64),
    ("load 256 B", "store 256 B", 256),
    ("load 1 KiB", "store 1 KiB", 1 << 10),
    ("load 4 KiB", "store 4 KiB", 4 << 10),
    ("load 512 KiB", "store 512 KiB", 512 << 10),
    ("load 64 MiB", "store 64 MiB", 64 << 20),
];

/// Slices in and out, as atomics and by a plain copy: between vectors, and between a vector and the same kind of memory.
fn copies(criterion: &mut Criterion, load: &'static str, store: &'static str, bytes: usize) {
    let n = (bytes / size_of::<f32>()).max(1);
    let atomic = AtomicArray::<f32>::zeros(n).expect("an array");
    let raw = RawArray::<f32>::zeros(n).expect("an array");
    let shared_at = raw.as_ptr().addr() % PAGE;
    // SAFETY: nobody else has the array, and this is its only slice.
    let raw = unsafe { raw.as_mut_slice() };
    let source = Placed::new(n, PRIVATE_AT);
    let target = || Placed::new(n, PRIVATE_AT);
    let unit = if bytes < 1 << 20 { Unit::Nanoseconds } else { Unit::Milliseconds };

    let like_shared = Placed::new(n, shared_at);
    let (mut from_vec, mut from_raw, mut from_atomic) = (target(), target(), target());
    Comparison::new(load, unit)
        .time("Vec to Vec", || black_box(&mut *from_vec).copy_from_slice(black_box(&like_shared)))
        .time("RawArray to Vec", || black_box(&mut *from_raw).copy_from_slice(black_box(raw)))
        .time("AtomicArray::load_into", || atomic.load_into(0, black_box(&mut from_atomic)).expect("in range"))
        .goal("AtomicArray::load_into", 1.1, &["Vec to Vec", "RawArray to Vec"])
        .criterion(criterion)
        .table();

    let mut like_shared = like_shared;
    Comparison::new(store, unit)
        .time("Vec to Vec", || black_box(&mut *like_shared).copy_from_slice(black_box(&source)))
        .time("Vec to RawArray", || black_box(&mut *raw).copy_from_slice(black_box(&source)))
        .time("AtomicArray::store_from", || atomic.store_from(0, black_box(&source)).expect("in range"))
        .goal("AtomicArray::store_from", 1.1, &["Vec to Vec", "Vec to RawArray"])
        .criterion(criterion)
        .table();
}

const PAGE: usize = 4096;
/// Where in its page private memory begins: 16 bytes from a multiple of 32, as large allocations do, and far from where
/// arrays begin in theirs (a load that lies a little ahead of a store, modulo the page, must wait for it).
const PRIVATE_AT: usize = 2064;

/// Private memory that begins at a chosen place of its page, so that all subjects have it equally good.
struct Placed {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

impl Placed {
    fn new(len: usize, at: usize) -> Self {
        let memory = vec![1.0; len + 2 * PAGE / size_of::<f32>()];
        let start = (PAGE + at - memory.as_ptr().addr() % PAGE) / size_of::<f32>();
        Self { memory, start, len }
    }
}

impl Deref for Placed {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[self.start..][..self.len]
    }
}

impl DerefMut for Placed {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..][..self.len]
    }
}

/// Loops over the elements of 64 MiB, one relaxed load (and store) each.
fn element_loops(criterion: &mut Criterion) {
    let n = large::<u64>();
    let mut vec = vec![1_u64; n];
    let atomic = AtomicArray::from_slice(&vec).expect("an array");
    Comparison::new("sum of 64 MiB by elements", Unit::Milliseconds)
        .time("Vec", || black_box(&vec).iter().fold(0_u64, |sum, x| sum.wrapping_add(*x)))
        .time("AtomicArray", || black_box(&atomic).iter().fold(0_u64, |sum, x| sum.wrapping_add(x.load(Relaxed))))
        .goal("AtomicArray", 1.4, &["Vec"])
        .criterion(criterion)
        .table();
    Comparison::new("increment 64 MiB by elements", Unit::Milliseconds)
        .time("Vec", || black_box(&mut vec).iter_mut().for_each(|x| *x = x.wrapping_add(1)))
        .time("AtomicArray", || {
            black_box(&atomic).iter().for_each(|x| x.store(x.load(Relaxed).wrapping_add(1), Relaxed));
        })
        .goal("AtomicArray", 1.4, &["Vec"])
        .criterion(criterion)
        .table();
}

/// One atomic, and one element of many.
fn single(criterion: &mut Criterion) {
    let ours = AtomicValue::new(0_u64).expect("a value");
    let ours_f64 = AtomicValue::new(0.0_f64).expect("a value");
    let std = AtomicU64::new(0);
    Comparison::new("fetch_add", Unit::Nanoseconds)
        .time("std::sync::atomic::AtomicU64", || black_box(&std).fetch_add(1, Relaxed))
        .time("AtomicValue<u64>", || black_box(&ours).fetch_add(1, Relaxed))
        .time("AtomicValue<f64>", || black_box(&ours_f64).fetch_add(1.0, Relaxed))
        .goal("AtomicValue<u64>", 1.1, &["std::sync::atomic::AtomicU64"])
        .criterion(criterion)
        .table();
}
