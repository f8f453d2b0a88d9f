//! One run with several processes: start them, watch them, replace one that dies, or say what became of the others.

use std::{
    error, fmt,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use shmkit::{Array, AtomicValue, Barrier, Error, Event, Process, StartMethod};

use crate::{
    options::Options,
    worker::{Shared, Task, worker},
};

/// How often the processes are looked at.
const PAUSE: Duration = Duration::from_millis(1);
/// How long those that live may take to notice that one is dead.
const GRACE: Duration = Duration::from_secs(10);
/// Processes that are replaced in a run: more deaths than these have a cause that a new one will not outlive either.
const MOST_REPLACED: usize = 10;

/// What a run has reached.
pub(crate) struct Run {
    pub(crate) field: Vec<f64>,
    pub(crate) seconds: f64,
    pub(crate) kill: Option<Kill>,
}

/// A run that could not go on: what happened to each worker, and how long after the first.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Failure {}

/// Simulates on shared memory with several processes. `progress` is told the share of the work that is done.
pub(crate) fn run(
    start: &[f64],
    options: &Options,
    mut progress: impl FnMut(f64),
) -> Result<Run, Box<dyn error::Error>> {
    let &Options { size, steps, processes, kill_one, restart, start_method, .. } = options;
    let field = || -> shmkit::Result<_> {
        let field = Array::zeros([size, size])?;
        field.lock()?.copy_from_slice(start);
        Ok(field)
    };
    let shared = Shared {
        fields: [field()?, field()?],
        done: AtomicValue::new(0)?,
        barrier: Barrier::new(processes)?,
        halted: Event::new()?,
    };
    let victim = kill_one.then_some(processes / 2);
    let task = |rank| {
        let halts_in = (victim == Some(rank)).then_some(steps / 2);
        Task { rank, processes, steps, goes_on: restart, halts_in }
    };
    let began = Instant::now();
    let mut workers = Workers { all: Vec::new(), start_method };
    for rank in 0..processes {
        let worker = workers.start(&shared, task(rank))?;
        workers.all.push(worker);
    }

    let (mut kill, mut replaced) = (None::<Kill>, 0);
    loop {
        let are_busy = workers.look();
        progress(shared.done.load(Relaxed) as f64 / steps as f64);
        if let Some(rank) = victim.filter(|_| kill.is_none() && shared.halted.is_set()) {
            let process = &workers.all[rank].process;
            process.kill()?;
            kill = Some(Kill { rank, pid: process.pid(), step: shared.done.load(Relaxed), at: Instant::now() });
        }
        match workers.first_failed() {
            None if are_busy => thread::sleep(PAUSE),
            None => break,
            Some((rank, Error::ChildDied { .. })) if restart && replaced < MOST_REPLACED => {
                replaced += 1;
                workers.all[rank] = workers.start(&shared, Task { halts_in: None, ..task(rank) })?;
                // The others wait for this.
                shared.barrier.reset()?;
            }
            Some(_) => return Err(Failure(workers.report(kill.as_ref())).into()),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let field = shared.fields[(steps % 2) as usize].to_vec()?;
    Ok(Run { field, seconds, kill })
}

/// The death that the user asked for.
pub(crate) struct Kill {
    rank: usize,
    pid: u32,
    step: u64,
    at: Instant,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}, process {}, half-way through its rows in step {}", self.rank + 1, self.pid, self.step + 1)
    }
}

/// The processes of a run, by rank; none outlives it.
struct Workers {
    all: Vec<Worker>,
    start_method: StartMethod,
}

struct Worker {
    process: Process<()>,
    /// What it ended with, and when that was seen.
    ended: Option<(shmkit::Result<()>, Instant)>,
}

impl Worker {
    /// Whether it still works.
    fn is_busy(&mut self) -> bool {
        if self.ended.is_none() {
            let ended = self.process.join_timeout(Duration::ZERO).transpose();
            self.ended = ended.map(|result| (result, Instant::now()));
        }
        self.ended.is_none()
    }
}

impl Workers {
    fn start(&self, shared: &Shared, task: Task) -> shmkit::Result<Worker> {
        let process = Process::builder(worker)
            .args((shared.clone(), task))
            .name(format!("heat-{}", task.rank))
            .daemon(true)
            .start_method(self.start_method)
            .start()?;
        Ok(Worker { process, ended: None })
    }

    /// Looks who has ended, and says whether anybody still works.
    fn look(&mut self) -> bool {
        self.all.iter_mut().filter_map(|worker| worker.is_busy().then_some(())).count() > 0
    }

    fn first_failed(&self) -> Option<(usize, &Error)> {
        let ends = self.all.iter().enumerate();
        ends.filter_map(|(rank, worker)| Some((rank, worker.ended.as_ref()?.0.as_ref().err()?))).next()
    }

    /// What became of every worker, and how long after the first death.
    fn report(&mut self, kill: Option<&Kill>) -> String {
        let since = kill.map_or_else(Instant::now, |kill| kill.at);
        while self.look() && since.elapsed() < GRACE {
            thread::sleep(PAUSE);
        }
        let mut report = kill.map_or_else(|| "a worker failed".into(), |kill| format!("killed: {kill}"));
        for (rank, worker) in self.all.iter().enumerate() {
            report += &match &worker.ended {
                Some((Ok(()), _)) => format!("\n  worker {} had done its work", rank + 1),
                Some((Err(error), at)) => {
                    let later = at.saturating_duration_since(since).as_millis();
                    format!("\n  worker {}, {later} ms later: {error}", rank + 1)
                }
                None => format!("\n  worker {} still runs, and is killed now", rank + 1),
            };
        }
        report
    }
}

impl Drop for Workers {
    /// Stops those that still work: when the run has failed, they would work in vain.
    fn drop(&mut self) {
        for worker in self.all.iter().filter(|worker| worker.ended.is_none()) {
            // Both fail for a worker that has ended already, and that is what is wanted.
            let _ = worker.process.kill();
            let _ = worker.process.join();
        }
    }
}
