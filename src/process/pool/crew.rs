//! The workers as the pool sees them: who is given what, and what becomes of it when one dies.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use super::{
    super::{ExitStatus, Process},
    OnDeath,
    job::{Callback, Chunk, Part, SharedState, What},
    parcel::{self, Order, Report, Run, State},
    worker::{Cause, Place, attempt},
};
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::lives::{Life, Lives},
};

/// Chunks that a worker has at a time: one to work on, and some for the time that passes until somebody looks after it. On a
/// machine without a free core that is the time slices of others.
const WINDOW: usize = 4;

/// Bytes of these after which it is given no more.
const FULL: usize = parcel::ROOM / 4;

/// A worker that could not be started is tried again so much later.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the end of those that were killed is awaited.
const END: Duration = Duration::from_secs(10);

/// Starts a worker.
pub(super) type Start = Box<dyn Fn(Place) -> Result<Process<()>> + Send + Sync>;

/// What the pool was made to be.
pub(super) struct Rules {
    pub(super) on_death: OnDeath,
    /// The most tasks of one worker.
    pub(super) most_tasks: Option<u64>,
    pub(super) start: Start,
    /// Whether workers are forks, which only a thread of the user's can make.
    pub(super) forks: bool,
}

/// Who looks after the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// A thread of the user's.
    Caller,
    /// The pool's own thread.
    Helper,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// What was submitted is done, and nothing more is taken.
    Closed,
    /// All is over.
    Terminated,
}

/// All workers, and what waits for one.
pub(super) struct Crew {
    workers: Vec<Worker>,
    backlog: VecDeque<Chunk>,
    pub(super) phase: Phase,
    /// Why no worker can be had.
    broken: Option<Cause>,
    /// Why there is none now: the error of the last start that was tried.
    nobody: Option<Cause>,
    /// Deaths of workers that had not come so far as to be ready, one after the other.
    stillborn: usize,
    /// Calls that are giving out chunks.
    pub(super) calls: usize,
    /// Whether tasks have failed that others may wait for.
    pub(super) has_news: bool,
    /// What is to be called, by the pool's own thread.
    pub(super) calls_back: Vec<(Callback, Part)>,
}

struct Worker {
    place: Place,
    process: Option<Process<()>>,
    /// What it was given and has not reported, in its order.
    flying: VecDeque<Flying>,
    /// The number of the last chunk, of all that were ever sent to this place.
    number: u32,
    /// Tasks that it may still be given.
    quota: u64,
    is_retiring: bool,
    /// Whether nobody is to take its place.
    is_done: bool,
    /// States that it has for sure.
    states: Vec<u32>,
    /// When the start is to be tried again.
    not_before: Option<Instant>,
}

struct Flying {
    number: u32,
    chunk: Chunk,
    /// Up to where results have come.
    reported: u32,
}

impl Crew {
    /// Starts a worker at each place. If one cannot be started, the others are ended.
    pub(super) fn start(places: Vec<Place>, rules: &Rules) -> Result<Self> {
        let mut crew = Self {
            workers: Vec::with_capacity(places.len()),
            backlog: VecDeque::new(),
            phase: Phase::Open,
            broken: None,
            nobody: None,
            stillborn: 0,
            calls: 0,
            has_news: false,
            calls_back: Vec::new(),
        };
        for place in places {
            let mut worker = Worker::new(place);
            let started = worker.start(rules);
            crew.workers.push(worker);
            if let Err(error) = started {
                crew.terminate();
                return Err(error);
            }
        }
        Ok(crew)
    }

    /// Why nothing can be submitted.
    pub(super) fn check(&self) -> Result<()> {
        match (&self.broken, self.phase) {
            (Some(cause), _) => Err(cause.error()),
            (None, Phase::Open) => Ok(()),
            (None, _) => Err(Error::PoolClosed),
        }
    }

    /// Why nothing is done any more.
    fn over(&self) -> Option<Cause> {
        match (&self.broken, self.phase) {
            (Some(cause), _) => Some(cause.clone()),
            (None, Phase::Terminated) => Some(Cause::new(&Error::PoolClosed)),
            _ => None,
        }
    }

