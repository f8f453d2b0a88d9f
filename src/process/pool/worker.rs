//! The life of a worker: orders in, reports out.

use std::{
    any::Any,
    collections::HashMap,
    os::fd::OwnedFd,
    process,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    super::{
        init,
        report::{Report as End, catching},
        target::{Outcome, Target},
    },
    parcel::{self, ENOUGH, ENOUGH_DESCRIPTORS, Form, Letter, Order, Payload, Report, Run},
    plain,
    words::{PoolCell, WorkerWords},
    work::{Work, runner_at},
};
use crate::{
    Error, Queue, Result,
    os::clock::Wait,
    raw::waiting::{Patience, Spin},
    region::{
        Handle,
        ticket::{Arrived, Message, Reader, Writer},
    },
};

/// After so long, what there is of results is sent, though the chunk is not done. Longer than a chunk should take.
const OFTEN: Duration = Duration::from_millis(2);

/// Errors after which no more are put into a message.
const ENOUGH_ERRORS: usize = 64;

/// Tasks that may pass without a look at the clock.
const STRIDE: u32 = 64;

/// Looks at the clock that come within less become rarer.
const QUICK: Duration = Duration::from_micros(5);

/// A worker's place: its words, and its queues.
#[derive(Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) words: Handle<PoolCell>,
    pub(super) at: usize,
    pub(super) orders: Queue<Letter>,
    pub(super) reports: Queue<Letter>,
    /// The number of the last chunk that was for the one before.
    pub(super) after: u32,
}

impl Clone for Place {
    fn clone(&self) -> Self {
        let Self { words, at, orders, reports, after } = self;
        Self { words: words.clone(), at: *at, orders: orders.clone(), reports: reports.clone(), after: *after }
    }
}

impl Place {
    pub(super) fn mine(&self) -> &WorkerWords {
        &self.words.elements()[self.at]
    }
}

/// What a worker has.
pub(super) struct Desk {
    place: Place,
    states: HashMap<u32, Rc<Known>>,
    /// Where results are written that travel as they lie in memory. Kept from one chunk to the next.
    buffer: Vec<u8>,
}

/// A state, or the error that came of it.
type Known = std::result::Result<Box<dyn Any>, Cause>;

/// An error that may happen to several.
#[derive(Debug, Clone)]
pub(super) struct Cause(Vec<u8>);

impl Cause {
    pub(super) fn new(error: &Error) -> Self {
        Self(postcard::to_stdvec(error).unwrap_or_default())
    }

    pub(super) fn error(&self) -> Error {
        postcard::from_bytes(&self.0).unwrap_or_else(|error| Error::corrupt(error.to_string()))
    }
}

/// The function that a worker's process runs.
pub(super) fn serve<I: Target<A>, A: Message>(place: Place, args: A) -> Result<()> {
    place.mine().enter(place.words.member()?);
    init::instance::<I>().call(args).into_result()?;
    place.mine().set_ready();
    let mut desk = Desk { place, states: HashMap::new(), buffer: Vec::new() };
    let mut bytes = Vec::new();
    let (patience, mut was_alone) = (Patience::default(), false);
    loop {
        if was_alone {
            // Who has asked for one thing may ask for the next as soon as it has the answer.
            let mut spin = Spin::for_an_answer(&patience, false);
            while desk.place.orders.is_empty() && spin.turn() {}
        }
        let descriptors = match desk.place.orders.get_bytes(&mut bytes, Wait::Forever) {
            Ok(descriptors) => descriptors,
            Err(Error::Closed) => return Ok(()),
            Err(error) => return Err(error),
        };
        match parcel::unseal(&mut bytes)? {
            // For one that died, and could not be taken out: its tasks have had their outcome.
            Order::Run(run) if run.number.wrapping_sub(desk.place.after) as i32 <= 0 => {}
            Order::Run(run) => {
                was_alone = run.to - run.from == 1;
                bytes = runner_at(run.work)?(&mut desk, run, bytes, descriptors)?;
            }
            Order::Forget(state) => drop(desk.states.remove(&state)),
            Order::Retire => return Ok(()),
        }
    }
}

impl Desk {
    /// The state of a job, read when it is first met.
    fn state<W: Work>(&mut self, state: &parcel::State, mut descriptors: Vec<OwnedFd>) -> Rc<Known> {
        let route = self.place.orders.route();
        let known = self.states.entry(state.number).or_insert_with(|| {
            let read = || {
                let memory = descriptors.pop().ok_or_else(|| Error::corrupt("a state without its memory"))?;
                let bytes = parcel::bytes_in(&memory)?;
                let arrived = Arrived::new(descriptors);
                let arrived = arrived.map_err(|error| Error::os("duplicating a descriptor", error))?;
                Reader::new(&bytes, Some(arrived), route).read::<W::State>()
            };
            Rc::new(match attempt(read) {
                Ok(state) => Ok(Box::new(state)),
                Err(error) => Err(Cause::new(&error)),
            })
        });
        Rc::clone(known)
    }

