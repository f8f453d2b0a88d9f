//! Workers that count primes, block by block, and tell in shared dicts how far they are; and a view that shows it while it
//! happens. A worker that is killed costs what it had counted of its block, which the others begin anew.
//!
//! ```text
//! cargo run --release --example dashboard
//! cargo run --release --example dashboard -- --kill
//! ```
//!
//! Or kill one by hand: the view shows their process ids. Start reading in `work.rs` (what the workers share, and what
//! each does).

mod primes;
mod view;
mod work;

use std::{error::Error, process::ExitCode, thread, time::Duration};

use lexopt::{Arg::Long, Arg::Short, Parser, ValueExt};
use shmkit::{Process, process};

use view::View;
use work::{Shared, worker};

/// How often the processes are looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// Blocks for each worker.
const BLOCKS: u64 = 16;

const HELP: &str = "\
Counts the primes below a number with several processes, and shows how far each of them is.

Usage: cargo run --release --example dashboard -- [OPTIONS]

Options:
    --below <N>      where to end [default: 20000000000]
    --workers <N>    processes that count [default: one for each core, but at least 2]
    --kill           kill one of them in the middle
    -h, --help       this text";

struct Options {
    end: u64,
    workers: usize,
    kill: bool,
}

/// Reads the command line; `None` if the user asks for help.
fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options { end: 20_000_000_000, workers: process::cpu_count().max(2), kill: false };
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("below") => options.end = parser.value()?.parse()?,
            Long("workers") => options.workers = parser.value()?.parse()?,
            Long("kill") => options.kill = true,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    if !(1_000_000..=1 << 50).contains(&options.end) || !(1..=1024).contains(&options.workers) {
        return Err("expected from 1000000 to 2^50 numbers, and from 1 to 1024 workers".into());
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    shmkit::init();
    let result = match options() {
        Ok(Some(options)) => run(&options),
        Ok(None) => {
            println!("{HELP}");
            Ok(())
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dashboard: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A process, as its parent sees it.
struct Worker {
    process: Process<()>,
    end: Option<shmkit::Result<()>>,
    /// The block that its death has left.
    lost: Option<u64>,
}

impl Worker {
    fn start(rank: usize, shared: &Shared) -> shmkit::Result<Self> {
        let process = Process::builder(worker).args((rank, shared.clone())).daemon(true).start()?;
        Ok(Self { process, end: None, lost: None })
    }

    fn is_alive(&self) -> bool {
        self.end.is_none()
    }

    fn is_dead(&self) -> bool {
        self.end.as_ref().is_some_and(Result::is_err)
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let blocks = BLOCKS * options.workers as u64;
    let shared = Shared::new(options.end, blocks)?;
    let mut workers = (0..options.workers).map(|rank| Worker::start(rank, &shared)).collect::<Result<Vec<_>, _>>()?;
    println!("primes below {}, in {blocks} blocks; M/s: million numbers a second", options.end);
    let mut view = View::new(options.end, blocks);
    let mut victim = options.kill.then_some(options.workers / 2);
    while workers.iter().any(Worker::is_alive) {
        thread::sleep(PAUSE);
        for worker in workers.iter_mut().filter(|worker| worker.is_alive()) {
            worker.end = worker.process.join_timeout(Duration::ZERO).transpose();
        }
        for (block, rank) in shared.free_blocks_of(|rank| workers[rank].is_dead())? {
            workers[rank].lost = Some(block);
        }
        let (board, totals) = (shared.board()?, shared.totals()?);
        view.draw(&workers, &board, &totals)?;
        // In the middle of the run, and of a block.
        let is_early = |rank: &usize| board.get(rank).is_some_and(|status| status.state.is_early());
        if let Some(rank) = victim.take_if(|rank| totals.blocks >= blocks / 3 && is_early(rank)) {
            workers[rank].process.kill()?;
        }
    }
    view.table(&workers, &shared.board()?, &shared.totals()?)?;
    check(options, &shared, &workers)
}

/// Who has done the work of the dead, and whether the result is right.
fn check(options: &Options, shared: &Shared, workers: &[Worker]) -> Result<(), Box<dyn Error>> {
    let totals = shared.totals()?;
    if totals.blocks < shared.blocks {
        return Err(
            format!("all workers are dead, and {} blocks are not counted", shared.blocks - totals.blocks).into()
        );
    }
    for (rank, worker) in workers.iter().enumerate() {
        if let Some(block) = worker.lost {
            let other = shared.who_has_counted(block)?;
            println!("worker {} died in block {block}, which worker {} has counted", rank + 1, other + 1);
        }
    }
    if options.kill && !workers.iter().any(Worker::is_dead) {
        return Err("nobody was killed: there was too little to do".into());
    }
    let expected = primes::count_below(options.end);
    if totals.primes != expected {
        return Err(format!("found {} primes, but there are {expected}", totals.primes).into());
    }
    println!("{expected} primes, as another method finds too");
    Ok(())
}
