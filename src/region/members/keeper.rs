//! The threads that hold this process's lifelines: parked for all of their life but for joining and leaving.
//!
//! The lifeline of a region is a robust lock on the list of one of these threads, so that thread must be the one that
//! takes it and the one that releases it. It holds the mapping too: a list must never lead to unmapped memory.
//!
//! A fork has none of its parent's threads, and no membership: both are looked up by the number of the process
//! ([`robust::generation`]), and made anew by the first who needs them. What the child finds of its parent's is
//! left alone, for another thread may have held its lock at the moment of the fork.

#![expect(unsafe_code, reason = "keeps one record for each process of a line of forks")]

use std::{
    collections::HashMap,
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicPtr, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
};

use memmap2::MmapRaw;

use super::Members;
use crate::{
    Error, Result,
    os::{robust, threads},
    raw::lives::MemberId,
    region::mapping::memory_of,
};

/// The most regions that one thread keeps: each is a lock that the thread holds.
const REGIONS: usize = robust::LIMIT;

/// This process's membership in one region: part of its mapping.
///
/// The number of the process in the upper half, the id in the lower one. 0: none.
#[derive(Default)]
pub(in crate::region) struct Membership(AtomicU64);

impl Membership {
    /// The id, if this process has joined: not one that a fork copied.
    #[inline]
    pub(in crate::region) fn get(&self, generation: u32) -> Option<MemberId> {
        let packed = self.0.load(Relaxed);
        if packed >> 32 == u64::from(generation) { MemberId::from_bits(packed as u32) } else { None }
    }

    /// Gives up the reference that the keeper of an ancestor has: a fork copied the count, and not the thread.
    fn drop_ancestors_share(&self, map: &Arc<MmapRaw>) {
        if self.0.swap(0, Relaxed) != 0 {
            // SAFETY: the ancestor had joined, so one reference is its keeper's, which nobody in this process can drop;
            // `map` is another one. Taken once: the membership is none from here on.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(map)) };
        }
    }

    fn set(&self, generation: u32, id: MemberId) {
        self.0.store(u64::from(generation) << 32 | u64::from(id.to_bits()), Relaxed);
    }

    /// Leaves, if this process has joined. Others see it when this returns; the slot is freed, and `map` unmapped, soon.
    pub(in crate::region) fn leave(&self, map: &Arc<MmapRaw>) {
        if self.0.load(Relaxed) == 0 {
            return;
        }
        let Ok(generation) = robust::generation() else { return };
        let Some(id) = self.get(generation) else {
            self.drop_ancestors_share(map);
            return;
        };
        if let Ok(members) = Members::of(memory_of(map))
            && let Some(slot) = members.slot(id)
        {
            slot.leave(id);
        }
        keepers(generation).leave(map);
    }
}

/// Makes this process a member of the region in `map`, unless another thread has.
#[cold]
pub(in crate::region) fn join(map: &Arc<MmapRaw>, membership: &Membership) -> Result<MemberId> {
    let generation = robust::generation()?;
    keepers(generation).join(map, membership, generation)
}

enum Job {
    Join(Arc<MmapRaw>, SyncSender<Result<MemberId>>),
    /// The address of the map that was joined.
    Leave(usize),
}

/// One thread, as the others see it.
struct Keeper {
    jobs: Sender<Job>,
    /// The addresses of the maps that it keeps.
    maps: Vec<usize>,
}

/// The threads of one process.
struct Keepers {
    generation: u32,
    list: Mutex<Vec<Keeper>>,
}

/// Those of this process, or of the ancestor that forked it. Never freed.
static KEEPERS: AtomicPtr<Keepers> = AtomicPtr::new(ptr::null_mut());

fn keepers(generation: u32) -> &'static Keepers {
    let mut known = KEEPERS.load(Acquire);
    loop {
        // SAFETY: null, or from `Box::into_raw` below and never freed.
        if let Some(keepers) = unsafe { known.as_ref() }
            && keepers.generation == generation
        {
            return keepers;
        }
        let fresh = Box::into_raw(Box::new(Keepers { generation, list: Mutex::default() }));
        // Acquire and Release: the record is whole for whoever finds it.
        match KEEPERS.compare_exchange(known, fresh, AcqRel, Acquire) {
            Ok(_) => known = fresh,
            Err(other) => {
                // SAFETY: made above, and nobody has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                known = other;
            }
        }
    }
}

impl Keepers {
    fn join(&self, map: &Arc<MmapRaw>, membership: &Membership, generation: u32) -> Result<MemberId> {
        // No panic leaves the list half changed.
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = membership.get(generation) {
            return Ok(id);
        }
        membership.drop_ancestors_share(map);
        let at = match list.iter().position(|keeper| keeper.maps.len() < REGIONS) {
            Some(at) => at,
            None => {
                list.push(Keeper::start()?);
                list.len() - 1
            }
        };
        let keeper = &mut list[at];
        let (reply, answer) = sync_channel(1);
        let gone = |_| Error::unsupported("the thread that keeps lifelines has ended");
        keeper.jobs.send(Job::Join(Arc::clone(map), reply)).map_err(|error| gone(error.to_string()))?;
        let id = answer.recv().map_err(|error| gone(error.to_string()))??;
        keeper.maps.push(address(map));
        membership.set(generation, id);
        Ok(id)
    }

    fn leave(&self, map: &Arc<MmapRaw>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        for keeper in list.iter_mut() {
            if let Some(at) = keeper.maps.iter().position(|one| *one == address(map)) {
                keeper.maps.swap_remove(at);
                // A thread that has ended keeps nothing.
                let _ = keeper.jobs.send(Job::Leave(address(map)));
                return;
            }
        }
    }
}

impl Keeper {
    fn start() -> Result<Self> {
        let (jobs, receiver) = channel();
        threads::spawn_parked(c"shmkit-lifeline", threads::SMALL, move || keep(&receiver))
            .map_err(|error| Error::os("starting the thread that keeps lifelines", error))?;
        Ok(Self { jobs, maps: Vec::new() })
    }
}

/// The thread's life.
fn keep(jobs: &Receiver<Job>) {
    let mut kept: HashMap<usize, (Arc<MmapRaw>, MemberId)> = HashMap::new();
    for job in jobs {
        match job {
            Job::Join(map, reply) => {
                let id = Members::of(memory_of(&map)).and_then(Members::enter);
                if let Ok(id) = id {
                    kept.insert(address(&map), (map, id));
                }
                let _ = reply.send(id);
            }
            Job::Leave(address) => {
                if let Some((map, id)) = kept.remove(&address)
                    && let Ok(members) = Members::of(memory_of(&map))
                    && let Some(slot) = members.slot(id)
                {
                    slot.vacate();
                }
            }
        }
    }
}

fn address(map: &Arc<MmapRaw>) -> usize {
    Arc::as_ptr(map).addr()
}
