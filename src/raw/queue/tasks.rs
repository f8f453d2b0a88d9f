//! Which messages of a queue are done, and which were lost with the dead who had taken them.
//!
//! `done` counts the messages that were declared done, so as many are unfinished as have passed `tail` and are not
//! among them. Each member that takes messages has a record, its id and how many more messages it took than it declared
//! done. A consumer counts itself up before `head` moves on, and counts itself down before `done` goes up: a dead
//! member's record may be wrong, but is asked no more. So what has passed `head`, is not done, and is on no living
//! member's record, was lost with the dead. Who has nothing on record and declares a task done means a lost one, if
//! there is any, and else one of another member's, or one that is still in: that one goes on nobody's record when it is
//! taken. Records and `done` are changed by whoever has the lock of `head`.

#[cfg(not(loom))]
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

#[cfg(loom)]
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::{Company, End, Queue, World};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::{
        lives::{Lives, MemberId},
        points::point,
    },
};

impl Queue<'_> {
    /// Declares one message done, that `me` or another has taken.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if all were done; those of the lock; `Corrupt`.
    pub(crate) fn task_done(self, me: MemberId, lives: &impl Lives, wait: Wait) -> Result<()> {
        let held = self.hold(&self.words.get.lock, wait)?;
        let (tail, head) = self.ends()?;
        let done = self.words.get.done.load(Relaxed);
        if tail.count() == done {
            return Err(Error::invalid_argument("task_done was called more often than there were messages"));
        }
        if self.tasks_of(me) > 0 {
            self.count(me, -1);
        } else if self.lost(head, lives) == Some(0)
            && let Some((busy, _)) = self.busy(lives).next()
        {
            self.count(busy, -1);
        }
        point();
        self.words.get.done.swap(done.wrapping_add(1), SeqCst);
        drop(held);
        self.words.gates.done.notify(u32::MAX);
        Ok(())
    }

    /// Waits until all messages were declared done.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut`, `Disconnected`, `TasksLost`; `Corrupt`; those of `world`.
    pub(crate) fn join<L: Lives, C: Fn() -> Company>(
        self,
        world: impl FnOnce() -> Result<World<L, C>>,
        wait: Wait,
    ) -> Result<()> {
        if self.unfinished() == 0 {
            return Ok(());
        }
        let world = world()?;
        loop {
            let turn = self.words.gates.done.announce();
            if self.unfinished() == 0 {
                return Ok(());
            }
            let watched = self.whom_to_watch(&world, wait)?;
            if wait.is_over() {
                return Err(if wait == Wait::No { Error::WouldBlock } else { Error::TimedOut });
            }
            world.lives.sleep(&self.words.gates.done.word, turn, watched.as_slice(), wait);
        }
    }

    /// A member that has unfinished tasks, or can take them. `None` where it cannot be told.
    fn whom_to_watch<L: Lives, C: Fn() -> Company>(self, world: &World<L, C>, wait: Wait) -> Result<Option<MemberId>> {
        loop {
            let held = self.hold(&self.words.get.lock, wait)?;
            let (tail, head) = self.ends()?;
            let busy = self.busy(&world.lives).next();
            let lost = self.lost(head, &world.lives);
            drop(held);
            if let Some((busy, _)) = busy {
                return Ok(Some(busy));
            }
            if tail.count() == head.count() {
                return match lost {
                    Some(tasks @ 1..) => Err(Error::TasksLost { tasks }),
                    _ => Ok(None),
                };
            }
            match (world.company)() {
                Company::Member(id) => return Ok(Some(id)),
                Company::Somebody => return Ok(None),
                Company::None if self.words.head.0.load(SeqCst) == head.0 => return Err(Error::Disconnected),
                // The last of the others has taken something before it left.
                Company::None => {}
            }
        }
    }

    /// The living members with unfinished tasks on record, and how many those are. For the holder of the lock of
    /// `head`.
    fn busy(self, lives: &impl Lives) -> impl Iterator<Item = (MemberId, u32)> {
        let records = self.words.records.iter().map(|record| record.load(Relaxed));
        let busy = records.filter_map(|record| Some((MemberId::from_bits((record >> 32) as u32)?, record as u32)));
        busy.filter(|(id, tasks)| *tasks > 0 && !lives.is_gone(*id, Wait::No))
    }

    /// How many tasks were lost with the dead, where that is known. For the holder of the lock of `head`.
    fn lost(self, head: End, lives: &impl Lives) -> Option<usize> {
        let taken = self.taken(head).max(0);
        let living: u64 = self.busy(lives).map(|(_, tasks)| u64::from(tasks)).sum();
        let is_tracked = self.words.get.untracked.load(Relaxed) == 0;
        is_tracked.then(|| (taken as u64).saturating_sub(living) as usize)
    }

    /// How many of the messages that have passed `head` are not done; less than 0 if some were declared done before
    /// they were taken. For the holder of its lock.
    #[inline]
    pub(super) fn taken(self, head: End) -> i32 {
        head.count().wrapping_sub(self.words.get.done.load(Relaxed)) as i32
    }

    /// The number of messages that were not declared done.
    pub(crate) fn unfinished(self) -> u32 {
        loop {
            let done = self.words.get.done.load(SeqCst);
            let tail = End(self.words.tail.0.load(SeqCst));
            // As in `ends_now`.
            if self.words.get.done.load(SeqCst) == done {
                return tail.count().wrapping_sub(done);
            }
        }
    }

    /// Changes the number of unfinished tasks on record of `member`. For the holder of the lock of `head`.
    #[inline]
    pub(super) fn count(self, member: MemberId, by: i32) {
        let tasks = self.tasks_of(member).wrapping_add_signed(by);
        match self.words.records.get(member.slot()) {
            Some(record) => {
                point();
                record.store(u64::from(member.to_bits()) << 32 | u64::from(tasks), Relaxed);
            }
            None => self.words.get.untracked.store(1, Relaxed),
        }
    }

    #[inline]
    fn tasks_of(self, member: MemberId) -> u32 {
        match self.words.records.get(member.slot()).map(|record| record.load(Relaxed)) {
            Some(record) if (record >> 32) as u32 == member.to_bits() => record as u32,
            _ => 0,
        }
    }
}