    /// The processes of the workers.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.workers.iter().filter_map(|worker| worker.process.as_ref()).map(Process::pid).collect()
    }

    /// Whether there is anything that is not done.
    pub(super) fn is_idle(&self) -> bool {
        self.backlog.is_empty() && self.workers.iter().all(|worker| worker.flying.is_empty())
    }

    /// Whether more could be going on if somebody looked after it.
    pub(super) fn wants_care(&self) -> bool {
        // Of a task that was left nobody else would see that it died with its worker.
        let wants_care =
            |worker: &Worker| worker.flying.len() > 1 || worker.flying.iter().any(|flying| flying.chunk.job.is_left());
        !self.backlog.is_empty() || self.workers.iter().any(wants_care)
    }

    /// Takes in what has come, looks after the workers, and gives out what waits; then `offer`, which is returned if
    /// nobody has room for it.
    pub(super) fn step(&mut self, rules: &Rules, who: Who, offer: Option<Chunk>) -> Option<Chunk> {
        for at in 0..self.workers.len() {
            self.collect(at);
            self.look_after(at, rules, who);
        }
        while let Some(chunk) = self.backlog.pop_front() {
            if let Some(chunk) = self.give(chunk, rules) {
                self.backlog.push_front(chunk);
                break;
            }
        }
        match offer {
            Some(chunk) if self.backlog.is_empty() => self.give(chunk, rules),
            None if self.backlog.is_empty() => {
                self.even_out(rules);
                None
            }
            offer => offer,
        }
    }

    /// Puts a chunk at the end of those that wait.
    pub(super) fn queue(&mut self, chunk: Option<Chunk>) {
        self.backlog.extend(chunk);
    }

    fn fail(&mut self, chunk: &Chunk, from: u32, to: u32, cause: &Cause) {
        if from < to {
            self.has_news = true;
            self.calls_back.extend(chunk.failed(from, to, cause.clone()));
        }
    }

    /// Takes in the reports of a worker.
    fn collect(&mut self, at: usize) {
        loop {
            let worker = &mut self.workers[at];
            if worker.place.reports.is_empty() {
                return;
            }
            let mut bytes = Vec::new();
            let Ok(descriptors) = worker.place.reports.get_bytes(&mut bytes, Wait::No) else { return };
            let Ok(report) = parcel::unseal::<Report>(&mut bytes) else { continue };
            let Some(found) = worker.flying.iter().position(|flying| flying.number == report.number) else { continue };
            let flying = &mut worker.flying[found];
            let Report { from, to, form, nanos, mut errors, .. } = report;
            // What a worker may have written there, in its last moments: not trusted.
            if from != flying.reported || to <= from || to > flying.chunk.to {
                continue;
            }
            flying.reported = to;
            flying.chunk.job.note_pace(to - from, nanos);
            errors.iter_mut().for_each(|(at, _)| *at = at.saturating_sub(from));
            let what = What::Done { form, bytes, descriptors, errors };
            let part = Part { first: flying.chunk.first + u64::from(from), count: to - from, what };
            if let Some(state) = &flying.chunk.job.state
                && !state.is_over()
                && !worker.states.contains(&state.number)
            {
                worker.states.push(state.number);
            }
            let call_back = flying.chunk.job.deliver(part);
            if to == flying.chunk.to {
                worker.flying.remove(found);
            }
            self.calls_back.extend(call_back);
        }
    }

    /// Takes note of a worker's end, and starts another one in its place.
    fn look_after(&mut self, at: usize, rules: &Rules, who: Who) {
        if self.workers[at].seems_alive() {
            return;
        }
        if let Some(process) = &self.workers[at].process {
            let Some(status) = process.exit_status() else { return };
            self.bury(at, status, rules.on_death);
        }
        let worker = &mut self.workers[at];
        let is_early = worker.not_before.is_some_and(|time| Instant::now() < time);
        let is_wanted = self.phase != Phase::Terminated && self.broken.is_none() && !worker.is_done;
        if !is_wanted || is_early || who == Who::Helper && rules.forks {
            return;
        }
        match worker.start(rules) {
            Ok(()) => self.nobody = None,
            Err(error) => {
                worker.not_before = Some(Instant::now() + PAUSE);
                if self.workers.iter().all(|worker| worker.process.is_none()) {
                    // What waits fails, and what comes until the next try.
                    let cause = Cause::new(&error);
                    self.fail_all(&cause);
                    self.nobody = Some(cause);
                }
            }
        }
    }

    /// Settles what a worker leaves whose whole process has ended.
    ///
    /// It can store nothing any more, so what is found now stays so: its reports, and how many tasks it has begun.
    fn bury(&mut self, at: usize, status: ExitStatus, on_death: OnDeath) {
        self.collect(at);
        let worker = &mut self.workers[at];
        let Some(process) = worker.process.take() else { return };
        let (pid, is_ready) = (process.pid(), worker.place.mine().is_ready());
        let error = process.join_timeout(Duration::ZERO).err();
        let error = error.unwrap_or(Error::ChildDied { pid, status: status.to_string() });
        let flying = mem::take(&mut worker.flying);
        // If that fails, the next worker passes over what was meant for this one.
        worker.empty_orders();
        worker.states.clear();
        let was_retired = mem::take(&mut worker.is_retiring) && status.success();
        if is_ready {
            self.stillborn = 0;
        } else if self.phase != Phase::Terminated && !was_retired {
            self.stillborn += 1;
            // The initialiser has failed, or kills every worker.
            if !matches!(error, Error::ChildDied { .. }) || self.stillborn > 3 * self.workers.len() {
                self.give_up(&Cause::new(&error));
            }
        }
        for Flying { number, chunk, reported } in flying.into_iter().rev() {
            let begun = self.workers[at].place.mine().begun(number).clamp(reported, chunk.to);
            self.settle(chunk, reported, begun, &error, on_death);
        }
        self.workers[at].place.mine().reset();
    }

    /// Decides what becomes of a chunk of a dead worker: up to `reported` results have come, up to `begun` it may have done
    /// something, and the rest it has not touched.
    fn settle(&mut self, mut chunk: Chunk, reported: u32, begun: u32, error: &Error, on_death: OnDeath) {
        if let Some(cause) = self.over() {
            return self.fail(&chunk, reported, chunk.to, &cause);
        }
        let deaths = chunk.deaths + 1;
        let may_retry = matches!(on_death, OnDeath::Retry(most) if deaths <= most);
        // First what was not touched, since each goes to the front.
        if begun < chunk.to {
            match chunk.part(begun, chunk.to) {
                Ok(rest) => self.backlog.push_front(rest),
                Err(error) => self.fail(&chunk, begun, chunk.to, &Cause::new(&error)),
            }
        }
        if may_retry && reported < begun {
            (chunk.from, chunk.to, chunk.deaths) = (reported, begun, deaths);
            self.backlog.push_front(chunk);
        } else {
            self.fail(&chunk, reported, begun, &Cause::new(error));
        }
    }

    /// Gives a chunk to the worker that has least to do; it is returned when none has room.
    fn give(&mut self, mut chunk: Chunk, rules: &Rules) -> Option<Chunk> {
        if let Some(cause) = self.over().or_else(|| self.nobody.clone()) {
            self.fail(&chunk, chunk.from, chunk.to, &cause);
            return None;
        }
        if chunk.job.state.as_ref().is_some_and(SharedState::is_over) {
            // A retry, say, that nobody waits for. Its worker would not be told again to forget the state.
            return None;
        }
        // What is left of a chunk, or was asked for, may be more than one worker is to do.
        if let Some(most) = rules.most_tasks
            && u64::from(chunk.len()) > most
        {
            let middle = chunk.from + most as u32;
            match chunk.part(middle, chunk.to) {
                Ok(rest) => self.backlog.push_front(rest),
                Err(error) => self.fail(&chunk, middle, chunk.to, &Cause::new(&error)),
            }
            chunk.to = middle;
        }
        let tasks = u64::from(chunk.len());
        loop {
            let free = self.workers.iter().enumerate().filter(|(_, worker)| worker.has_room());
            let Some((at, worker)) = free.min_by_key(|(_, worker)| worker.flying.len()) else { return Some(chunk) };
            if worker.quota < tasks {
                match self.workers[at].retire() {
                    Ok(()) => continue,
                    Err(Error::WouldBlock) => return Some(chunk),
                    Err(error) => {
                        self.fail(&chunk, chunk.from, chunk.to, &Cause::new(&error));
                        return None;
                    }
                }
            }
            match self.workers[at].send(chunk) {
                Ok(()) => return None,
                Err((back, Error::WouldBlock)) => return Some(*back),
                Err((back, error)) => {
                    self.fail(&back, back.from, back.to, &Cause::new(&error));
                    return None;
                }
            }
        }
    }

    /// Has a worker that has nothing to do take over what another one has not begun.
    fn even_out(&mut self, rules: &Rules) {
        loop {
            if !self.workers.iter().any(|worker| worker.has_room() && worker.flying.is_empty()) {
                return;
            }
            let Some(busy) = self.workers.iter_mut().max_by_key(|worker| worker.flying.len()) else { return };
            let chunk = if busy.flying.len() > 1 { busy.take_back() } else { None };
            let Some(chunk) = chunk else { return };
            if let Some(chunk) = self.give(chunk, rules) {
                self.backlog.push_back(chunk);
                return;
            }
        }
    }

    /// Has workers forget a state that nobody needs any more.
    pub(super) fn forget(&mut self, state: &SharedState) {
        state.end();
        for worker in self.workers.iter_mut().filter(|worker| worker.process.is_some()) {
            let of_it = |flying: &Flying| flying.chunk.job.state.as_ref().is_some_and(|own| own.number == state.number);
            if worker.states.contains(&state.number) || worker.flying.iter().any(of_it) {
                worker.states.retain(|known| *known != state.number);
                // A worker that has no room for that is full of other things to do, and keeps the state.
                let _ = worker.order(&Order::Forget(state.number));
            }
        }
    }

    fn fail_all(&mut self, cause: &Cause) {
        for chunk in mem::take(&mut self.backlog) {
            self.fail(&chunk, chunk.from, chunk.to, cause);
        }
    }

    /// No worker can be had: all that is not done fails.
    fn give_up(&mut self, cause: &Cause) {
        self.broken = Some(cause.clone());
        self.fail_all(cause);
        for worker in &mut self.workers {
            if let Some(process) = &worker.process {
                let _ = process.kill();
            }
        }
    }

    /// Lets the workers end that have nothing more to do. They are joined by [`join`](Self::join).
    pub(super) fn dismiss(&mut self) {
        // Whoever comes with a chunk now, such as an iterator that was let lie, is not to wait for a worker.
        self.phase = Phase::Terminated;
        for worker in &mut self.workers {
            worker.is_done = true;
            worker.is_retiring = true;
            worker.place.orders.close();
        }
    }

    /// Whether all workers have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.workers.iter().all(|worker| worker.process.is_none())
    }

    /// Ends all workers at once. What they had not reported fails.
    pub(super) fn terminate(&mut self) {
        self.phase = Phase::Terminated;
        for process in self.workers.iter().filter_map(|worker| worker.process.as_ref()) {
            let _ = process.kill();
        }
        let end = Instant::now() + END;
        for at in 0..self.workers.len() {
            let Some(process) = &self.workers[at].process else { continue };
            // Its end alone, and not that somebody reads the lines that it has left. One that the kernel cannot end now is
            // left to the reaper.
            process.wait_for_end(Wait::deadline(end));
            let status = process.exit_status().unwrap_or(ExitStatus::Unknown);
            self.bury(at, status, OnDeath::Fail);
        }
        self.fail_all(&Cause::new(&Error::PoolClosed));
    }
}

