//! What each process does: takes blocks from one queue, and puts what it makes of them in the next, until it is closed.
//!
//! The pixels are written once, by who parses them, and stay where they are: what goes from queue to queue is a ticket for
//! their array. Whoever has taken it may change them in place, under their lock, and the next one finds them changed. The
//! memory goes with the last handle, whether processes die that had one or are to get one.

use std::{
    error::Error,
    fmt,
    ops::AddAssign,
    process,
    sync::atomic::Ordering::{Relaxed, Release},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use shmkit::{Array, AtomicArray, AtomicValue, Queue};

use crate::{digits::PIXELS, image, model::Sums, source::Lines};

/// What a process does with each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Parse,
    Straighten,
    Learn,
}

impl Stage {
    pub(crate) const ALL: [Self; 3] = [Self::Parse, Self::Straighten, Self::Learn];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parse => "parse",
            Self::Straighten => "straighten",
            Self::Learn => "learn",
        })
    }
}

/// The images of a block.
#[derive(Serialize, Deserialize)]
pub(crate) struct Images {
    block: usize,
    /// The line of the file that the first one comes from.
    first: usize,
    /// What they show.
    digits: Vec<u8>,
    pixels: Array<f32>,
}

/// The memory that all processes see.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Shared {
    pub(crate) lines: Queue<Lines>,
    pub(crate) parsed: Queue<Images>,
    pub(crate) straight: Queue<Images>,
    /// What all have learnt.
    pub(crate) sums: Array<i64>,
    /// The images that each stage has done.
    pub(crate) done: AtomicArray<u64>,
    /// The process that wants to be killed, see [`Task::halts_at`]; or 0.
    pub(crate) halted: AtomicValue<u32>,
}

impl Shared {
    pub(crate) fn new(workers: usize) -> shmkit::Result<Self> {
        // A queue has room for thousands of tickets: without a limit it would fill the memory with what they stand for.
        let most = 2 * workers;
        Ok(Self {
            lines: Queue::options().max_items(most).create()?,
            parsed: Queue::options().max_items(most).create()?,
            straight: Queue::options().max_items(most).create()?,
            sums: Array::zeros(Sums::LEN)?,
            done: AtomicArray::zeros(Stage::ALL.len())?,
            halted: AtomicValue::new(0)?,
        })
    }
}

/// What one process is to do.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) stage: Stage,
    /// Half-way through straightening this block the process stops, and waits for its end.
    pub(crate) halts_at: Option<usize>,
}

/// What a process has done.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) images: u64,
    /// Of text, or of pixels.
    pub(crate) bytes: u64,
    /// How long it had a block in its hands. Else it waited for a queue.
    pub(crate) busy: Duration,
}

impl Work {
    /// What was done with a block.
    fn on(images: usize, bytes: usize, began: Instant) -> Self {
        Self { images: images as u64, bytes: bytes as u64, busy: began.elapsed() }
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.bytes += other.bytes;
        self.busy += other.busy;
    }
}

pub(crate) fn worker(shared: Shared, task: Task) -> Result<Work, Box<dyn Error>> {
    let done = |images: usize| _ = shared.done[task.stage as usize].fetch_add(images as u64, Relaxed);
    match task.stage {
        Stage::Parse => parse(&shared, done),
        Stage::Straighten => straighten(&shared, task.halts_at, done),
        Stage::Learn => learn(&shared, done),
    }
}

fn parse(shared: &Shared, done: impl Fn(usize)) -> Result<Work, Box<dyn Error>> {
    let mut work = Work::default();
    for lines in &shared.lines {
        let (lines, began) = (lines?, Instant::now());
        let pixels = Array::zeros([lines.count(), PIXELS])?;
        let digits = image::parse(&lines, &mut pixels.lock()?)?;
        work += Work::on(digits.len(), lines.text.len(), began);
        done(digits.len());
        shared.parsed.put(&Images { block: lines.block, first: lines.first, digits, pixels })?;
    }
    Ok(work)
}

fn straighten(shared: &Shared, halts_at: Option<usize>, done: impl Fn(usize)) -> Result<Work, Box<dyn Error>> {
    let mut work = Work::default();
    for images in &shared.parsed {
        let (images, began) = (images?, Instant::now());
        let mut pixels = images.pixels.lock()?;
        let (first, second) = pixels.split_at_mut(images.digits.len() / 2 * PIXELS);
        image::straighten_all(first);
        if halts_at == Some(images.block) {
            shared.halted.store(process::id(), Release);
            loop {
                thread::park();
            }
        }
        image::straighten_all(second);
        work += Work::on(images.digits.len(), size_of_val(&*pixels), began);
        done(images.digits.len());
        drop(pixels);
        shared.straight.put(&images)?;
    }
    Ok(work)
}

fn learn(shared: &Shared, done: impl Fn(usize)) -> Result<Work, Box<dyn Error>> {
    let (mut work, mut sums) = (Work::default(), Sums::new());
    for images in &shared.straight {
        let (images, began) = (images?, Instant::now());
        let pixels = images.pixels.lock()?;
        sums.learn(images.first, &images.digits, &pixels);
        work += Work::on(images.digits.len(), size_of_val(&*pixels), began);
        done(images.digits.len());
    }
    sums.add_to(&mut shared.sums.lock()?);
    Ok(work)
}