    /// Sends a report to the pool, and waits until there is room.
    fn send(&self, bytes: &mut Vec<u8>, descriptors: &[OwnedFd], report: &Report) -> Result<()> {
        parcel::seal(bytes, report)?;
        let (reports, words) = (&self.place.reports, self.place.words.head());
        match reports.put_bytes(bytes, descriptors, Wait::No) {
            Err(Error::WouldBlock) => {
                words.tell();
                reports.put_bytes(bytes, descriptors, Wait::Forever)?;
            }
            other => other?,
        }
        words.tell();
        Ok(())
    }
}

/// Runs the user's code: a panic is an error.
#[inline(always)]
pub(super) fn attempt<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    match catching::<_, ()>(run) {
        Ok(result) => result,
        Err(panicked) => Err(error_of(panicked)),
    }
}

#[cold]
fn error_of(end: End<()>) -> Error {
    match end {
        End::Panicked { message, location } => Error::Panicked { pid: process::id(), message, location },
        End::Failed(error) => error,
        End::Returned(()) => Error::corrupt("a panic that returned"),
    }
}

/// The items of a chunk.
enum Items<'p> {
    Plain(&'p [u8]),
    Written(Reader<'p>),
}

impl<'p> Items<'p> {
    fn new(payload: &'p mut Payload, run: &Run, desk: &Desk) -> Result<Self> {
        if payload.form.plain {
            return Ok(Self::Plain(&payload.bytes));
        }
        let mut reader = payload.reader(desk.place.orders.route())?;
        (0..run.from).try_for_each(|_| reader.skip())?;
        Ok(Self::Written(reader))
    }

    /// The one of this number, which is the next one.
    #[inline(always)]
    fn take<X: Message>(&mut self, at: u32) -> Result<X> {
        match self {
            Self::Plain(bytes) => {
                plain::read(bytes, at as usize).ok_or_else(|| Error::corrupt("a chunk with too few items"))
            }
            Self::Written(reader) => reader.read(),
        }
    }
}

/// Runs a chunk. Gives the buffer back in which it came.
pub(super) fn run<W: Work>(
    desk: &mut Desk,
    run: Run,
    bytes: Vec<u8>,
    mut descriptors: Vec<OwnedFd>,
) -> Result<Vec<u8>> {
    let known = match &run.state {
        None => None,
        Some(state) => {
            let own = descriptors.len().saturating_sub(state.descriptors as usize);
            Some(desk.state::<W>(state, descriptors.split_off(own)))
        }
    };
    let mut payload = Payload::default();
    let mut batch = Batch::<W>::new(&run, desk);
    // What cannot be opened, for want of descriptors say, fails the tasks.
    let begun = Payload::arrived(run.form, bytes, descriptors).and_then(|arrived| {
        payload = arrived;
        let items = Items::new(&mut payload, &run, desk)?;
        let state: &dyn Any = match known.as_deref() {
            None => &(),
            Some(Ok(state)) => &**state,
            Some(Err(cause)) => return Err(cause.error()),
        };
        let state = state.downcast_ref::<W::State>().ok_or_else(|| Error::corrupt("a state of another type"))?;
        Ok((items, state))
    });
    match begun {
        Ok((items, state)) => batch.run(desk, &run, items, state)?,
        Err(error) => batch.fail(desk, &run, &Cause::new(&error))?,
    }
    desk.buffer = batch.bytes;
    Ok(payload.bytes)
}

/// Results that were not sent yet.
struct Batch<W: Work> {
    /// The first task, and the next one.
    from: u32,
    at: u32,
    /// Up to here tasks have their outcome, though a value may not be dropped yet.
    settled: u32,
    results: Results<W>,
    /// Plain results, or nothing.
    bytes: Vec<u8>,
    errors: Vec<(u32, Error)>,
    since: Instant,
    looked: Instant,
    stride: u32,
    until_look: u32,
}

enum Results<W: Work> {
    Plain,
    Written(Writer),
    /// To be kept here.
    InPlace(Vec<W::Output>),
}

impl<W: Work> Batch<W> {
    fn new(run: &Run, desk: &mut Desk) -> Self {
        let results = if W::IN_PLACE {
            Results::InPlace(Vec::with_capacity((run.to - run.from) as usize))
        } else if plain::is_plain::<W::Output>() {
            Results::Plain
        } else {
            Results::Written(Writer::new(desk.place.reports.route()))
        };
        let mut bytes = std::mem::take(&mut desk.buffer);
        bytes.clear();
        let now = Instant::now();
        Self {
            from: run.from,
            at: run.from,
            settled: run.from,
            results,
            bytes,
            errors: Vec::new(),
            since: now,
            looked: now,
            stride: 1,
            until_look: 1,
        }
    }

    fn run(&mut self, desk: &Desk, run: &Run, mut items: Items<'_>, state: &W::State) -> Result<()> {
        let words = desk.place.mine();
        while self.at < run.to {
            let mut is_due = false;
            // One frame for many tasks: the guard costs as much as a small task.
            let caught = attempt(|| {
                while self.at < run.to && !is_due {
                    words.begin(run.number, self.at + 1);
                    match items.take(self.at).and_then(|item| W::call(state, item)) {
                        Ok(output) => self.push(output),
                        Err(error) => self.errors.push((self.at, error)),
                    }
                    self.at += 1;
                    is_due = self.is_due(run.each);
                }
                Ok(())
            });
            if let Err(error) = caught {
                // Else it was the destructor of a value that is written already.
                if self.settled <= self.at {
                    self.errors.push((self.at, error));
                }
                self.at += 1;
                is_due = self.is_due(run.each);
            }
            if is_due || self.at == run.to {
                self.publish(desk, run, state)?;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn push(&mut self, output: W::Output) {
        match &mut self.results {
            Results::Plain => plain::push(&output, &mut self.bytes),
            Results::InPlace(outputs) => outputs.push(output),
            Results::Written(writer) => {
                if let Err(error) = writer.write(&output) {
                    self.errors.push((self.at, error));
                }
                // Before it is dropped. Other outputs have no destructor.
                self.settled = self.at + 1;
            }
        }
    }

    /// Whether there is enough to be sent.
    #[inline(always)]
    fn is_due(&mut self, each: bool) -> bool {
        self.until_look -= 1;
        self.until_look == 0 && self.is_really_due(each)
    }

    #[cold]
    fn is_really_due(&mut self, each: bool) -> bool {
        let now = Instant::now();
        let since_look = now.duration_since(self.looked);
        let (bytes, descriptors) = match &self.results {
            Results::Written(writer) => (writer.len(), writer.descriptors()),
            _ => (self.bytes.len(), 0),
        };
        // As many as will not fill the message, if they are like those before.
        let room = ENOUGH.saturating_sub(bytes) / (2 * bytes / (self.at - self.from).max(1) as usize).max(1);
        let may_skip = since_look < QUICK && descriptors == 0 && self.errors.is_empty() && !each;
        self.stride = if may_skip { (2 * self.stride).min(STRIDE).min(room as u32).max(1) } else { 1 };
        (self.looked, self.until_look) = (now, self.stride);
        let is_full = bytes >= ENOUGH || descriptors >= ENOUGH_DESCRIPTORS || self.errors.len() >= ENOUGH_ERRORS;
        each || is_full || now.duration_since(self.since) >= OFTEN
    }

    /// Sends what there is.
    fn publish(&mut self, desk: &Desk, run: &Run, state: &W::State) -> Result<()> {
        self.keep(run, state);
        let payload = match &mut self.results {
            Results::Written(writer) => {
                let written = std::mem::replace(writer, Writer::new(desk.place.reports.route()));
                Payload::new(false, written.finish())
            }
            _ => Payload::new(true, (std::mem::take(&mut self.bytes), Vec::new())),
        };
        let sent = payload.and_then(|mut payload| {
            let report = self.report(run, payload.form);
            let sent = desk.send(&mut payload.bytes, &payload.descriptors, &report);
            payload.bytes.clear();
            self.bytes = payload.bytes;
            sent
        });
        match sent {
            Ok(()) => {
                self.from = self.at;
                self.since = Instant::now();
                Ok(())
            }
            Err(error) => self.fail_some(desk, run, &Cause::new(&error)),
        }
    }

    /// What is to be told of the tasks so far; the errors are taken.
    fn report(&mut self, run: &Run, form: Form) -> Report {
        Report {
            number: run.number,
            from: self.from,
            to: self.at,
            form,
            nanos: self.since.elapsed().as_nanos() as u64,
            errors: std::mem::take(&mut self.errors),
        }
    }

    /// Writes the outputs where they belong, if they stay: stretches of tasks, between those that failed.
    fn keep(&mut self, run: &Run, state: &W::State) {
        let Results::InPlace(outputs) = &mut self.results else { return };
        let (mut from, mut failed) = (self.from, Vec::new());
        let mut rest = &outputs[..];
        for end in self.errors.iter().map(|(at, _)| *at).chain([self.at]) {
            let (outputs, after) = rest.split_at(((end - from) as usize).min(rest.len()));
            rest = after;
            if !outputs.is_empty()
                && let Err(error) = attempt(|| W::keep(state, run.first + u64::from(from), outputs))
            {
                let cause = Cause::new(&error);
                failed.extend((from..end).map(|at| (at, cause.error())));
            }
            from = end + 1;
        }
        outputs.clear();
        self.errors.extend(failed);
        self.errors.sort_by_key(|(at, _)| *at);
    }

    /// Tells that the tasks so far failed for one reason.
    fn fail_some(&mut self, desk: &Desk, run: &Run, cause: &Cause) -> Result<()> {
        self.errors = (self.from..self.at).map(|at| (at, cause.error())).collect();
        let report = self.report(run, Form { plain: true, apart: false });
        self.from = self.at;
        desk.send(&mut Vec::new(), &[], &report)
    }

    /// Tells that all tasks failed for one reason.
    fn fail(&mut self, desk: &Desk, run: &Run, cause: &Cause) -> Result<()> {
        while self.at < run.to {
            // As many as fit a message, whatever the reason.
            self.at = run.to.min(self.from + ENOUGH_ERRORS as u32);
            self.fail_some(desk, run, cause)?;
        }
        Ok(())
    }
}
