//! A job: items that become chunks, and what comes back of them.

use std::{
    any::Any,
    collections::BTreeMap,
    marker::PhantomData,
    mem,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    parcel::{self, ENOUGH, ENOUGH_DESCRIPTORS, Form, Payload},
    plain,
    work::Work,
    worker::Cause,
};
use crate::{
    Error, Result,
    region::ticket::{Reader, Route, Writer},
};

/// How long a chunk should take: so long that nobody notices what it costs to hand it out, and that workers who end at
/// different times do not differ by much.
const LONG: u64 = 1_000_000;

/// How much longer a chunk may be than the last one, while little is known of the tasks.
const GROWTH: usize = 8;

/// No chunk is made shorter than the usual time divided by this because little is left.
const CRUMBS: usize = 16;

/// Of a job: what is common to its chunks, and what has come back.
#[derive(Default)]
pub(super) struct Job {
    /// What all tasks have in common, as it is sent.
    pub(super) state: Option<SharedState>,
    inbox: Mutex<Inbox>,
    /// Whether the only part was taken.
    was_taken: AtomicBool,
    /// Whether nobody will ask for what comes of it.
    is_left: AtomicBool,
    /// How long a task takes, in units of 1/16 ns; 0: nobody knows.
    pace: AtomicU64,
}

#[derive(Default)]
struct Inbox {
    parts: Vec<Part>,
    /// Is called when the first part is there.
    callback: Option<Callback>,
}

pub(super) type Callback = Box<dyn FnOnce(Part) + Send>;

/// A state, encoded.
pub(super) struct SharedState {
    pub(super) number: u32,
    /// The memory that it lies in is the last.
    pub(super) descriptors: Vec<OwnedFd>,
    /// Whether nobody needs it any more, nor what comes of it.
    is_over: AtomicBool,
}

impl SharedState {
    pub(super) fn new(state: &impl serde::Serialize, route: Route) -> Result<Self> {
        static NUMBERS: AtomicU32 = AtomicU32::new(1);
        let mut writer = Writer::new(route);
        writer.write(state)?;
        let (bytes, mut descriptors) = writer.finish();
        descriptors.push(parcel::memory_with(&bytes)?);
        Ok(Self { number: NUMBERS.fetch_add(1, Relaxed), descriptors, is_over: false.into() })
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

/// What came of some tasks, one after the other.
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) what: What,
}

pub(super) enum What {
    /// The values of those that did not fail, and the errors of the others with their numbers from the first on.
    Done { form: Form, bytes: Vec<u8>, descriptors: Vec<OwnedFd>, errors: Vec<(u32, Error)> },
    /// All failed.
    Failed(Cause),
}

impl Job {
    pub(super) fn with(state: Option<SharedState>) -> Self {
        Self { state, ..Self::default() }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a part; returns what is to be called with it, if anything is.
    #[must_use]
    pub(super) fn deliver(&self, part: Part) -> Option<(Callback, Part)> {
        let mut inbox = self.inbox();
        match inbox.callback.take() {
            Some(callback) => Some((callback, part)),
            None => {
                inbox.parts.push(part);
                None
            }
        }
    }

    /// Has a function be called with the first part, unless it is there: then it is returned with that. If it was taken
    /// before, with an error.
    pub(super) fn call_back(&self, callback: Callback) -> Option<(Callback, Part)> {
        let mut inbox = self.inbox();
        match inbox.parts.pop() {
            Some(part) => Some((callback, part)),
            None if self.was_taken() => {
                Some((callback, Part { first: 0, count: 1, what: What::Failed(Cause::new(&taken_before())) }))
            }
            None => {
                inbox.callback = Some(callback);
                None
            }
        }
    }

    pub(super) fn take_parts(&self) -> Vec<Part> {
        mem::take(&mut self.inbox().parts)
    }

    /// The part of a job of one task.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when it was taken before.
    pub(super) fn take_one(&self) -> Result<Option<Part>> {
        let mut inbox = self.inbox();
        let part = inbox.parts.pop();
        match &part {
            Some(_) => self.was_taken.store(true, Relaxed),
            None if self.was_taken() => return Err(taken_before()),
            None => {}
        }
        Ok(part)
    }

    /// Whether the part of a job of one task was taken.
    pub(super) fn was_taken(&self) -> bool {
        self.was_taken.load(Relaxed)
    }

    /// Takes note that nobody will ask for what comes of it.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Relaxed);
    }

    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Relaxed)
    }

    pub(super) fn has_parts(&self) -> bool {
        !self.inbox().parts.is_empty()
    }

    /// Takes note of how long some tasks took.
    pub(super) fn note_pace(&self, tasks: u32, nanos: u64) {
        let now = (nanos.saturating_mul(16) / u64::from(tasks.max(1))).max(1);
        let before = self.pace.load(Relaxed);
        // The latest count most, but one that was interrupted not for all.
        self.pace.store(if before == 0 { now } else { (before + now) / 2 }.max(1), Relaxed);
    }
}

