//! The pipeline as the parent of its processes sees it: start them, feed them, close one queue after the other, and say
//! whose fault it was when it cannot go on.

use std::{
    error, fmt,
    sync::atomic::Ordering::{AcqRel, Relaxed},
    thread,
    time::{Duration, Instant},
};

use shmkit::Process;

use crate::{
    model::Sums,
    options::Options,
    source::Source,
    worker::{Shared, Stage, Task, Work, worker},
};

/// How often the processes are looked at.
const PAUSE: Duration = Duration::from_millis(1);

/// What a run has reached.
pub(crate) struct Run {
    pub(crate) sums: Sums,
    pub(crate) seconds: f64,
    pub(crate) stages: [Done; 3],
}

/// What the workers of a stage have done together.
pub(crate) struct Done {
    pub(crate) stage: Stage,
    pub(crate) work: Work,
    /// When the last of them was through.
    pub(crate) seconds: f64,
}

/// A run that could not go on, and who has failed.
#[derive(Debug)]
pub(crate) struct Failure {
    who: String,
    source: shmkit::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.who)
    }
}

impl error::Error for Failure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Sends all blocks through the pipeline. `progress` is told the share of the work that is done.
pub(crate) fn run(
    source: &Source,
    options: &Options,
    mut progress: impl FnMut(f64),
) -> Result<Run, Box<dyn error::Error>> {
    let shared = Shared::new(options.workers)?;
    let all = source.block_count();
    let halts_at = options.kill_one.then_some(all / 2);
    let began = Instant::now();
    let mut workers = Workers::start(&shared, options, halts_at)?;
    let mut blocks = source.blocks().peekable();
    while !workers.are_through(Stage::Learn) {
        match blocks.peek() {
            Some(lines) => match shared.lines.put_timeout(lines, PAUSE) {
                Ok(()) => _ = blocks.next(),
                Err(error) if error.is_timed_out() => {}
                Err(error) => return Err(error.into()),
            },
            None => {
                shared.lines.close();
                thread::sleep(PAUSE);
            }
        }
        workers.look(began)?;
        // What the last one of a stage had in its hands is in the next queue, and nothing comes after it.
        for (stage, next) in [(Stage::Parse, &shared.parsed), (Stage::Straighten, &shared.straight)] {
            if workers.are_through(stage) {
                next.close();
            }
        }
        if let Some(halted) = workers.with_pid(shared.halted.swap(0, AcqRel)) {
            halted.process.kill()?;
            halted.name += &format!(", killed half-way through block {} of {all},", all / 2 + 1);
        }
        let done: u64 = shared.done.iter().map(|done| done.load(Relaxed)).sum();
        progress(done as f64 / (Stage::ALL.len() * source.image_count()) as f64);
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(Run { sums: Sums::of(shared.sums.to_vec()?), seconds, stages: Stage::ALL.map(|stage| workers.done(stage)) })
}

/// The processes of a run; none outlives it.
struct Workers(Vec<Worker>);

struct Worker {
    stage: Stage,
    name: String,
    process: Process<Work>,
    /// What it has done, and when that was seen.
    ended: Option<(Work, Duration)>,
}

impl Workers {
    fn start(shared: &Shared, options: &Options, halts_at: Option<usize>) -> shmkit::Result<Self> {
        let mut workers = Self(Vec::new());
        for stage in Stage::ALL {
            for rank in 1..=options.workers {
                let name = format!("{stage} worker {rank} of {}", options.workers);
                let process = Process::builder(worker)
                    .args((shared.clone(), Task { stage, halts_at }))
                    .name(&name)
                    .daemon(true)
                    .start_method(options.start_method)
                    .start()?;
                workers.0.push(Worker { stage, name, process, ended: None });
            }
        }
        Ok(workers)
    }

    /// Looks who has ended; the first that failed or died is the error.
    fn look(&mut self, began: Instant) -> Result<(), Failure> {
        for Worker { name, process, ended, .. } in self.0.iter_mut().filter(|worker| worker.ended.is_none()) {
            let work = process.join_timeout(Duration::ZERO);
            let work = work.map_err(|source| Failure { who: name.clone(), source })?;
            *ended = work.map(|work| (work, began.elapsed()));
        }
        Ok(())
    }

    /// Whether nobody of a stage works any more.
    fn are_through(&self, stage: Stage) -> bool {
        self.of(stage).all(|worker| worker.ended.is_some())
    }

    fn done(&self, stage: Stage) -> Done {
        let (mut work, mut seconds) = (Work::default(), 0.0_f64);
        for (some, when) in self.of(stage).filter_map(|worker| worker.ended) {
            work += some;
            seconds = seconds.max(when.as_secs_f64());
        }
        Done { stage, work, seconds }
    }

    fn of(&self, stage: Stage) -> impl Iterator<Item = &Worker> {
        self.0.iter().filter(move |worker| worker.stage == stage)
    }

    fn with_pid(&mut self, pid: u32) -> Option<&mut Worker> {
        self.0.iter_mut().find(|worker| worker.process.pid() == pid)
    }
}

impl Drop for Workers {
    /// Stops those that still work: when one has failed, the others would wait for the next block for ever.
    fn drop(&mut self) {
        let busy = || self.0.iter().filter(|worker| worker.ended.is_none());
        // Both fail for a worker that has ended already, and that is what is wanted.
        busy().for_each(|worker| _ = worker.process.kill());
        busy().for_each(|worker| _ = worker.process.join());
    }
}
