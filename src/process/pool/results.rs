//! The results of a job one by one, as they are asked for.

use std::{collections::VecDeque, panic::resume_unwind, sync::Arc};

use super::{
    InUse,
    job::{Chunk, InOrder, Part, Source},
    shared::Shared,
    work::Work,
};
use crate::Result;

/// The results of a job as they are asked for.
pub(super) struct Results<'p, W: Work, I> {
    _state: InUse<'p>,
    shared: &'p Shared,
    source: Source<W, I>,
    offer: Option<Chunk>,
    is_ordered: bool,
    parts: InOrder,
    /// Results that have come so far.
    given: u64,
    ready: VecDeque<Result<W::Output>>,
}

impl<'p, W: Work, I: Iterator<Item = W::Item>> Results<'p, W, I> {
    pub(super) fn new(shared: &'p Shared, source: Source<W, I>, is_ordered: bool) -> Self {
        Self {
            _state: InUse { shared, job: Arc::clone(&source.job) },
            shared,
            source,
            offer: None,
            is_ordered,
            parts: InOrder::default(),
            given: 0,
            ready: VecDeque::new(),
        }
    }

    fn take(&mut self, part: Part) {
        self.given += u64::from(part.count);
        let ready = &mut self.ready;
        part.each::<W>(self.shared.route, |result| ready.push_back(result));
    }
}

impl<W: Work, I: Iterator<Item = W::Item>> Iterator for Results<'_, W, I> {
    type Item = Result<W::Output>;

    fn next(&mut self) -> Option<Result<W::Output>> {
        if let Some(result) = self.ready.pop_front() {
            return Some(result);
        }
        let _attendance = self.shared.attend();
        loop {
            let seen = self.shared.changes();
            if self.offer.is_none() {
                self.offer = self.source.next_chunk();
            }
            let had_one = self.offer.is_some();
            self.offer = self.shared.step(self.offer.take());
            for part in self.source.job.take_parts() {
                match self.is_ordered {
                    true => self.parts.put(part),
                    false => self.take(part),
                }
            }
            while let Some(part) = self.parts.next() {
                self.take(part);
            }
            if let Some(result) = self.ready.pop_front() {
                return Some(result);
            }
            let is_over = self.source.has_ended && self.offer.is_none() && self.given == self.source.taken;
            if is_over {
                match self.source.panic.take() {
                    Some(panic) => resume_unwind(panic),
                    None => return None,
                }
            }
            let was_given = had_one && self.offer.is_none();
            if !was_given {
                self.shared.wait_for_change(seen);
            }
        }
    }
}
