//! Who takes part: a file for each, which does by the traits of the workloads what its users would do.

pub(crate) mod boost;
pub(crate) mod by_hand;
pub(crate) mod crossbeam;
pub(crate) mod glibc;
pub(crate) mod iceoryx;
pub(crate) mod ipc_channel;
pub(crate) mod ours;
pub(crate) mod parking_lot;
pub(crate) mod pipes;
pub(crate) mod posix;
pub(crate) mod procspawn;
pub(crate) mod python;
pub(crate) mod raw_sync;
pub(crate) mod rayon;
pub(crate) mod shared_memory;
pub(crate) mod std;

/// An end that a process has, which can be taken once in each.
pub(crate) fn taken<E>(end: &::std::sync::Mutex<Option<E>>) -> E {
    end.lock().expect("one thread").take().expect("not taken before")
}

/// The error of a peer, in words.
pub(crate) fn words(error: impl ::std::fmt::Display) -> String {
    error.to_string()
}
