//! Who this process is among those that the crate started: its children, its parent, itself.
//!
//! The table of children keeps each until it has been waited for: no zombie stays behind. A child whose handle is
//! dropped before is left to the *reaper*, a parked thread that waits for it. All of this belongs to one process: what a
//! fork copied is dropped when the child first looks at it.
//!
//! What is in the table at the normal end of the process is [seen off](see_off): daemons are asked to end, others awaited.

use std::{
    os::fd::OwnedFd,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{child::Child, lines};
use crate::{
    Error, Result,
    os::{clock::Wait, identity::Stamp, pidfd, robust, start, threads},
};

/// The children that were not waited for yet.
struct Family {
    /// The process that this table is of.
    pid: u32,
    children: Vec<Arc<Child>>,
    /// How many children have had a number for a name.
    count: u64,
    /// Whether the reaper runs, and what wakes it.
    reaper: Option<Arc<OwnedFd>>,
}

static FAMILY: Mutex<Family> = Mutex::new(Family { pid: 0, children: Vec::new(), count: 0, reaper: None });

fn family() -> MutexGuard<'static, Family> {
    // Nothing in here panics half way.
    let mut family = FAMILY.lock().unwrap_or_else(PoisonError::into_inner);
    if family.pid != process::id() {
        *family = Family { pid: process::id(), children: Vec::new(), count: 0, reaper: None };
    }
    family
}

