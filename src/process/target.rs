//! What a process can run: plain functions, their arguments, and what they return.

use std::{
    any::Any,
    fmt::Display,
    num::{
        NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroIsize, NonZeroU8, NonZeroU16, NonZeroU32,
        NonZeroU64, NonZeroU128, NonZeroUsize, Wrapping,
    },
    time::Duration,
};

use crate::{Error, region::ticket::Message};

/// A function that a process can run with these arguments: an `fn`, or a closure that captures nothing, of 0 to 8
/// arguments, each a [`Message`], which returns an [`Outcome`].
///
/// # Examples
///
/// ```
/// use shmkit::process::Target;
///
/// fn add(a: u32, b: u32) -> u32 {
///     a + b
/// }
/// fn runs<A, F: Target<A>>(_: F) {}
/// runs::<(u32, u32), _>(add);
/// ```
///
/// A closure that captures is refused when the program is built:
///
/// ```compile_fail
/// let n = 7_u32;
/// let _ = shmkit::Process::spawn(move || n, ());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function that a process can run with the arguments `{Args}`",
    note = "give a plain `fn`, or a closure that captures nothing, and a tuple of its arguments: `(a, b)`, `(a,)`, `()`",
    note = "each argument must be owned and have serde's `Serialize` and `Deserialize`; handles are passed by value"
)]
pub trait Target<Args>: Copy + Send + Sync + 'static {
    /// What it returns.
    type Outcome: Outcome;

    /// Calls it.
    fn call(self, args: Args) -> Self::Outcome;
}

macro_rules! target {
    ($($arg:ident)*) => {
        impl<F, R, $($arg),*> Target<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> R + Copy + Send + Sync + 'static,
            R: Outcome,
            $($arg: Message,)*
        {
            type Outcome = R;

            #[allow(non_snake_case, reason = "the type parameters name the arguments")]
            fn call(self, ($($arg,)*): ($($arg,)*)) -> R {
                self($($arg),*)
            }
        }
    };
}

target!();
target!(A);
target!(A B);
target!(A B C);
target!(A B C D);
target!(A B C D E);
target!(A B C D E G);
target!(A B C D E G H);
target!(A B C D E G H I);

/// What a process's function may return: a `Result`, or plain data.
///
/// Plain data are `()`, `!`, numbers, `bool`, `char`, `String`, `Duration`, and `Vec`s, `Option`s and tuples of
/// messages. Types of your own go in `Ok(..)`.
///
/// The error of a `Result` needs `Display` only. A [`shmkit::Error`](crate::Error) arrives as it was, from a
/// `Box<dyn Error>` too; any other as [`Error::Failed`](crate::Error::Failed) with its text as `{:#}` shows it.
///
/// # Examples
///
/// ```
/// use shmkit::process::Outcome;
///
/// fn is_outcome<T: Outcome>() {}
/// is_outcome::<Result<f64, std::io::Error>>();
/// is_outcome::<Vec<u8>>();
/// ```
#[diagnostic::on_unimplemented(
    message = "a process's function cannot return `{Self}`",
    note = "return plain data, or `shmkit::Result<{Self}>` with `Ok(..)` around a type of your own",
    note = "the type in `Ok(..)` needs serde's `Serialize` and `Deserialize`, the error needs `Display`"
)]
pub trait Outcome {
    /// What `join` gives.
    type Output: Message;

    /// The output, or the error that `join` gives.
    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Output, Error>;
}

impl<T: Message, E: Display + 'static> Outcome for Result<T, E> {
    type Output = T;

    fn into_result(self) -> Result<T, Error> {
        self.map_err(|error| {
            let message = format!("{error:#}");
            own_error(Box::new(error)).unwrap_or(Error::Failed { message })
        })
    }
}

/// The error, if it is the crate's, bare or in one of the usual boxes.
fn own_error(error: Box<dyn Any>) -> Option<Error> {
    type Shared = Box<dyn std::error::Error + Send + Sync>;
    type Local = Box<dyn std::error::Error>;
    let error = match error.downcast::<Error>() {
        Ok(own) => return Some(*own),
        Err(error) => error,
    };
    let error = match error.downcast::<Shared>() {
        Ok(boxed) => return boxed.downcast().ok().map(|own| *own),
        Err(error) => error,
    };
    error.downcast::<Local>().ok()?.downcast().ok().map(|own| *own)
}

macro_rules! plain {
    ($($t:ty),* $(,)?) => {$(
        impl Outcome for $t {
            type Output = $t;

            fn into_result(self) -> Result<$t, Error> {
                Ok(self)
            }
        }
    )*};
}

plain! {
    (), bool, char, String, Duration,
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64,
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroIsize,
    NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU128, NonZeroUsize,
}

macro_rules! plain_generic {
    ($(($($arg:ident)*) $t:ty),* $(,)?) => {$(
        impl<$($arg: Message),*> Outcome for $t {
            type Output = $t;

            fn into_result(self) -> Result<$t, Error> {
                Ok(self)
            }
        }
    )*};
}

plain_generic! {
    (T) Vec<T>,
    (T) Option<T>,
    (T) Wrapping<T>,
    (A) (A,),
    (A B) (A, B),
    (A B C) (A, B, C),
    (A B C D) (A, B, C, D),
    (A B C D E) (A, B, C, D, E),
    (A B C D E F) (A, B, C, D, E, F),
    (A B C D E F G) (A, B, C, D, E, F, G),
    (A B C D E F G H) (A, B, C, D, E, F, G, H),
}

/// The type `!`, by a name that stable Rust accepts.
type Never = <fn() -> ! as Returns>::Output;

trait Returns {
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

#[expect(private_interfaces, reason = "the detour by which `!` is named")]
impl Outcome for Never {
    type Output = ();

    fn into_result(self) -> Result<(), Error> {
        self
    }
}
