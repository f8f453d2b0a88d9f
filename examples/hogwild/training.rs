//! One run with a number of processes: start them, watch them, and judge what they have learnt.

use std::{
    error, fmt,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use shmkit::{AtomicArray, AtomicValue, Process, StartMethod};

use crate::{
    dataset::Sample,
    network,
    worker::{Plan, Shared, worker},
};

/// What a run has reached, and when.
pub(crate) struct Run {
    pub(crate) processes: usize,
    /// From the start line to the end of the last process.
    pub(crate) seconds: f64,
    /// Samples trained on by all processes together, over all epochs.
    pub(crate) samples: u64,
    /// Seconds since the start, and the share of the test samples that the model of that time takes for the right digit.
    pub(crate) accuracy: Vec<(f64, f64)>,
}

impl Run {
    /// The accuracy at the end.
    pub(crate) fn reached(&self) -> f64 {
        self.accuracy.last().map_or(0.0, |&(_, accuracy)| accuracy)
    }

    pub(crate) fn samples_per_second(&self) -> f64 {
        self.samples as f64 / self.seconds
    }
}

/// A run that could not go on, and whose fault it was.
#[derive(Debug)]
pub(crate) struct Failure {
    rank: usize,
    processes: usize,
    source: shmkit::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} of {} failed", self.rank + 1, self.processes)
    }
}

impl error::Error for Failure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Trains a fresh model on `train` with `plan.processes` processes and tests it on `test`.
///
/// `progress` is told the share of the work that is done, from 0 to 1.
pub(crate) fn run(
    (train, test): (&[Sample], &[Sample]),
    plan: Plan,
    start_method: StartMethod,
    mut progress: impl FnMut(f64),
) -> Result<Run, Box<dyn error::Error>> {
    let shared = Shared {
        weights: AtomicArray::from_slice(&network::initial_weights(plan.seed))?,
        samples: AtomicArray::from_slice(&train.iter().flat_map(|s| s.0).collect::<Vec<_>>())?,
        finished: AtomicArray::zeros(plan.processes)?,
        arrived: AtomicValue::new(0)?,
    };
    let samples = (train.len() * plan.epochs) as u64;
    let mut workers = Workers::start(&shared, plan, start_method)?;

    // Testing takes time that the workers would lack, so the weights of each moment are kept and tested when all is
    // over. The moments are close at first and ever further apart, since the model learns most at the beginning.
    let mut kept = Vec::new();
    let (mut start, mut next) = (None::<Instant>, Duration::ZERO);
    while workers.are_busy()? {
        if start.is_none() && shared.arrived.load(Relaxed) as usize == plan.processes {
            start = Some(Instant::now());
            shared.arrived.fetch_add(1, Relaxed);
        }
        let elapsed = start.map_or(Duration::ZERO, |s| s.elapsed());
        if start.is_some() && elapsed >= next {
            kept.push((elapsed.as_secs_f64(), shared.weights.to_vec()));
            next = elapsed.mul_f64(1.04);
        }
        progress(shared.finished.iter().map(|f| f.load(Relaxed)).sum::<u64>() as f64 / samples as f64);
        thread::sleep((elapsed / 50).clamp(Duration::from_millis(1), Duration::from_millis(20)));
    }
    let seconds = workers.seconds();
    kept.retain(|&(time, _)| time < seconds);
    kept.push((seconds, shared.weights.to_vec()));
    let accuracy = kept.iter().map(|(time, weights)| (*time, network::accuracy(weights, test))).collect();
    Ok(Run { processes: plan.processes, seconds, samples, accuracy })
}

/// The processes of a run; none outlives it.
struct Workers(Vec<(Process<f64>, Option<f64>)>);

impl Workers {
    fn start(shared: &Shared, plan: Plan, start_method: StartMethod) -> shmkit::Result<Self> {
        let mut workers = Self(Vec::new());
        for rank in 0..plan.processes {
            let process = Process::builder(worker)
                .args((shared.clone(), plan, rank))
                .name(format!("hogwild-{rank}"))
                .daemon(true)
                .start_method(start_method)
                .start()?;
            workers.0.push((process, None));
        }
        Ok(workers)
    }

    /// Tells whether any still works; the first that failed or died is the error.
    fn are_busy(&mut self) -> Result<bool, Failure> {
        let processes = self.0.len();
        for (rank, (process, seconds)) in self.0.iter_mut().enumerate() {
            if seconds.is_none() {
                *seconds =
                    process.join_timeout(Duration::ZERO).map_err(|source| Failure { rank, processes, source })?;
            }
        }
        Ok(self.0.iter().any(|(_, seconds)| seconds.is_none()))
    }

    /// The seconds that the slowest took.
    fn seconds(&self) -> f64 {
        self.0.iter().filter_map(|&(_, seconds)| seconds).fold(0.0, f64::max)
    }
}

impl Drop for Workers {
    /// Stops those that still work: when one has failed, the others would wait or train in vain.
    fn drop(&mut self) {
        let busy = self.0.iter().filter(|(_, seconds)| seconds.is_none());
        for (process, _) in busy {
            // Both fail for a worker that has ended already, and that is what is wanted.
            let _ = process.kill();
            let _ = process.join();
        }
    }
}