fn taken_before() -> Error {
    Error::invalid_argument("the result of the task was taken before")
}

/// Tasks to be done by one worker, one after the other.
pub(super) struct Chunk {
    pub(super) job: Arc<Job>,
    pub(super) work: u64,
    /// The number of the first item in the payload.
    pub(super) first: u64,
    /// Those of its items that are to be done.
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) payload: Payload,
    /// How often workers have died with these tasks.
    pub(super) deaths: u32,
}

impl Chunk {
    pub(super) fn len(&self) -> u32 {
        self.to - self.from
    }

    /// Some of the tasks, as a chunk of their own.
    pub(super) fn part(&self, from: u32, to: u32) -> Result<Self> {
        let payload = self.payload.duplicate()?;
        Ok(Self { job: Arc::clone(&self.job), payload, from, to, ..*self })
    }

    /// That these tasks have failed.
    #[must_use]
    pub(super) fn failed(&self, from: u32, to: u32, cause: Cause) -> Option<(Callback, Part)> {
        let part = Part { first: self.first + u64::from(from), count: to - from, what: What::Failed(cause) };
        self.job.deliver(part)
    }
}

/// How many items make a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chunking {
    Automatic,
    Fixed(usize),
}

/// The items of a job, on their way into chunks.
pub(super) struct Source<W: Work, I> {
    items: I,
    pub(super) job: Arc<Job>,
    work: u64,
    route: Route,
    chunking: Chunking,
    workers: usize,
    /// The most tasks of a chunk.
    most: usize,
    /// The size of the last chunk.
    last: usize,
    /// Items so far.
    pub(super) taken: u64,
    pub(super) has_ended: bool,
    /// What the iterator panicked with.
    pub(super) panic: Option<Box<dyn Any + Send>>,
    _work: PhantomData<fn() -> W>,
}

/// What is asked of the pool for it.
pub(super) struct Terms {
    pub(super) route: Route,
    pub(super) workers: usize,
    /// The most tasks of a chunk.
    pub(super) most: usize,
}

impl<W: Work, I: Iterator<Item = W::Item>> Source<W, I> {
    pub(super) fn new(items: I, job: Job, work: u64, chunking: Chunking, terms: Terms) -> Self {
        Self {
            items,
            job: Arc::new(job),
            work,
            route: terms.route,
            chunking,
            workers: terms.workers,
            most: terms.most,
            last: 0,
            taken: 0,
            has_ended: false,
            panic: None,
            _work: PhantomData,
        }
    }

    /// How many items there are, at least.
    pub(super) fn at_least(&self) -> usize {
        self.items.size_hint().0
    }

    /// How many items the next chunk is to have.
    fn size(&mut self) -> usize {
        let size = match self.chunking {
            Chunking::Fixed(size) => size,
            Chunking::Automatic => {
                let pace = self.job.pace.load(Relaxed);
                let by_time = match pace {
                    0 => 1,
                    pace => usize::try_from(16 * LONG / pace).unwrap_or(usize::MAX),
                };
                // What is left is for all workers, twice, so that the last ones end at about the same time. But crumbs cost
                // more than they even out.
                let left = match self.items.size_hint() {
                    (least, Some(most)) if least == most => most.div_ceil(2 * self.workers).max(by_time / CRUMBS),
                    _ => usize::MAX,
                };
                by_time.min(GROWTH * self.last.max(1)).min(left)
            }
        };
        self.last = size.clamp(1, self.most);
        self.last
    }

    /// The next chunk; what cannot be encoded goes to the job as an error.
    pub(super) fn next_chunk(&mut self) -> Option<Chunk> {
        while !self.has_ended {
            let size = self.size();
            let first = self.taken;
            let payload = match plain::is_plain::<W::Item>() {
                true => self.take_plain(size),
                false => self.take_written(size),
            };
            let (payload, count, failed) = payload;
            let payload = match payload {
                Ok(payload) => payload,
                Err(error) => {
                    self.fail(first, count, &error);
                    continue;
                }
            };
            if let Some(error) = failed {
                self.fail(first + u64::from(count), 1, &error);
            }
            if count > 0 {
                let job = Arc::clone(&self.job);
                return Some(Chunk { job, work: self.work, first, from: 0, to: count, payload, deaths: 0 });
            }
        }
        None
    }