impl Worker {
    fn new(place: Place) -> Self {
        Self {
            place,
            process: None,
            flying: VecDeque::new(),
            number: 0,
            quota: 0,
            is_retiring: false,
            is_done: false,
            states: Vec::new(),
            not_before: None,
        }
    }

    fn start(&mut self, rules: &Rules) -> Result<()> {
        self.place.mine().reset();
        self.place.after = self.number;
        // It clones and encodes the arguments of the initialiser, with code of the user's.
        self.process = Some(attempt(|| (rules.start)(self.place.clone()))?);
        self.quota = rules.most_tasks.unwrap_or(u64::MAX);
        self.not_before = None;
        Ok(())
    }

    /// Whether nothing hints at its end: by loads alone.
    fn seems_alive(&self) -> bool {
        self.process.is_some()
            && self.place.mine().member().is_some_and(|member| {
                self.place.words.members().is_ok_and(|members| members.life(member) == Life::Lives)
            })
    }

    fn has_room(&self) -> bool {
        let bytes: usize = self.flying.iter().map(|flying| flying.chunk.payload.bytes.len()).sum();
        self.process.is_some() && !self.is_retiring && self.flying.len() < WINDOW && bytes < FULL
    }

    fn order(&self, order: &Order) -> Result<()> {
        let mut bytes = Vec::new();
        parcel::seal(&mut bytes, order)?;
        self.place.orders.put_bytes(&bytes, &[], Wait::No)
    }

