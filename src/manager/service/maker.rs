//! What makes a service: a function, which the server finds by its place in the executable.

use std::fmt::Display;

use super::{
    Serves,
    host::{self, Life, Order},
};
use crate::{
    Error, Result,
    os::executable::Executable,
    process::{Message, Outcome, instance},
};

/// A function that makes the struct behind a proxy of the kind `P`: an `fn`, or a closure that captures nothing, of 0 to 8
/// arguments, each a [`Message`], which returns the struct or a `Result` of it.
///
/// `M` is found by the compiler, which tells the two by it.
///
/// # Examples
///
/// See [`service`](super). A closure that captures is refused when the program is built:
///
/// ```compile_fail
/// shmkit::service! {
///     trait Count as CountProxy {
///         fn next(&mut self) -> u32;
///     }
/// }
///
/// impl Count for u32 {
///     fn next(&mut self) -> u32 {
///         *self += 1;
///         *self
///     }
/// }
///
/// let (manager, from) = (shmkit::Manager::start().unwrap(), 7_u32);
/// // With `|from| from` and `(from,)` it is right.
/// let _count: CountProxy = manager.serve(move || from, ()).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function that makes what a `{P}` stands for of the arguments `{A}`",
    note = "give a plain `fn`, or a closure that captures nothing, and a tuple of its arguments: `(a, b)`, `(a,)`, `()`",
    note = "it returns a struct that implements the trait of the proxy, or `Result<struct, E>`"
)]
pub trait Maker<P, A, M>: Copy + Send + Sync + 'static {
    #[doc(hidden)]
    type Made: 'static;

    #[doc(hidden)]
    fn make(self, args: A) -> Result<Self::Made>;

    #[doc(hidden)]
    fn dispatch(service: &mut Self::Made, method: &str, call: host::Call<'_>) -> Result<host::Sent>;
}

/// What a [`Maker`] may return: a struct, or a `Result` of one, whose error needs `Display` only.
///
/// # Examples
///
/// See [`service`](super).
#[diagnostic::on_unimplemented(
    message = "a `{P}` cannot stand for `{Self}`",
    note = "it needs to implement the trait of the proxy; or to be a `Result` of what does"
)]
pub trait Makes<P, M> {
    #[doc(hidden)]
    type Made: 'static;

    #[doc(hidden)]
    fn into_made(self) -> Result<Self::Made>;

    #[doc(hidden)]
    fn dispatch(service: &mut Self::Made, method: &str, call: host::Call<'_>) -> Result<host::Sent>;
}

/// Of a function that returns the struct.
#[derive(Debug)]
#[doc(hidden)]
pub struct Surely(());

/// Of one that returns a `Result`.
#[derive(Debug)]
#[doc(hidden)]
pub struct Perhaps(());

impl<P: Serves<S>, S: 'static> Makes<P, Surely> for S {
    type Made = S;

    fn into_made(self) -> Result<S> {
        Ok(self)
    }

    fn dispatch(service: &mut S, method: &str, call: host::Call<'_>) -> Result<host::Sent> {
        P::dispatch(service, method, call)
    }
}

impl<P: Serves<S>, S: 'static, E: Display + 'static> Makes<P, Perhaps> for Result<S, E> {
    type Made = S;

    fn into_made(self) -> Result<S> {
        // As with what a process returns: its own errors stay what they are.
        let mut made = None;
        self.map(|service| made = Some(service)).into_result()?;
        made.ok_or_else(|| Error::corrupt("neither a struct nor an error"))
    }

    fn dispatch(service: &mut S, method: &str, call: host::Call<'_>) -> Result<host::Sent> {
        P::dispatch(service, method, call)
    }
}

macro_rules! maker {
    ($($arg:ident)*) => {
        impl<F, R, P, M, $($arg),*> Maker<P, ($($arg,)*), M> for F
        where
            F: Fn($($arg),*) -> R + Copy + Send + Sync + 'static,
            R: Makes<P, M>,
            $($arg: Message,)*
        {
            type Made = R::Made;

            #[allow(non_snake_case, reason = "the type parameters name the arguments")]
            fn make(self, ($($arg,)*): ($($arg,)*)) -> Result<R::Made> {
                self($($arg),*).into_made()
            }

            fn dispatch(service: &mut R::Made, method: &str, call: host::Call<'_>) -> Result<host::Sent> {
                R::dispatch(service, method, call)
            }
        }
    };
}

maker!();
maker!(A);
maker!(A B);
maker!(A B C);
maker!(A B C D);
maker!(A B C D E);
maker!(A B C D E G);
maker!(A B C D E G H);
maker!(A B C D E G H I);

/// The life of a service that `F` makes, in its thread.
fn live<P, F: Maker<P, A, M>, A: Message, M>(order: Order) {
    order.live(|args| instance::<F>().make(args), F::dispatch);
}

/// The place of such a life in the executable.
pub(super) fn place_of<P, F: Maker<P, A, M>, A: Message, M>() -> Result<u64> {
    Executable::this().place_of::<F>(live::<P, F, A, M> as Life as usize)
}

/// The life at a place that somebody named who knows the server's key.
pub(super) fn life_at(build: &[u8], place: u64) -> Result<Life> {
    Executable::this().check_build(build)?;
    Executable::this().address_of(place).map(imp::life_at)
}

/// The step that the compiler cannot check.
mod imp {
    #![expect(unsafe_code, reason = "calls a function by its address")]

    use super::Life;

    pub(super) fn life_at(address: usize) -> Life {
        // SAFETY: whoever named the place runs the same build (compared before) and knows the server's key, which only
        // processes have that its owner has given it: they named what `place_of` found, the place of a life, which lies
        // in this executable's code (checked before).
        unsafe { std::mem::transmute::<usize, Life>(address) }
    }
}