/// Keeps the table still while this process forks: a reaper that held it would hold it for ever in the child. And who this
/// process is, which a thread may be asking beside which it was allowed to fork.
pub(super) fn still() -> impl Sized {
    (family(), ORIGIN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Waits for the children that have ended, and forgets them.
fn sweep(family: &mut Family) {
    family.children.retain(|child| !child.has_ended());
}

/// As [`sweep`], but asks once for all whether there is anything to do: what is done at every start must not grow with
/// the number of children. It misses those that other code has waited for.
fn sweep_quickly(family: &mut Family) {
    if pidfd::any_zombie() {
        sweep(family);
    } else {
        family.children.retain(|child| !child.is_over());
    }
}

/// Adds a child that has just been started.
pub(super) fn add(child: &Arc<Child>) {
    let mut family = family();
    sweep_quickly(&mut family);
    family.children.push(Arc::clone(child));
    if SEES_OFF.swap(family.pid, Relaxed) == 0 && start::at_exit(at_exit).is_err() {
        // No memory. The next start tries again.
        SEES_OFF.store(0, Relaxed);
    }
}

/// Forgets a child that has been waited for.
pub(super) fn forget(child: &Child) {
    family().children.retain(|known| !std::ptr::eq(&**known, child));
}

/// A name for the next child that has none.
pub(super) fn next_name() -> String {
    let mut family = family();
    family.count += 1;
    format!("process-{}", family.count)
}

/// Sees to it that a child whose handle is gone is waited for when it ends.
pub(super) fn abandon() {
    let mut family = family();
    sweep_quickly(&mut family);
    if family.children.is_empty() {
        return;
    }
    match &family.reaper {
        Some(bell) => pidfd::ring(bell),
        None => {
            let Ok(bell) = pidfd::bell() else { return };
            let bell = Arc::new(bell);
            let mine = Arc::clone(&bell);
            // Without the thread, the next start or look at the children sweeps.
            if threads::spawn_parked(c"shmkit-reaper", threads::SMALL, move || reap_for_ever(&mine)).is_ok() {
                family.reaper = Some(bell);
            }
        }
    }
}

fn reap_for_ever(bell: &OwnedFd) {
    loop {
        let children: Vec<_> = {
            let mut family = family();
            sweep(&mut family);
            family.children.clone()
        };
        let descriptors: Vec<_> = children.iter().map(|child| child.sentinel()).collect();
        pidfd::wait_any(&descriptors, bell);
    }
}

/// A running child of this process.
///
/// # Examples
///
/// See [`active_children`].
#[derive(Debug, Clone)]
pub struct ActiveChild(Arc<Child>);

impl ActiveChild {
    /// Its process id.
    ///
    /// # Examples
    ///
    /// See [`active_children`].
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Its name.
    ///
    /// # Examples
    ///
    /// See [`active_children`].
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn main() -> shmkit::Result<()> {
    /// for child in shmkit::process::active_children() {
    ///     child.terminate()?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn terminate(&self) -> Result<()> {
        self.0.signal(libc::SIGTERM)
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    ///
    /// # Examples
    ///
    /// See [`terminate`](Self::terminate).
    pub fn kill(&self) -> Result<()> {
        self.0.signal(libc::SIGKILL)
    }
}

/// The children of this process that have not ended, those whose handles were dropped included.
///
/// # Examples
///
/// ```
/// assert!(shmkit::process::active_children().is_empty());
/// ```
#[must_use]
pub fn active_children() -> Vec<ActiveChild> {
    active().map(ActiveChild).collect()
}

fn active() -> impl Iterator<Item = Arc<Child>> {
    let mut family = family();
    sweep(&mut family);
    family.children.clone().into_iter().filter(|child| !child.is_server())
}

/// The process that has children to see off at its end; 0 before there was one. Forks have its handler too.
static SEES_OFF: AtomicU32 = AtomicU32::new(0);

/// How long daemons have to end at the end of their parent, when all others have ended. And then again, once killed.
const GRACE: Duration = Duration::from_secs(1);

extern "C" fn at_exit() {
    see_off();
}

/// At the normal end of this process: asks its daemons to end, waits for its other children, and ends the daemons that
/// are still there.
///
/// Upstream waits for daemons too, without a limit. Here their own watch over their parent would end them in any case: this
/// is for what they do when they are asked, and so that nothing is left when this process is gone.
pub(super) fn see_off() {
    // A fork whose children are its parent's must not touch the table: nobody may be left there to unlock it.
    if SEES_OFF.load(Relaxed) != process::id() {
        return;
    }
    // They may be waiting for what this thread will not give back: then they learn of it by the death of this process.
    if robust::held() + robust::left_behind() > 0 {
        return;
    }
    let daemons = || active().filter(|child| child.is_daemon());
    // One that cannot be asked will be ended.
    daemons().for_each(|daemon| drop(daemon.signal(libc::SIGTERM)));
    // As at the end of a handle, which may be forgotten or still live: nobody will read or write any more.
    active().for_each(|child| child.close_pipes());
    // Again and again: other threads of this process may be starting more.
    while let Some(child) = active().find(|child| !child.is_daemon()) {
        child.close_pipes();
        if !child.wait_for_end(Wait::Forever) {
            thread::sleep(PAUSE);
        }
    }
    let wait = Wait::timeout(GRACE);
    let late: Vec<_> = daemons().filter(|daemon| !daemon.wait_for_end(wait)).collect();
    late.iter().for_each(|daemon| drop(daemon.signal(libc::SIGKILL)));
    let wait = Wait::timeout(GRACE);
    for daemon in late {
        daemon.wait_for_end(wait);
    }
    lines::show_all();
}

/// What a process that the crate started knows of itself.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) name: String,
    pub(super) daemon: bool,
    /// Whether it may have children though it is a daemon.
    pub(super) may_have_children: bool,
    pub(super) parent: Stamp,
    pub(super) parent_name: String,
}

/// Set once in a fresh start, and anew in each fork.
static ORIGIN: Mutex<Option<Origin>> = Mutex::new(None);

pub(super) fn set_origin(origin: Origin) {
    *ORIGIN.lock().unwrap_or_else(PoisonError::into_inner) = Some(origin);
}

fn origin() -> Option<Origin> {
    ORIGIN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// This process.
///
/// # Examples
///
/// See [`current`].
#[derive(Debug, Clone)]
pub struct Current {
    name: String,
    daemon: bool,
    may_have_children: bool,
}

impl Current {
    /// Its process id.
    ///
    /// # Examples
    ///
    /// See [`current`].
    #[must_use]
    pub fn pid(&self) -> u32 {
        process::id()
    }

    /// Its name: `main` for a program that was not started by this crate.
    ///
    /// # Examples
    ///
    /// See [`current`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it dies with its parent.
    ///
    /// # Examples
    ///
    /// See [`current`].
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Whether it may start processes: not if it is a daemon, unless its [builder](super::Builder::may_have_children) was
    /// asked for that.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(shmkit::process::current().may_have_children());
    /// ```
    #[must_use]
    pub fn may_have_children(&self) -> bool {
        self.may_have_children
    }
}

/// This process, as the one that started it sees it.
///
/// # Examples
///
/// ```
/// let me = shmkit::process::current();
/// assert_eq!((me.pid(), me.name(), me.is_daemon()), (std::process::id(), "main", false));
/// ```
#[must_use]
pub fn current() -> Current {
    match origin() {
        Some(Origin { name, daemon, may_have_children, .. }) => {
            Current { name, daemon, may_have_children: may_have_children || !daemon }
        }
        None => Current { name: "main".into(), daemon: false, may_have_children: true },
    }
}

/// The process that started this one.
///
/// # Examples
///
/// See [`parent`].
#[derive(Debug, Clone)]
pub struct Parent {
    stamp: Stamp,
    name: String,
}

impl Parent {
    /// Its process id.
    ///
    /// # Examples
    ///
    /// See [`parent`].
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.stamp.pid().unwrap_or(0)
    }

    /// Its name.
    ///
    /// # Examples
    ///
    /// See [`parent`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has not ended.
    ///
    /// # Examples
    ///
    /// See [`parent`].
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.stamp.is_dead(Wait::No)
    }

    /// Waits until it has ended.
    ///
    /// Its [normal end](super#the-end-of-a-parent) waits for this process, unless this is a daemon: what is waited for here
    /// comes only if it is killed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// if let Some(parent) = shmkit::process::parent() {
    ///     parent.wait();
    ///     eprintln!("the parent is gone: nobody will read the results");
    /// }
    /// ```
    pub fn wait(&self) {
        wait_for_end(self.stamp);
    }

    /// Waits until it has ended, at most `timeout`, and says whether it has.
    ///
    /// # Examples
    ///
    /// See [`wait`](Self::wait).
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.stamp.is_dead(Wait::timeout(timeout))
    }

    /// Waits until it has ended, until `deadline` at most, and says whether it has.
    ///
    /// # Examples
    ///
    /// See [`wait`](Self::wait).
    #[must_use]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.stamp.is_dead(Wait::deadline(deadline))
    }
}

/// The process that started this one; `None` in a program that was not started by this crate.
///
/// # Examples
///
/// ```
/// assert!(shmkit::process::parent().is_none());
/// ```
#[must_use]
pub fn parent() -> Option<Parent> {
    origin().map(|origin| Parent { stamp: origin.parent, name: origin.parent_name })
}

/// What passes between two looks where no descriptor can be had to wait with.
const PAUSE: Duration = Duration::from_millis(10);

fn wait_for_end(process: Stamp) {
    // It comes back early only when no descriptor could be had for the wait.
    while !process.is_dead(Wait::Forever) {
        thread::sleep(PAUSE);
    }
}

/// Ends this process when its parent has ended, by whatever cause.
///
/// The kernel's own signal for that (`PR_SET_PDEATHSIG`) is sent when the parent's *thread* ends, so a parked thread
/// waits for the process instead.
pub(super) fn die_with(parent: Stamp) -> Result<()> {
    threads::spawn_parked(c"shmkit-daemon", threads::SMALL, move || {
        wait_for_end(parent);
        crate::os::start::kill_self();
    })
    .map_err(|error| Error::os("starting the thread that watches the parent", error))
}
