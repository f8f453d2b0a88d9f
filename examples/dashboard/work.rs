//! What the workers share, and what each of them does.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use shmkit::{
    Error, Manager, Result,
    manager::{Dict, Object},
};

use crate::primes::Sieve;

/// Numbers between two reports.
const PORTION: u64 = 1 << 22;

/// Blocks of numbers in a manager's server. Each is in one of three dicts at any time, whoever dies: a block is moved from
/// one to another by a batch, which is one step.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Shared {
    manager: Manager,
    /// Blocks that nobody has.
    free: Dict,
    /// Who has which block.
    taken: Dict,
    /// Who has counted which block.
    counted: Dict,
    totals: Dict,
    /// What each worker tells.
    board: Dict,
    pub(crate) blocks: u64,
    /// Where the numbers end.
    end: u64,
}

/// What a worker tells.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) state: State,
    /// Blocks that it has counted.
    pub(crate) counted: u64,
    /// Numbers in a second.
    pub(crate) rate: f64,
}

/// What all workers tell, but those that have not begun.
pub(crate) type Board = BTreeMap<usize, Status>;

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum State {
    Counts {
        block: u64,
        /// The share of the block that is done.
        done: f64,
    },
    /// All blocks are taken, but they may come back.
    Waits,
}

impl State {
    /// Whether there is much of the block left.
    pub(crate) fn is_early(self) -> bool {
        matches!(self, Self::Counts { done, .. } if done < 0.5)
    }
}

/// What all together have reached.
#[derive(Deserialize)]
pub(crate) struct Totals {
    pub(crate) blocks: u64,
    pub(crate) primes: u64,
}

impl Shared {
    pub(crate) fn new(end: u64, blocks: u64) -> Result<Self> {
        let manager = Manager::start()?;
        let dict = || manager.dict();
        Ok(Self {
            free: manager.dict_from((0..blocks).map(|block| (block, Object::None)))?,
            taken: dict()?,
            counted: dict()?,
            totals: manager.dict_from([("blocks", 0), ("primes", 0)])?,
            board: dict()?,
            manager,
            blocks,
            end,
        })
    }

    /// Takes a block, if there is one that nobody has.
    fn take(&self, rank: usize) -> Result<Option<u64>> {
        for block in self.free.keys()? {
            let batch = self.manager.batch().remove(&self.free, block.clone()).insert(&self.taken, block.clone(), rank);
            match batch.run() {
                Ok(_) => return block.get_as().map(Some),
                Err(Error::KeyNotFound { .. }) => {} // Another one was faster.
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A block counts once: together with its primes, or not at all.
    fn finish(&self, rank: usize, block: u64, primes: u64) -> Result<()> {
        let batch = self.manager.batch().remove(&self.taken, block).insert(&self.counted, block, rank);
        batch.fetch_add(&self.totals, "blocks", 1).fetch_add(&self.totals, "primes", primes).run().map(drop)
    }

    /// Frees the blocks that dead workers had, and says which, and whose. Asked again and again: what a worker had asked
    /// for before it died may still be carried out.
    pub(crate) fn free_blocks_of(&self, is_dead: impl Fn(usize) -> bool) -> Result<Vec<(u64, usize)>> {
        let mut freed = Vec::new();
        for (block, rank) in self.taken.items()? {
            let (block, rank) = (block.get_as()?, rank.get_as()?);
            if is_dead(rank) {
                let batch = self.manager.batch().remove(&self.taken, block).insert(&self.free, block, Object::None);
                match batch.run() {
                    Ok(_) => freed.push((block, rank)),
                    Err(Error::KeyNotFound { .. }) => {} // It was counted after all.
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(freed)
    }

    pub(crate) fn who_has_counted(&self, block: u64) -> Result<usize> {
        self.counted.get(block)?.get_as()
    }

    pub(crate) fn totals(&self) -> Result<Totals> {
        self.totals.get_as()
    }

    pub(crate) fn board(&self) -> Result<Board> {
        self.board.get_as()
    }

    fn tell(&self, rank: usize, status: Status) -> Result<()> {
        self.board.insert(rank, Object::from_serialize(&status)?)
    }
}

/// Counts the primes in one block after the other, until all have been counted.
pub(crate) fn worker(rank: usize, shared: Shared) -> Result<()> {
    let mut sieve = Sieve::new(shared.end);
    let mut status = Status { state: State::Waits, counted: 0, rate: 0.0 };
    while shared.totals()?.blocks < shared.blocks {
        let Some(block) = shared.take(rank)? else {
            shared.tell(rank, Status { state: State::Waits, ..status })?;
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let bound = |block| (u128::from(shared.end) * u128::from(block) / u128::from(shared.blocks)) as u64;
        let (start, end) = (bound(block), bound(block + 1));
        let (began, mut primes) = (Instant::now(), 0);
        for from in (start..end).step_by(PORTION as usize) {
            let done = (from - start) as f64 / (end - start) as f64;
            shared.tell(rank, Status { state: State::Counts { block, done }, ..status })?;
            primes += sieve.count(from..end.min(from + PORTION));
            status.rate = (end.min(from + PORTION) - start) as f64 / began.elapsed().as_secs_f64();
        }
        shared.finish(rank, block, primes)?;
        status.counted += 1;
    }
    shared.tell(rank, Status { state: State::Waits, ..status })
}
