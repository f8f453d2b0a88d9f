//! rayon: a pool of threads, which share all memory.

use rayon::prelude::*;

use crate::{
    peers::words,
    workloads::pool::{Tasks, busy_for, digits, plus_one},
};

pub(crate) struct Pool(rayon::ThreadPool);

impl Tasks for Pool {
    fn new(workers: usize) -> Result<Self, String> {
        rayon::ThreadPoolBuilder::new().num_threads(workers).build().map(Self).map_err(words)
    }

    fn one(&self, number: u64) -> Result<u64, String> {
        Ok(self.0.install(|| plus_one(number)))
    }

    fn digits(&self, upto: u64) -> Result<Vec<u64>, String> {
        Ok(self.0.install(|| (0..upto).into_par_iter().map(digits).collect()))
    }

    fn busy(&self, tasks: usize, micros: u64) -> Result<Vec<u64>, String> {
        Ok(self.0.install(|| vec![micros; tasks].into_par_iter().map(busy_for).collect()))
    }
}
