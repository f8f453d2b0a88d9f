//! The four forms of an operation that may have to wait, once for all channels.

/// `name, try_name, name_timeout, name_deadline (arguments) -> value: within`, where `within` takes the arguments and a
/// `Wait`.
macro_rules! four_forms {
    ($($form:tt)*) => {
        $crate::channel::forms::four_forms_of! { (&self) self $($form)* }
    };
}
pub(crate) use four_forms;

/// The same with `&mut self`.
macro_rules! four_forms_mut {
    ($($form:tt)*) => {
        $crate::channel::forms::four_forms_of! { (&mut self) self $($form)* }
    };
}
pub(crate) use four_forms_mut;

macro_rules! four_forms_of {
    (
        ($($receiver:tt)*) $this:ident
        $(#[$doc:meta])*
        $forever:ident, $try:ident, $timeout:ident, $deadline:ident
            ($($argument:ident: $type:ty),*) -> $output:ty: $within:ident
    ) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $forever($($receiver)* $(, $argument: $type)*) -> crate::Result<$output> {
            $this.$within($($argument,)* crate::os::clock::Wait::Forever)
        }

        #[doc = concat!("As [`", stringify!($forever), "`](Self::", stringify!($forever), "), without waiting.")]
        ///
        /// # Errors
        ///
        /// [`WouldBlock`](crate::Error::WouldBlock); else the same.
        ///
        /// # Examples
        ///
        /// See the type.
        #[inline(always)]
        pub fn $try($($receiver)* $(, $argument: $type)*) -> crate::Result<$output> {
            $this.$within($($argument,)* crate::os::clock::Wait::No)
        }

        #[doc = concat!("As [`", stringify!($forever), "`](Self::", stringify!($forever), "), waiting at most `timeout`.")]
        ///
        /// # Errors
        ///
        /// [`TimedOut`](crate::Error::TimedOut); else the same.
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn $timeout($($receiver)* $(, $argument: $type)*, timeout: std::time::Duration) -> crate::Result<$output> {
            $this.$within($($argument,)* crate::os::clock::Wait::timeout(timeout))
        }

        #[doc = concat!("As [`", stringify!($forever), "`](Self::", stringify!($forever), "), until `deadline` at most.")]
        ///
        /// # Errors
        ///
        /// [`TimedOut`](crate::Error::TimedOut); else the same.
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn $deadline($($receiver)* $(, $argument: $type)*, deadline: std::time::Instant) -> crate::Result<$output> {
            $this.$within($($argument,)* crate::os::clock::Wait::deadline(deadline))
        }
    };
}
pub(crate) use four_forms_of;
