//! Handwritten digits, each recognised by those that look most like it: by one process, and by a pool of them.
//!
//! `pool [WORKERS] [spawn|fork|forkserver] [kill-one]`: with the last word a worker is killed half-way, and nothing is lost.

#[path = "shared/digits.rs"]
#[allow(dead_code, reason = "shared with examples that need more of it")]
mod digits;
#[path = "shared/progress.rs"]
mod progress;

use std::{env, error::Error, io::BufRead, path::Path, sync::OnceLock, time::Instant};

use digits::{CLASSES, FIELDS, PIXELS};
use progress::Progress;
use shmkit::{
    Array, Pool,
    pool::OnDeath,
    process::{StartMethod, active_children, cpu_count},
};

/// Pixels in a row of an image.
const SIDE: i32 = 8;
/// How many neighbours say what a digit is.
const VOTES: usize = 5;

/// All digits, in each process: the pixels and the class of one after the other.
static DIGITS: OnceLock<Vec<u8>> = OnceLock::new();

/// Runs in each worker before its first task.
fn prepare(digits: Array<u8>) -> shmkit::Result<()> {
    let digits = digits.to_vec()?;
    // A fork has them.
    DIGITS.get_or_init(|| digits);
    Ok(())
}

/// How different two images are when one is moved by up to a pixel in each direction.
fn distance(a: &[u8], b: &[u8]) -> u32 {
    let moves = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy)));
    let difference = |(dx, dy): (i32, i32)| {
        let pixel = |x: i32, y: i32| {
            let inside = (0..SIDE).contains(&x) && (0..SIDE).contains(&y);
            if inside { i32::from(b[(y * SIDE + x) as usize]) } else { 0 }
        };
        let all = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
        all.map(|(x, y)| (i32::from(a[(y * SIDE + x) as usize]) - pixel(x + dx, y + dy)).pow(2) as u32).sum()
    };
    moves.map(difference).min().unwrap_or(0)
}

/// The task: what the digit number `at` is, by all others.
fn recognise(at: usize) -> u8 {
    let digits = DIGITS.get().map_or(&[][..], Vec::as_slice);
    let this = &digits[at * FIELDS..][..PIXELS];
    let others = digits.chunks_exact(FIELDS).enumerate().filter(|(other, _)| *other != at);
    let mut nearest: Vec<_> = others.map(|(_, other)| (distance(this, &other[..PIXELS]), other[PIXELS])).collect();
    nearest.select_nth_unstable(VOTES);
    let mut votes = [0; CLASSES];
    nearest[..VOTES].iter().for_each(|(_, class)| votes[usize::from(*class)] += 1);
    (0..CLASSES as u8).rev().max_by_key(|class| votes[usize::from(*class)]).unwrap_or(0)
}

fn main() -> Result<(), Box<dyn Error>> {
    shmkit::init();
    let words: Vec<_> = env::args().skip(1).collect();
    let workers = words.iter().find_map(|word| word.parse().ok()).unwrap_or_else(cpu_count);
    let method = words.iter().find_map(|word| match word.as_str() {
        "fork" => Some(StartMethod::Fork),
        "forkserver" => Some(StartMethod::ForkServer),
        _ => None,
    });
    let kills_one = words.iter().any(|word| word == "kill-one");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits.csv.gz");
    let mut all = Vec::new();
    for line in digits::open(&path)?.lines() {
        all.extend_from_slice(&digits::parse_line(&line?)?);
    }
    let count = all.len() / FIELDS;
    let shared = Array::from_slice(&all)?;
    let classes: Vec<_> = all.chunks_exact(FIELDS).map(|fields| fields[PIXELS]).collect();
    DIGITS.get_or_init(|| all);

    let start = Instant::now();
    let mut progress = Progress::new("one process".into());
    let found = (0..count).inspect(|at| progress.show(*at as f64 / count as f64)).map(recognise);
    let by_one: Vec<_> = found.collect();
    drop(progress);
    let alone = start.elapsed();
    let right = by_one.iter().zip(&classes).filter(|(found, class)| found == class).count();
    println!("{right} of {count} digits recognised, {:.2} %", 100.0 * right as f64 / count as f64);
    println!("one process: {} ms", alone.as_millis());

    let pool = Pool::builder()
        .workers(workers)
        .start_method(method.unwrap_or(StartMethod::Spawn))
        .initialiser(prepare, (shared,))
        .on_death(OnDeath::Retry(3))
        .start()?;
    let start = Instant::now();
    let mut progress = Progress::new(format!("{workers} workers"));
    let mut by_many = Vec::with_capacity(count);
    for found in pool.imap(recognise, 0..count)? {
        by_many.push(found?);
        progress.show(by_many.len() as f64 / count as f64);
        if kills_one && by_many.len() == count / 2 {
            active_children()[0].kill()?;
        }
    }
    drop(progress);
    let together = start.elapsed();
    let times = alone.as_secs_f64() / together.as_secs_f64();
    println!("{workers} workers: {} ms, {times:.2} times as fast", together.as_millis());
    if by_one != by_many {
        return Err("the pool has found something else".into());
    }
    println!("both have found the same{}", if kills_one { ", though a worker was killed" } else { "" });
    Ok(())
}
