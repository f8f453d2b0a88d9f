//! What is done with the items of a job: functions of various forms, which workers find by their place.

use std::{marker::PhantomData, os::fd::OwnedFd};

use bytemuck::Pod;

use super::{
    super::{
        init,
        target::{Outcome, Target},
    },
    parcel::Run,
    worker::{Desk, run},
};
use crate::{
    Array, Result,
    os::executable::Executable,
    region::ticket::{Message, Reader},
};

/// A way to make one output of one item. Never a value: what a worker is told is the place of its [`run`].
pub(super) trait Work: 'static {
    /// What all items have in common; `()` is sent to nobody.
    type State: Message;
    type Item: Message;
    type Output: Message;

    /// Whether the outputs stay in the worker, which [keeps](Self::keep) them.
    const IN_PLACE: bool = false;

    fn call(state: &Self::State, item: Self::Item) -> Result<Self::Output>;

    /// The output of the next item that has not failed.
    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self::Output> {
        reader.read()
    }

    /// Keeps the outputs of the items from `first` on.
    fn keep(_state: &Self::State, _first: u64, _outputs: &[Self::Output]) -> Result<()> {
        Ok(())
    }
}

/// An item is the only argument.
pub(super) struct Single<F, X>(PhantomData<(F, X)>);

impl<F: Target<(X,)>, X: Message> Work for Single<F, X> {
    type State = ();
    type Item = X;
    type Output = <F::Outcome as Outcome>::Output;

    #[inline(always)]
    fn call(&(): &(), item: X) -> Result<Self::Output> {
        init::instance::<F>().call((item,)).into_result()
    }
}

/// An item is a tuple of all arguments.
pub(super) struct Tuple<F, A>(PhantomData<(F, A)>);

impl<F: Target<A>, A: Message> Work for Tuple<F, A> {
    type State = ();
    type Item = A;
    type Output = <F::Outcome as Outcome>::Output;

    #[inline(always)]
    fn call(&(): &(), item: A) -> Result<Self::Output> {
        init::instance::<F>().call(item).into_result()
    }
}

/// An item is the second argument, after a reference to the state.
pub(super) struct With<F, S, X, R>(PhantomData<(F, S, X, R)>);

impl<F, S, X, R> Work for With<F, S, X, R>
where
    F: Fn(&S, X) -> R + Copy + Send + Sync + 'static,
    S: Message,
    X: Message,
    R: Outcome + 'static,
{
    type State = S;
    type Item = X;
    type Output = R::Output;

    #[inline(always)]
    fn call(state: &S, item: X) -> Result<R::Output> {
        init::instance::<F>()(state, item).into_result()
    }
}

/// An item is the only argument, and the output belongs into an array, at the item's number.
pub(super) struct Into<F, X, T>(PhantomData<(F, X, T)>);

impl<F, X, T> Work for Into<F, X, T>
where
    F: Target<(X,)>,
    F::Outcome: Outcome<Output = T>,
    X: Message,
    T: Pod + Message,
{
    type State = Array<T>;
    type Item = X;
    type Output = T;

    const IN_PLACE: bool = true;

    #[inline(always)]
    fn call(_: &Array<T>, item: X) -> Result<T> {
        init::instance::<F>().call((item,)).into_result()
    }

    fn read(_: &mut Reader<'_>) -> Result<T> {
        Ok(T::zeroed())
    }

    fn keep(array: &Array<T>, first: u64, outputs: &[T]) -> Result<()> {
        let first = first as usize;
        // Poisoned or not: all of it is written now, also what a worker died with that had it before.
        let mut part = array.recover_claim_mut(first..first + outputs.len())?;
        part.copy_from_slice(outputs);
        part.clear_poison();
        Ok(())
    }
}

/// Runs a chunk of a certain [`Work`]; gives the buffer back.
pub(super) type Runner = fn(&mut Desk, Run, Vec<u8>, Vec<OwnedFd>) -> Result<Vec<u8>>;

/// The place of the runner for `W` in the executable.
pub(super) fn place_of<W: Work>() -> Result<u64> {
    Executable::this().place_of::<W>(run::<W> as Runner as usize)
}

/// The runner at a place that the pool named.
pub(super) fn runner_at(place: u64) -> Result<Runner> {
    Executable::this().address_of(place).map(imp::runner_at)
}

/// The step that the compiler cannot check.
mod imp {
    #![expect(unsafe_code, reason = "calls a function by its address")]

    use super::Runner;

    pub(super) fn runner_at(address: usize) -> Runner {
        // SAFETY: the pool's process runs the same build (compared when this one was started) and named the place of one
        // of its runners, which lies in this executable's code. The queue that it came by leads to that process alone.
        unsafe { std::mem::transmute::<usize, Runner>(address) }
    }
}
