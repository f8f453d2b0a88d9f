//! What a child tells its parent at the end: the value, the error or the panic of its function.

use std::{
    any::Any,
    cell::RefCell,
    io::Write,
    mem,
    os::fd::OwnedFd,
    panic::{self, AssertUnwindSafe},
};

use serde::{Deserialize, Serialize};

use super::target::Outcome;
use crate::{
    Error,
    os::socket,
    region::ticket::{self, Message},
};

/// The end of a child's function.
#[derive(Serialize, Deserialize)]
pub(super) enum Report<T> {
    Returned(T),
    Failed(Error),
    Panicked { message: String, location: String },
}

impl<T> Report<T> {
    /// The exit code that goes with it.
    fn code(&self) -> i32 {
        match self {
            Self::Returned(_) => 0,
            Self::Failed(_) => 1,
            // As the standard library has it for a panic of `main`.
            Self::Panicked { .. } => 101,
        }
    }
}

thread_local! {
    /// Where this thread last panicked.
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the child's function, reports, and says which exit code goes with it.
pub(super) fn run<R: Outcome>(socket: &OwnedFd, function: impl FnOnce() -> R) -> i32 {
    note_places_of_panics();
    let report = match catching(|| function().into_result()) {
        Ok(Ok(value)) => Report::Returned(value),
        Ok(Err(error)) => Report::Failed(error),
        Err(panicked) => panicked,
    };
    // Writing the value runs the user's code too, which may panic.
    let code = catching(|| send(socket, &report)).unwrap_or_else(|panicked: Report<()>| send(socket, &panicked));
    // And so does its end, after which it is too late for a report.
    let code = catching(|| drop(report)).map_or_else(|panicked: Report<()>| panicked.code(), |()| code);
    // Whoever ends the process after this does not.
    let _ = std::io::stdout().flush();
    code
}

/// Runs a function, and makes an error of its panic.
pub(crate) fn caught<T>(function: impl FnOnce() -> T) -> Result<T, Error> {
    catching(function).map_err(|report: Report<()>| match report {
        Report::Panicked { message, location } => Error::Panicked { pid: std::process::id(), message, location },
        _ => unreachable!("`catching` reports panics only"),
    })
}

/// Runs a function whose result nobody waits for, and makes an error of its panic.
pub(super) fn attempt(function: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    note_places_of_panics();
    caught(function)?
}

fn note_places_of_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let location = info.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
        // A thread that panics at its very end has none.
        let _ = PANICKED_AT.try_with(|at| at.replace(location));
        before(info);
    }));
}

pub(super) fn catching<T, V>(run: impl FnOnce() -> T) -> Result<T, Report<V>> {
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let location = PANICKED_AT.try_with(RefCell::take).unwrap_or_default();
        Report::Panicked { message: text_of(payload), location }
    })
}

/// What was panicked with, if it is a text.
fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast::<&str>().map(|text| (*text).to_owned());
    text.or_else(|payload| payload.downcast::<String>().map(|text| *text)).unwrap_or_else(|payload| {
        // Its destructor may panic in its turn.
        mem::forget(payload);
        "a panic without a text".into()
    })
}

/// Sends a report; one that cannot travel is replaced by the reason. The exit code that goes with what was sent.
pub(super) fn send<T: Message>(socket: &OwnedFd, report: &Report<T>) -> i32 {
    let failed = match ticket::encode(report) {
        Ok(parcel) => match socket::send(socket, &parcel.bytes, &parcel.descriptors) {
            Ok(()) => return report.code(),
            // A parent that is gone, or does not care, has closed its end.
            Err(error) if socket::is_closed(&error) => return report.code(),
            // No descriptor or memory for a long one, say.
            Err(error) => Error::os("sending the result", error),
        },
        Err(error) => error,
    };
    let failed = Report::<()>::Failed(failed);
    if let Ok(parcel) = ticket::encode(&failed) {
        // It is short, and all that can be said.
        let _ = socket::send(socket, &parcel.bytes, &parcel.descriptors);
    }
    failed.code()
}