    /// Has it end when it has done what it was given.
    ///
    /// # Errors
    ///
    /// `WouldBlock` without room for that: it is tried again when the next chunk is given out.
    fn retire(&mut self) -> Result<()> {
        self.order(&Order::Retire)?;
        self.is_retiring = true;
        Ok(())
    }

    /// Sends it a chunk, for which it has room. What fails comes back.
    fn send(&mut self, mut chunk: Chunk) -> Result<(), (Box<Chunk>, Error)> {
        let number = self.number.wrapping_add(1);
        let state = chunk.job.state.as_ref().map(|state| {
            let descriptors = if self.states.contains(&state.number) { 0 } else { state.descriptors.len() as u32 };
            State { number: state.number, descriptors }
        });
        let order = Order::Run(Run {
            work: chunk.work,
            number,
            first: chunk.first,
            from: chunk.from,
            to: chunk.to,
            form: chunk.payload.form,
            each: chunk.deaths > 0,
            state,
        });
        match self.put(&mut chunk, &order) {
            Ok(()) => {
                self.number = number;
                self.quota -= u64::from(chunk.len()).min(self.quota);
                self.flying.push_back(Flying { number, reported: chunk.from, chunk });
                Ok(())
            }
            Err(error) => Err((Box::new(chunk), error)),
        }
    }

