//! A table of all workers, drawn again in its place on a terminal; elsewhere a line every second, and the table in the end.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::{
    Worker,
    work::{Board, State, Status, Totals},
};

/// Characters in a bar.
const WIDTH: usize = 20;

pub(crate) struct View {
    /// Where the numbers end.
    end: u64,
    blocks: u64,
    began: Instant,
    drawn: Instant,
    is_terminal: bool,
    /// Lines that the next table takes the place of.
    lines: usize,
}

impl View {
    pub(crate) fn new(end: u64, blocks: u64) -> Self {
        let now = Instant::now();
        Self { end, blocks, began: now, drawn: now, is_terminal: io::stdout().is_terminal(), lines: 0 }
    }

    /// Draws, if it is time to.
    pub(crate) fn draw(&mut self, workers: &[Worker], board: &Board, totals: &Totals) -> io::Result<()> {
        let pause = Duration::from_millis(if self.is_terminal { 100 } else { 1000 });
        if self.drawn.elapsed() < pause {
            return Ok(());
        }
        self.drawn = Instant::now();
        if self.is_terminal {
            return self.table(workers, board, totals);
        }
        let (share, speed) = self.all(workers, board, totals);
        let alive = workers.iter().filter(|worker| worker.is_alive()).count();
        writeln!(io::stdout(), "{:.0} %, {speed}, {alive} of {} workers are alive", 100.0 * share, workers.len())
    }

    /// Draws the whole table.
    pub(crate) fn table(&mut self, workers: &[Worker], board: &Board, totals: &Totals) -> io::Result<()> {
        let lines = workers.iter().enumerate().map(|(rank, worker)| line(rank, worker, board.get(&rank)));
        let mut lines: Vec<_> = lines.collect();
        let (share, speed) = self.all(workers, board, totals);
        lines.push(format!("{:19}{}  {speed}", "all", bar(share)));
        lines.push(format!("{:19}{} primes", "", totals.primes));
        let mut out = io::stdout().lock();
        if self.is_terminal && self.lines > 0 {
            // Up to the first line, and away with all from there on.
            write!(out, "\x1b[{}A\x1b[J", self.lines)?;
        }
        self.lines = lines.len();
        writeln!(out, "{}", lines.join("\n"))
    }

    /// The share of all numbers that is done, and how fast.
    fn all(&self, workers: &[Worker], board: &Board, totals: &Totals) -> (f64, String) {
        let parts = board.iter().map(|(rank, status)| match status.state {
            State::Counts { done, .. } if workers[*rank].is_alive() => done,
            _ => 0.0,
        });
        // A block may have been counted between the two looks.
        let share = ((totals.blocks as f64 + parts.sum::<f64>()) / self.blocks as f64).min(1.0);
        let seconds = self.began.elapsed().as_secs_f64();
        let time = if totals.blocks == self.blocks {
            format!("{seconds:.1} s")
        } else if share > 0.0 {
            format!("{:.1} s left", seconds / share - seconds)
        } else {
            "begins".into()
        };
        (share, format!("{:.0} M/s, {time}", share * self.end as f64 / seconds / 1e6))
    }
}

fn line(rank: usize, worker: &Worker, status: Option<&Status>) -> String {
    let name = format!("worker {:<4}{:>7} ", rank + 1, worker.process.pid());
    name + &match (worker.process.exit_status(), status) {
        (Some(end), _) if worker.is_dead() => match worker.lost {
            Some(block) => format!("dead: {end}, its block {block} is for the others"),
            None => format!("dead: {end}"),
        },
        (_, Some(Status { state: State::Counts { block, done }, rate, counted })) => {
            format!("{}  block {block}, {:.0} M/s, {counted} counted", bar(*done), rate / 1e6)
        }
        (None, Some(status)) => format!("waits, {} counted", status.counted),
        (Some(_), Some(status)) => format!("has ended, {} counted", status.counted),
        (_, None) => "starts".into(),
    }
}

fn bar(share: f64) -> String {
    let full = (share * WIDTH as f64) as usize;
    format!("[{:-<WIDTH$}] {:3.0} %", "#".repeat(full), 100.0 * share)
}
