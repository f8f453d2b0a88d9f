//! What an operation is done for: a request of its own, or a batch, which may have to be undone and has a budget.

use super::undo::Undo;
use crate::{
    Result,
    manager::object::{Map, Object, Room},
};

/// What steps of a batch may take beside their answers: about a second.
const MOST_WORK: usize = 1 << 28;

/// So many values are in memory for each step of a batch: its answer, and what undoes it.
const PARTS_OF_A_STEP: usize = 4;

pub(super) struct Task {
    /// What was done, if it may have to be undone.
    log: Option<Vec<(u64, Undo)>>,
    /// For what is copied into the answers, which are one.
    room: Room,
    /// What may still be compared, moved and sorted.
    work: usize,
}

impl Task {
    /// One operation. Its own list may be as long as it is.
    pub(super) fn alone() -> Self {
        Self { log: None, room: Room::of_answer(), work: usize::MAX }
    }

    /// Several, with an empty log. A few bytes ask for each, so what they may take together is bounded.
    pub(super) fn batch(log: Vec<(u64, Undo)>) -> Self {
        Self { log: Some(log), room: Room::of_answers(), work: MOST_WORK }
    }

    #[cfg(test)]
    pub(super) fn with(log: Option<Vec<(u64, Undo)>>, parts: usize, bytes: usize, work: usize) -> Self {
        Self { log, room: Room::new(parts, bytes), work }
    }

    pub(super) fn into_log(self) -> Vec<(u64, Undo)> {
        self.log.unwrap_or_default()
    }

    /// One more step of a batch.
    ///
    /// # Errors
    ///
    /// `TooLarge`.
    pub(super) fn begin_step(&mut self) -> Result<()> {
        self.room.take(PARTS_OF_A_STEP)
    }

    #[inline]
    pub(super) fn note(&mut self, id: u64, undo: impl FnOnce() -> Undo) {
        if let Some(log) = &mut self.log {
            log.push((id, undo()));
        }
    }

    /// For a value that goes into the answer, or is copied for other reasons. To be called before that, and before anything is
    /// changed.
    ///
    /// # Errors
    ///
    /// `TooLarge`.
    #[inline]
    pub(super) fn make_room<'o>(&mut self, values: impl IntoIterator<Item = &'o Object>) -> Result<()> {
        values.into_iter().try_for_each(|value| self.room.hold(value))
    }

    /// The same for a dict.
    ///
    /// # Errors
    ///
    /// `TooLarge`.
    pub(super) fn make_room_for(&mut self, map: &Map) -> Result<()> {
        self.room.hold_map(map)
    }

    /// A copy for the answer.
    ///
    /// # Errors
    ///
    /// `TooLarge`.
    pub(super) fn copy(&mut self, value: &Object) -> Result<Object> {
        self.room.hold(value)?;
        Ok(value.clone())
    }

    /// Before something that takes about four nanoseconds so many times.
    ///
    /// # Errors
    ///
    /// `TooLarge`.
    pub(super) fn work(&mut self, times: impl FnOnce() -> usize) -> Result<()> {
        if self.log.is_some() {
            let times = times();
            self.work = self.work.checked_sub(times).ok_or_else(|| too_much(times))?;
        }
        Ok(())
    }
}

fn too_much(times: usize) -> crate::Error {
    // In bytes, as all of it is of values.
    let bytes = |times: usize| (times as u64).saturating_mul(size_of::<Object>() as u64);
    crate::Error::TooLarge { size: bytes(times), limit: bytes(MOST_WORK) }
}