    fn put(&self, chunk: &mut Chunk, order: &Order) -> Result<()> {
        let Order::Run(Run { state, .. }) = order else { return Ok(()) };
        let payload = &mut chunk.payload;
        let own = payload.descriptors.len();
        if let (Some(State { descriptors: 1.., .. }), Some(state)) = (state, &chunk.job.state) {
            payload.descriptors.extend(parcel::duplicates(&state.descriptors)?);
        }
        let length = payload.bytes.len();
        let sealed = parcel::seal(&mut payload.bytes, order);
        let put = sealed.and_then(|()| self.place.orders.put_bytes(&payload.bytes, &payload.descriptors, Wait::No));
        payload.bytes.truncate(length);
        payload.descriptors.truncate(own);
        put
    }

    /// Takes back a chunk that it has not taken yet.
    fn take_back(&mut self) -> Option<Chunk> {
        let mut bytes = Vec::new();
        self.place.orders.get_bytes(&mut bytes, Wait::No).ok()?;
        match parcel::unseal(&mut bytes).ok()? {
            Order::Run(run) => {
                let at = self.flying.iter().position(|flying| flying.number == run.number)?;
                let chunk = self.flying.remove(at)?.chunk;
                self.quota = self.quota.saturating_add(u64::from(chunk.len()));
                Some(chunk)
            }
            other => {
                // It was the last that was said.
                let _ = self.order(&other);
                None
            }
        }
    }

    /// Throws away what a dead worker has not taken.
    fn empty_orders(&self) {
        while self.place.orders.get_bytes(&mut Vec::new(), Wait::No).is_ok() {}
    }
}
