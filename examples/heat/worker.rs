//! What each process does: one step after the other, on its own rows.
//!
//! There are two fields. A step reads one and writes the other, then they change their parts. So at any moment one of
//! them is whole, whoever dies: the one that belongs to the last complete step, which nobody changes. What a dead process
//! left half written is computed anew from it.

use std::{
    ops::Range,
    sync::atomic::Ordering::{Acquire, Release},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use shmkit::{Array, AtomicValue, Barrier, Error, Event, Result};

use crate::plate::step_row;

/// The memory that all processes see.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Shared {
    /// The temperatures after an even number of steps, and after an odd one.
    pub(crate) fields: [Array<f64>; 2],
    /// The steps that are complete.
    pub(crate) done: AtomicValue<u64>,
    /// Ends each step; breaks if one of those who take part dies.
    pub(crate) barrier: Barrier,
    /// Set by who wants to be killed, see [`Task::halts_in`].
    pub(crate) halted: Event,
}

/// What one process is to do.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) rank: usize,
    pub(crate) processes: usize,
    pub(crate) steps: u64,
    /// Whether to wait for a new process in the place of one that died, and go on.
    pub(crate) goes_on: bool,
    /// Half-way through its rows in this step the process stops, and waits for its end.
    pub(crate) halts_in: Option<u64>,
}

pub(crate) fn worker(shared: Shared, task: Task) -> Result<()> {
    let rows = shared.fields[0].rows_for(task.rank, task.processes)?;
    for field in &shared.fields {
        // What a predecessor that died here left half changed will be written anew.
        field.recover_claim_mut(field.row_range(rows.clone())?)?.clear_poison();
    }
    loop {
        let step = shared.done.load(Acquire);
        if step == task.steps {
            return Ok(());
        }
        compute(&shared, step, rows.clone(), task.halts_in == Some(step))?;
        let ended = shared.barrier.wait_with(|| {
            // The last one to arrive; nobody goes on before it has.
            shared.done.store(step + 1, Release);
            Ok(())
        });
        match ended {
            Err(Error::BarrierBroken { .. }) if task.goes_on => await_repair(&shared.barrier),
            ended => _ = ended?,
        }
    }
}

/// Computes the next temperatures of some rows. All claims have ended when it returns: who waited at the barrier with
/// one would keep the others from coming there.
fn compute(shared: &Shared, step: u64, rows: Range<usize>, halts: bool) -> Result<()> {
    let (even, odd) = (&shared.fields[0], &shared.fields[1]);
    let (old, new) = if step.is_multiple_of(2) { (even, odd) } else { (odd, even) };
    let size = old.shape()[0];
    // The first row and the last one of the plate stay as they are.
    let rows = rows.start.max(1)..rows.end.min(size - 1);
    if rows.is_empty() {
        return Ok(());
    }
    // Mine alone, and one row more on each side, which the neighbours read as well.
    let mut mine = new.claim_rows_mut(rows.clone())?;
    let near = old.claim_rows(rows.start - 1..rows.end + 1)?;
    for y in 0..rows.len() {
        if halts && y == rows.len() / 2 {
            shared.halted.set();
            loop {
                thread::park();
            }
        }
        step_row(near.row(y), near.row(y + 1), near.row(y + 2), mine.row_mut(y));
    }
    Ok(())
}

/// Waits until the barrier is whole again. Whoever comes back too early finds it broken, and waits again.
fn await_repair(barrier: &Barrier) {
    while barrier.is_broken() {
        thread::sleep(Duration::from_millis(1));
    }
}