    fn fail(&self, first: u64, count: u32, error: &Error) {
        // A job of many items has no callback.
        let _ = self.job.deliver(Part { first, count, what: What::Failed(Cause::new(error)) });
    }

    fn take_plain(&mut self, size: usize) -> (Result<Payload>, u32, Option<Error>) {
        let size = size.min(ENOUGH / size_of::<W::Item>().max(1)).max(1);
        let mut taken = Vec::with_capacity(size);
        let items = &mut self.items;
        let caught = catch_unwind(AssertUnwindSafe(|| taken.extend(items.take(size))));
        if let Err(panic) = caught {
            self.panic = Some(panic);
        }
        self.has_ended = taken.len() < size;
        self.taken += taken.len() as u64;
        let mut bytes = Vec::with_capacity(size_of_val(&taken[..]) + 64);
        plain::store(&taken, &mut bytes);
        (Payload::new(true, (bytes, Vec::new())), taken.len() as u32, None)
    }

    fn take_written(&mut self, size: usize) -> (Result<Payload>, u32, Option<Error>) {
        let mut writer = Writer::new(self.route);
        let (mut count, mut failed) = (0, None);
        let Self { items, has_ended, .. } = self;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            while (count as usize) < size && writer.len() < ENOUGH && writer.descriptors() < ENOUGH_DESCRIPTORS {
                let Some(item) = items.next() else {
                    *has_ended = true;
                    break;
                };
                if let Err(error) = writer.write(&item) {
                    failed = Some(error);
                    break;
                }
                count += 1;
            }
        }));
        if let Err(panic) = caught {
            self.panic = Some(panic);
            self.has_ended = true;
        }
        self.taken += u64::from(count) + u64::from(failed.is_some());
        (Payload::new(false, writer.finish()), count, failed)
    }
}

/// Parts by their order, though they come in any.
#[derive(Default)]
pub(super) struct InOrder {
    waiting: BTreeMap<u64, Part>,
    next: u64,
}

impl InOrder {
    pub(super) fn put(&mut self, part: Part) {
        self.waiting.insert(part.first, part);
    }

    /// How many results have come, up to the first that has not.
    pub(super) fn count(&self) -> u64 {
        self.next
    }

    pub(super) fn next(&mut self) -> Option<Part> {
        let part = self.waiting.remove(&self.next)?;
        self.next += u64::from(part.count);
        Some(part)
    }
}

impl Part {
    /// Gives each result to a function, one after the other.
    pub(super) fn each<W: Work>(self, route: Route, mut take: impl FnMut(Result<W::Output>)) {
        let count = self.count;
        let (form, bytes, descriptors, errors) = match self.what {
            What::Done { form, bytes, descriptors, errors } => (form, bytes, descriptors, errors),
            What::Failed(cause) => return (0..count).for_each(|_| take(Err(cause.error()))),
        };
        let mut errors = errors.into_iter().peekable();
        let values = count as usize - errors.len().min(count as usize);
        let mut payload = match Payload::arrived(form, bytes, descriptors) {
            Ok(payload) => payload,
            Err(error) => {
                let cause = Cause::new(&error);
                return (0..count).for_each(|_| take(Err(cause.error())));
            }
        };
        let mut results: Box<dyn FnMut() -> Result<W::Output>> = if W::IN_PLACE {
            let mut none = Reader::new(&[], None, route);
            Box::new(move || W::read(&mut none))
        } else if form.plain {
            let mut plain = Vec::new();
            plain::load(&mut plain, &payload.bytes, values);
            let mut plain = plain.into_iter();
            Box::new(move || plain.next().ok_or_else(|| Error::corrupt("a report with too few values")))
        } else {
            match payload.reader(route) {
                Ok(mut reader) => Box::new(move || W::read(&mut reader)),
                Err(error) => {
                    let cause = Cause::new(&error);
                    Box::new(move || Err(cause.error()))
                }
            }
        };
        for at in 0..count {
            take(match errors.next_if(|(failed, _)| *failed == at) {
                Some((_, error)) => Err(error),
                None => results(),
            });
        }
    }

    /// The same, into a vector, at the speed of a copy where values travel as they lie in memory. The first error is kept.
    pub(super) fn collect<W: Work>(self, route: Route, outputs: &mut Vec<W::Output>, error: &mut Option<Error>) {
        match &self.what {
            What::Done { form: Form { plain: true, apart: false }, bytes, errors, .. } if errors.is_empty() => {
                if !W::IN_PLACE {
                    plain::load(outputs, bytes, self.count as usize);
                }
            }
            _ => self.each::<W>(route, |result| match result {
                Ok(output) => outputs.push(output),
                Err(failed) => _ = error.get_or_insert(failed),
            }),
        }
    }
}
