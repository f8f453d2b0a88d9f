//! What each process does: stochastic gradient descent on weights that all of them change at once, without locks.
//!
//! B. Recht, C. Ré, S. Wright and F. Niu, *Hogwild!: A lock-free approach to parallelizing stochastic gradient descent*,
//! NeurIPS 2011, <https://arxiv.org/abs/1106.5730>.

use std::{
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use shmkit::{AtomicArray, AtomicValue, Error, Result};

use crate::{
    dataset::Sample,
    digits::FIELDS,
    image,
    network::{self, WEIGHTS},
    random::Random,
};

/// Samples between two visits to the shared weights.
///
/// A visit reads all weights and writes most of them, each of which must then travel to the next core that reads it. That
/// is more work than a sample is: visiting after each takes over three times as long. Far rarer visits would leave the
/// weights stale.
const BATCH: usize = 32;
/// The step along the gradient in the first epoch; it falls evenly to 0 at the end.
const RATE: f32 = 0.15;
/// How long a process waits for the others to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// The memory that all processes see.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Shared {
    /// The model, which everyone reads and writes.
    pub(crate) weights: AtomicArray<f32>,
    /// The samples to train on, one after the other, each [`FIELDS`] long.
    pub(crate) samples: AtomicArray<u8>,
    /// The samples that each process has finished: all epochs together.
    pub(crate) finished: AtomicArray<u64>,
    /// Who stands at the start line: the workers, and last their parent, which starts the race by it.
    pub(crate) arrived: AtomicValue<u32>,
}

/// What all processes do together.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) processes: usize,
    pub(crate) epochs: usize,
    pub(crate) seed: u64,
}

/// Trains on this process's share of every epoch; returns the seconds from the start line to the end.
///
/// All orderings are `Relaxed`: no value here announces another. The samples were written before the process started,
/// and a weight, or a count, stands for itself alone.
pub(crate) fn worker(shared: Shared, plan: Plan, rank: usize) -> Result<f64> {
    let mut order: Vec<usize> = (0..shared.samples.len() / FIELDS).collect();
    let mut sample = Sample([0; FIELDS]);
    let (mut weights, mut gradient) = (vec![0.0; WEIGHTS], vec![0.0; WEIGHTS]);
    let mut moves = Random::stream(plan.seed, rank as u64);
    let mut finished = 0;

    wait_at_the_start_line(&shared.arrived, plan.processes)?;
    let start = Instant::now();
    for epoch in 0..plan.epochs {
        let rate = RATE * (1.0 - epoch as f32 / plan.epochs as f32);
        // Every process shuffles alike and takes its own part of the result: together they see each sample once.
        Random::stream(!plan.seed, epoch as u64).shuffle(&mut order);
        let share = order.len() * rank / plan.processes..order.len() * (rank + 1) / plan.processes;
        for batch in order[share].chunks(BATCH) {
            shared.weights.load_into(0, &mut weights)?;
            gradient.fill(0.0);
            for &index in batch {
                shared.samples.load_into(index * FIELDS, &mut sample.0)?;
                let image = image::moved(&image::of(&sample), &mut moves);
                network::add_gradient(&weights, &image, sample.class(), &mut gradient);
            }
            descend(&shared.weights, &gradient, rate / batch.len() as f32);
            finished += batch.len() as u64;
            shared.finished[rank].store(finished, Relaxed);
        }
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Moves the shared weights against the gradient, while others do the same.
///
/// This is Hogwild: a plain load and a plain store, no lock and no compare-and-swap. An update that another process
/// stores between the two is lost. That is part of the algorithm: most gradients are sparse (a blank pixel or an idle
/// unit has none, and is not written), updates are small, and a lost one is made up for by those that follow. It cannot
/// tear: each weight is one atomic word.
fn descend(weights: &AtomicArray<f32>, gradient: &[f32], rate: f32) {
    for (weight, slope) in weights.iter().zip(gradient) {
        if *slope != 0.0 {
            weight.store(weight.load(Relaxed) - rate * slope, Relaxed);
        }
    }
}

/// Waits until all have started, so that the time of one says something about the time of all.
///
/// It ends in any case: the parent stops everyone when one has died, and nobody waits for ever should the parent die.
fn wait_at_the_start_line(arrived: &AtomicValue<u32>, processes: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    arrived.fetch_add(1, Relaxed);
    while arrived.load(Relaxed) as usize <= processes {
        if Instant::now() > deadline {
            return Err(Error::TimedOut);
        }
        thread::yield_now();
    }
    Ok(())
}
